//! Programs that trace others, and whoever has a name of theirs: what they do decides.

use crate::{own_time_wait, run_with, victim_file};
use support::{Folder, Program, compile_c, own_network};

/// A thread has one tracer at a time, so ours makes way for another one, whatever that is called.
#[test]
fn makes_way_for_another_tracer() {
    let text = include_str!("tracers.c");
    let folder = Folder::new("engines-tracers");
    let starter = compile_c(
        "tracers-starter",
        include_str!("exec_arguments.c"),
        &["-static"],
    );
    for (width, flags) in [("64", &["-static"][..]), ("32", &["-static", "-m32"])] {
        let binary = compile_c(&format!("tracers-{width}"), text, flags);
        let expected = Program::new(&binary).output();
        assert!(expected.starts_with("stopped by 10"), "{expected}");
        assert!(
            !expected.contains("not permitted") && expected.ends_with("over\n"),
            "{expected}"
        );
        for name in ["rr", "gdb", "tracks"] {
            own_network();
            let program = folder.copy(&binary, name);
            let traced = run_with(["--engine", "trace"], &Program::new(&program));
            assert_eq!(traced.output(), expected, "{name}, {width} bits");
            let behind = Program::new(&starter).argument(&program);
            let seen = run_with::<&str>([], &behind);
            assert_eq!(seen.output(), expected, "{name}, {width} bits, started");
        }
    }
}

/// A server that is called as one of them is served, even if it could trace, and so is one behind a
/// program that was not there.
#[test]
fn serves_a_server_that_has_the_name_of_a_tracer() {
    let folder = Folder::new("engines-names");
    let tries = compile_c(
        "tries",
        r"
#include <stdio.h>
#include <unistd.h>
int main(int count, char **arguments)
{
    (void)count;
    execlp(arguments[1], arguments[1], NULL);
    execv(arguments[2], arguments + 2);
    return 1;
}
",
        &["-static"],
    );
    for name in ["rr", "strace", "podman", "docker", "ssh", "systemctl"] {
        let server = Program::new(folder.copy(victim_file(), name)).argument("5000");
        own_time_wait();
        assert_eq!(server.start().line(), crate::BUSY, "{name}");
        for options in [&[][..], &["--engine", "trace"]] {
            let line = run_with(options, &server).start().line();
            assert_eq!(line, "listening", "{name}, {options:?}");
        }
    }
    let text = include_str!("../spec/victim.c")
        .replace("int main(", "const char *word = \"ptrace\";\nint main(");
    let could = folder.copy(compile_c("could-trace", &text, &["-static"]), "gdbserver");
    for server in [victim_file(), &could] {
        let server = Program::new(&tries)
            .argument("youki")
            .argument(server)
            .argument("5000");
        own_time_wait();
        assert_eq!(server.start().line(), crate::BUSY);
        assert_eq!(run_with::<&str>([], &server).start().line(), "listening");
    }
}
