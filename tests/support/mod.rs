//! What every test target shares: the library that ships, a network of the test's own, real processes with bounded
//! waits, and the kernel's table of TCP sockets.
#![allow(missing_docs)] // A vocabulary, whose words say what they mean.
#![allow(
    clippy::missing_panics_doc,
    clippy::must_use_candidate,
    clippy::return_self_not_must_use
)] // What panics here is a test that fails.

pub mod matrix;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt::Debug;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use std::{env, fs, io, thread};

/// How long anything may take that takes no time of its own: long enough for a loaded machine.
pub fn patience() -> Duration {
    Duration::from_secs(30) * slowness()
}

/// How many times as long anything may take: `LIBREUSE_TEST_PATIENCE`, for emulated machines.
pub fn slowness() -> u32 {
    static TIMES: OnceLock<u32> = OnceLock::new();
    *TIMES.get_or_init(|| {
        env::var("LIBREUSE_TEST_PATIENCE").map_or(1, |value| {
            value
                .parse()
                .expect("LIBREUSE_TEST_PATIENCE is a whole number")
        })
    })
}

/// The project's folder.
pub fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the tests' package is in the project")
}

/// A folder for what the tests write, which Cargo's own `clean` takes away.
pub fn scratch() -> &'static Path {
    static SCRATCH: OnceLock<PathBuf> = OnceLock::new();
    SCRATCH.get_or_init(|| {
        // target/debug/deps/spec-0123456789abcdef
        let program = env::current_exe().expect("a test program has a path");
        let target = program.ancestors().nth(3).expect("it is below target");
        let folder = target.join("tmp");
        fs::create_dir_all(&folder).expect("the target folder is writable");
        folder
    })
}

/// The library that ships: the release build, made on first use, or the one that `LIBREUSE_TEST_LIBRARY` names.
pub fn shim() -> &'static Path {
    static SHIM: OnceLock<PathBuf> = OnceLock::new();
    SHIM.get_or_init(|| match env::var_os("LIBREUSE_TEST_LIBRARY") {
        Some(path) => PathBuf::from(path),
        None => build(&["--release", "--package", "libreuse"], "libreuse.so"),
    })
}

/// The command: a debug build, made on first use, or the one that `LIBREUSE_TEST_COMMAND` names.
pub fn reuseaddr() -> &'static Path {
    static COMMAND: OnceLock<PathBuf> = OnceLock::new();
    COMMAND.get_or_init(|| match env::var_os("LIBREUSE_TEST_COMMAND") {
        Some(path) => PathBuf::from(path),
        None => build_command("command", &[]),
    })
}

/// The command as distributions build it, which carries no library.
pub fn reuseaddr_without_library() -> &'static Path {
    static COMMAND: OnceLock<PathBuf> = OnceLock::new();
    COMMAND.get_or_init(|| {
        let command = build_command("external", &["--features", "external-library"]);
        // Whoever looks there next expects the usual one.
        build_command("command", &[]);
        command
    })
}

/// Has Cargo build the command, and puts it into a folder of its own: Cargo has one place for both.
fn build_command(folder: &str, options: &[&str]) -> PathBuf {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let arguments = [&["--manifest-path", "command/Cargo.toml"], options].concat();
    let built = build(&arguments, "reuseaddr");
    let folder = scratch().join(folder);
    fs::create_dir_all(&folder).expect("the target folder is writable");
    let command = folder.join("reuseaddr");
    let beside = folder.join(format!("reuseaddr.{}", std::process::id()));
    fs::hard_link(&built, &beside)
        .or_else(|_| fs::copy(&built, &beside).map(drop))
        .and_then(|()| fs::rename(&beside, &command))
        .expect("the folder is ours");
    // It stays if both names were those of one file before.
    let _ = fs::remove_file(&beside);
    command
}

/// Which engine serves the programs that are `shimmed`: the library, or the tracer with `LIBREUSE_TEST_ENGINE=trace`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Engine {
    Preload,
    Trace,
}

