//! What a program can still notice of its tracer, as docs/engines.md names it.

use crate::{run_with, status, victim, victim_file};
use std::fs;
use support::{Program, compile_c, own_network, program, wait_until};

fn observer(name: &str, text: &str) -> Program {
    let head = "#include <stdio.h>\n#include <stdlib.h>\n#include <sys/resource.h>\n";
    Program::new(compile_c(name, &format!("{head}{text}"), &["-static"]))
}

/// A static program may start dynamic ones.
#[test]
fn carries_the_library_for_what_it_starts() {
    let text = "int main(void) { puts(getenv(\"LD_PRELOAD\") ? \"named\" : \"none\"); return 0; }";
    let program = observer("preloaded", text);
    own_network();
    assert_eq!(program.output(), "none\n");
    assert_eq!(run_with::<&str>([], &program).output(), "named\n");
}

/// The tracer is made by a child that has ended before the program begins.
#[test]
fn counts_among_the_children() {
    let text = "int main(void) { struct rusage usage; getrusage(RUSAGE_CHILDREN, &usage); \
                puts(usage.ru_minflt ? \"some\" : \"none\"); return 0; }";
    let program = observer("usage", text);
    own_network();
    assert_eq!(program.output(), "none\n");
    assert_eq!(run_with::<&str>([], &program).output(), "some\n");
}

/// It is handed every orphan.
#[test]
fn is_a_zombie_where_the_program_is_process_1() {
    let children = |server: &Program| {
        own_network();
        let namespace = Program::new(program(&["unshare"])).arguments([
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
        ]);
        let mut outer = namespace.command(server).start();
        outer.expect("listening");
        let of = |pid: u32| {
            let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
            let list = list.expect("the kernel tells");
            let numbers = list.split_whitespace();
            numbers
                .map(|pid| pid.parse().expect("a number"))
                .collect::<Vec<u32>>()
        };
        let first = of(outer.pid())[0];
        let exe = fs::read_link(format!("/proc/{first}/exe")).expect("it is there");
        assert_eq!(exe, victim_file());
        wait_until("the tracer to detach", || status(first, "TracerPid") == "0");
        wait_until("its children to have ended", || {
            of(first)
                .iter()
                .all(|&child| status(child, "State").starts_with('Z'))
        });
        of(first).len()
    };
    assert_eq!(children(&victim()), 0);
    assert_eq!(children(&run_with(["--ports", "5000"], &victim())), 1);
}
