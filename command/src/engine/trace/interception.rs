//! What is done about a `bind` or `listen`: a sequence of the rules, in a thread of its own, while
//! the program's thread stands still. A sequence may wait for minutes, and the program's other
//! threads must not.
//!
//! Only the tracer's own thread may have the program's call made, so it is asked to.

use super::log;
use super::ptrace::{self, Tid};
use super::remote_call::{Around, Injected, Question, RemoteCaller, Reply};
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

/// What a tracee's call could not be made for: a signal came before it, or the tracee went. No
/// error of the kernel's has this number where a program sees it (`ERESTARTNOINTR` in
/// `include/linux/errno.h`).
pub(super) const INTERRUPTED: Errno = Errno(513);

/// A call that is intercepted.
#[derive(Clone, Copy, Debug)]
pub(super) enum Intercepted {
    /// A `bind` that has failed with `EADDRINUSE`.
    Bind {
        fd: i32,
        address: Option<Endpoint>,
        /// When its wait began, if that goes on.
        since: Option<Instant>,
    },
    /// A `listen` that is about to be made.
    Listen { fd: i32 },
}

/// What the thread of a sequence says.
#[derive(Clone, Debug)]
pub(super) struct Message {
    /// The program's thread that it is about.
    pub(super) tid: Tid,
    /// Which sequence says it: threads may come to have the number of earlier ones.
    pub(super) sequence: u64,
    pub(super) request: Request,
}

#[derive(Clone, Debug)]
pub(super) enum Request {
    /// The call is to be made, and what came of it to be sent back; in one piece with this, if it
    /// is to be.
    Make(Option<Around>),
    /// The program's thread is to answer this about a descriptor.
    Query(i32, Question),
    /// The sequence is over: the program may go on. It listens on this port now.
    Done { listens: Option<u16> },
    /// A signal has come during a wait that began then: the program is to handle it, and then make
    /// its call again.
    Signalled { since: Instant },
}

/// The stack of a sequence's thread: of an address space that is limited (`RLIMIT_AS`) it takes
/// little.
const STACK: usize = 512 << 10;

/// Makes a thread, as each sequence needs one.
///
/// # Errors
///
/// There is no room for it: no call could be intercepted.
pub(super) fn needs_a_thread() -> io::Result<()> {
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
        // The tracer hears as long as there is one.
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
    /// Begins one; `None` if there can be no thread for it, or the socket can't be had: the program
    /// then goes on with what the kernel says.
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
                    piece: Cell::new(Piece::None),
                };
                let listens = run(settings, intercepted, &call);
                call.channel.send(match call.clock.is_to_go_on_since() {
                    Some(since) => Request::Signalled { since },
                    None => Request::Done { listens },
                });
            })
            .ok()?;
        Some((Self { responses }, thread))
    }

    /// Tells it what came of the call.
    pub(super) fn made(&self, result: Result<(), Errno>) {
        // A sequence waits for the answer, so it is there.
        let _ = self.responses.send(Response::Made(result));
    }

    /// Tells it what it has asked.
    pub(super) fn reply(&self, told: Option<Reply>) {
        let _ = self.responses.send(Response::Reply(told));
    }
}

fn run(settings: &Settings, intercepted: Intercepted, call: &TracedCall) -> Option<u16> {
    let (Intercepted::Bind { fd, .. } | Intercepted::Listen { fd }) = intercepted;
    match Socket::of(call.channel.tid, fd, &call.clock) {
        Ok(socket) => run_on(settings, intercepted, call, &socket),
        // It is no descriptor: the kernel is to say so.
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
            // What comes of it is what the kernel has told the program last.
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

/// Has the tracer ask the program's thread.
struct Requester<'a> {
    call: &'a TracedCall,
    descriptor: i32,
}

impl RemoteCaller for Requester<'_> {
    fn ask(&self, question: Question) -> Option<Reply> {
        self.call
            .channel
            .send(Request::Query(self.descriptor, question));
        match self.call.responses.recv() {
            Ok(Response::Reply(told)) => told,
            Ok(Response::Made(_)) | Err(_) => None,
        }
    }

    fn begin_piece(&self) {
        self.call.piece.set(Piece::Begun(Vec::new()));
    }

    fn set_in_piece(&self, place: RawOption, value: i32) -> bool {
        let mut piece = self.call.piece.replace(Piece::None);
        let is_set = match &mut piece {
            Piece::Begun(before) => {
                before.push((place, value));
                true
            }
            Piece::Done(after) => after.contains(&(place, value)),
            Piece::None => false,
        };
        self.call.piece.set(piece);
        is_set
    }

    fn end_piece(&self) {
        self.call.piece.set(Piece::None);
    }
}

/// What is done in one piece with the program's call.
enum Piece {
    None,
    /// It is collected.
    Begun(Vec<(RawOption, i32)>),
    /// It was done, with this after the call.
    Done(Vec<(RawOption, i32)>),
}

/// The program's own call.
struct TracedCall {
    clock: Clock,
    channel: Channel,
    responses: Receiver<Response>,
    intercepted: Intercepted,
    piece: Cell<Piece>,
}

impl TracedCall {
    /// What is to be done around the call, if there is anything: what a `bind` was made with is
    /// taken back even if nobody is there to do so.
    fn around(&self) -> Option<Around> {
        let Piece::Begun(before) = self.piece.replace(Piece::None) else {
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
        self.piece.set(Piece::Done(after.clone()));
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