/// The engine that the tests are run over.
pub fn engine() -> Engine {
    match env::var("LIBREUSE_TEST_ENGINE").as_deref() {
        Err(_) | Ok("preload") => Engine::Preload,
        Ok("trace") => Engine::Trace,
        Ok(other) => panic!("LIBREUSE_TEST_ENGINE={other}: expected preload or trace"),
    }
}

/// Has Cargo build something, and returns the file of this name that came of it.
fn build(arguments: &[&str], name: &str) -> PathBuf {
    let output = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--locked", "--message-format", "json"])
        .args(arguments)
        .current_dir(project())
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let messages = String::from_utf8(output.stdout).expect("cargo's messages are UTF-8");
    messages
        .split('"')
        .map(Path::new)
        .find(|path| path.is_absolute() && path.file_name() == Some(OsStr::new(name)))
        .unwrap_or_else(|| panic!("cargo names no {name}"))
        .to_path_buf()
}

/// Gives the calling thread, and every process it starts, a network namespace with nothing in it but loopback. It goes
/// when the last of them has ended.
pub fn own_network() {
    // SAFETY: unshare takes flags alone; a network namespace is the calling thread's own (unshare(2)).
    let result = unsafe { libc::unshare(libc::CLONE_NEWNET) };
    assert_eq!(
        result,
        0,
        "no network namespace ({}): run the tests as root or under `unshare -Ur`",
        io::Error::last_os_error()
    );
    let status = Command::new("ip")
        .args(["link", "set", "lo", "up"])
        .status()
        .expect("ip (iproute2) runs");
    assert!(status.success(), "loopback did not come up");
    // A TIME_WAIT stays for its time. By default a reset ends it (RFC 1337), and the kernel itself sends one where the
    // FIN of the second to close overtakes its acknowledgement of the first one's, on another processor: 6 to 12 times
    // in 20 000 connections over loopback.
    sysctl("net.ipv4.tcp_rfc1337", "1");
}

/// Writes a sysctl of the calling thread's network namespace, `net.ipv4.ip_local_port_range` for one.
pub fn sysctl(name: &str, value: &str) {
    let path = format!("/proc/sys/{}", name.replace('.', "/"));
    fs::write(&path, value).unwrap_or_else(|error| panic!("{path}: {error}"));
}

