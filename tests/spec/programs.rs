//! Real programs, unmodified.

use crate::server::PORT;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use support::{Folder, Program, Running, TcpState, count, own_network, program, wait_until};

/// What a program does about `SO_REUSEADDR` by itself.
#[derive(Clone, Copy, PartialEq)]
enum Own {
    /// It never sets it, or clears it: without the shim a restart fails.
    Missing,
    /// It sets it: it restarts anyway, and the shim must not be in the way.
    Set,
}

/// Starts the program, has it serve somebody and close first, kills it, and does all that again
/// over what it left.
fn restarts(server: &Program, own: Own, ending: libc::c_int, serve: fn(&mut TcpStream) -> bool) {
    for shimmed in [false, true] {
        own_network();
        let server = server.clone().shimmed_if(shimmed);
        let mut first = server.start();
        assert!(
            served(&mut first, serve),
            "the first run: {:#?}",
            first.finish()
        );
        wait_until("TIME_WAIT", || count(PORT, TcpState::TimeWait) > 0);
        first.signal(ending);
        wait_until("the first run's end", || {
            first.has_ended() && count(PORT, TcpState::Listen) == 0
        });
        let mut second = server.start();
        let works = shimmed || own == Own::Set;
        assert_eq!(
            served(&mut second, serve),
            works,
            "shimmed: {shimmed}, {:#?}",
            second.finish()
        );
        if works {
            // Not killed, which would leave children behind that the next run must not meet.
            second.signal(ending);
            wait_until("the second run's end", || {
                second.has_ended() && count(PORT, TcpState::Listen) == 0
            });
        } else {
            let finished = second.finish();
            let said = format!("{}{}", finished.stdout, finished.stderr);
            assert!(
                said.contains("in use"),
                "it failed for another reason: {finished:#?}"
            );
        }
    }
}

/// Whether the program comes to serve, as opposed to ending.
fn served(server: &mut Running, serve: fn(&mut TcpStream) -> bool) -> bool {
    let mut done = false;
    wait_until("the program to serve or to end", || {
        done = TcpStream::connect(("127.0.0.1", PORT)).is_ok_and(|mut client| serve(&mut client));
        done || server.has_ended()
    });
    done
}

/// The program says hello and closes.
fn greets(client: &mut TcpStream) -> bool {
    let mut answer = String::new();
    client.read_to_string(&mut answer).is_ok() && answer == "hello\n"
}

#[test]
fn python_socketserver() {
    let server = Program::python(
        "
import socketserver
class Greeter(socketserver.StreamRequestHandler):
    def handle(self):
        self.wfile.write(b'hello\\n')
socketserver.ThreadingTCPServer(('127.0.0.1', 5000), Greeter).serve_forever()
",
    );
    restarts(&server, Own::Missing, libc::SIGKILL, greets);
}

#[test]
fn perl_io_socket_inet() {
    let text = r#"
        use IO::Socket::INET;
        my $listener = IO::Socket::INET->new(
            LocalAddr => '127.0.0.1', LocalPort => 5000, Proto => 'tcp', Listen => 10) or die "$@";
        while (my $accepted = $listener->accept) { print $accepted "hello\n"; close $accepted; }
    "#;
    let server = Program::new(program(&["perl"]))
        .argument("-e")
        .argument(text);
    restarts(&server, Own::Missing, libc::SIGKILL, greets);
}

#[test]
fn socat() {
    let server = Program::new(program(&["socat"]))
        .arguments(["TCP-LISTEN:5000,bind=127.0.0.1,fork", "SYSTEM:echo hello"]);
    restarts(&server, Own::Missing, libc::SIGKILL, greets);
}

#[test]
fn java_that_clears_the_option() {
    let folder = Folder::new("java");
    let source = folder.join("Server.java");
    let text = r#"
        import java.net.*;
        public class Server {
            public static void main(String[] arguments) throws Exception {
                ServerSocket listener = new ServerSocket();
                listener.setReuseAddress(false);
                listener.bind(new InetSocketAddress("127.0.0.1", 5000), 10);
                listener.setReuseAddress(false);
                while (true) {
                    Socket accepted = listener.accept();
                    accepted.getOutputStream().write("hello\n".getBytes());
                    accepted.close();
                }
            }
        }
    "#;
    fs::write(&source, text).expect("the folder is writable");
    Program::new(program(&["javac"]))
        .argument("-d")
        .argument(folder.path())
        .argument(&source)
        .output();
    let server = Program::new(program(&["java"]))
        .arguments(["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp"])
        .argument(folder.path())
        .argument("Server");
    restarts(&server, Own::Missing, libc::SIGKILL, greets);
}

