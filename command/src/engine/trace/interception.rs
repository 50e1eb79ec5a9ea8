//! What is done about a `bind` or `listen`: a sequence of the rules, in a thread of its own, while
//! the program's thread stands still. A sequence may wait for minutes, and the program's other
//! threads must not.
//!
//! Only the tracer's own thread may have the program's call made, so it is asked to.

use super::log;
use super::ptrace::{self, Tid};
use super::remote_call::{Around, Ask, Injected, Question, Told};
use super::socket::Socket;
use super::wait_timer::Clock;
use crate::sys::sockopt::Place;
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

/// A call that is attended to.
#[derive(Clone, Copy, Debug)]
pub(super) enum Attended {
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
    pub(super) word: Word,
}

#[derive(Clone, Debug)]
pub(super) enum Word {
    /// The call is to be made, and what came of it to be sent back; in one piece with this, if it
    /// is to be.
    Make(Option<Around>),
    /// The program's thread is to answer this about a descriptor.
    Ask(i32, Question),
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
/// There is no room for it: no call could be attended to.
pub(super) fn needs_a_thread() -> io::Result<()> {
    let thread = thread::Builder::new().stack_size(STACK).spawn(|| ())?;
    // It does not panic.
    let _ = thread.join();
    Ok(())
}

/// What a sequence speaks with.
#[derive(Debug)]
pub(super) struct Mouth {
    pub(super) tid: Tid,
    pub(super) sequence: u64,
    pub(super) messages: Sender<Message>,
}

impl Mouth {
    fn say(&self, word: Word) {
        // The tracer hears as long as there is one.
        let _ = self.messages.send(Message {
            tid: self.tid,
            sequence: self.sequence,
            word,
        });
        ptrace::wake();
    }
}

/// The tracer's end of a sequence.
#[derive(Debug)]
pub(super) struct Sequence {
    answers: Sender<Answer>,
}

#[derive(Debug)]
enum Answer {
    Made(Result<(), Errno>),
    Told(Option<Told>),
}

impl Sequence {
    /// Begins one; `None` if there can be no thread for it, or the socket can't be had: the program
    /// then goes on with what the kernel says.
    pub(super) fn begin(
        settings: &'static Settings,
        process: Tid,
        attended: Attended,
        mouth: Mouth,
    ) -> Option<(Self, JoinHandle<()>)> {
        let (answers, theirs) = mpsc::channel();
        let thread = thread::Builder::new()
            .stack_size(STACK)
            .spawn(move || {
                log::speak_for(process);
                let since = match attended {
                    Attended::Bind { since, .. } => since,
                    Attended::Listen { .. } => None,
                };
                let call = Call {
                    clock: Clock::of(mouth.tid, since),
                    mouth,
                    answers: theirs,
                    attended,
                    piece: Cell::new(Piece::None),
                };
                let listens = run(settings, attended, &call);
                call.mouth.say(match call.clock.is_to_go_on_since() {
                    Some(since) => Word::Signalled { since },
                    None => Word::Done { listens },
                });
            })
            .ok()?;
        Some((Self { answers }, thread))
    }

    /// Tells it what came of the call.
    pub(super) fn made(&self, result: Result<(), Errno>) {
        // A sequence waits for the answer, so it is there.
        let _ = self.answers.send(Answer::Made(result));
    }

    /// Tells it what it has asked.
    pub(super) fn told(&self, told: Option<Told>) {
        let _ = self.answers.send(Answer::Told(told));
    }
}

fn run(settings: &Settings, attended: Attended, call: &Call) -> Option<u16> {
    let (Attended::Bind { fd, .. } | Attended::Listen { fd }) = attended;
    match Socket::of(call.mouth.tid, fd, &call.clock) {
        Ok(socket) => run_on(settings, attended, call, &socket),
        // It is no descriptor: the kernel is to say so.
        Err(rustix::io::Errno::BADF) => run_plainly(attended, call),
        Err(_) => {
            let who = Asking {
                call,
                descriptor: fd,
            };
            let socket = Injected {
                tid: call.mouth.tid,
                number: fd,
                clock: &call.clock,
                who: &who,
            };
            run_on(settings, attended, call, &socket)
        }
    }
}

fn run_on(
    settings: &Settings,
    attended: Attended,
    call: &Call,
    socket: &impl Kernel,
) -> Option<u16> {
    match attended {
        Attended::Bind { address, .. } => {
            // What comes of it is what the kernel has told the program last.
            let _ = sequence::bind_in_use(settings, socket, call, address);
            None
        }
        Attended::Listen { .. } => {
            sequence::listen(settings, socket, call).ok()?;
            socket.state()?;
            Some(socket.local()?.port)
        }
    }
}

fn run_plainly(attended: Attended, call: &Call) -> Option<u16> {
    if matches!(attended, Attended::Listen { .. }) {
        let _ = call.make();
    }
    None
}

/// Has the tracer ask the program's thread.
struct Asking<'a> {
    call: &'a Call,
    descriptor: i32,
}

impl Ask for Asking<'_> {
    fn ask(&self, question: Question) -> Option<Told> {
        self.call.mouth.say(Word::Ask(self.descriptor, question));
        match self.call.answers.recv() {
            Ok(Answer::Told(told)) => told,
            Ok(Answer::Made(_)) | Err(_) => None,
        }
    }

    fn begin_piece(&self) {
        self.call.piece.set(Piece::Begun(Vec::new()));
    }

    fn set_in_piece(&self, place: Place, value: i32) -> bool {
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
    Begun(Vec<(Place, i32)>),
    /// It was done, with this after the call.
    Done(Vec<(Place, i32)>),
}

/// The program's own call.
struct Call {
    clock: Clock,
    mouth: Mouth,
    answers: Receiver<Answer>,
    attended: Attended,
    piece: Cell<Piece>,
}

impl Call {
    /// What is to be done around the call, if there is anything: what a `bind` was made with is
    /// taken back even if nobody is there to do so.
    fn around(&self) -> Option<Around> {
        let Piece::Begun(before) = self.piece.replace(Piece::None) else {
            return None;
        };
        let (fd, after) = match self.attended {
            Attended::Bind { fd, .. } => {
                let address = Place::from(SocketOption::ReuseAddress);
                let set = before.iter().filter(|(place, _)| *place == address);
                (fd, set.map(|&(place, _)| (place, 0)).collect())
            }
            Attended::Listen { fd } => (fd, Vec::new()),
        };
        self.piece.set(Piece::Done(after.clone()));
        Some(Around { fd, before, after })
    }
}

impl OriginalCall for Call {
    fn make(&self) -> Result<(), Errno> {
        self.mouth.say(Word::Make(self.around()));
        let result = match self.answers.recv() {
            Ok(Answer::Made(result)) => result,
            Ok(Answer::Told(_)) | Err(_) => Err(INTERRUPTED),
        };
        if result == Err(INTERRUPTED) {
            self.clock.interrupt();
        }
        result
    }
}