/// The path of a program that the tests need; scripts/test installs it.
pub fn program(names: &[&str]) -> PathBuf {
    names
        .iter()
        .flat_map(|name| match name.strip_prefix('/') {
            Some(_) => vec![PathBuf::from(name)],
            None => {
                env::split_paths("/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
                    .map(|folder| folder.join(name))
                    .collect()
            }
        })
        .find(|path| path.is_file())
        .unwrap_or_else(|| {
            panic!("{names:?} is not installed: scripts/test installs what the tests need")
        })
}

/// Debian's Python, and not a wrapper script of that name; or the one that `LIBREUSE_TEST_PYTHON` names.
pub fn python() -> PathBuf {
    env::var_os("LIBREUSE_TEST_PYTHON")
        .map_or_else(|| program(&["/usr/bin/python3"]), PathBuf::from)
}

/// The compiler for programs that are linked with musl. Debian's knows where musl's own headers are, but not the kernel's.
pub fn musl_gcc() -> Command {
    static HEADERS: OnceLock<PathBuf> = OnceLock::new();
    let headers = HEADERS.get_or_init(|| {
        let folder = Folder::new("kernel-headers");
        let here = program(&["gcc"]);
        let triplet = Command::new(here)
            .arg("-print-multiarch")
            .output()
            .expect("gcc runs");
        let triplet = String::from_utf8(triplet.stdout).expect("a name in UTF-8");
        for (name, place) in [
            ("linux", "linux".into()),
            ("asm-generic", "asm-generic".into()),
            ("asm", format!("{}/asm", triplet.trim())),
        ] {
            let place = Path::new("/usr/include").join(place);
            symlink(place, folder.join(name)).expect("the folder is ours");
        }
        let path = folder.path().to_owned();
        // It is needed until the last test has ended.
        std::mem::forget(folder);
        path
    });
    let mut compiler = Command::new("musl-gcc");
    compiler.arg("-isystem").arg(headers);
    compiler
}

/// A C program, compiled from its text.
pub fn compile_c(name: &str, text: &str, flags: &[&str]) -> PathBuf {
    compile(Command::new("cc"), name, text, flags)
}

/// The same for musl, on first use of its name.
pub fn compile_for_musl(name: &str, text: &str, flags: &[&str]) -> PathBuf {
    static DONE: Mutex<BTreeMap<String, PathBuf>> = Mutex::new(BTreeMap::new());
    let mut done = DONE.lock().unwrap_or_else(PoisonError::into_inner);
    done.entry(name.into())
        .or_insert_with(|| compile(musl_gcc(), name, text, flags))
        .clone()
}

fn compile(compiler: Command, name: &str, text: &str, flags: &[&str]) -> PathBuf {
    let usual = ["-O1", "-g", "-Wall", "-Wextra", "-Werror", "-pthread"];
    compile_c_by(compiler, name, text, &[&usual, flags].concat())
}

/// The same by another compiler, and with these flags alone.
pub fn compile_c_by(mut compiler: Command, name: &str, text: &str, flags: &[&str]) -> PathBuf {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    // Two tests may choose one name, and a program that runs can't be written.
    let number = NUMBER.fetch_add(1, Relaxed);
    let binary = scratch().join(format!("{name}.{}.{number}", std::process::id()));
    let source = binary.with_extension(format!("{number}.c"));
    fs::write(&source, text).expect("the folder for temporary files is writable");
    let output = compiler
        .arg("-o")
        .args([&binary, &source])
        .args(flags)
        .output()
        .expect("the compiler runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    binary
}

/// A program to be run, with an environment that holds only what the test says.
#[derive(Clone, Debug)]
pub struct Program {
    path: PathBuf,
    arguments: Vec<OsString>,
    environment: BTreeMap<OsString, OsString>,
    folder: Option<PathBuf>,
    traced: bool,
}

impl Program {
    pub fn new(path: impl AsRef<OsStr>) -> Self {
        let path = PathBuf::from(path.as_ref());
        let environment = BTreeMap::from([
            (
                "PATH".into(),
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into(),
            ),
            ("LC_ALL".into(), "C.UTF-8".into()),
        ]);
        Self {
            path,
            arguments: Vec::new(),
            environment,
            folder: None,
            traced: false,
        }
    }

    /// A Python program, from its text. `import`s of the usual modules come with it, and lines are flushed.
    pub fn python(text: &str) -> Self {
        let preamble = "import errno, os, signal, socket, struct, sys, threading, time\n\
                        sys.stdout.reconfigure(line_buffering=True)\n";
        Self::new(python())
            .argument("-I")
            .argument("-c")
            .argument(format!("{preamble}{text}"))
    }

    pub fn argument(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    pub fn arguments<T: AsRef<OsStr>>(self, arguments: impl IntoIterator<Item = T>) -> Self {
        arguments.into_iter().fold(self, Self::argument)
    }

    /// Gives it another argument in the place of one that it has.
    pub fn replacing_argument(mut self, position: usize, argument: impl AsRef<OsStr>) -> Self {
        argument.as_ref().clone_into(&mut self.arguments[position]);
        self
    }

    /// Serves it by the engine that the tests are run over: preloads the library that ships, or has it traced.
    pub fn shimmed(self) -> Self {
        match engine() {
            Engine::Preload => self.with("LD_PRELOAD", shim()),
            Engine::Trace => Self {
                traced: true,
                ..self
            },
        }
    }

    /// The same, or not: a test and its control.
    pub fn shimmed_if(self, shimmed: bool) -> Self {
        if shimmed { self.shimmed() } else { self }
    }

    /// Gives it another program as its last arguments: a tracer, say, and what it traces.
    pub fn command(self, other: &Self) -> Self {
        let (path, arguments) = other.line();
        self.argument(path).arguments(arguments)
    }

    /// Sets a variable.
    pub fn with(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.environment
            .insert(name.as_ref().to_owned(), value.as_ref().to_owned());
        self
    }

    /// Starts it in this folder.
    pub fn inside(mut self, folder: impl AsRef<Path>) -> Self {
        self.folder = Some(folder.as_ref().to_owned());
        self
    }

    /// What is started, and its arguments.
    fn line(&self) -> (PathBuf, Vec<OsString>) {
        if !self.traced {
            return (self.path.clone(), self.arguments.clone());
        }
        let mut arguments: Vec<OsString> = ["run", "--engine", "trace", "--"]
            .map(OsString::from)
            .to_vec();
        arguments.push(self.path.clone().into());
        arguments.extend(self.arguments.iter().cloned());
        (reuseaddr().to_owned(), arguments)
    }

    /// Starts it, with pipes for stdin, stdout and stderr.
    pub fn start(&self) -> Running {
        let (path, arguments) = self.line();
        let mut command = Command::new(path);
        command
            .args(arguments)
            .env_clear()
            .envs(&self.environment)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let Some(folder) = &self.folder {
            command.current_dir(folder);
        }
        let mut child = None;
        wait_until_by(Instant::now() + patience(), || {
            child = Some(command.spawn());
            // If the test has just written the program, a child of another test may still hold it open for writing,
            // from its fork on until it executes something else.
            !matches!(&child, Some(Err(error)) if error.kind() == io::ErrorKind::ExecutableFileBusy)
        });
        let mut child = child
            .expect("it was tried")
            .unwrap_or_else(|error| panic!("{self:?}: {error}"));
        let (sender, lines) = mpsc::channel();
        let stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        let reader = thread::spawn(move || {
            for line in stdout.split(b'\n').map_while(Result::ok) {
                // Nobody may be listening any more; the pipe must not fill up all the same.
                let _ = sender.send(String::from_utf8_lossy(&line).into_owned());
            }
        });
        let stderr = Arc::new(Mutex::new(Vec::new()));
        let collected = Arc::clone(&stderr);
        let mut source = child.stderr.take().expect("a pipe");
        let collector = thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = source.read(&mut buffer) {
                collected
                    .lock()
                    .expect("the lock")
                    .extend_from_slice(&buffer[..length]);
            }
        });
        Running {
            program: self.clone(),
            stdin: child.stdin.take(),
            child,
            lines,
            stdout: String::new(),
            stderr,
            threads: vec![reader, collector],
            status: None,
        }
    }

    /// Runs it to its end.
    pub fn run(&self) -> Finished {
        self.start().finish()
    }

    /// Runs it to its end, which must be a success, and returns what it printed.
    pub fn output(&self) -> String {
        let finished = self.run();
        assert!(finished.status.success(), "{finished:#?}");
        finished.stdout
    }
}

/// A program that was started. It is killed if it still runs when the test is done with it.
pub struct Running {
    program: Program,
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    stdout: String,
    stderr: Arc<Mutex<Vec<u8>>>,
    threads: Vec<thread::JoinHandle<()>>,
    status: Option<ExitStatus>,
}

/// A program that has ended.
#[derive(Debug)]
pub struct Finished {
    pub program: Program,
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Running {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next line of its output.
    pub fn line(&mut self) -> String {
        match self.lines.recv_timeout(patience()) {
            Ok(line) => {
                self.stdout.push_str(&line);
                self.stdout.push('\n');
                line
            }
            Err(RecvTimeoutError::Timeout) => self.fail("printed nothing in time"),
            Err(RecvTimeoutError::Disconnected) => self.fail("ended instead of printing a line"),
        }
    }

    /// The next line of its output, if there is one within this time.
    pub fn line_within(&mut self, time: Duration) -> Option<String> {
        self.lines.recv_timeout(time).ok()
    }

    /// Waits for this line of output, which must be the next one.
    pub fn expect(&mut self, expected: &str) -> &mut Self {
        let line = self.line();
        if line != expected {
            self.fail(&format!("printed {line:?} instead of {expected:?}"));
        }
        self
    }

    /// Waits for a line of output that contains this, passing over others, and returns it.
    pub fn expect_containing(&mut self, expected: &str) -> String {
        loop {
            let line = self.line();
            if line.contains(expected) {
                return line;
            }
        }
    }

    /// Writes a line to its input.
    pub fn say(&mut self, line: &str) -> &mut Self {
        let stdin = self.stdin.as_mut().expect("stdin is open");
        writeln!(stdin, "{line}")
            .and_then(|()| stdin.flush())
            .expect("the program reads its input");
        self
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.status = self.child.try_wait().expect("the child is ours");
        self.status.is_some()
    }

    /// The signal that has ended it, once it [has ended](Self::has_ended).
    pub fn ended_by(&self) -> Option<i32> {
        self.status?.signal()
    }

    /// Sends it a signal.
    pub fn signal(&mut self, signal: libc::c_int) -> &mut Self {
        let pid = libc::pid_t::try_from(self.child.id()).expect("a pid");
        // SAFETY: kill takes any numbers; the child is ours and not waited for yet, so the pid is still its own.
        let result = unsafe { libc::kill(pid, signal) };
        assert_eq!(result, 0, "{}", io::Error::last_os_error());
        self
    }

    /// Kills it, as a crash would, and waits until it is gone.
    pub fn kill(mut self) {
        self.child.kill().expect("the child is ours");
        self.child.wait().expect("the child is ours");
    }

    /// Closes its input and waits for its end.
    pub fn finish(mut self) -> Finished {
        drop(self.stdin.take());
        let deadline = Instant::now() + patience() * 4;
        wait_until_by(deadline, || {
            self.status = self.child.try_wait().expect("the child is ours");
            self.status.is_some() || Instant::now() > deadline
        });
        let Some(status) = self.status else {
            self.fail("did not end in time")
        };
        // A grandchild may hold the pipes still: what it writes is not waited for.
        wait_until_by(Instant::now() + Duration::from_secs(1), || {
            self.threads.iter().all(thread::JoinHandle::is_finished) || Instant::now() > deadline
        });
        let rest = self
            .lines
            .try_iter()
            .flat_map(|line| [line, "\n".into()])
            .collect::<String>();
        Finished {
            program: self.program.clone(),
            status,
            stdout: std::mem::take(&mut self.stdout) + &rest,
            stderr: self.stderr_so_far(),
        }
    }

    /// What it has written to stderr until now.
    pub fn stderr_so_far(&self) -> String {
        String::from_utf8_lossy(&self.stderr.lock().expect("the lock")).into_owned()
    }

    fn fail(&mut self, what: &str) -> ! {
        let status = self.child.try_wait().expect("the child is ours");
        panic!(
            "the program {what}\n{:#?}\nstatus: {status:?}\nstdout:\n{}\nstderr:\n{}",
            self.program,
            self.stdout,
            self.stderr_so_far()
        );
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.status.is_none() {
            // It may have ended by itself.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

impl Finished {
    /// Asserts that it ended well.
    pub fn succeeded(self) -> Self {
        assert!(self.status.success(), "{self:#?}");
        self
    }

    /// The signal that ended it.
    pub fn signal(&self) -> Option<i32> {
        self.status.signal()
    }
}

/// Waits until something holds, and fails the test if it does not.
pub fn wait_until(what: &str, holds: impl FnMut() -> bool) {
    assert!(
        wait_until_by(Instant::now() + patience(), holds),
        "waited in vain for {what}"
    );
}

fn wait_until_by(deadline: Instant, mut holds: impl FnMut() -> bool) -> bool {
    let mut pause = Duration::from_micros(200);
    loop {
        if holds() {
            return true;
        }
        if Instant::now() > deadline {
            return false;
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

/// A TCP state, numbered as in the kernel's `include/net/tcp_states.h`.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum TcpState {
    Established = 1,
    SynSent,
    SynRecv,
    FinWait1,
    FinWait2,
    TimeWait,
    Close,
    CloseWait,
    LastAck,
    Listen,
    Closing,
    NewSynRecv,
}

/// The TCP sockets with this local port in the calling thread's network namespace, by state.
pub fn tcp_states(local_port: u16) -> Vec<TcpState> {
    use TcpState::{
        Close, CloseWait, Closing, Established, FinWait1, FinWait2, LastAck, Listen, NewSynRecv,
        SynRecv, SynSent, TimeWait,
    };
    let states = [
        Established,
        SynSent,
        SynRecv,
        FinWait1,
        FinWait2,
        TimeWait,
        Close,
        CloseWait,
        LastAck,
        Listen,
        Closing,
        NewSynRecv,
    ];
    let mut found = Vec::new();
    for table in ["/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"] {
        // Without IPv6 there is no second table.
        let Ok(text) = fs::read_to_string(table) else {
            continue;
        };
        for row in text.lines().skip(1) {
            let columns: Vec<_> = row.split_whitespace().collect();
            let (_, port) = columns[1].rsplit_once(':').expect("an address and a port");
            if u16::from_str_radix(port, 16) == Ok(local_port) {
                let number = usize::from_str_radix(columns[3], 16).expect("a state");
                found.push(states[number - 1]);
            }
        }
    }
    found.sort_unstable();
    found
}

/// How many sockets with this local port are in this state.
pub fn count(local_port: u16, state: TcpState) -> usize {
    tcp_states(local_port)
        .into_iter()
        .filter(|&found| found == state)
        .count()
}

/// Waits until so many sockets with this local port are in this state.
pub fn wait_for(local_port: u16, state: TcpState, number: usize) {
    let there = wait_until_by(Instant::now() + patience(), || {
        count(local_port, state) == number
    });
    let tally = tcp_states(local_port)
        .into_iter()
        .fold(BTreeMap::new(), |mut tally, state| {
            *tally.entry(state).or_insert(0) += 1;
            tally
        });
    assert!(
        there,
        "waited in vain for {number} {state:?} on port {local_port}: {tally:?}"
    );
}

/// A folder for the test alone, removed when the test is done.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new(name: &str) -> Self {
        Self::inside(scratch(), name)
    }

    /// One that other users reach too, who may not be let into the folder of the project.
    pub fn for_other_users(name: &str) -> Self {
        let folder = Self::inside(&env::temp_dir(), &format!("libreuse-test-{name}"));
        let everybody = fs::Permissions::from_mode(0o755);
        fs::set_permissions(folder.path(), everybody).expect("the folder is ours");
        folder
    }

    fn inside(parent: &Path, name: &str) -> Self {
        let path = parent.join(format!("{name}.{}", std::process::id()));
        // Left over from a run that was killed.
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("the folder for temporary files is writable");
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.join(name)
    }

    /// Puts a copy of a program or library there, for whoever reaches the folder.
    pub fn copy(&self, file: impl AsRef<Path>, name: &str) -> PathBuf {
        let copy = self.join(name);
        fs::copy(&file, &copy)
            .unwrap_or_else(|error| panic!("{}: {error}", file.as_ref().display()));
        let everybody = fs::Permissions::from_mode(0o755);
        fs::set_permissions(&copy, everybody).expect("the copy is ours");
        copy
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Best effort: it is in a folder for temporary files anyway.
        let _ = fs::remove_dir_all(&self.0);
    }
}
