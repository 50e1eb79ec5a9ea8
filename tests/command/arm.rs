//! `arm`: a program that runs without the library can be restarted all the same.

use crate::{
    SERVER, assert_says, code, command_for_others, crash_after_serving, nobody, reuseaddr, run,
    serve_once, server,
};
use std::fs;
use std::io::{ErrorKind, Read};
use std::net::TcpStream;
use support::{Folder, Program, own_network, program};

/// `reuseaddr run` of [`SERVER`].
fn shimmed_server() -> Program {
    run()
        .arguments(["/usr/bin/python3", "-I", "-u", "-c"])
        .argument(format!("import errno, socket, sys\n{SERVER}"))
        .argument("5000")
}

#[test]
fn lets_a_python_server_be_restarted() {
    for by in ["pid", "port", "nothing"] {
        own_network();
        let mut running = server(5000).start();
        running.expect("listening");
        let pid = running.pid().to_string();
        let arguments: &[&str] = match by {
            "pid" => &["arm", "--pid", &pid],
            "port" => &["arm", "5000"],
            _ => &[],
        };
        if !arguments.is_empty() {
            let finished = reuseaddr(arguments).run();
            assert_eq!(code(&finished), 0, "{finished:#?}");
            let name =
                format!("python3 (pid {pid}): the listener on 127.0.0.1:5000 has SO_REUSEADDR now");
            assert_says(&finished.stdout, &name);
        }
        serve_once(&mut running, 5000);
        running.kill();
        server(5000).start().expect("EADDRINUSE");
        let expected = if by == "nothing" {
            "EADDRINUSE"
        } else {
            "listening"
        };
        shimmed_server().start().expect(expected);
    }
}

#[test]
fn reaches_connections_that_are_open_already() {
    own_network();
    let mut running = Program::python(
        "
listener = socket.socket()
listener.bind(('127.0.0.1', 5000))
listener.listen()
client = socket.create_connection(('127.0.0.1', 5000))
accepted, _ = listener.accept()
if os.fork() == 0:
    listener.close()
    print('ready')
    sys.stdin.readline()
    sys.exit()
accepted.close()
sys.stdin.read()
",
    )
    .start();
    running.expect("ready");
    let finished = reuseaddr([
        "arm",
        "--linger",
        "graceful",
        "--pid",
        &running.pid().to_string(),
    ])
    .run();
    assert_eq!(code(&finished), 0, "{finished:#?}");
    // The child has the connection, and the parent the listener.
    assert_says(
        &finished.stdout,
        "the listener on 127.0.0.1:5000 has SO_REUSEADDR and TCP_LINGER2=-1 now",
    );
    assert_says(
        &finished.stdout,
        "the connection of 127.0.0.1:5000 with 127.0.0.1:",
    );
    running.kill();
    shimmed_server().start().expect("listening");
}

/// A connection that waits to be accepted has been made without the flag, and nobody has a
/// descriptor of it.
#[test]
fn says_what_it_can_not_reach_yet() {
    own_network();
    let mut running = Program::python(
        "
listener = socket.create_server(('127.0.0.1', 5000))
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
print('listening')
sys.stdin.readline()
accepted, _ = listener.accept()
print('accepted')
sys.stdin.readline()
",
    )
    .start();
    running.expect("listening");
    let _client = std::net::TcpStream::connect("127.0.0.1:5000").expect("it listens");
    let pid = running.pid().to_string();
    let finished = reuseaddr(["arm", "--pid", &pid]).run();
    assert_eq!(code(&finished), 1, "{finished:#?}");
    assert_says(&finished.stdout, "1 socket armed.");
    assert_says(
        &finished.stderr,
        "1 connection could not be armed: not accepted yet",
    );
    running.say("").expect("accepted");
    let finished = reuseaddr(["arm", "--pid", &pid]).run();
    assert_eq!(code(&finished), 0, "{finished:#?}");
    assert_says(
        &finished.stdout,
        "the connection of 127.0.0.1:5000 with 127.0.0.1:",
    );
    running.kill();
    shimmed_server().start().expect("listening");
}

#[test]
fn leaves_no_time_wait_with_graceful() {
    own_network();
    let mut running = server(5000).start();
    running.expect("listening");
    assert_eq!(
        code(&reuseaddr(["arm", "--linger", "graceful", "5000"]).run()),
        0
    );
    // The server closes before anything came, and no `close` is intercepted: a client that looks
    // late learns of the end by its connect (docs/safety.md).
    match TcpStream::connect("127.0.0.1:5000") {
        Ok(mut client) => assert_eq!(client.read(&mut [0; 9]).expect("a clean end"), 0),
        Err(error) => assert_eq!(error.kind(), ErrorKind::BrokenPipe),
    }
    running.expect("served");
    running.kill();
    // Not even a plain bind finds anything.
    server(5000).start().expect("listening");
}