#[test]
fn node_net() {
    let text =
        "require('net').createServer(socket => socket.end('hello\\n')).listen(5000, '127.0.0.1')";
    let server = Program::new(program(&["node", "nodejs"])).arguments(["-e", text]);
    restarts(&server, Own::Set, libc::SIGKILL, greets);
}

#[test]
fn nginx() {
    let folder = Folder::new("nginx");
    let path = folder.path().to_str().expect("the folder's path is UTF-8");
    let configuration = format!(
        "daemon off; user root; worker_processes 2; pid {path}/pid; error_log stderr;
        events {{}}
        http {{
            access_log off;
            client_body_temp_path {path}/body; proxy_temp_path {path}/proxy; fastcgi_temp_path {path}/fastcgi;
            uwsgi_temp_path {path}/uwsgi; scgi_temp_path {path}/scgi;
            server {{ listen 127.0.0.1:5000; keepalive_timeout 0; location / {{ return 200 hello; }} }}
        }}"
    );
    fs::write(folder.join("configuration"), configuration).expect("the folder is writable");
    let server = Program::new(program(&["nginx"]))
        .arguments(["-e", "stderr", "-c"])
        .argument(folder.join("configuration"));
    // A quick end and not SIGKILL, which would leave the workers with the listener.
    restarts(&server, Own::Set, libc::SIGTERM, |client| {
        let mut answer = String::new();
        client.write_all(b"GET / HTTP/1.0\r\n\r\n").is_ok()
            && client.read_to_string(&mut answer).is_ok()
            && answer.ends_with("\r\n\r\nhello")
    });
}

#[test]
fn redis() {
    let folder = Folder::new("redis");
    let server = Program::new(program(&["redis-server"]))
        .arguments([
            "--port",
            "5000",
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--dir",
        ])
        .argument(folder.path());
    restarts(&server, Own::Set, libc::SIGKILL, |client| {
        let mut answer = String::new();
        client.write_all(b"PING\r\nQUIT\r\n").is_ok()
            && client.read_to_string(&mut answer).is_ok()
            && answer == "+PONG\r\n+OK\r\n"
    });
}

/// Debian keeps its programs in a folder for each version.
fn postgres_program(name: &str) -> PathBuf {
    let versions =
        fs::read_dir("/usr/lib/postgresql").expect("PostgreSQL is installed: scripts/test does it");
    let mut paths: Vec<_> = versions
        .flatten()
        .map(|version| version.path().join("bin").join(name))
        .collect();
    paths.retain(|path| path.is_file());
    paths.sort();
    paths
        .pop()
        .expect("PostgreSQL is installed: scripts/test does it")
}

#[test]
fn postgres() {
    // The name of a socket has to be short.
    let folder = Folder::for_other_users("postgres");
    // It refuses to run as root, so it gets a user namespace in which it is somebody else.
    let unprivileged = |server: &Program| {
        Program::new(program(&["unshare"]))
            .arguments(["--user", "--map-user=65534", "--map-group=65534"])
            .command(server)
    };
    let data = folder.join("data");
    let initdb = Program::new(postgres_program("initdb"))
        .arguments(["--auth=trust", "--username=postgres", "--no-sync", "-D"])
        .argument(&data);
    unprivileged(&initdb).output();
    let server = Program::new(postgres_program("postgres"))
        .arguments(["-p", "5000", "-h", "127.0.0.1", "-c", "fsync=off", "-k"])
        .argument(folder.path())
        .argument("-D")
        .argument(&data);
    // At once, as after a crash, but with an end of its children too.
    restarts(&unprivileged(&server), Own::Set, libc::SIGQUIT, |client| {
        // A database that does not exist: the server says so and closes (protocol 3.0,
        // StartupMessage).
        let parameters = b"user\0postgres\0database\0nonexistent\0\0";
        let length = u32::try_from(8 + parameters.len()).expect("a short message");
        let message = [
            &length.to_be_bytes()[..],
            &196_608_u32.to_be_bytes(),
            parameters,
        ]
        .concat();
        let mut answer = Vec::new();
        client.write_all(&message).is_ok()
            && client.read_to_end(&mut answer).is_ok()
            && String::from_utf8_lossy(&answer).contains("database \"nonexistent\" does not exist")
    });
}
