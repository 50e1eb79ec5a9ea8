//! What libreuse costs, counted and not timed: instructions of each hook and of a start, symbols
//! and relocations, system calls of the launcher, of `status` and of `check`. The counts are exact
//! on a busy machine too, and held to `benches/budget`. `scripts/check/budget` runs this; with
//! `--record` it writes the budget anew.

mod answers;
mod budget;
mod hooks;
mod launcher;
mod startup;

use budget::{Budget, Spent};
use std::fs;
use support::{Folder, Program, program, shim};

/// How much more than the budget a hook or the command may spend.
const TOLERANCE: f64 = 1.1;
/// How much a hook with linger off may spend, of what the C limit spends.
const MOST_OF_LIMIT: f64 = 1.5;
/// The same for `listen`, which does most.
const MOST_OF_LISTEN: f64 = 1.2;
/// What a start takes, which may be no more than what it takes with the C limit.
const INSTRUCTIONS: &str = "start instructions";
/// How many instructions more a start may take.
const MOST_AT_START: f64 = 200.0;

#[test]
fn is_within_the_budget() {
    let drivers = hooks::Drivers::compile();
    let mut spent = hooks::spent(&drivers);
    spent.extend(startup::spent(shim()));
    spent.extend(launcher::spent());
    spent.extend(answers::spent());
    if std::env::var_os("LIBREUSE_RECORD_BUDGET").is_some() {
        Budget::record(&spent);
    }
    let budget = Budget::read();
    let mut limit = hooks::spent_by_the_limit(&drivers);
    let start = startup::spent(&drivers.limit);
    limit.extend(start.into_iter().filter(|it| it.what == INSTRUCTIONS));
    let mut over = Vec::new();
    println!("{:<24}{:>8}{:>8}{:>9}", "", "spent", "budget", "C limit");
    for Spent { what, number } in &spent {
        let allowed = budget.of(what);
        let least = limit.iter().find(|limit| limit.what == *what);
        let is_over = is_over(what, *number, allowed)
            || least.is_some_and(|least| *number > least.number * most_of_limit(what));
        let beside = least.map_or(String::new(), |least| least.number.to_string());
        let line = format!("{what:<24}{number:>8}{allowed:>8}{beside:>9}");
        println!("{line}");
        if is_over {
            over.push(line);
        }
    }
    assert_eq!(over, [""; 0], "more than the budget allows");
    assert_eq!(
        budget.len(),
        spent.len(),
        "benches/budget has what nothing measures: scripts/check/budget --record"
    );
}

/// How much something may spend, of what the C limit spends for it.
fn most_of_limit(what: &str) -> f64 {
    match what {
        INSTRUCTIONS => 1.0,
        "listen off" => MOST_OF_LISTEN,
        _ => MOST_OF_LIMIT,
    }
}

/// Whether something costs more than it may. Symbols and relocations are few: not one more.
fn is_over(what: &str, number: f64, allowed: f64) -> bool {
    match what {
        INSTRUCTIONS => number > allowed + MOST_AT_START,
        _ if what.starts_with("start ") => number > allowed,
        _ => number > allowed * TOLERANCE,
    }
}

/// The file is read and mapped at every start, and the command carries one for each kind of
/// program. Its size goes by pages: a few hundred bytes more are 4 KiB.
#[test]
fn has_40_kib_at_most() {
    let folder = Folder::new("size");
    let stripped = folder.copy(shim(), "libreuse.so");
    Program::new(program(&["strip"]))
        .argument("--strip-all")
        .argument(&stripped)
        .run()
        .succeeded();
    let size = fs::metadata(&stripped).expect("it is there").len();
    assert!(size <= 40 * 1024, "{size} bytes");
}

/// With a list of ports, each close has to ask for its own; and where an auditor may keep the
/// library out, the dynamic linker has to be asked.
#[test]
fn would_notice_a_rise() {
    let budget = Budget::read();
    let drivers = hooks::Drivers::compile();
    let ports = hooks::Hook::new("close", "graceful").with("LIBREUSE_PORTS", "1-65535");
    let slower = hooks::per_call(&drivers, shim(), &ports);
    assert!(is_over(
        "close graceful",
        slower,
        budget.of("close graceful")
    ));
    let stage = launcher::Stage::new();
    let asked = stage.calls(launcher::Library::Given, &[("LD_AUDIT", "")]);
    let asked = asked - stage.calls_of_any_start();
    assert!(is_over("run given", asked, budget.of("run given")));
    let start = budget.of(INSTRUCTIONS);
    assert!(is_over(INSTRUCTIONS, start + 201.0, start));
}
