use super::*;
use crate::endpoint::Endpoint;
use std::cell::Cell;
use std::format;
use std::prelude::rust_2024::*;

/// A descriptor of which this is known, and which counts how often it is asked.
struct Known {
    port: Option<u16>,
    state: Option<State>,
    has_received: bool,
    asked: Cell<u32>,
}

impl Facts for Known {
    fn local(&self) -> Option<Endpoint> {
        self.asked.set(self.asked.get().saturating_add(1));
        let port = self.port?.to_be_bytes();
        Endpoint::decode(&[&2_u16.to_ne_bytes()[..], &port, &[127, 0, 0, 1]].concat())
    }

    fn state(&self) -> Option<State> {
        self.asked.set(self.asked.get().saturating_add(1));
        self.state
    }

    fn connection(&self) -> Option<Connection> {
        let has_received = self.has_received;
        self.state().map(|state| Connection {
            state,
            has_received,
        })
    }
}

fn socket(port: u16, state: State) -> Known {
    Known {
        port: Some(port),
        state: Some(state),
        has_received: true,
        asked: Cell::new(0),
    }
}

/// A connection whose peer has sent nothing.
fn silent(port: u16) -> Known {
    Known {
        has_received: false,
        ..socket(port, State::Connected)
    }
}

/// Something else than an IPv4 or IPv6 socket.
fn file() -> Known {
    Known {
        port: None,
        state: None,
        has_received: false,
        asked: Cell::new(0),
    }
}

/// UDP, or raw: it has an address and is not TCP.
fn datagram() -> Known {
    Known {
        port: Some(5000),
        state: None,
        has_received: false,
        asked: Cell::new(0),
    }
}

fn settings(variables: &[(&str, &str)]) -> Settings {
    let mut settings = Settings::DEFAULT;
    for (name, value) in variables {
        let name = format!("LIBREUSE_{name}");
        if let Err(complaint) = settings.set(name.as_bytes(), value.as_bytes()) {
            std::panic!("{complaint}");
        }
    }
    settings
}

const REUSE: Options = Options {
    reuse_address: true,
    reuse_port: false,
    close_mode: CloseMode::Unchanged,
};
const GRACEFUL: Options = Options {
    reuse_address: false,
    reuse_port: false,
    close_mode: CloseMode::Graceful,
};
const BOTH: Options = Options {
    close_mode: CloseMode::Graceful,
    ..REUSE
};
const ZERO: Options = Options {
    close_mode: CloseMode::Reset,
    ..GRACEFUL
};
const REMEMBERED: Options = Options {
    close_mode: CloseMode::TimeWait,
    ..GRACEFUL
};
const SHARE: Options = Options {
    reuse_address: false,
    reuse_port: true,
    close_mode: CloseMode::Unchanged,
};

use Decision::{Act, StepAside};

#[test]
fn binds_again() {
    let closed = || socket(0, State::Close);
    for (variables, known, port, expected) in [
        (&[][..], closed(), 5000, Act(REUSE)),
        (&[], file(), 5000, StepAside(Reason::NotTcp)),
        (&[], datagram(), 5000, StepAside(Reason::NotTcp)),
        (&[], closed(), 0, StepAside(Reason::AnyPort)),
        (
            &[("PORTS", "5001")],
            closed(),
            5000,
            StepAside(Reason::OtherPort),
        ),
        (&[("PORTS", "5001")], closed(), 5001, Act(REUSE)),
        (
            &[("REUSEADDR", "off")],
            closed(),
            5000,
            StepAside(Reason::NothingSet),
        ),
        (
            &[("REUSEADDR", "off"), ("WAIT", "1s")],
            closed(),
            5000,
            Act(Options::NONE),
        ),
        (
            &[("REUSEADDR", "off"), ("REUSEPORT", "on")],
            closed(),
            5000,
            Act(SHARE),
        ),
        (&[("LINGER", "graceful")], closed(), 5000, Act(REUSE)),
    ] {
        assert_eq!(
            bind(&settings(variables), &known, port, BindSoFar::InUse),
            expected,
            "{variables:?} {port}"
        );
    }
}

