//! What to do: given the settings and what a socket is, act, or step aside and say why.

use crate::calls::{Connection, Facts, State};
use crate::endpoint::Endpoint;
use crate::settings::{Linger, Settings};
use core::fmt;

/// What is to be done about a call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Decision {
    /// Set these options.
    Act(Options),
    /// Do nothing but the caller's own call.
    StepAside(Reason),
}

/// The socket options to set.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Options {
    /// `SO_REUSEADDR`.
    pub reuse_address: bool,
    /// `SO_REUSEPORT`.
    pub reuse_port: bool,
    /// What makes the connection end in this way.
    pub ending: Ending,
}

/// How a connection is to end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ending {
    /// As the socket has it.
    AsItIs,
    /// Forgotten once everything is delivered, with a reset (`TCP_LINGER2 = -1`).
    Forgotten,
    /// As without that: it stays in `TIME_WAIT` for its time (`TCP_LINGER2 = 0`).
    Remembered,
    /// Reset at once, and what was not sent yet is lost (`SO_LINGER {1, 0}`).
    Reset,
}

/// Why a call is left alone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reason {
    /// The descriptor is not an IPv4 or IPv6 TCP socket: two flagged UDP sockets steal each other's
    /// traffic, and nothing else has `TIME_WAIT`.
    NotTcp,
    /// The program asked for any free port, and with `ip_autobind_reuse` a flagged socket may get
    /// one that is taken.
    AnyPort,
    /// The socket has no port yet.
    Unbound,
    /// `LIBREUSE_PORTS` does not have this port.
    OtherPort,
    /// The settings have nothing for this call.
    NothingSet,
    /// The socket has the option already, by the program or by an earlier call.
    SetAlready,
    /// The connection is under way, or made.
    Underway,
    /// A listener: its accepted sockets inherit what is set on it, so a reset must not be.
    Listener,
    /// The peer closed first, so this side leaves no `TIME_WAIT`, and a reset would only do harm.
    PeerClosedFirst,
    /// There is no connection that could be reset.
    Unconnected,
    /// Neither listening nor connected: `bind` and `listen` set the option when it counts.
    NotInUse,
    /// A connection that did not carry the option: no listener of ours has accepted it.
    NeverSet,
    /// A connection to whose port nobody listens: others could bind the port while it lives.
    NoListener,
}

impl Reason {
    /// The reason in words.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::NotTcp => "not a TCP socket",
            Self::AnyPort => "any port was asked for",
            Self::Unbound => "not bound to a port",
            Self::OtherPort => "its port is not in LIBREUSE_PORTS",
            Self::NothingSet => "nothing is set for it",
            Self::SetAlready => "it has SO_REUSEADDR already",
            Self::Underway => "already connecting or connected",
            Self::Listener => "a listener",
            Self::PeerClosedFirst => "the peer closed first",
            Self::Unconnected => "not connected",
            Self::NotInUse => "neither listening nor connected",
            Self::NeverSet => "a connection that did not carry the option",
            Self::NoListener => "a connection to whose port nobody listens",
        }
    }
}

/// How far a `bind` has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum BindSoFar {
    /// The plain call failed with `EADDRINUSE`.
    InUse,
    /// It succeeded. `SO_REUSEPORT` counts from the moment that somebody else binds, or that this
    /// socket listens, so it can wait until the kernel has accepted the address.
    Bound,
}

/// A `bind` to `port`: the options with which to try again, or which other copies need to find on
/// the socket.
pub fn bind(settings: &Settings, socket: &impl Facts, port: u16, so_far: BindSoFar) -> Decision {
    let in_use = so_far == BindSoFar::InUse;
    let options = Options {
        reuse_address: in_use && settings.reuse_address,
        reuse_port: settings.reuse_port,
        ending: Ending::AsItIs,
    };
    // A wait alone is worth a try without any option: the port's holder may exit.
    let waits = in_use && settings.wait_ms > 0;
    if options.is_none() && !waits {
        Decision::StepAside(Reason::NothingSet)
    } else if socket.state().is_none() {
        Decision::StepAside(Reason::NotTcp)
    } else {
        on_port(settings, port, Reason::AnyPort, options)
    }
}

