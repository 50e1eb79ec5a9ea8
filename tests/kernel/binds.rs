//! Which later sockets bind beside which earlier ones, for every pair of options.

use crate::Answers;
use crate::sockets::{EARLIER, Flag, Kind, LATER, V4, next_port};
use socket2::Socket;
use support::{TcpState, own_network};

/// The pairs of options, of the earlier and the later socket, with which the later one binds.
fn pairs_that_bind(earlier: impl Fn(Flag, u16) -> Vec<Socket>, later: Kind) -> String {
    own_network();
    let mut good = Vec::new();
    for old in Flag::ALL {
        for new in Flag::ALL {
            let port = next_port();
            let _kept = earlier(old, port);
            if later.bound(new, port).is_ok() {
                good.push(format!("{}/{}", old.name(), new.name()));
            }
        }
    }
    match good.len() {
        0 => "no pair".into(),
        9 => "any".into(),
        _ => good.join(", "),
    }
}

pub(crate) fn over_what_is_left(answers: &Answers) {
    for earlier in EARLIER {
        for later in LATER {
            let left = |old, port| earlier.leave(old, port, TcpState::TimeWait);
            answers.say(
                format!("bind {} over TIME_WAIT of {}", later.name, earlier.name),
                pairs_that_bind(left, later),
            );
        }
    }
    for (name, state) in [
        ("FIN_WAIT1", TcpState::FinWait1),
        ("FIN_WAIT2", TcpState::FinWait2),
        ("LAST_ACK", TcpState::LastAck),
        ("an accepted connection", TcpState::Established),
    ] {
        answers.say(
            format!("bind 127.0.0.1 over {name} of 127.0.0.1"),
            pairs_that_bind(|old, port| V4.leave(old, port, state), V4),
        );
    }
}

pub(crate) fn over_what_is_live(answers: &Answers) {
    for earlier in LATER.into_iter().filter(|kind| kind.name != "127.0.0.2") {
        for later in LATER {
            let bound = |old, port| vec![earlier.bound(old, port).expect("the port is free")];
            answers.say(
                format!("bind {} beside a bound {}", later.name, earlier.name),
                pairs_that_bind(bound, later),
            );
        }
    }
    answers.say(
        "bind 127.0.0.1 beside a listener on 127.0.0.1",
        pairs_that_bind(|old, port| vec![V4.listening(old, port)], V4),
    );
}
