//! Decides what to do about a call, from the settings and the socket's state: which options to set,
//! or why to set none.

use crate::calls::{Connection, Facts, State};
use crate::endpoint::Endpoint;
use crate::settings::{Linger, Settings};
use core::fmt;

/// The decision about a call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Decision {
    /// Set these options.
    Act(Options),
    /// Make the program's own call alone.
    StepAside(Reason),
}

/// The socket options to set.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Options {
    /// `SO_REUSEADDR`.
    pub reuse_address: bool,
    /// `SO_REUSEPORT`.
    pub reuse_port: bool,
    /// How the connection is to end: `TCP_LINGER2` or `SO_LINGER`.
    pub close_mode: CloseMode,
}

/// How a connection is to end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CloseMode {
    /// Sets nothing.
    Unchanged,
    /// By a reset in place of `TIME_WAIT`, once everything is delivered (`TCP_LINGER2 = -1`).
    Graceful,
    /// In `TIME_WAIT`, as by default (`TCP_LINGER2 = 0`).
    TimeWait,
    /// By a reset at once, which discards what was not sent yet (`SO_LINGER {1, 0}`).
    Reset,
}

/// Why a call is left alone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reason {
    /// The descriptor is not an IPv4 or IPv6 TCP socket. UDP has no `TIME_WAIT`, and of two UDP
    /// sockets with `SO_REUSEADDR` one takes the other's datagrams.
    NotTcp,
    /// The program asked for any free port (port 0). With `net.ipv4.ip_autobind_reuse` a socket
    /// with `SO_REUSEADDR` may get one that is taken.
    AnyPort,
    /// The socket has no port yet.
    Unbound,
    /// `LIBREUSE_PORTS` does not list this port.
    OtherPort,
    /// The settings ask for nothing at this call.
    NothingSet,
    /// The socket has the option already, set by the program or at an earlier call.
    SetAlready,
    /// The socket is connecting or connected.
    Underway,
    /// A listener: accepted sockets would inherit the reset.
    Listener,
    /// The peer closed first, so this side leaves no `TIME_WAIT`, and a reset would only do harm.
    PeerClosedFirst,
    /// There is no connection that could be reset.
    Unconnected,
    /// Neither listening nor connected: `bind` and `listen` set the option when it matters.
    NotInUse,
    /// A connection that did not carry the option: no listener of ours has accepted it.
    NeverSet,
    /// No listener holds the connection's local port: others could bind the port during the
    /// connection.
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

/// The result of a `bind` so far.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum BindSoFar {
    /// The plain call failed with `EADDRINUSE`.
    InUse,
    /// It succeeded. `SO_REUSEPORT` matters only when another socket binds, or when this one
    /// listens, so it can be set after the `bind`.
    Bound,
}