/// Before a `listen`: the options that accepted sockets are to inherit.
pub fn listen(settings: &Settings, socket: &impl Facts) -> Decision {
    let options = Options::of_a_connection(settings);
    if options.is_none() {
        return Decision::StepAside(Reason::NothingSet);
    }
    match may_listen(settings, socket) {
        Ok(()) => Decision::Act(options),
        Err(reason) => Decision::StepAside(reason),
    }
}

/// Whether this socket can listen, on a port that the settings allow; if not, why.
///
/// One that connects or is connected can't, and its port must not be given away.
#[inline(always)]
pub(crate) fn may_listen(settings: &Settings, socket: &impl Facts) -> Result<(), Reason> {
    match socket.state() {
        None => return Err(Reason::NotTcp),
        Some(State::Close | State::Listen) => {}
        Some(_) => return Err(Reason::Underway),
    }
    match socket.port() {
        Some(port) => may_use(settings, port, Reason::Unbound),
        None => Err(Reason::NotTcp),
    }
}

/// Before a `connect`: the options that the connection is to have.
///
/// As long as it lives, others can bind the port of a connection that carries `SO_REUSEADDR`: a
/// client that looks for a free port then takes one that is in use, and its `connect` fails.
/// Nothing tells such a client from one that insists on its port, but that somebody has named the
/// port.
pub fn connect(settings: &Settings, socket: &impl Facts) -> Decision {
    let options = Options::of_a_client(settings);
    if options.is_none() {
        return Decision::StepAside(Reason::NothingSet);
    }
    match on_own_port(settings, socket, options) {
        decision @ Decision::Act(_) => match socket.state() {
            Some(State::Close) => decision,
            Some(_) => Decision::StepAside(Reason::Underway),
            None => Decision::StepAside(Reason::NotTcp),
        },
        aside @ Decision::StepAside(_) => aside,
    }
}

/// Whether anything is ever done before a `connect`, which is not so by default: then nobody need
/// be asked.
#[must_use]
pub fn has_something_for_connections(settings: &Settings) -> bool {
    !Options::of_a_client(settings).is_none()
}

/// After the program has cleared `SO_REUSEADDR` (`wanted.reuse_address`) or `TCP_LINGER2`
/// (`wanted.ending`) itself: whether to set it again. `carried` is whether the socket carried
/// `SO_REUSEADDR` before.
///
/// Of a connection the kernel does not tell whether it was accepted or made. What one of our
/// listeners has accepted carries the option, and so does what the program itself made with it: the
/// live port of the latter must not be given away. While a listener has the port, nobody can bind
/// it: `listened` is whether that is so.
pub fn cleared(
    settings: &Settings,
    socket: &impl Facts,
    wanted: Options,
    carried: bool,
    listened: impl FnOnce(Endpoint) -> bool,
) -> Decision {
    match socket.state() {
        None => Decision::StepAside(Reason::NotTcp),
        // Before listen or connect the program's own value holds: it may be its single-instance
        // lock.
        Some(State::Close) => Decision::StepAside(Reason::NotInUse),
        Some(State::Listen) => on_own_port(settings, socket, wanted),
        Some(_) if wanted.reuse_address && !carried => Decision::StepAside(Reason::NeverSet),
        Some(_) if wanted.reuse_address && !socket.local().is_some_and(listened) => {
            Decision::StepAside(Reason::NoListener)
        }
        Some(_) => on_own_port(settings, socket, wanted),
    }
}

/// Before a `close`: the options that decide what the connection leaves behind.
///
/// The peer learns of the reset at the end of `graceful` by `SO_ERROR` and `poll`, before the bytes
/// that it has not read yet. A peer that looks there to learn whether its `connect` succeeded takes
/// the connection for failed, and throws it away with all that is in it. One that has sent
/// something has learned that before; where nothing came, the connection keeps its `TIME_WAIT`,
/// although the listener has handed down the option that prevents it.
pub fn close(settings: &Settings, socket: &impl Facts) -> Decision {
    if settings.linger == Linger::Off {
        return Decision::StepAside(Reason::NothingSet);
    }
    let Some(Connection { state, heard }) = socket.connection() else {
        return Decision::StepAside(Reason::NotTcp);
    };
    match state {
        State::Listen => return Decision::StepAside(Reason::Listener),
        State::Close | State::Connecting => return Decision::StepAside(Reason::Unconnected),
        State::PeerClosed => return Decision::StepAside(Reason::PeerClosedFirst),
        State::Connected => {}
    }
    let ending = match settings.linger {
        Linger::Zero => Ending::Reset,
        _ if heard => Ending::Forgotten,
        _ => Ending::Remembered,
    };
    let options = Options {
        ending,
        ..Options::NONE
    };
    on_own_port(settings, socket, options)
}

