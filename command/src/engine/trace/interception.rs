//! Handles an intercepted `bind` or `listen`: a sequence (`libreuse_rules::sequence`) runs in a
//! thread of its own while the tracee is stopped. A sequence may wait for minutes, and the
//! program's other threads must not.
//!
//! Only the thread that attached to a tracee may resume it (ptrace(2)), so a sequence sends it
//! requests.

use super::log;
use super::ptrace::{self, Tid};
use super::remote_call::{Around, Injected, Query, RemoteCaller, Reply};
use super::socket::Socket;
use super::wait_timer::Clock;
use crate::sys::sockopt::RawOption;
use libreuse_rules::calls::{Errno, Kernel, OriginalCall, SocketOption};
use libreuse_rules::endpoint::Endpoint;
use libreuse_rules::sequence;
use libreuse_rules::settings::Settings;
use std::cell::Cell;
use std::io;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};
use std::time::Instant;

/// The result of a call that could not be made: a signal came first, or the tracee exited. The
/// kernel never returns this number to a program (`ERESTARTNOINTR` in `include/linux/errno.h`).
pub(super) const INTERRUPTED: Errno = Errno(513);

/// An intercepted call.
#[derive(Clone, Copy, Debug)]
pub(super) enum Intercepted {
    /// A `bind` that has failed with `EADDRINUSE`.
    Bind {
        fd: i32,
        address: Option<Endpoint>,
        /// When its wait began, if it continues one.
        since: Option<Instant>,
    },
    /// A `listen` that is about to be made.
    Listen { fd: i32 },
}

/// A sequence's message to the tracer.
#[derive(Clone, Debug)]
pub(super) struct Message {
    /// The tracee.
    pub(super) tid: Tid,
    /// The sequence's number: thread ids are reused.
    pub(super) sequence: u64,
    pub(super) request: Request,
}

#[derive(Clone, Debug)]
pub(super) enum Request {
    /// Make the call and send its result back. Set these options around it, if given.
    Make(Option<Around>),
    /// Have the tracee make a system call on this descriptor, and send the reply back.
    Query(i32, Query),
    /// The sequence is over: resume the tracee. If it listens now, on this port.
    Done { listens: Option<u16> },
    /// A signal came during a wait that began at `since`: let the tracee handle it, and restart its
    /// call.
    Signalled { since: Instant },
}

/// The stack of a sequence's thread: small, since the address space may be limited (`RLIMIT_AS`).
const STACK: usize = 512 << 10;

/// Checks that a sequence's thread can be created, by creating one.
///
/// # Errors
///
/// It can't be created (`pthread_create(3)`): no call could be intercepted.
pub(super) fn check_threads() -> io::Result<()> {
    let thread = thread::Builder::new().stack_size(STACK).spawn(|| ())?;
    // It does not panic.
    let _ = thread.join();
    Ok(())
}

/// The channel from a sequence to the tracer.
#[derive(Debug)]
pub(super) struct Channel {
    pub(super) tid: Tid,
    pub(super) sequence: u64,
    pub(super) messages: Sender<Message>,
}

impl Channel {
    fn send(&self, request: Request) {
        // The tracer receives as long as a sequence exists.
        let _ = self.messages.send(Message {
            tid: self.tid,
            sequence: self.sequence,
            request,
        });
        ptrace::wake();
    }
}

/// The tracer's end of a sequence.
#[derive(Debug)]
pub(super) struct Sequence {
    responses: Sender<Response>,
}

#[derive(Debug)]
enum Response {
    Made(Result<(), Errno>),
    Reply(Option<Reply>),
}

impl Sequence {
    /// Starts a sequence; `None` if its thread can't be created. The program then continues with
    /// the kernel's result.
    pub(super) fn begin(
        settings: &'static Settings,
        process: Tid,
        intercepted: Intercepted,
        channel: Channel,
    ) -> Option<(Self, JoinHandle<()>)> {
        let (responses, theirs) = mpsc::channel();
        let thread = thread::Builder::new()
            .stack_size(STACK)
            .spawn(move || {
                log::speak_for(process);
                let since = match intercepted {
                    Intercepted::Bind { since, .. } => since,
                    Intercepted::Listen { .. } => None,
                };
                let call = TracedCall {
                    clock: Clock::of(channel.tid, since),
                    channel,
                    responses: theirs,
                    intercepted,
                    batch: Cell::new(Batch::None),
                };
                let listens = run(settings, intercepted, &call);
                call.channel.send(match call.clock.resumable_since() {
                    Some(since) => Request::Signalled { since },
                    None => Request::Done { listens },
                });
            })
            .ok()?;
        Some((Self { responses }, thread))
    }

