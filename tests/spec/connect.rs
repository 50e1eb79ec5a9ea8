//! `connect`: sockets that the program bound itself.

use crate::server::PORT;
use std::net::TcpListener;
use support::{Program, TcpState, count, own_network, sysctl, wait_for};

/// A client that insists on its own port, run again and again.
const CLIENT: &str = "
client = socket.socket()
try:
    client.bind(('127.0.0.1', 5001))
except OSError as error:
    sys.exit(print(errno.errorcode[error.errno]))
client.connect(('127.0.0.1', 5000))
print('connected')
client.close()
";

#[test]
fn lets_a_bound_port_that_was_named_be_bound_again() {
    for (shimmed, ports, expected) in [
        (false, "5001", "EADDRINUSE"),
        (true, "5001", "connected"),
        (true, "5000,5002-6000", "EADDRINUSE"),
    ] {
        own_network();
        let listener = TcpListener::bind(("127.0.0.1", PORT)).expect("the network is ours");
        let shim = |program: Program| program.shimmed_if(shimmed).with("LIBREUSE_PORTS", ports);
        let program = shim(Program::python(CLIENT));
        assert_eq!(program.output(), "connected\n");
        drop(listener.accept().expect("the client came"));
        wait_for(5001, TcpState::TimeWait, 1);
        // To another server: the kernel keeps the same two ends apart for the whole minute.
        let _other = TcpListener::bind(("127.0.0.1", PORT + 2)).expect("the network is ours");
        let again = shim(Program::python(&CLIENT.replace("5000", "5002")));
        assert_eq!(again.output().trim(), expected);
    }
}

/// Two copies of a client that takes the first source port that is free: the second must not get
/// the first one's, from which it could not connect to the same server.
#[test]
fn leaves_the_port_of_a_live_connection_to_its_owner() {
    let text = "
client = socket.socket()
for port in range(5001, 5010):
    try:
        client.bind(('127.0.0.1', port))
        break
    except OSError as error:
        pass
client.connect(('127.0.0.1', 5000))
print(port)
sys.stdin.read()
";
    for shimmed in [false, true] {
        own_network();
        let _listener = TcpListener::bind(("127.0.0.1", PORT)).expect("the network is ours");
        let program = Program::python(text).shimmed_if(shimmed);
        let mut first = program.start();
        first.expect("5001");
        program.start().expect("5002");
    }
}

/// A client that clears the option so that nobody else takes its live port, whether it has set it
/// before or not.
#[test]
fn leaves_a_connection_without_the_option_that_a_client_cleared() {
    let text = "
client = socket.socket()
if sys.argv[1] == 'set':
    client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
client.bind(('127.0.0.1', 5001))
client.connect(('127.0.0.1', 5000))
client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
print(client.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR))
other = socket.socket()
other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
try:
    other.bind(('127.0.0.1', 5001))
    print('bound')
except OSError as error:
    print(errno.errorcode[error.errno])
";
    for (before, shimmed) in [
        ("set", false),
        ("set", true),
        ("unset", false),
        ("unset", true),
    ] {
        own_network();
        let _listener = TcpListener::bind(("127.0.0.1", PORT)).expect("the network is ours");
        let client = Program::python(text).argument(before).shimmed_if(shimmed);
        assert_eq!(client.output(), "0\nEADDRINUSE\n", "{before} {shimmed}");
    }
}

/// `TCP_REPAIR` lets a socket be bound over anything, by a value of the option that setsockopt has
/// not.
#[test]
fn leaves_a_socket_under_repair_as_it_is() {
    let text = "
TCP_REPAIR = 19
REUSE = (socket.SOL_SOCKET, socket.SO_REUSEADDR)
client, listener = socket.socket(), socket.socket()
for each in client, listener:
    each.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
client.bind(('127.0.0.1', 5001))
client.connect(('127.0.0.1', 5000))
listener.listen()
print(client.getsockopt(*REUSE), listener.getsockopt(*REUSE))
";
    for shimmed in [false, true] {
        own_network();
        let _listener = TcpListener::bind(("127.0.0.1", PORT)).expect("the network is ours");
        let program = Program::python(text).shimmed_if(shimmed);
        assert_eq!(program.with("LIBREUSE_PORTS", "1-65535").output(), "2 2\n");
    }
}

#[test]
fn leaves_sockets_alone_that_the_kernel_binds() {
    let text = "
peer = socket.create_server(('127.0.0.1', 5000))
client = socket.socket()
client.connect(('127.0.0.1', 5000))
again = client.connect_ex(('127.0.0.1', 5000))
datagram = socket.socket(type=socket.SOCK_DGRAM)
datagram.bind(('127.0.0.1', 5002))
datagram.connect(('127.0.0.1', 5000))
for each in client, datagram:
    print(each.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR))
print(errno.errorcode[again])
";
    for shimmed in [false, true] {
        own_network();
        assert_eq!(
            Program::python(text).shimmed_if(shimmed).output(),
            "0\n0\nEISCONN\n"
        );
    }
}

/// A program that closes first runs out of local ports, and with `graceful` it does not.
#[test]
fn graceful_keeps_a_busy_client_in_ports() {
    let text = "
peer = socket.create_server(('127.0.0.1', 5000), backlog=128)
for done in range(200):
    client = socket.socket()
    try:
        client.connect(('127.0.0.1', 5000))
    except OSError as error:
        sys.exit(print(done, errno.errorcode[error.errno]))
    accepted, _ = peer.accept()
    accepted.sendall(b'!')
    client.recv(1)
    client.close()
    accepted.recv(1)
    accepted.close()
print('all')
";
    for (linger, expected) in [("off", "50 EADDRNOTAVAIL\n"), ("graceful", "all\n")] {
        own_network();
        sysctl("net.ipv4.ip_local_port_range", "6000 6049");
        sysctl("net.ipv4.tcp_tw_reuse", "0");
        assert_eq!(
            Program::python(text)
                .shimmed()
                .with("LIBREUSE_LINGER", linger)
                .output(),
            expected
        );
    }
    assert_eq!(count(PORT, TcpState::TimeWait), 0);
}