#[test]
fn shares_a_bound_port() {
    let closed = || socket(5000, State::Close);
    for (variables, known, port, expected) in [
        (&[][..], closed(), 5000, StepAside(Reason::NothingSet)),
        (&[("REUSEPORT", "on")], closed(), 5000, Act(SHARE)),
        (
            &[("REUSEPORT", "on")],
            closed(),
            0,
            StepAside(Reason::AnyPort),
        ),
        (
            &[("REUSEPORT", "on")],
            datagram(),
            5000,
            StepAside(Reason::NotTcp),
        ),
        (
            &[("REUSEPORT", "on"), ("PORTS", "1")],
            closed(),
            5000,
            StepAside(Reason::OtherPort),
        ),
    ] {
        assert_eq!(
            bind(&settings(variables), &known, port, BindSoFar::Bound),
            expected,
            "{variables:?} {port}"
        );
    }
}

#[test]
fn prepares_listeners() {
    for (variables, known, expected) in [
        (&[][..], socket(5000, State::Close), Act(REUSE)),
        (&[], socket(5000, State::Listen), Act(REUSE)),
        (
            &[],
            socket(5000, State::Connecting),
            StepAside(Reason::Underway),
        ),
        (
            &[],
            socket(5000, State::Connected),
            StepAside(Reason::Underway),
        ),
        (&[], socket(0, State::Close), StepAside(Reason::Unbound)),
        (&[], file(), StepAside(Reason::NotTcp)),
        (&[], datagram(), StepAside(Reason::NotTcp)),
        (
            &[("LINGER", "graceful")],
            socket(5000, State::Close),
            Act(BOTH),
        ),
        (
            &[("LINGER", "graceful"), ("REUSEADDR", "off")],
            socket(5000, State::Close),
            Act(GRACEFUL),
        ),
        (
            &[("LINGER", "zero")],
            socket(5000, State::Close),
            Act(REUSE),
        ),
        (
            &[("PORTS", "1-4999")],
            socket(5000, State::Close),
            StepAside(Reason::OtherPort),
        ),
    ] {
        assert_eq!(
            listen(&settings(variables), &known),
            expected,
            "{variables:?}"
        );
    }
    let known = socket(5000, State::Close);
    let off = settings(&[("REUSEADDR", "off"), ("LINGER", "zero")]);
    assert_eq!(listen(&off, &known), StepAside(Reason::NothingSet));
    assert_eq!(known.asked.get(), 0);
}

#[test]
fn prepares_connections() {
    for (variables, known, expected) in [
        (
            &[][..],
            socket(5000, State::Close),
            StepAside(Reason::NothingSet),
        ),
        (&[("PORTS", "5000")], socket(5000, State::Close), Act(REUSE)),
        (
            &[("PORTS", "5000")],
            socket(0, State::Close),
            StepAside(Reason::Unbound),
        ),
        (&[("PORTS", "5000")], file(), StepAside(Reason::NotTcp)),
        (&[("PORTS", "5000")], datagram(), StepAside(Reason::NotTcp)),
        (&[("LINGER", "graceful")], file(), StepAside(Reason::NotTcp)),
        // The second call on a nonblocking socket: the kernel has chosen its port, not the program.
        (
            &[("PORTS", "1-65535")],
            socket(40000, State::Connecting),
            StepAside(Reason::Underway),
        ),
        (
            &[("PORTS", "1-65535")],
            socket(40000, State::Connected),
            StepAside(Reason::Underway),
        ),
        (
            &[("LINGER", "graceful")],
            socket(5000, State::Close),
            Act(GRACEFUL),
        ),
        (
            &[("LINGER", "graceful"), ("PORTS", "5000")],
            socket(5000, State::Close),
            Act(BOTH),
        ),
        (
            &[("LINGER", "graceful")],
            socket(0, State::Close),
            Act(GRACEFUL),
        ),
        (
            &[("LINGER", "graceful"), ("PORTS", "1")],
            socket(0, State::Close),
            StepAside(Reason::Unbound),
        ),
        (
            &[("LINGER", "zero")],
            socket(0, State::Close),
            StepAside(Reason::NothingSet),
        ),
        (
            &[("PORTS", "1")],
            socket(5000, State::Close),
            StepAside(Reason::OtherPort),
        ),
    ] {
        assert_eq!(
            connect(&settings(variables), &known),
            expected,
            "{variables:?}"
        );
    }
}

