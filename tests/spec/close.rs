//! `close` and `LIBREUSE_LINGER`: how connections end, and what they leave behind.

use crate::server::PORT;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use support::{
    Program, Running, TcpState, count, own_network, program, settle, sysctl, wait_for, wait_until,
};

/// Sends a body to whoever connects, and ends the connection as it is told.
const SENDER: &str = r"
size, ending = int(sys.argv[1]), sys.argv[2]
body = bytes(number * 7 % 251 for number in range(251)) * (size // 251 + 1)
listener = socket.socket()
listener.bind(('127.0.0.1', 5000))
listener.listen(128)
print('listening')
while True:
    accepted, _ = listener.accept()
    assert accepted.recv(100) == b'give'
    print('sending')
    accepted.sendall(body[:size])
    match ending:
        case 'close':
            accepted.close()
        case 'dup2':
            null = os.open('/dev/null', os.O_RDONLY)
            os.dup2(null, accepted.fileno())
        case 'exit':
            os._exit(0)
        case 'kill':
            os.kill(os.getpid(), signal.SIGKILL)
    if ending == 'dup2':
        accepted.detach()
    print('ended')
";

fn body(size: usize) -> Vec<u8> {
    (0..251_u32)
        .map(|number| u8::try_from(number * 7 % 251).expect("below 251"))
        .cycle()
        .take(size)
        .collect()
}

fn sender(size: usize, ending: &str, linger: Option<&str>) -> Running {
    let program = Program::python(SENDER)
        .argument(size.to_string())
        .argument(ending);
    let program = match linger {
        None => program,
        Some(value) => program.shimmed().with("LIBREUSE_LINGER", value),
    };
    let mut running = program.start();
    running.expect("listening");
    running
}

/// How a client reads.
#[derive(Clone, Copy, Debug)]
enum Reader {
    /// As fast as it can.
    Fast,
    /// A little at a time, so that the sender's buffers are full all the while.
    Slow,
    /// Not before the sender has no more room, or nothing more to send.
    Late,
}

/// What a client got: how many bytes of the body were right, and how it ended.
fn fetch(server: &mut Running, size: usize, reader: Reader) -> (usize, Result<(), ErrorKind>) {
    let mut client = TcpStream::connect(("127.0.0.1", PORT)).expect("the server listens");
    client.write_all(b"give").expect("the server is there");
    server.expect_containing("sending");
    let mut chunk = vec![
        0;
        if matches!(reader, Reader::Slow) {
            4096
        } else {
            1 << 20
        }
    ];
    if matches!(reader, Reader::Late) {
        let mut before = 0;
        wait_until("the sender to have sent what it can", || {
            let queued = client.peek(&mut chunk).expect("something arrives");
            queued == size || queued == std::mem::replace(&mut before, queued)
        });
    }
    let expected = body(size);
    let mut received = 0;
    loop {
        if matches!(reader, Reader::Slow) {
            thread::yield_now();
        }
        match client.read(&mut chunk) {
            Ok(0) => return (received, Ok(())),
            Ok(length) => {
                assert_eq!(
                    chunk[..length],
                    expected[received..received + length],
                    "after {received} bytes"
                );
                received += length;
            }
            Err(error) => return (received, Err(error.kind())),
        }
    }
}

#[test]
fn graceful_delivers_every_byte_and_leaves_no_time_wait() {
    for size in [1_000, 1_000_000, 10_000_000] {
        for reader in [Reader::Fast, Reader::Slow, Reader::Late] {
            own_network();
            let mut server = sender(size, "close", Some("graceful"));
            for _ in 0..5 {
                assert_eq!(
                    fetch(&mut server, size, reader),
                    (size, Ok(())),
                    "{reader:?}"
                );
            }
            settle(PORT);
            assert_eq!(count(PORT, TcpState::TimeWait), 0, "{size} {reader:?}");
        }
    }
    // What makes the difference: the same without the shim, and with the shim in its default.
    for linger in [None, Some("off")] {
        own_network();
        let mut server = sender(1_000, "close", linger);
        for _ in 0..5 {
            assert_eq!(fetch(&mut server, 1_000, Reader::Fast), (1_000, Ok(())));
        }
        wait_for(PORT, TcpState::TimeWait, 5);
    }
}

/// The option is inherited from the listener, so no close need be seen.
#[test]
fn graceful_covers_ends_that_no_hook_sees() {
    for ending in ["kill", "exit", "dup2"] {
        for (size, reader) in [
            (1_000, Reader::Fast),
            (1_000_000, Reader::Late),
            (10_000_000, Reader::Slow),
        ] {
            own_network();
            let mut server = sender(size, ending, Some("graceful"));
            assert_eq!(
                fetch(&mut server, size, reader),
                (size, Ok(())),
                "{ending} {reader:?}"
            );
            settle(PORT);
            assert_eq!(
                count(PORT, TcpState::TimeWait),
                0,
                "{ending} {size} {reader:?}"
            );
        }
        own_network();
        let mut server = sender(1_000, ending, None);
        assert_eq!(fetch(&mut server, 1_000, Reader::Fast), (1_000, Ok(())));
        wait_for(PORT, TcpState::TimeWait, 1);
    }
}

#[test]
fn graceful_holds_on_a_network_that_loses_packets() {
    const SIZE: usize = 100_000;
    own_network();
    // By nftables and not by netem, which fewer kernels have.
    let nft = Program::new(program(&["nft"]));
    let table = nft
        .clone()
        .arguments(["add", "table", "inet", "lossy"])
        .run();
    if !table.status.success() {
        println!(
            "skipped: this kernel has no nftables: {}",
            table.stderr.trim()
        );
        return;
    }
    for rule in [
        "add chain inet lossy input { type filter hook input priority 0; }",
        "add rule inet lossy input numgen random mod 100 < 4 counter drop",
    ] {
        nft.clone().argument(rule).output();
    }
    let mut server = sender(SIZE, "close", Some("graceful"));
    for _ in 0..25 {
        assert_eq!(fetch(&mut server, SIZE, Reader::Fast), (SIZE, Ok(())));
    }
    settle(PORT);
    assert_eq!(count(PORT, TcpState::TimeWait), 0);
    let dropped = nft.arguments(["list", "table", "inet", "lossy"]).output();
    assert!(
        !dropped.contains("packets 0 "),
        "nothing was lost: {dropped}"
    );
}

/// A client's connections end without `TIME_WAIT` on its side, by whichever way it ends them.
#[test]
fn graceful_covers_connections_that_the_program_makes() {
    const CLIENT: &str = "
client = socket.create_connection(('127.0.0.1', 5000))
client.sendall(b'hello')
client.recv(5)
match sys.argv[1]:
    case 'close':
        client.close()
    case 'kill':
        print('done')
        os.kill(os.getpid(), signal.SIGKILL)
print('done')
";
    for ending in ["close", "kill"] {
        for (linger, expected) in [("off", 1), ("graceful", 0)] {
            own_network();
            let listener =
                std::net::TcpListener::bind(("127.0.0.1", PORT)).expect("the network is ours");
            let mut client = Program::python(CLIENT)
                .argument(ending)
                .shimmed()
                .with("LIBREUSE_LINGER", linger)
                .start();
            let (mut accepted, peer) = listener.accept().expect("the client connects");
            accepted.write_all(b"world").expect("the client is there");
            client.expect("done");
            let mut rest = Vec::new();
            accepted.read_to_end(&mut rest).expect("a clean end");
            assert_eq!(rest, b"hello");
            drop(accepted);
            settle(peer.port());
            assert_eq!(
                count(peer.port(), TcpState::TimeWait),
                expected,
                "{linger} {ending}"
            );
        }
    }
}

/// With a list of ports, those alone.
#[test]
fn graceful_keeps_to_the_listed_ports() {
    for (ports, expected) in [("5000", 0), ("5001", 1)] {
        own_network();
        let mut server = Program::python(SENDER)
            .argument("1000")
            .argument("close")
            .shimmed()
            .with("LIBREUSE_LINGER", "graceful")
            .with("LIBREUSE_PORTS", ports)
            .start();
        server.expect("listening");
        assert_eq!(fetch(&mut server, 1_000, Reader::Fast), (1_000, Ok(())));
        settle(PORT);
        assert_eq!(count(PORT, TcpState::TimeWait), expected, "{ports}");
    }
}

/// What it is warned of in the README, and what the other one is recommended for.
#[test]
fn zero_resets_and_throws_away_what_graceful_delivers() {
    const SIZE: usize = 200_000;
    for linger in ["zero", "graceful"] {
        own_network();
        // A small window, so that most of the body is still the sender's when it closes.
        sysctl("net.ipv4.tcp_rmem", "4096 4096 4096");
        let mut server = sender(SIZE, "close", Some(linger));
        let mut client = TcpStream::connect(("127.0.0.1", PORT)).expect("the server listens");
        client.write_all(b"give").expect("the server is there");
        server.expect("sending").expect("ended");
        let mut answer = Vec::new();
        let ending = client
            .read_to_end(&mut answer)
            .map_err(|error| error.kind());
        if linger == "zero" {
            assert_eq!(ending, Err(ErrorKind::ConnectionReset));
            assert!(answer.len() < SIZE);
        } else {
            assert_eq!(ending, Ok(SIZE));
        }
        drop(client);
        settle(PORT);
        assert_eq!(count(PORT, TcpState::TimeWait), 0, "{linger}");
    }
}

#[test]
fn zero_leaves_a_connection_alone_that_the_peer_closed_first() {
    const ANSWERER: &str = "
listener = socket.socket()
listener.bind(('127.0.0.1', 5000))
listener.listen()
print('listening')
accepted, _ = listener.accept()
while accepted.recv(100):
    pass
accepted.sendall(bytes(1000000))
if sys.argv[1:] == ['reset']:
    accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
accepted.close()
print('closed')
";
    // The control is a program that asks for the reset itself.
    for (reset, expected) in [
        (false, Ok(1_000_000)),
        (true, Err(ErrorKind::ConnectionReset)),
    ] {
        own_network();
        let program = Program::python(ANSWERER).arguments(reset.then_some("reset"));
        let mut server = program.shimmed().with("LIBREUSE_LINGER", "zero").start();
        server.expect("listening");
        let mut client = TcpStream::connect(("127.0.0.1", PORT)).expect("the server listens");
        client
            .shutdown(Shutdown::Write)
            .expect("the connection is there");
        if reset {
            server.expect("closed");
        }
        let mut answer = Vec::new();
        let ending = client
            .read_to_end(&mut answer)
            .map_err(|error| error.kind());
        assert_eq!(ending, expected);
        settle(PORT);
        assert_eq!(count(PORT, TcpState::TimeWait), 0);
    }
}

/// A reset that a listener handed down would cut what its other accepted sockets still send.
#[test]
fn zero_leaves_listeners_alone() {
    let text = "
listener = socket.socket()
listener.bind(('127.0.0.1', 5000))
listener.listen()
other = listener.dup()
os.close(listener.detach())
client = socket.create_connection(('127.0.0.1', 5000))
accepted, _ = other.accept()
for each in other, accepted:
    print(struct.unpack('ii', each.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8)))
os.close(os.dup(accepted.fileno()))
print(struct.unpack('ii', accepted.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8)))
";
    own_network();
    let output = Program::python(text)
        .shimmed()
        .with("LIBREUSE_LINGER", "zero")
        .output();
    assert_eq!(output, "(0, 0)\n(0, 0)\n(1, 0)\n");
}

