use crate::server::PORT;
use crate::support::{Program, TcpState, count, own_network, sysctl, wait_for};
use std::net::TcpListener;

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
fn lets_a_bound_port_be_bound_again() {
    for (shimmed, expected) in [(false, "EADDRINUSE"), (true, "connected")] {
        own_network();
        let listener = TcpListener::bind(("127.0.0.1", PORT)).expect("the network is ours");
        let program = Program::python(CLIENT).shimmed_if(shimmed);
        assert_eq!(program.output(), "connected\n");
        drop(listener.accept().expect("the client came"));
        wait_for(5001, TcpState::TimeWait, 1);
        // To another server: the kernel keeps the same two ends apart for the whole minute.
        let _other = TcpListener::bind(("127.0.0.1", PORT + 2)).expect("the network is ours");
        let again = Program::python(&CLIENT.replace("5000", "5002")).shimmed_if(shimmed);
        assert_eq!(again.output().trim(), expected);
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
