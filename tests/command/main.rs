//! The specification of `reuseaddr`: the command that ships, on real sockets, processes and
//! managers.

mod arm;
mod carried;
mod check;
mod clean;
mod defects;
mod documents;
mod evict;
mod examples;
mod faults;
mod free;
mod managers;
mod output;
mod preloads;
mod reset;
mod run;
mod services;
mod shells;
mod started;
mod status;
mod systemd;
mod typed;
mod wait;
mod watch;
mod who;
mod words;

use serde_json::Value;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use support::{Finished, Folder, Program, Running, in_one_line, program, shim};

/// The command, with these arguments.
fn reuseaddr<T: AsRef<OsStr>>(arguments: impl IntoIterator<Item = T>) -> Program {
    Program::new(support::reuseaddr())
        .with("PATH", path_with_the_command())
        .arguments(arguments)
}

/// The command in a folder where every user reaches it.
fn command_for_others(name: &str) -> (Folder, PathBuf) {
    in_bin(Folder::for_other_users(name), support::reuseaddr())
}

/// A command in a `bin` of its own: one looks for the library in `../lib` too, which is nobody
/// else's here.
fn in_bin(folder: Folder, command: &Path) -> (Folder, PathBuf) {
    fs::create_dir(folder.join("bin")).expect("ours");
    let command = folder.copy(command, "bin/reuseaddr");
    (folder, command)
}

/// Folders for PATH, by which our user finds the command under test. Root does not, so advice names
/// its whole path for sudo.
fn path_with_the_command() -> String {
    let folder = support::reuseaddr().parent().expect("a folder");
    format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", folder.display())
}

/// The same text with the command's name where its whole path stands.
fn named(text: &str) -> String {
    text.split_inclusive(char::is_whitespace)
        .map(|word| match word.rsplit_once("/reuseaddr") {
            Some((folder, rest)) if rest.trim_end_matches('`').trim().is_empty() => {
                let quote = if folder.starts_with('`') { "`" } else { "" };
                format!("{quote}reuseaddr{rest}")
            }
            _ => word.to_owned(),
        })
        .collect()
}

/// `reuseaddr run` with the library that ships, and more arguments to follow.
fn run() -> Program {
    reuseaddr(["run", "--library"]).argument(shim())
}

/// `reuseaddr check` with the library that ships, and more arguments to follow.
fn check() -> Program {
    reuseaddr(["check", "--library"]).argument(shim())
}

/// Someone without any right: `setpriv`, with its own options or a program to follow.
fn nobody() -> Program {
    Program::new(program(&["setpriv"])).arguments([
        "--reuid",
        "65534",
        "--regid",
        "65534",
        "--clear-groups",
    ])
}

/// Starts `SERVER` on port 5000 as nobody, under `run` with these options.
fn run_as_nobody(command: &Path, library: &Path, options: &[&str]) -> Running {
    nobody()
        .argument(command)
        .argument("run")
        .arguments(options)
        .argument("--library")
        .argument(library)
        .arguments(["--ports", "5000", "/usr/bin/python3", "-I", "-u", "-c"])
        .argument(format!("import errno, socket, sys\n{SERVER}"))
        .argument("5000")
        .start()
}

/// Leaves a connection in `FIN_WAIT2` soon, whose other end it keeps open; or in `TIME_WAIT`, with
/// an argument, and closes that end too.
const ORPHAN: &str = "
listener = socket.socket()
listener.bind(('127.0.0.1', 5000))
listener.listen()
client = socket.create_connection(('127.0.0.1', 5000))
listener.accept()[0].close()
listener.close()
client.recv(1)
if len(sys.argv) > 1: client.close()
print('left')
sys.stdin.read()
";

/// What a `--json` command answers.
fn json(program: &Program) -> Value {
    let finished = program.run();
    serde_json::from_str(&finished.stdout)
        .unwrap_or_else(|error| panic!("{error} in the output of {finished:#?}"))
}

/// The answer of `reuseaddr status --json` on one port.
fn status(port: u16) -> Value {
    json(&reuseaddr(["status", "--json", &port.to_string()]))["ports"][0].take()
}

/// The exit code of a program that was not killed.
fn code(finished: &Finished) -> i32 {
    finished
        .status
        .code()
        .unwrap_or_else(|| panic!("{finished:#?}"))
}