#[test]
fn sets_again_what_counts() {
    let in_state = |state| socket(5000, state);
    for (variables, known, carried, expected) in [
        (&[][..], in_state(State::Listen), true, Act(REUSE)),
        (&[], in_state(State::Listen), false, Act(REUSE)),
        (&[], in_state(State::Connected), true, Act(REUSE)),
        (&[], in_state(State::PeerClosed), true, Act(REUSE)),
        (
            &[],
            in_state(State::Connected),
            false,
            StepAside(Reason::NeverSet),
        ),
        (
            &[],
            in_state(State::Connecting),
            false,
            StepAside(Reason::NeverSet),
        ),
        (
            &[],
            in_state(State::Close),
            true,
            StepAside(Reason::NotInUse),
        ),
        (&[], datagram(), true, StepAside(Reason::NotTcp)),
        (
            &[("PORTS", "1")],
            in_state(State::Listen),
            true,
            StepAside(Reason::OtherPort),
        ),
    ] {
        assert_eq!(
            cleared(&settings(variables), &known, REUSE, carried, |_| true),
            expected,
            "{variables:?} {:?} {carried}",
            known.state
        );
    }
}

/// Others could bind the port of a connection while it lives.
#[test]
fn leaves_a_connection_as_the_program_has_it_where_nobody_listens() {
    for state in [State::Connected, State::PeerClosed, State::Connecting] {
        assert_eq!(
            cleared(&settings(&[]), &socket(5000, state), REUSE, true, |_| false),
            StepAside(Reason::NoListener)
        );
    }
    assert_eq!(
        cleared(
            &settings(&[]),
            &socket(5000, State::Listen),
            REUSE,
            true,
            |_| false
        ),
        Act(REUSE)
    );
}

#[test]
fn closes() {
    for (variables, known, expected) in [
        (
            &[][..],
            socket(5000, State::Connected),
            StepAside(Reason::NothingSet),
        ),
        (
            &[("LINGER", "graceful")],
            socket(5000, State::Connected),
            Act(GRACEFUL),
        ),
        (&[("LINGER", "graceful")], silent(5000), Act(REMEMBERED)),
        (
            &[("LINGER", "graceful")],
            socket(5000, State::Listen),
            StepAside(Reason::Listener),
        ),
        (
            &[("LINGER", "graceful")],
            socket(5000, State::Connecting),
            StepAside(Reason::Unconnected),
        ),
        (
            &[("LINGER", "graceful")],
            socket(5000, State::Close),
            StepAside(Reason::Unconnected),
        ),
        (
            &[("LINGER", "graceful")],
            socket(5000, State::PeerClosed),
            StepAside(Reason::PeerClosedFirst),
        ),
        (
            &[("LINGER", "graceful")],
            datagram(),
            StepAside(Reason::NotTcp),
        ),
        (
            &[("LINGER", "graceful"), ("PORTS", "1")],
            silent(5000),
            StepAside(Reason::OtherPort),
        ),
        (&[("LINGER", "zero")], silent(5000), Act(ZERO)),
        (
            &[("LINGER", "graceful"), ("PORTS", "1")],
            file(),
            StepAside(Reason::NotTcp),
        ),
        (
            &[("LINGER", "zero")],
            socket(5000, State::Connected),
            Act(ZERO),
        ),
        (
            &[("LINGER", "zero")],
            socket(5000, State::Listen),
            StepAside(Reason::Listener),
        ),
        (
            &[("LINGER", "zero")],
            socket(5000, State::PeerClosed),
            StepAside(Reason::PeerClosedFirst),
        ),
        (
            &[("LINGER", "zero")],
            socket(5000, State::Connecting),
            StepAside(Reason::Unconnected),
        ),
        (
            &[("LINGER", "zero")],
            socket(5000, State::Close),
            StepAside(Reason::Unconnected),
        ),
        (&[("LINGER", "zero")], file(), StepAside(Reason::NotTcp)),
        (
            &[("LINGER", "zero"), ("PORTS", "5001-5002")],
            socket(5001, State::Connected),
            Act(ZERO),
        ),
    ] {
        assert_eq!(
            close(&settings(variables), &known),
            expected,
            "{variables:?}"
        );
    }
}
