//! `graceful` and a peer that checks its `connect` late: a reset that arrives before must not cost
//! it the connection.

use crate::server::PORT;
use std::net::TcpListener;
use support::{
    Program, Running, TcpState, count, own_network, settle, sysctl, tcp_states, wait_for,
    wait_until,
};

/// Serves connections in the way that its argument names, and closes each before the client does.
const SERVER: &str = "
listener = socket.socket()
listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, 16)
listener.bind(('127.0.0.1', 5000))
listener.listen()
print('listening')
while True:
    accepted, _ = listener.accept()
    match sys.argv[1]:
        case 'speak':
            accepted.sendall(b'hello')
        case 'shut down':
            accepted.sendall(b'hello')
            accepted.shutdown(socket.SHUT_WR)
        case 'answer':
            accepted.recv(100)
            accepted.sendall(b'hello')
    accepted.close()
    print('closed')
";

/// Checks `SO_ERROR` for the result of its `connect` when a line arrives on stdin, and then reads.
const CLIENT: &str = "
client = socket.socket()
client.setblocking(False)
match sys.argv[1]:
    case 'fast open':
        client.sendto(b'give', socket.MSG_FASTOPEN, ('127.0.0.1', 5000))
    case 'connect':
        client.connect_ex(('127.0.0.1', 5000))
print('under way')
sys.stdin.readline()
error = client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
if error:
    sys.exit(print('lost:', errno.errorcode[error]))
client.setblocking(True)
data = b''
while part := client.recv(100):
    data += part
print('got', data.decode(), '.')
";

fn graceful(program: Program, shimmed: bool) -> Program {
    program
        .shimmed_if(shimmed)
        .with("LIBREUSE_LINGER", "graceful")
}

/// Waits until all that the server has sent is acknowledged, so that a reset, if any, has arrived.
fn delivered() {
    wait_until("the FIN to be acknowledged", || {
        tcp_states(PORT).into_iter().all(|state| {
            matches!(
                state,
                TcpState::Listen | TcpState::FinWait2 | TcpState::TimeWait
            )
        })
    });
}

/// Returns what a client reads that checks its `connect` after everything has arrived.
fn seen_late(server: &mut Running, how: &str) -> String {
    let mut client = Program::python(CLIENT).argument(how).start();
    client.expect("under way");
    server.expect("closed");
    delivered();
    client.say("look").line()
}

#[test]
fn costs_no_client_that_looks_late_its_connection() {
    for (what, expected) in [
        ("speak", "got hello ."),
        ("shut down", "got hello ."),
        ("nothing", "got  ."),
    ] {
        for shimmed in [false, true] {
            own_network();
            let mut server = graceful(Program::python(SERVER).argument(what), shimmed).start();
            server.expect("listening");
            assert_eq!(seen_late(&mut server, "connect"), expected, "{what}");
            // The price is a TIME_WAIT.
            wait_for(PORT, TcpState::TimeWait, 1);
        }
    }
}

/// Data in the SYN does not show whether the client knows that it is connected (`TCP_FASTOPEN` in
/// tcp(7)).
#[test]
fn costs_no_client_its_connection_that_it_opened_fast() {
    for shimmed in [false, true] {
        own_network();
        sysctl("net.ipv4.tcp_fastopen", "3");
        let mut server = graceful(Program::python(SERVER).argument("answer"), shimmed).start();
        server.expect("listening");
        // The first one gets the cookie, which lets the second one send with its SYN.
        let first = "
client = socket.socket()
client.sendto(b'give', socket.MSG_FASTOPEN, ('127.0.0.1', 5000))
assert client.recv(100) == b'hello' and client.recv(100) == b''
";
        Program::python(first).output();
        server.expect("closed");
        assert_eq!(seen_late(&mut server, "fast open"), "got hello .");
    }
}

/// The server accepts late, and takes POLLERR or POLLHUP for the end before it reads, as many do.
#[test]
fn loses_nothing_of_a_client_that_sends_and_closes() {
    const LOG: &str = "
client = socket.create_connection(('127.0.0.1', 5000), source_address=('127.0.0.1', 6000))
client.sendall(b'a line')
client.close()
print('sent')
";
    const COLLECTOR: &str = "
import select
listener = socket.create_server(('127.0.0.1', 5000))
print('listening')
sys.stdin.readline()
accepted, _ = listener.accept()
accepted.getpeername()
poll = select.poll()
poll.register(accepted, select.POLLIN)
[(_, events)] = poll.poll()
print('lost' if events & (select.POLLERR | select.POLLHUP) else accepted.recv(100))
";
    for shimmed in [false, true] {
        own_network();
        let mut server = Program::python(COLLECTOR).start();
        server.expect("listening");
        assert_eq!(graceful(Program::python(LOG), shimmed).output(), "sent\n");
        wait_until("the FIN to be acknowledged", || {
            // The server receives the FIN at once, and may acknowledge it later.
            let client = tcp_states(6000);
            client.is_empty() || client == [TcpState::FinWait2]
        });
        server.say("look").expect("b'a line'");
    }
}

/// The purpose: the peer has sent something, so it knows that it is connected, and no `TIME_WAIT`
/// remains.
#[test]
fn leaves_no_time_wait_where_the_peer_has_spoken() {
    for (shimmed, expected) in [(false, 1), (true, 0)] {
        own_network();
        let listener = TcpListener::bind(("127.0.0.1", PORT)).expect("the network is ours");
        let text = "
client = socket.create_connection(('127.0.0.1', 5000))
print('connected')
assert client.recv(1) == b'!'
client.close()
print('closed')
";
        let mut client = graceful(Program::python(text), shimmed).start();
        client.expect("connected");
        let (mut accepted, peer) = listener.accept().expect("the client came");
        std::io::Write::write_all(&mut accepted, b"!").expect("the client is there");
        client.expect("closed");
        // Its FIN first: who closes at the same time leaves TIME_WAIT at both ends.
        std::io::Read::read_to_end(&mut accepted, &mut Vec::new()).expect("a clean end");
        drop(accepted);
        settle(peer.port());
        assert_eq!(count(peer.port(), TcpState::TimeWait), expected);
    }
}