/// A copy of the socket that is closed elsewhere must not cut what this process still sends.
#[test]
fn graceful_loses_nothing_when_a_forking_server_closes_its_copy() {
    const FORKING: &str = "
listener = socket.socket()
listener.bind(('127.0.0.1', 5000))
listener.listen()
print('listening')
while True:
    accepted, _ = listener.accept()
    if os.fork() == 0:
        assert accepted.recv(100) == b'give'
        print('sending')
        size = int(sys.argv[1])
        body = bytes(number * 7 % 251 for number in range(251)) * (size // 251 + 1)
        accepted.sendall(body[:size])
        os._exit(0)
    accepted.close()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
";
    const SIZE: usize = 4_000_000;
    for (linger, whole) in [("graceful", true), ("zero", false)] {
        own_network();
        let mut server = Program::python(FORKING)
            .argument(SIZE.to_string())
            .shimmed()
            .with("LIBREUSE_LINGER", linger)
            .start();
        server.expect("listening");
        let (received, ending) = fetch(&mut server, SIZE, Reader::Late);
        assert_eq!(
            received == SIZE && ending.is_ok(),
            whole,
            "{linger}: {received} bytes, then {ending:?}"
        );
    }
}

/// Node's libuv closes by a raw system call: the listener's option covers that too.
#[test]
fn graceful_covers_raw_system_calls() {
    let text = "
import ctypes
libc = ctypes.CDLL(None)
listener = socket.socket()
listener.bind(('127.0.0.1', 5000))
listener.listen()
print('listening')
accepted, _ = listener.accept()
libc.syscall(3, accepted.detach())
print('closed')
sys.stdin.read()
";
    if cfg!(not(target_arch = "x86_64")) {
        println!("skipped: 3 is close on x86_64 alone");
        return;
    }
    for (linger, expected) in [("off", 1), ("graceful", 0)] {
        own_network();
        let mut server = Program::python(text)
            .shimmed()
            .with("LIBREUSE_LINGER", linger)
            .start();
        server.expect("listening");
        let client = TcpStream::connect(("127.0.0.1", PORT)).expect("the server listens");
        server.expect("closed");
        wait_until("the FIN to be acknowledged", || {
            count(PORT, TcpState::FinWait1) == 0 && count(PORT, TcpState::Established) == 0
        });
        drop(client);
        settle(PORT);
        assert_eq!(count(PORT, TcpState::TimeWait), expected, "{linger}");
    }
}
