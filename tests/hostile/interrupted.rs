//! Hooks that are interrupted: by signal handlers, by jumps out of them, by cancellation, and by
//! forks.

use crate::host::{Libc, changes_nothing_in, host};
use crate::loading::preloading;
use support::matrix::{Log, Setting, changes_nothing_when};
use support::shim;

#[test]
fn serves_a_signal_handler_at_10_khz() {
    changes_nothing_in(Libc::BOTH, "signal_storm.c", &[]);
}

#[test]
fn serves_2000_forked_children_of_four_busy_threads() {
    let program = host("forks.c");
    let control = program.clone().argument("2000");
    let (to_file, elsewhere): (Vec<_>, Vec<_>) = Setting::all()
        .into_iter()
        .partition(|setting| setting.log == Log::File);
    changes_nothing_when(&control, &control.clone().shimmed(), to_file);
    // The fewer system calls, the smaller a chance to be interrupted in one: a quarter of the forks
    // will do.
    let fewer = program.argument("500");
    changes_nothing_when(&fewer, &fewer.clone().shimmed(), elsewhere);
    let musl = Libc::Musl.host("forks.c").argument("500");
    changes_nothing_when(&musl, &musl.clone().shimmed(), Libc::Musl.settings());
}

#[test]
fn serves_children_that_share_memory_and_65536_closes() {
    changes_nothing_in(Libc::BOTH, "children.c", &[]);
}

#[test]
fn leaves_nothing_behind_when_a_handler_jumps_out() {
    changes_nothing_in(Libc::BOTH, "jump.c", &["sig"]);
}

/// A listener's option on a socket that does not listen would let another copy bind its port, which
/// may be its lock.
#[test]
fn leaves_no_option_on_a_socket_that_does_not_listen() {
    for libc in Libc::BOTH {
        let program = libc.host("listen.c").argument("jump");
        let raiser = libc.compiled("signals_itself.c", &["-shared"]);
        changes_nothing_when(
            &preloading(&program, &[&raiser]),
            &preloading(&program, &[shim(), &raiser]),
            libc.settings(),
        );
    }
}

#[test]
fn leaves_no_option_behind_a_listen_that_fails() {
    changes_nothing_in(Libc::BOTH, "listen.c", &["fail"]);
}

#[test]
fn leaves_the_signal_mask_alone_when_a_handler_jumps_out() {
    changes_nothing_in(Libc::BOTH, "jump.c", &["plain"]);
}

#[test]
fn swallows_no_signal_that_somebody_else_sends() {
    changes_nothing_in(Libc::BOTH, "signals.c", &[]);
}

/// Of the same number and at the same moment as one that a line of the log raises.
#[test]
fn swallows_no_signal_that_is_for_one_thread() {
    changes_nothing_in(Libc::BOTH, "signals.c", &["thread"]);
}

#[test]
fn lets_cancelled_threads_clean_up() {
    changes_nothing_in(Libc::BOTH, "cancel.cpp", &[]);
}

/// `bind` is no cancellation point, and doesn't become one when it waits.
#[test]
fn is_not_cancelled_where_the_program_would_not_be() {
    for libc in Libc::BOTH {
        let program = libc.host("cancel.cpp").argument("no asynchronous ones");
        let waiting = program
            .clone()
            .shimmed()
            .with("LIBREUSE_WAIT", "30ms,listeners");
        changes_nothing_when(&program, &waiting, libc.settings());
    }
}

#[test]
fn fits_small_stacks() {
    changes_nothing_in(Libc::BOTH, "stacks.c", &[]);
}