const JAVA: &str = "
import java.net.*;
class Server {
    public static void main(String[] arguments) throws Exception {
        var listener = new ServerSocket();
        listener.setReuseAddress(false);
        listener.bind(new InetSocketAddress(\"127.0.0.1\", 5000));
        System.out.println(\"listening\");
        while (true) {
            listener.accept().close();
            System.out.println(\"served\");
        }
    }
}";

#[test]
fn lets_a_java_server_be_restarted() {
    own_network();
    let folder = Folder::new("arm-java");
    let source = folder.join("Server.java");
    fs::write(&source, JAVA).expect("the folder is ours");
    let javac = Program::new(program(&["javac"])).arguments(["-d", "."]);
    javac.argument(&source).inside(folder.path()).output();
    let java = program(&["java"]);
    let options = ["-Xshare:auto", "-XX:TieredStopAtLevel=1", "-cp"];
    let plain = Program::new(&java)
        .arguments(options)
        .argument(folder.path())
        .argument("Server");
    let mut running = plain.start();
    running.expect("listening");
    let finished = reuseaddr(["arm", "--pid", &running.pid().to_string()]).run();
    assert_eq!(code(&finished), 0, "{finished:#?}");
    serve_once(&mut running, 5000);
    running.kill();
    assert!(plain.run().stderr.contains("Address already in use"));
    run()
        .argument(&java)
        .arguments(options)
        .argument(folder.path())
        .argument("Server")
        .start()
        .expect("listening");
}

#[test]
fn says_what_it_can_not_do() {
    own_network();
    // Nothing there, only leftovers there, no such process.
    let finished = reuseaddr(["arm", "5000"]).run();
    assert_eq!(code(&finished), 1, "{finished:#?}");
    assert_says(&finished.stderr, "no socket has this port");
    crash_after_serving(&server(5000), 5000);
    let finished = reuseaddr(["arm", "5000"]).run();
    assert_eq!(code(&finished), 1, "{finished:#?}");
    assert_says(&finished.stderr, "only evicting or waiting helps");
    let finished = reuseaddr(["arm", "--pid", "4194304"]).run();
    assert_eq!(code(&finished), 2, "{finished:#?}");
    assert_says(&finished.stderr, "there is no process 4194304");
    let sleeper = Program::new("/bin/sleep").argument("60").start();
    let finished = reuseaddr(["arm", "--pid", &sleeper.pid().to_string()]).run();
    assert_eq!(code(&finished), 2, "{finished:#?}");
    assert_says(&finished.stderr, "listens on no TCP port");
}

#[test]
fn says_that_the_right_to_trace_is_missing() {
    own_network();
    let (_folder, command) = command_for_others("arm");
    let mut running = server(5000).start();
    running.expect("listening");
    let finished = nobody()
        .argument(&command)
        .arguments(["arm", "--pid", &running.pid().to_string()])
        .run();
    assert_eq!(code(&finished), 2, "{finished:#?}");
    assert_says(&finished.stderr, "that takes permission to trace it");
    assert_says(
        &finished.stderr,
        &format!("sudo reuseaddr arm --pid {}", running.pid()),
    );
}

/// A user's own container has its own ports, and the user may trace it and not enter its network.
#[test]
fn arms_nobody_else_where_the_network_is_another() {
    own_network();
    let (_folder, command) = command_for_others("arm-container");
    let mut bystander = nobody().command(&server(5000)).start();
    bystander.expect("listening");
    let mut container = nobody()
        .argument(program(&["unshare"]))
        .arguments(["-Urn", "sh", "-c", "ip link set lo up && exec \"$@\"", "sh"])
        .command(&server(5000))
        .start();
    container.expect("listening");

    let pid = container.pid().to_string();
    let finished = nobody()
        .argument(&command)
        .arguments(["arm", "--pid", &pid])
        .run();
    assert_eq!(code(&finished), 0, "{finished:#?}");
    assert_eq!(
        finished.stdout.lines().next(),
        Some(&*format!(
            "python3 (pid {pid}): the listener on 127.0.0.1:5000 has SO_REUSEADDR now"
        ))
    );
    assert_says(&finished.stdout, "1 socket armed.");
    assert_says(&finished.stderr, &format!("Process {pid} alone is armed"));
    let finished = reuseaddr(["arm", "--pid", &bystander.pid().to_string()]).run();
    assert_says(&finished.stdout, "has SO_REUSEADDR now");
}

/// One copy after the other: there are more sockets than this process may have descriptors.
#[test]
fn arms_50000_connections_with_few_descriptors() {
    // In several processes: a limit of 20 000 descriptors is common.
    let text = r#"
import os, resource, socket, sys
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
if hard < 13000:
    print("at most %d descriptors" % hard, flush=True)
    sys.exit()
listener = socket.socket()
listener.bind(("127.0.0.1", 5000))
listener.listen(1000)
done, says = os.pipe()
for worker in range(8):
    if os.fork() == 0:
        kept = []
        for number in range(6250):
            client = socket.socket()
            client.setsockopt(socket.IPPROTO_IP, 24, 1) # IP_BIND_ADDRESS_NO_PORT
            client.bind(("127.0.0.%d" % (2 + worker), 0))
            client.connect(("127.0.0.1", 5000))
            kept += [client.detach(), listener.accept()[0].detach()]
        os.write(says, b"x")
        sys.stdin.read()
        os._exit(0)
for worker in range(8):
    os.read(done, 1)
print("listening", flush=True)
sys.stdin.read()
"#;
    own_network();
    let mut server = Program::python(text).start();
    let connected = server.line_within(support::patience() * 10);
    match connected.expect("it connects").as_str() {
        "listening" => {}
        other => return println!("skipped: {other}"),
    }
    let pid = server.pid().to_string();
    let with_few = |arguments: [&str; 3]| {
        Program::new(program(&["prlimit"]))
            .arguments(["--nofile=64:64"])
            .argument(support::reuseaddr())
            .arguments(arguments)
            .run()
    };
    let checked = with_few(["check", "--pid", &pid]);
    assert_says(&checked.stdout, "127.0.0.1:5000");
    let finished = with_few(["arm", "--pid", &pid]);
    assert_eq!(code(&finished), 0, "{finished:#?}");
    assert_says(&finished.stdout, "50001 sockets armed.");
}