impl Options {
    /// None of them.
    pub const NONE: Self = Self {
        reuse_address: false,
        reuse_port: false,
        ending: Ending::AsItIs,
    };

    /// What a listener hands to its accepted sockets.
    #[inline(always)]
    pub(crate) fn of_a_connection(settings: &Settings) -> Self {
        let ending = match settings.linger {
            Linger::Graceful => Ending::Forgotten,
            // A reset is set at close and nowhere else: inherited, it would cut what a killed
            // process still sends.
            Linger::Off | Linger::Zero => Ending::AsItIs,
        };
        Self {
            reuse_address: settings.reuse_address,
            reuse_port: false,
            ending,
        }
    }

    /// What a connecting socket is to have.
    fn of_a_client(settings: &Settings) -> Self {
        Self {
            reuse_address: settings.reuse_address && !settings.ports.all(),
            ..Self::of_a_connection(settings)
        }
    }

    #[inline(always)]
    pub(crate) fn is_none(self) -> bool {
        self == Self::NONE
    }

    /// Those of them that are not among `done`.
    pub(crate) fn without(self, done: Self) -> Self {
        Self {
            reuse_address: self.reuse_address && !done.reuse_address,
            reuse_port: self.reuse_port && !done.reuse_port,
            ending: if self.ending == done.ending {
                Ending::AsItIs
            } else {
                self.ending
            },
        }
    }
}

/// Acts if the settings allow `port`, which is 0 for the reason `zero`.
#[inline(always)]
fn on_port(settings: &Settings, port: u16, zero: Reason, options: Options) -> Decision {
    match may_use(settings, port, zero) {
        Ok(()) => Decision::Act(options),
        Err(reason) => Decision::StepAside(reason),
    }
}

/// Whether the settings allow `port`, which is 0 for the reason `zero`.
#[inline(always)]
fn may_use(settings: &Settings, port: u16, zero: Reason) -> Result<(), Reason> {
    if port == 0 {
        Err(zero)
    } else if settings.ports.contains(port) {
        Ok(())
    } else {
        Err(Reason::OtherPort)
    }
}

/// Acts if the settings allow the socket's own port, which is asked for only if it matters.
#[inline(always)]
fn on_own_port(settings: &Settings, socket: &impl Facts, options: Options) -> Decision {
    if settings.ports.all() {
        return Decision::Act(options);
    }
    match may_use_own_port(settings, socket) {
        Ok(()) => Decision::Act(options),
        Err(reason) => Decision::StepAside(reason),
    }
}

#[cold]
#[inline(never)]
fn may_use_own_port(settings: &Settings, socket: &impl Facts) -> Result<(), Reason> {
    match socket.port() {
        Some(port) => may_use(settings, port, Reason::Unbound),
        None => Err(Reason::NotTcp),
    }
}

impl fmt::Display for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = [
            ("SO_REUSEADDR", self.reuse_address),
            ("SO_REUSEPORT", self.reuse_port),
            ("TCP_LINGER2=-1", self.ending == Ending::Forgotten),
            ("TCP_LINGER2=0", self.ending == Ending::Remembered),
            ("SO_LINGER={1,0}", self.ending == Ending::Reset),
        ];
        let mut separator = "";
        for (name, _) in names.into_iter().filter(|&(_, is_set)| is_set) {
            f.write_str(separator)?;
            f.write_str(name)?;
            separator = " and ";
        }
        f.write_str(if separator.is_empty() {
            "no option"
        } else {
            ""
        })
    }
}

#[cfg(test)]
mod tests;
