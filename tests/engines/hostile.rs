//! The hostile suite, traced: what its programs see of the tracer.

use crate::run_with;
use std::process::Command;
use support::matrix::{Log, Setting, changes_nothing_when};
use support::{Program, compile_c_by, musl_gcc, project};

const STAYS: [&str; 4] = ["--trace-quiet", "300s", "--trace-limit", "300s"];

fn changes_nothing_in(source: &str, arguments: &[&str]) {
    for (libc, compiler) in [("glibc", Command::new("cc")), ("musl", musl_gcc())] {
        let program = host(compiler, libc, source).arguments(arguments);
        // `zero` is a matter of close, and refused.
        let settings = vec![
            Setting::new("off", Log::Stderr),
            Setting::new("graceful", Log::File),
        ];
        changes_nothing_when(&program, &run_with(STAYS, &program), settings);
    }
}

fn host(compiler: Command, libc: &str, source: &str) -> Program {
    let folder = project().join("tests/hostile");
    let text = std::fs::read_to_string(folder.join(source)).expect("a program of the suite");
    let include = format!("-I{}", folder.display());
    let patience = format!("-DPATIENCE={}", support::patience().as_secs() / 30);
    let flags = [
        "-static",
        "-O1",
        "-g",
        "-D_GNU_SOURCE",
        "-pthread",
        &include,
        &patience,
    ];
    Program::new(compile_c_by(
        compiler,
        &format!("{libc}-{source}"),
        &text,
        &flags,
    ))
}

#[test]
fn hands_out_the_results_and_errors_of_every_call() {
    changes_nothing_in("every_hook.c", &[]);
    changes_nothing_in("errno.c", &[]);
    changes_nothing_in("pointers.c", &[]);
}

#[test]
fn serves_threads_on_small_stacks_and_signal_stacks() {
    changes_nothing_in("stacks.c", &[]);
}

#[test]
fn serves_forked_children_of_busy_threads() {
    changes_nothing_in("forks.c", &["200"]);
}

#[test]
fn serves_every_kind_of_child() {
    changes_nothing_in("children.c", &[]);
}

#[test]
fn swallows_no_signal() {
    changes_nothing_in("signals.c", &[]);
}

#[test]
fn leaves_nothing_behind_when_a_handler_jumps_out() {
    changes_nothing_in("jump.c", &["sig"]);
}

#[test]
fn puts_back_what_a_listen_that_fails_had_set() {
    changes_nothing_in("listen.c", &["fail"]);
}

/// Each signal comes so soon after the last one's handler that a `bind` is hardly made again before
/// it. Any sooner, and a traced handler would not return before the next one is due, as it would
/// not on a slow machine.
#[test]
fn gets_on_between_signals_that_follow_each_other_closely() {
    let microseconds = (400 * support::slowness()).to_string();
    changes_nothing_in("signal_storm.c", &["10", &microseconds]);
}

#[test]
fn needs_no_descriptor() {
    changes_nothing_in("limits.c", &["three descriptors"]);
    changes_nothing_in("limits.c", &["descriptors"]);
}

/// In the time that it is given, with the program's handlers, and without a trace when one of them
/// jumps out.
#[test]
fn waits_and_leaves_no_trace() {
    for (libc, compiler) in [("glibc", Command::new("cc")), ("musl", musl_gcc())] {
        let control = host(compiler, libc, "wait.c");
        let waiting = run_with(STAYS, &control.clone().argument("300"))
            .with("LIBREUSE_WAIT", "300ms,listeners");
        let settings = vec![Setting::new("off", Log::Stderr)];
        changes_nothing_when(&control, &waiting, settings);
    }
}
