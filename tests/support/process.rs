//! Real processes, and waits that are bounded.

use crate::build::{Engine, engine, reuseaddr, shim, usual_start};
use crate::compilers::python;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt::Debug;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};
use std::{env, io, thread};

/// How many failures a line of `reuseaddr watch` counts beside those that were reported before.
pub fn repeats_in(line: &str) -> usize {
    match line.rsplit_once(", ").map(|(_, end)| end) {
        Some("once more") => 1,
        Some(end) => end
            .strip_suffix(" times more")
            .and_then(|times| times.parse().ok())
            .unwrap_or(0),
        None => 0,
    }
}

/// How long anything may take that takes no time of its own: long enough for a loaded machine.
pub fn patience() -> Duration {
    Duration::from_secs(60) * slowness()
}

/// Whether a test may change what is the whole machine's: only where this variable is set.
pub fn is_in_a_guest(variable: &str) -> bool {
    let is_set = env::var_os(variable).is_some();
    if !is_set {
        println!("skipped: {variable} is not set, as it is in a guest of scripts/check/kernels");
    }
    is_set
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

/// Waits until something holds, and fails the test if it does not.
pub fn wait_until(what: &str, holds: impl FnMut() -> bool) {
    assert!(
        wait_until_by(Instant::now() + patience(), holds),
        "waited in vain for {what}"
    );
}

/// The same, and says whether it holds at last.
pub fn wait_until_by(deadline: Instant, mut holds: impl FnMut() -> bool) -> bool {
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

/// A program to be run, with an environment that holds only what the test says.
#[derive(Clone, Debug)]
pub struct Program {
    path: PathBuf,
    arguments: Vec<OsString>,
    environment: BTreeMap<OsString, OsString>,
    folder: Option<PathBuf>,
    started_by: Option<&'static str>,
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
            started_by: None,
        }
    }

    /// A Python program, from its text. `import`s of the usual modules come with it, and lines are
    /// flushed.
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

    /// Serves it by the engine that the tests are run over: preloads the library that ships, or has
    /// `reuseaddr run` start it.
    pub fn shimmed(self) -> Self {
        match engine() {
            Engine::Preload => self.with("LD_PRELOAD", shim()),
            Engine::Trace => self.by("trace"),
            Engine::Bpf => self.by("bpf"),
        }
    }

    /// Has `reuseaddr run` start it by this engine.
    pub fn by(self, engine: &'static str) -> Self {
        Self {
            started_by: Some(engine),
            ..self
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
        let Some(engine) = self.started_by else {
            return (self.path.clone(), self.arguments.clone());
        };
        let mut arguments: Vec<OsString> = ["run", "--engine", engine, "--"]
            .map(OsString::from)
            .to_vec();
        arguments.push(self.path.clone().into());
        arguments.extend(self.arguments.iter().cloned());
        (reuseaddr().to_owned(), arguments)
    }

    /// Starts it, with pipes for stdin, stdout and stderr.
    pub fn start(&self) -> Running {
        usual_start();
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
            // If the test has just written the program, a child of another test may still hold it
            // open for writing, from its fork on until it executes something else.
            !matches!(&child, Some(Err(error)) if error.kind() == io::ErrorKind::ExecutableFileBusy)
        });
        let mut child = child
            .expect("it was tried")
            .unwrap_or_else(|error| panic!("{self:?}: {error}"));
        let (sender, lines) = mpsc::channel();
        let mut begun = Vec::new();
        let stdout = Pipe::read(child.stdout.take().expect("a pipe"), move |bytes| {
            let send = |line: &[u8]| {
                // Nobody may be listening any more; the pipe must not fill up all the same.
                let _ = sender.send(String::from_utf8_lossy(line).into_owned());
            };
            if bytes.is_empty() && !begun.is_empty() {
                send(&begun);
            }
            for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
                match piece.split_last() {
                    Some((b'\n', line)) => {
                        begun.extend_from_slice(line);
                        send(&begun);
                        begun.clear();
                    }
                    _ => begun.extend_from_slice(piece),
                }
            }
        });
        let said = Arc::new(Mutex::new(Vec::new()));
        let collected = Arc::clone(&said);
        let stderr = Pipe::read(child.stderr.take().expect("a pipe"), move |bytes| {
            collected.lock().expect("the lock").extend_from_slice(bytes);
        });
        Running {
            program: self.clone(),
            stdin: child.stdin.take(),
            child,
            lines,
            stdout: String::new(),
            stderr: said,
            pipes: [stdout, stderr],
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

/// One end of a pipe, which a thread reads.
struct Pipe {
    /// Held while what was read is on its way to whoever wants it.
    end: Arc<Mutex<File>>,
    thread: thread::JoinHandle<()>,
}

impl Pipe {
    /// Hands over what comes, and nothing at the end.
    fn read(end: impl Into<OwnedFd>, mut hand_over: impl FnMut(&[u8]) + Send + 'static) -> Self {
        let end = File::from(end.into());
        let fd = end.as_raw_fd();
        let end = Arc::new(Mutex::new(end));
        let shared = Arc::clone(&end);
        let thread = thread::spawn(move || {
            let mut buffer = [0; 4096];
            loop {
                // Waits without the lock, so that somebody else can look what is left.
                let mut ready = libc::pollfd {
                    fd,
                    events: libc::POLLIN,
                    revents: 0,
                };
                // SAFETY: it is one structure, which outlives the call.
                unsafe { libc::poll(&raw mut ready, 1, -1) };
                let mut end = shared.lock().expect("the lock");
                let length = match end.read(&mut buffer) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    result => result.unwrap_or(0),
                };
                hand_over(&buffer[..length]);
                if length == 0 {
                    break;
                }
            }
        });
        Self { end, thread }
    }

    fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }

    /// Whether all that was written until now has been handed over.
    fn is_drained(&self) -> bool {
        let end = self.end.lock().expect("the lock");
        let mut unread: libc::c_int = 0;
        // SAFETY: FIONREAD writes an int, which outlives the call (`ioctl_tty(2)`).
        let result = unsafe { libc::ioctl(end.as_raw_fd(), libc::FIONREAD, &raw mut unread) };
        assert_eq!(result, 0, "{}", io::Error::last_os_error());
        unread == 0
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
    pipes: [Pipe; 2],
    status: Option<ExitStatus>,
}

/// The same on one line, however it was wrapped.
pub fn in_one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
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

    /// Writes a line to its input, at once: it may end as soon as it has read the first byte.
    pub fn say(&mut self, line: &str) -> &mut Self {
        let stdin = self.stdin.as_mut().expect("stdin is open");
        if let Err(error) = stdin.write_all(format!("{line}\n").as_bytes()) {
            self.fail(&format!("does not read its input: {error}"));
        }
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
        // SAFETY: kill takes any numbers; the child is ours and not waited for yet, so the pid is
        // still its own.
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
        // A grandchild may hold the pipes still: what it writes is not waited for, other than what
        // the program itself has written.
        let ended = Instant::now();
        wait_until_by(deadline, || {
            self.pipes.iter().all(Pipe::has_ended)
                || ended.elapsed() > Duration::from_secs(1)
                    && self.pipes.iter().all(Pipe::is_drained)
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
