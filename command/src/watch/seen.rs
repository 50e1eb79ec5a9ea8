//! Observes a program that could not bind at that moment: many exit at once.

use crate::engine::bpf::failures::{Counted, FailedCall, Failure, Failures};
use crate::output;
use crate::process::holders;
use crate::process::info::ProcessInfo;
use crate::process::users;
use crate::sys::scheduling::{NO_THREAD, without_preemption};
use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use rustix::net::sockopt::socket_type;
use rustix::net::{SocketType, getsockname};
use rustix::process::{
    Pid, PidfdFlags, PidfdGetfdFlags, Resource, Rlimit, getpid, getrlimit, pidfd_getfd, pidfd_open,
    setrlimit,
};
use serde::Serialize;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

/// The socket's protocol.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Protocol {
    Tcp,
    Udp,
}

/// A program that could not bind.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) at: Instant,
    pub(crate) call: FailedCall,
    pub(crate) protocol: Protocol,
    pub(crate) address: SocketAddr,
    pub(crate) pid: i32,
    pub(crate) tid: i32,
    pub(crate) descriptor: i32,
    pub(crate) name: String,
    /// How often it has failed since the last that was reported, with this one.
    pub(crate) times: u64,
    pub(crate) known: Arc<Known>,
}

/// Its process.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) info: ProcessInfo,
    /// Its network namespace, as a file and by name.
    pub(crate) network: Option<(OwnedFd, String)>,
}

/// The reader's reports.
pub(crate) enum Observation {
    Failed(Box<Seen>),
    /// The same thread has bound the same descriptor there after all.
    Succeeded {
        tid: i32,
        descriptor: i32,
        address: Option<SocketAddr>,
    },
    /// So many calls failed at once that some may have been lost.
    MayHaveLostSome,
}

/// Begins to watch, on a thread of its own: whoever looks into one failure must not miss the
/// program of the next.
pub(crate) fn begin(ports: Vec<u16>, to: Sender<Observation>) -> Result<()> {
    if !holders::sees_all() {
        bail!(
            "the kernel reports the numbers that processes have in the machine's own process \
             namespace, which this is not, as in containers. On the host: `sudo reuseaddr watch`"
        );
    }
    // The network namespace of each that fails is kept open for a moment.
    let most = getrlimit(Resource::Nofile).maximum;
    let _ = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: most,
            maximum: most,
        },
    );
    let (begun, begins) = channel();
    let reader = move || match Failures::watch() {
        Ok(failures) => {
            if begun.send(Ok(())).is_ok() {
                Reader::new(ports).read(failures, &to);
            }
        }
        Err(error) => {
            // Nobody waits for it any more only where the process ends.
            let _ = begun.send(Err(error));
        }
    };
    thread::Builder::new().spawn(reader).context(NO_THREAD)?;
    begins.recv()?
}

/// How long a process's description is reused. Otherwise one that fails a thousand times a second
/// would delay the look at all others.
const GOOD_FOR: Duration = Duration::from_secs(1);

/// How often it asks for what was only counted, as long as there may be something.
const COUNTED_PAUSE: Duration = Duration::from_secs(1);

struct Reader {
    /// The ports that are wanted, in order; all, if there is none.
    ports: Vec<u16>,
    known: HashMap<i32, (Instant, Arc<Known>)>,
    /// The last failure that was reported of those that are only counted now.
    counted: HashMap<Counted, Box<Seen>>,
    counted_at: Instant,
}

impl Reader {
    fn new(ports: Vec<u16>) -> Self {
        Self {
            ports,
            known: HashMap::new(),
            counted: HashMap::new(),
            counted_at: Instant::now(),
        }
    }