    /// Sends the call's result to the sequence.
    pub(super) fn made(&self, result: Result<(), Errno>) {
        // A sequence waits for the response, so it exists.
        let _ = self.responses.send(Response::Made(result));
    }

    /// Sends the reply to the sequence's query.
    pub(super) fn reply(&self, reply: Option<Reply>) {
        let _ = self.responses.send(Response::Reply(reply));
    }
}

fn run(settings: &Settings, intercepted: Intercepted, call: &TracedCall) -> Option<u16> {
    let (Intercepted::Bind { fd, .. } | Intercepted::Listen { fd }) = intercepted;
    match Socket::of(call.channel.tid, fd, &call.clock) {
        Ok(socket) => run_on(settings, intercepted, call, &socket),
        // Not an open descriptor: the kernel returns the error.
        Err(rustix::io::Errno::BADF) => run_plainly(intercepted, call),
        Err(_) => {
            let who = Requester {
                call,
                descriptor: fd,
            };
            let socket = Injected {
                tid: call.channel.tid,
                number: fd,
                clock: &call.clock,
                who: &who,
            };
            run_on(settings, intercepted, call, &socket)
        }
    }
}

fn run_on(
    settings: &Settings,
    intercepted: Intercepted,
    call: &TracedCall,
    socket: &impl Kernel,
) -> Option<u16> {
    match intercepted {
        Intercepted::Bind { address, .. } => {
            // The program sees the result of its last call.
            let _ = sequence::bind_in_use(settings, socket, call, address);
            None
        }
        Intercepted::Listen { .. } => {
            sequence::listen(settings, socket, call).ok()?;
            socket.state()?;
            Some(socket.local()?.port)
        }
    }
}

fn run_plainly(intercepted: Intercepted, call: &TracedCall) -> Option<u16> {
    if matches!(intercepted, Intercepted::Listen { .. }) {
        let _ = call.make();
    }
    None
}

/// Queries the tracee through the tracer.
struct Requester<'a> {
    call: &'a TracedCall,
    descriptor: i32,
}

impl RemoteCaller for Requester<'_> {
    fn ask(&self, query: Query) -> Option<Reply> {
        self.call
            .channel
            .send(Request::Query(self.descriptor, query));
        match self.call.responses.recv() {
            Ok(Response::Reply(reply)) => reply,
            Ok(Response::Made(_)) | Err(_) => None,
        }
    }

    fn begin_batch(&self) {
        self.call.batch.set(Batch::Collecting(Vec::new()));
    }

    fn set_in_batch(&self, place: RawOption, value: i32) -> bool {
        let mut batch = self.call.batch.replace(Batch::None);
        let is_set = match &mut batch {
            Batch::Collecting(before) => {
                before.push((place, value));
                true
            }
            Batch::Set(after) => after.contains(&(place, value)),
            Batch::None => false,
        };
        self.call.batch.set(batch);
        is_set
    }

    fn end_batch(&self) {
        self.call.batch.set(Batch::None);
    }
}

/// The options that are set together with the program's call.
enum Batch {
    None,
    /// Being collected, to be set before the call.
    Collecting(Vec<(RawOption, i32)>),
    /// Set; these after the call.
    Set(Vec<(RawOption, i32)>),
}

/// The program's own call.
struct TracedCall {
    clock: Clock,
    channel: Channel,
    responses: Receiver<Response>,
    intercepted: Intercepted,
    batch: Cell<Batch>,
}

impl TracedCall {
    /// Returns the options to set around the call, if any. `SO_REUSEADDR` is cleared after a `bind`
    /// even if the tracer is gone by then.
    fn around(&self) -> Option<Around> {
        let Batch::Collecting(before) = self.batch.replace(Batch::None) else {
            return None;
        };
        let (fd, after) = match self.intercepted {
            Intercepted::Bind { fd, .. } => {
                let address = RawOption::from(SocketOption::ReuseAddress);
                let set = before.iter().filter(|(place, _)| *place == address);
                (fd, set.map(|&(place, _)| (place, 0)).collect())
            }
            Intercepted::Listen { fd } => (fd, Vec::new()),
        };
        self.batch.set(Batch::Set(after.clone()));
        Some(Around { fd, before, after })
    }
}

impl OriginalCall for TracedCall {
    fn make(&self) -> Result<(), Errno> {
        self.channel.send(Request::Make(self.around()));
        let result = match self.responses.recv() {
            Ok(Response::Made(result)) => result,
            Ok(Response::Reply(_)) | Err(_) => Err(INTERRUPTED),
        };
        if result == Err(INTERRUPTED) {
            self.clock.interrupt();
        }
        result
    }
}
