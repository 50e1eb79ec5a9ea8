//! The engines that `reuseaddr run` chooses from: programs of every linkage on the real kernel,
//! each effect with its control, and what a program notices of its tracer, which is nothing.

mod apparmor;
mod bpf;
mod choice;
mod contained;
mod faithful;
mod hostile;
mod interrupted;
mod linkage;
mod release;
mod room;
mod selinux;
mod tracers;
mod unserved;
mod visible;
mod wait;
mod wrappers;
mod yama;

use std::ffi::OsStr;
use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use support::{
    Folder, Program, Running, TcpState, compile_c, own_network, program, shim, wait_for, wait_until,
};

const PORT: u16 = 5000;

/// `reuseaddr run` with the library that ships, and more arguments to follow.
fn run() -> Program {
    Program::new(support::reuseaddr())
        .arguments(["run", "--library"])
        .argument(shim())
}

/// Somebody without any right: `setpriv` with its options, and a program to follow. What the
/// command keeps, as the library that it carries, it keeps in that folder.
fn nobody(folder: &Folder) -> Program {
    let temporary = folder.join("tmp");
    fs::create_dir_all(&temporary).expect("the folder is ours");
    fs::set_permissions(&temporary, fs::Permissions::from_mode(0o1777)).expect("it is ours");
    Program::new(program(&["setpriv"]))
        .with("TMPDIR", temporary)
        .arguments(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
}

/// The server that nobody can change, linked statically.
fn victim() -> Program {
    Program::new(victim_file()).argument(PORT.to_string())
}

fn victim_file() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        compile_c(
            "static-victim",
            include_str!("../spec/victim.c"),
            &["-static"],
        )
    })
}

/// The same, linked dynamically, as a file of its own.
fn dynamic_victim(folder: &Folder) -> PathBuf {
    folder.copy(
        compile_c("dynamic-victim", include_str!("../spec/victim.c"), &[]),
        "server",
    )
}

/// What the second run comes to, after a crash: `listening`, or that the port is in use.
fn second_run(server: &Program) -> String {
    own_network();
    let mut first = server.start();
    first.expect("listening");
    crash(first, PORT);
    server.start().line()
}

const BUSY: &str = "bind: Address already in use";

/// The same by `reuseaddr run` with these options, for somebody without any right.
fn run_by_nobody(folder: &Folder, options: &[&str]) -> Program {
    let path = folder.copy(victim_file(), "victim");
    let command = folder.copy(support::reuseaddr(), "reuseaddr");
    nobody(folder)
        .argument(command)
        .argument("run")
        .arguments(options)
        .argument(path)
        .argument(PORT.to_string())
}

/// The same program by `reuseaddr run` with these options.
fn run_with<T: AsRef<OsStr>>(options: impl IntoIterator<Item = T>, program: &Program) -> Program {
    run().arguments(options).command(program)
}

/// Kills a server with a connection that it has not closed: what it leaves behind becomes
/// `TIME_WAIT`.
fn crash(server: Running, port: u16) {
    let client = TcpStream::connect(("127.0.0.1", port)).expect("the server listens");
    wait_for(port, TcpState::Established, 1);
    wait_until_accepted(port);
    server.kill();
    wait_for(port, TcpState::FinWait2, 1);
    drop(client);
    wait_for(port, TcpState::FinWait2, 0);
    assert!(support::count(port, TcpState::TimeWait) > 0);
}

/// What waits to be accepted is reset when the listener goes.
fn wait_until_accepted(port: u16) {
    wait_until("the server to accept", || waiting_to_be_accepted(port) == 0);
}

/// How many connections a listener has not accepted yet: its `rx_queue` in proc(5).
fn waiting_to_be_accepted(port: u16) -> u32 {
    let table = std::fs::read_to_string("/proc/thread-self/net/tcp").expect("there is a table");
    let row = table
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .find(|row| row[1].ends_with(&format!(":{port:04X}")) && row[3] == "0A")
        .expect("it listens");
    let (_, queue) = row[4].split_once(':').expect("two queues");
    u32::from_str_radix(queue, 16).expect("a number")
}

/// A network in which somebody without any engine has left `TIME_WAIT` on the port, by a server
/// that was served by one.
fn with_time_wait_left_by(server: &Program) {
    own_network();
    let mut first = server.start();
    first.expect("listening");
    crash(first, PORT);
}

/// A network of its own, with `TIME_WAIT` on the port that carries the option.
fn own_time_wait() {
    with_time_wait_left_by(&run_with::<&str>([], &victim()));
}

/// A field of a process's status file, as proc(5) has it.
fn status(process: u32, field: &str) -> String {
    let path = format!("/proc/{process}/status");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    text.lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))
        .unwrap_or_else(|| panic!("no {field} in {text}"))
        .trim()
        .to_owned()
}

/// Whether the file is there, for programs that a test can do without.
fn exists(path: &str) -> bool {
    Path::new(path).exists()
}