/// Asserts that a message says this, however it is wrapped.
fn assert_says(text: &str, expected: &str) {
    let joined = in_one_line(text);
    assert!(
        joined.contains(expected) || named(&joined).contains(expected),
        "{expected:?} is not in:\n{text}"
    );
}

/// A server that serves connections one by one, sets no option, and closes each first. It says
/// `listening`, `served` for each connection, or why it can't bind.
const SERVER: &str = "
try:
    listener = socket.socket()
    listener.bind((sys.argv[2] if len(sys.argv) > 2 else '127.0.0.1', int(sys.argv[1])))
    listener.listen(128)
except OSError as error:
    print(errno.errorcode[error.errno])
    sys.exit(3)
print('listening')
while True:
    accepted, _ = listener.accept()
    accepted.close()
    print('served')
";

/// [`SERVER`] on a port.
fn server(port: u16) -> Program {
    Program::python(SERVER).argument(port.to_string())
}

/// Starts a server on the port, lets it close one connection, and kills it: what every restart
/// meets.
fn crash_after_serving(program: &Program, port: u16) {
    build_first();
    let mut server = program.start();
    server.expect("listening");
    serve_once(&mut server, port);
    server.kill();
}

/// Builds what is tested, if no test has done so: that may take longer than the minute for which
/// `TIME_WAIT` stays.
fn build_first() {
    support::reuseaddr();
    shim();
}

fn serve_once(server: &mut Running, port: u16) {
    let mut client = std::net::TcpStream::connect(("127.0.0.1", port)).expect("the server listens");
    let mut rest = Vec::new();
    std::io::Read::read_to_end(&mut client, &mut rest).expect("the server closes");
    drop(client);
    server.expect("served");
    support::wait_for(port, support::TcpState::TimeWait, 1);
}

/// Makes so many `TIME_WAIT` entries on the port, by a server that closes first, with no option
/// set.
fn fill_with_time_wait(port: u16, number: usize) {
    build_first();
    support::sysctl("net.ipv4.tcp_max_tw_buckets", "262144");
    Program::python(&format!(
        "
listener = socket.socket()
listener.bind(('127.0.0.1', {port}))
listener.listen(128)
for first in range(0, {number}, 100):
    clients, accepted = [], []
    for number in range(first, min(first + 100, {number})):
        # Each from another port: a port used again would replace its entry.
        clients.append(socket.create_connection(('127.0.0.1', {port}), source_address=('127.0.0.1', 10000 + number)))
        accepted.append(listener.accept()[0])
    for each in accepted:
        each.close()
    for each in clients:
        # Who closes at the same time has TIME_WAIT as well.
        each.recv(1)
        each.close()
"
    ))
    .output();
    support::wait_for(port, support::TcpState::TimeWait, number);
}

/// The id of a container, as the runtimes make them.
const CONTAINER: &str = "3f4e1c9a2b7d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f708192a3b4c5d6e7";

/// A control group with a process in it: what systemd or a container's runtime makes. It is below
/// one of its own, since tests may run twice at once.
struct Group(PathBuf);

impl Group {
    fn with(pid: u32, name: &str) -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        // systemd's tree of version 1, or that of version 2.
        let folder = [
            "/sys/fs/cgroup/systemd",
            "/sys/fs/cgroup/unified",
            "/sys/fs/cgroup",
        ]
        .into_iter()
        .map(PathBuf::from)
        .find(|path| path.join("cgroup.procs").is_file())
        .expect("control groups")
        .join(format!("libreuse-test-{}-{number}", std::process::id()))
        .join(name);
        fs::create_dir_all(&folder).expect("root may make groups");
        fs::write(folder.join("cgroup.procs"), pid.to_string()).expect("and fill them");
        Self(folder)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Gone is a process a moment after it was killed, and only an empty group can go.
        let Some(own) = self.0.parent() else { return };
        let outside = own.with_file_name("cgroup.procs");
        for pid in fs::read_to_string(self.0.join("cgroup.procs"))
            .unwrap_or_default()
            .lines()
        {
            let _ = fs::write(&outside, pid);
        }
        let _ = fs::remove_dir(&self.0);
        let _ = fs::remove_dir(own);
    }
}
