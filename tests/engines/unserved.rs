//! What a tracer can't enter: the program is as without one, and `check` says of the process that
//! nothing is done for it.

use crate::{nobody, own_time_wait, run_with};
use support::{Folder, Program, compile_c, own_network};

fn unserved(folder: &Folder) -> Program {
    let binary = compile_c("unserved", include_str!("unserved.c"), &["-static"]);
    Program::new(folder.copy(binary, "unserved"))
}

/// What it comes to over `TIME_WAIT`, and what `check` says of its process.
fn story(program: &Program) -> (String, String) {
    own_time_wait();
    let mut running = program.start();
    let bound = running.line();
    running.expect("listening");
    let pid = running.line();
    let checked = Program::new(support::reuseaddr())
        .arguments(["check", "--pid", &pid])
        .run();
    running.say("end");
    assert!(running.finish().status.success());
    let words: Vec<_> = checked.stdout.split_whitespace().collect();
    (bound, words.join(" "))
}

const BUSY: &str = "Address already in use";
const UNSERVED: &str = "the listener on 127.0.0.1:5001 does not carry SO_REUSEADDR";
const STAYS: [&str; 2] = ["--trace-quiet", "60s"];

/// The kernel lets nobody follow such a child (clone(2)).
#[test]
fn says_that_nothing_is_done_for_an_untraced_child() {
    let folder = Folder::new("engines-untraced");
    let plain = unserved(&folder).argument("plain");
    let untraced = unserved(&folder).argument("untraced");
    assert_eq!(story(&untraced).0, BUSY);
    assert_eq!(story(&run_with(STAYS, &plain)).0, "bound", "the control");
    let (bound, said) = story(&run_with(STAYS, &untraced));
    assert_eq!(bound, BUSY);
    assert!(said.contains(UNSERVED), "{said}");
}

/// A program that has made itself non-dumpable (`PR_SET_DUMPABLE`) can be inspected by root's
/// tracer alone.
#[test]
fn says_that_nothing_is_done_for_what_nobody_may_inspect() {
    let folder = Folder::for_other_users("engines-undumpable");
    let command = folder.copy(support::reuseaddr(), "reuseaddr");
    let by_nobody = |how: &str| {
        let traced = Program::new(&command)
            .arguments(["run", "--trace-quiet", "60s"])
            .command(&unserved(&folder).argument(how));
        nobody(&folder).command(&traced)
    };
    own_network();
    assert_eq!(story(&by_nobody("plain")).0, "bound", "the control");
    let (bound, said) = story(&by_nobody("undumpable"));
    assert_eq!(bound, BUSY);
    assert!(said.contains(UNSERVED), "{said}");
    let by_root = run_with(STAYS, &unserved(&folder).argument("undumpable"));
    assert_eq!(story(&by_root).0, "bound");
}