    /// Reads what the kernel reports, until nobody wants it any more.
    fn read(mut self, mut failures: Failures, to: &Sender<Observation>) {
        loop {
            let mut fds = [PollFd::new(&failures, PollFlags::IN)];
            let pause = Timespec::try_from(COUNTED_PAUSE).ok();
            match poll(
                &mut fds,
                pause.as_ref().filter(|_| self.is_counting(&failures)),
            ) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(_) => return,
            }
            if !self.report(&mut failures, to) || !self.report_counted(&mut failures, to) {
                return;
            }
        }
    }

    /// Reports the failures that there are. Returns whether somebody wants them.
    fn report(&mut self, failures: &mut Failures, to: &Sender<Observation>) -> bool {
        while let Some(failure) = failures.take() {
            if failures.may_have_lost_some() && to.send(Observation::MayHaveLostSome).is_err() {
                return false;
            }
            let now = Instant::now();
            self.known.retain(|_, (at, _)| now < *at + GOOD_FOR);
            if self
                .observation(failure)
                .is_some_and(|observation| to.send(observation).is_err())
            {
                return false;
            }
        }
        true
    }

    /// Whether there may be something that was only counted.
    fn is_counting(&self, failures: &Failures) -> bool {
        !self.counted.is_empty() || failures.has_counted()
    }

    /// Reports what was only counted, of those that have stopped. Returns whether somebody wants
    /// it.
    fn report_counted(&mut self, failures: &mut Failures, to: &Sender<Observation>) -> bool {
        let now = Instant::now();
        if !self.is_counting(failures) || now < self.counted_at + COUNTED_PAUSE {
            return true;
        }
        self.counted_at = now;
        // A processor that is inside a call about a map runs no program at a tracepoint: were this
        // thread preempted there, whoever preempts it would fail unseen.
        let counted = without_preemption(|| failures.take_counted());
        // Were we stopped before, this brings the failures that they were counted with.
        if !self.report(failures, to) {
            return false;
        }
        for (whose, times) in counted {
            let Some(seen) = self.counted.remove(&whose) else {
                continue;
            };
            let seen = Box::new(Seen {
                at: now,
                times,
                ..*seen
            });
            if to.send(Observation::Failed(seen)).is_err() {
                return false;
            }
        }
        // What the kernel has forgotten, or has reported with the next one.
        self.counted
            .retain(|_, seen| now < seen.at + 5 * COUNTED_PAUSE);
        true
    }

    fn observation(&mut self, failure: Failure) -> Option<Observation> {
        let address = failure.address.map(SocketAddr::from);
        let is_wanted = |port| self.ports.is_empty() || self.ports.binary_search(&port).is_ok();
        // What we bind to find out who is in the way is nobody's failure.
        if failure.pid == getpid().as_raw_nonzero().get()
            || address.is_some_and(|address| !is_wanted(address.port()))
        {
            return None;
        }
        if failure.succeeded {
            return Some(Observation::Succeeded {
                tid: failure.tid,
                descriptor: failure.descriptor,
                address,
            });
        }
        let (protocol, address) = socket(&failure, address)?;
        if address.port() == 0 || !is_wanted(address.port()) {
            return None;
        }
        let at = Instant::now();
        let (_, known) = self
            .known
            .entry(failure.pid)
            .or_insert_with(|| (at, Arc::new(Known::of(&failure))));
        let whose = failure.counted();
        let seen = Box::new(Seen {
            at,
            call: failure.call,
            protocol,
            address,
            pid: failure.pid,
            tid: failure.tid,
            descriptor: failure.descriptor,
            name: failure.name,
            times: failure.unreported + 1,
            known: known.clone(),
        });
        if failure.is_last {
            self.counted.insert(whose, seen.clone());
        }
        Some(Observation::Failed(seen))
    }
}

impl Known {
    /// Describes the process, which may have exited.
    fn of(failure: &Failure) -> Self {
        let network = open(
            format!("/proc/{}/ns/net", failure.pid),
            OFlags::RDONLY | OFlags::CLOEXEC,
            Mode::empty(),
        );
        let mut info = ProcessInfo::of_pid(failure.pid);
        if info.uid.is_none() {
            info.uid = Some(failure.uid);
            info.user = users::name(failure.uid).map(ToOwned::to_owned);
        }
        Self {
            info,
            network: network.ok().and_then(|file| {
                let name = namespace(&file)?;
                Some((file, name))
            }),
        }
    }
}

/// The protocol and the address of its socket; `None` if it is neither of TCP nor of UDP, or has no
/// address that could be had.
fn socket(failure: &Failure, address: Option<SocketAddr>) -> Option<(Protocol, SocketAddr)> {
    // It may be bound at the second try, and keeps its port as long as there is a copy.
    without_preemption(|| {
        let socket = copy(failure);
        let protocol = match socket.as_ref().map(socket_type) {
            Some(Ok(SocketType::DGRAM)) => Protocol::Udp,
            // Where it is closed already, and its number perhaps another file's: then most often
            // TCP.
            Some(Ok(SocketType::STREAM) | Err(_)) | None => Protocol::Tcp,
            Some(_) => return None,
        };
        let address = match address {
            Some(address) => address,
            None => SocketAddr::try_from(getsockname(socket?).ok()?).ok()?,
        };
        Some((protocol, address))
    })
}

fn copy(failure: &Failure) -> Option<OwnedFd> {
    if failure.descriptor < 0 {
        return None;
    }
    let process = pidfd_open(Pid::from_raw(failure.pid)?, PidfdFlags::empty()).ok()?;
    pidfd_getfd(&process, failure.descriptor, PidfdGetfdFlags::empty()).ok()
}

/// The namespace's name, as in lsns(8).
fn namespace(file: impl AsFd) -> Option<String> {
    let status = rustix::fs::fstat(file).ok()?;
    Some(format!("net:[{}]", status.st_ino))
}

impl Seen {
    /// Whether it is this attempt that has succeeded after all.
    pub(crate) fn is_of(&self, tid: i32, descriptor: i32, address: Option<SocketAddr>) -> bool {
        self.call == FailedCall::Bind
            && (self.tid, self.descriptor, Some(self.address)) == (tid, descriptor, address)
    }

    /// The unit or container, the program and its process: `web.service: python3 (pid 4711)`.
    pub(crate) fn title(&self) -> String {
        let place = match self.known.info.place() {
            place if place.is_empty() => place,
            place => format!("{place}: "),
        };
        let user = match self.known.info.user() {
            user if user.is_empty() || user == "root" => String::new(),
            user => format!(", user {user}"),
        };
        format!("{place}{} (pid {}{user})", self.name, self.pid)
    }

    /// Words for the call that failed.
    pub(crate) fn deed(&self) -> String {
        let call = match self.call {
            FailedCall::Bind => "bind",
            FailedCall::Listen => "listen on",
        };
        let protocol = match self.protocol {
            Protocol::Tcp => "",
            Protocol::Udp => "UDP ",
        };
        format!("{call} {protocol}{}", self.address)
    }

    /// Its command line, on a line of its own.
    pub(crate) fn command(&self) -> String {
        match self.known.info.command() {
            command if command.is_empty() => command,
            command => output::line("  ", &command),
        }
    }
}