/// Decides about a `bind` to `port`: the options to try again with, or to set for other copies
/// (`SO_REUSEPORT`).
pub fn bind(settings: &Settings, socket: &impl Facts, port: u16, so_far: BindSoFar) -> Decision {
    let in_use = so_far == BindSoFar::InUse;
    let options = Options {
        reuse_address: in_use && settings.reuse_address,
        reuse_port: settings.reuse_port,
        close_mode: CloseMode::Unchanged,
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

/// Decides about a `listen` that is about to be made: the options for accepted sockets to inherit.
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
/// A connecting or connected socket can't, and no other socket must get its port.
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

/// Decides about a `connect` that is about to be made: the options for the connection to have.
///
/// While a connection carries `SO_REUSEADDR`, others can bind its local port: a client that
/// searches for a free port then takes one that is in use, and its `connect` fails. A client that
/// needs one fixed port can't be distinguished from that, unless `LIBREUSE_PORTS` lists the port.
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

/// Whether the settings ask for anything at a `connect`; by default they do not. If false, the
/// kernel need not be queried.
#[must_use]
pub fn has_something_for_connections(settings: &Settings) -> bool {
    !Options::of_a_client(settings).is_none()
}

/// Decides whether to set `SO_REUSEADDR` (`wanted.reuse_address`) or `TCP_LINGER2`
/// (`wanted.close_mode`) again, after the program has cleared it itself. `carried` is whether the
/// socket carried `SO_REUSEADDR` before; `listened` is whether a listener holds an address.
///
/// The kernel does not report whether a connection was accepted or made. One that a listener of
/// ours accepted carries the option, but so may one that the program made. No other socket must get
/// the port of the latter. While a listener holds the port, every other `bind` to it fails.
pub fn cleared(
    settings: &Settings,
    socket: &impl Facts,
    wanted: Options,
    carried: bool,
    listened: impl FnOnce(Endpoint) -> bool,
) -> Decision {
    match socket.state() {
        None => Decision::StepAside(Reason::NotTcp),
        // Before listen or connect the program's own value stays: the socket may be its
        // single-instance lock.
        Some(State::Close) => Decision::StepAside(Reason::NotInUse),
        Some(State::Listen) => on_own_port(settings, socket, wanted),
        Some(_) if wanted.reuse_address && !carried => Decision::StepAside(Reason::NeverSet),
        Some(_) if wanted.reuse_address && !socket.local().is_some_and(listened) => {
            Decision::StepAside(Reason::NoListener)
        }
        Some(_) => on_own_port(settings, socket, wanted),
    }
}

/// Decides about a `close` that is about to be made: the options that determine whether the
/// connection leaves a `TIME_WAIT`.
///
/// The reset at the end of `graceful` shows in the peer's `SO_ERROR` and `poll`, before the bytes
/// that it has not read yet. A peer that checks there whether its `connect` succeeded would take it
/// for failed, and discard the connection with its unread bytes. A peer that has sent something has
/// checked before. If it has sent nothing, the connection keeps its `TIME_WAIT`, although it
/// inherited `TCP_LINGER2 = -1` from the listener.
pub fn close(settings: &Settings, socket: &impl Facts) -> Decision {
    if settings.linger == Linger::Off {
        return Decision::StepAside(Reason::NothingSet);
    }
    let Some(Connection {
        state,
        has_received,
    }) = socket.connection()
    else {
        return Decision::StepAside(Reason::NotTcp);
    };
    match state {
        State::Listen => return Decision::StepAside(Reason::Listener),
        State::Close | State::Connecting => return Decision::StepAside(Reason::Unconnected),
        State::PeerClosed => return Decision::StepAside(Reason::PeerClosedFirst),
        State::Connected => {}
    }
    let close_mode = match settings.linger {
        Linger::Zero => CloseMode::Reset,
        _ if has_received => CloseMode::Graceful,
        _ => CloseMode::TimeWait,
    };
    let options = Options {
        close_mode,
        ..Options::NONE
    };
    on_own_port(settings, socket, options)
}

impl Options {
    /// None of them.
    pub const NONE: Self = Self {
        reuse_address: false,
        reuse_port: false,
        close_mode: CloseMode::Unchanged,
    };

    /// The options that accepted sockets inherit from a listener.
    #[inline(always)]
    pub(crate) fn of_a_connection(settings: &Settings) -> Self {
        let close_mode = match settings.linger {
            Linger::Graceful => CloseMode::Graceful,
            // The reset is set at close alone: if inherited, it would discard what a killed process
            // has yet to send.
            Linger::Off | Linger::Zero => CloseMode::Unchanged,
        };
        Self {
            reuse_address: settings.reuse_address,
            reuse_port: false,
            close_mode,
        }
    }

    /// The options for a connecting socket.
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

    /// The options that are not in `done`.
    pub(crate) fn without(self, done: Self) -> Self {
        Self {
            reuse_address: self.reuse_address && !done.reuse_address,
            reuse_port: self.reuse_port && !done.reuse_port,
            close_mode: if self.close_mode == done.close_mode {
                CloseMode::Unchanged
            } else {
                self.close_mode
            },
        }
    }
}

/// Acts if the settings allow `port`; `zero` is the reason if it is 0.
#[inline(always)]
fn on_port(settings: &Settings, port: u16, zero: Reason, options: Options) -> Decision {
    match may_use(settings, port, zero) {
        Ok(()) => Decision::Act(options),
        Err(reason) => Decision::StepAside(reason),
    }
}

/// Whether the settings allow `port`; `zero` is the reason if it is 0.
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

/// Acts if the settings allow the socket's own port. It is queried only if the settings list ports.
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
            ("TCP_LINGER2=-1", self.close_mode == CloseMode::Graceful),
            ("TCP_LINGER2=0", self.close_mode == CloseMode::TimeWait),
            ("SO_LINGER={1,0}", self.close_mode == CloseMode::Reset),
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
