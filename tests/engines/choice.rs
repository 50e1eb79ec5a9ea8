//! Which engine is chosen, and what happens where none works.

use crate::{PORT, nobody, run, run_with, status, victim};
use std::ffi::CString;
use std::fs;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use support::{
    Folder, Program, compile_c, go, in_one_line, own_network, program, project, succeed, wait_until,
};

const STAYS: [&str; 4] = ["--trace-quiet", "300s", "--trace-limit", "300s"];

fn check() -> Program {
    Program::new(support::reuseaddr()).arguments(["check", "--json"])
}

/// What `check` says of a program.
fn answer(check: &Program) -> serde_json::Value {
    let finished = check.run();
    serde_json::from_str(&finished.stdout).unwrap_or_else(|error| panic!("{error}: {finished:#?}"))
}

/// A program of each kind, and the engine that `run` takes for it.
fn chosen(folder: &Folder) -> Vec<(&'static str, Program)> {
    let text = "#include <sys/socket.h>\n\
                int main(int argc, char **argv) { (void)argv; return argc > 99 && bind(0, 0, 0); }";
    let place = |name: &str, flags: &[&str]| folder.copy(compile_c(name, text, flags), name);
    let setuid = place("chosen-setuid", &[]);
    fs::set_permissions(&setuid, fs::Permissions::from_mode(0o4755)).expect("the file is ours");
    let library = folder.copy(support::shim(), "libreuse.so");
    let command = folder.copy(support::reuseaddr(), "reuseaddr");
    let by_nobody = nobody(folder)
        .argument(&command)
        .arguments(["check", "--json", "--library"])
        .argument(&library);
    let by_us = check().argument("--library").argument(&library);
    vec![
        (
            "preload",
            by_us.clone().argument(place("chosen-dynamic", &[])),
        ),
        (
            "trace",
            by_us.argument(place("chosen-static", &["-static"])),
        ),
        ("wait", by_nobody.argument(setuid)),
    ]
}

#[test]
fn the_readme_says_what_each_engine_cannot_do() {
    let folder = Folder::for_other_users("engines-chosen");
    let readme = fs::read_to_string(project().join("README.md")).expect("there is a README");
    let manual = fs::read_to_string(project().join("docs/engines.md")).expect("there is a page");
    let mut engines = Vec::new();
    for (expected, check) in chosen(&folder) {
        let answer = answer(&check);
        engines.push((expected, answer["engine"].clone()));
        if expected == "wait" {
            // Whatever this kernel can: a machine that has no cgroup v2 mounted names none.
            let alternative = answer["alternative"].clone();
            if alternative.is_null() {
                eprintln!("skipped: the row of bpf, which check does not name on this machine");
            } else {
                engines.push(("bpf", alternative));
            }
        }
    }
    for (expected, engine) in engines {
        assert_eq!(engine["name"], expected);
        let limits: Vec<&str> = engine["cannot"]
            .as_array()
            .expect("an array")
            .iter()
            .map(|limit| limit.as_str().expect("a sentence"))
            .collect();
        let cell = limits.join("; ");
        for text in [&readme, &manual] {
            let row = text
                .lines()
                .find(|line| line.starts_with(&format!("| `{expected}` |")))
                .unwrap_or_else(|| panic!("no row for {expected}"));
            assert!(row.ends_with(&format!("| {cell} |")), "{row}\n{cell}");
        }
    }
}

#[test]
fn says_which_one_it_takes_if_asked_to() {
    own_network();
    for (options, expected) in [
        (&["-v"][..], "engine trace: "),
        (
            &["-v", "--engine", "trace"],
            "engine trace: it was asked for",
        ),
    ] {
        let mut server = run_with(options, &victim()).start();
        server.expect("listening");
        wait_until("the engine's name", || {
            server.stderr_so_far().contains(expected)
        });
    }
    let mut silent = run_with::<&str>([], &victim().with("PATH", "/bin")).start();
    let _ = silent.line();
    assert_eq!(silent.stderr_so_far(), "");
}

#[test]
fn refuses_what_the_engine_cannot_do() {
    let victim = victim();
    for (options, says) in [
        (&["--engine", "preload"][..], "is statically linked"),
        (
            &["--linger", "zero"],
            "linger zero is for the engine preload",
        ),
        (
            &["--engine", "trace", "--linger", "zero"],
            "linger zero is for the engine preload",
        ),
    ] {
        let finished = run_with(options, &victim).run();
        assert_eq!(finished.status.code(), Some(125), "{finished:#?}");
        assert!(finished.stderr.contains(says), "{finished:#?}");
    }
}

/// They trace themselves, or would bring everything that is in their containers. The file decides,
/// and not its name alone.
#[test]
fn traces_no_tracers_and_no_containers() {
    let folder = Folder::new("engines-spared");
    let text = "#include <stdio.h>\nint main(int count, char **arguments) { (void)arguments; if \
                (count > 9) puts(WORD); return 0; }";
    let place = |word: &str, name: &str| {
        let word = format!("-DWORD=\"{word}\"");
        folder.copy(compile_c("spared", text, &["-static", &word]), name)
    };
    for (name, word, says) in [
        ("strace", "PTRACE_SEIZE", "traces programs itself"),
        ("gdb", "ptrace", "traces programs itself"),
        ("crun", "/sys/fs/cgroup", "starts containers"),
        ("youki", "cgroup.procs", "starts containers"),
    ] {
        let program = place(word, name);
        let finished = run().argument(&program).run();
        assert_eq!(finished.status.code(), Some(125), "{finished:#?}");
        assert!(finished.stderr.contains(says), "{finished:#?}");
        // What it is worth waiting for is known here.
        own_network();
        let finished = run()
            .arguments(["-v", "--ports", "5000"])
            .argument(&program)
            .run();
        assert!(finished.status.success(), "{finished:#?}");
        assert!(finished.stderr.contains("engine wait: "), "{finished:#?}");
        // Whoever knows better has the last word.
        let finished = run()
            .arguments(["--engine", "trace"])
            .argument(&program)
            .run();
        assert!(finished.status.success(), "{finished:#?}");
        // The control: a server that has such a name, as RoadRunner's `rr`.
        let program = place("serves", name);
        let finished = run().argument("-v").argument(&program).run();
        assert!(finished.status.success(), "{finished:#?}");
        assert!(finished.stderr.contains("engine trace: "), "{finished:#?}");
    }
    // Started by a program that is traced, it it is detached from, and can trace.
    let starter = compile_c(
        "spared-starter",
        include_str!("exec_arguments.c"),
        &["-static"],
    );
    let strace = program(&["strace"]);
    let finished = run()
        .argument(starter)
        .argument(strace)
        .arguments(["-e", "trace=execve", "/bin/true"])
        .run();
    assert!(
        finished.status.success() && finished.stderr.contains("execve(\"/bin/true\""),
        "{finished:#?}"
    );
}

/// Go programs say which module they are of: `rr` is a debugger, and `RoadRunner`'s server as well.
#[test]
fn knows_a_go_program_by_its_module() {
    let folder = Folder::new("engines-modules");
    for (module, name, expected) in [
        ("example.com/roadrunner/cmd/rr", "rr", "engine trace: "),
        ("example.com/podman", "crun", "engine trace: "),
        ("github.com/opencontainers/runc", "runc", "engine wait: "),
    ] {
        let source = folder.join(name).with_extension("d");
        fs::create_dir(&source).expect("the folder is ours");
        let module = format!("module {module}\n\ngo 1.18\n");
        fs::write(source.join("go.mod"), module).expect("the folder is ours");
        fs::write(source.join("main.go"), "package main\n\nfunc main() {}\n").expect("it is ours");
        let binary = folder.join(name);
        succeed(go(&folder).arg("-o").arg(&binary).current_dir(&source));
        own_network();
        let options = ["-v", "--ports", "5000"];
        let finished = run().arguments(options).argument(&binary).run();
        assert!(finished.status.success(), "{finished:#?}");
        assert!(finished.stderr.contains(expected), "{finished:#?}");
    }
}

/// A program that is traced already can't be traced again.
#[test]
fn waits_where_somebody_else_traces() {
    own_network();
    let traced = Program::new(program(&["strace"]))
        // As a grandchild, so that the program is ours to end.
        .arguments(["-D", "-f", "-o", "/dev/null"])
        .command(&run_with(["-v", "--ports", "5000"], &victim()));
    let mut server = traced.start();
    server.expect("listening");
    wait_until("the engine's name", || {
        let said = server.stderr_so_far();
        said.contains("engine wait: ") && said.contains("traces this already")
    });
}

/// A sandbox that forbids ptrace, which nobody can know beforehand.
#[test]
fn waits_where_nobody_may_trace() {
    own_network();
    let sandbox = compile_c(
        "no-ptrace",
        include_str!("exec_under_seccomp.c"),
        &["-DFORBIDDEN=SYS_ptrace"],
    );
    let mut server = Program::new(&sandbox)
        .command(&run_with(["--ports", "5000"], &victim()))
        .start();
    server.expect("listening");
    wait_until("the warning", || {
        server
            .stderr_so_far()
            .contains("a seccomp filter forbids tracing")
    });
    server.kill();
    // Nothing to wait for is named: it is started all the same.
    let mut server = Program::new(&sandbox)
        .command(&run_with::<&str>([], &victim()))
        .start();
    server.expect("listening");
    assert_eq!(status(server.pid(), "TracerPid"), "0");
    wait_until("the warning", || {
        let said = server.stderr_so_far();
        let words: Vec<_> = said.split_whitespace().collect();
        let said = words.join(" ");
        said.contains("add SystemCallFilter=@debug") && said.contains("is started unchanged")
    });
    server.kill();
    // Whoever asks for the tracer alone gets it or nothing.
    let finished = Program::new(&sandbox)
        .command(&run_with(["--engine", "trace"], &victim()))
        .run();
    assert_eq!(finished.status.code(), Some(125), "{finished:#?}");
}

#[test]
fn check_tells_of_a_process_that_is_traced() {
    own_network();
    let mut server = run_with(STAYS, &victim()).start();
    server.expect("listening");
    let tracer = status(server.pid(), "TracerPid");
    let answer = Program::new(support::reuseaddr())
        .arguments(["check", "--pid", &server.pid().to_string()])
        .run();
    assert_eq!(answer.status.code(), Some(0), "{answer:#?}");
    assert!(answer.stdout.starts_with("traced: "), "{answer:#?}");
    assert!(
        answer.stdout.contains(&format!("process {tracer}")),
        "{answer:#?}"
    );
    assert!(
        answer
            .stdout
            .contains(&format!("127.0.0.1:{PORT} carries SO_REUSEADDR"))
    );
}

#[test]
fn status_tells_of_a_holder_that_is_traced() {
    own_network();
    let mut server = run_with(STAYS, &victim()).start();
    server.expect("listening");
    let tracer = status(server.pid(), "TracerPid");
    let answer = |more: &[&str]| {
        Program::new(support::reuseaddr())
            .arguments(["status", &PORT.to_string()])
            .arguments(more)
            .run()
            .stdout
    };
    let tracer_told = || {
        let said: serde_json::Value = serde_json::from_str(&answer(&["--json"])).expect("JSON");
        said["ports"][0]["sockets"][0]["holders"][0]["tracer"].clone()
    };
    let said = answer(&[]);
    let facts = format!("traced until it listens by reuseaddr ({tracer})");
    assert!(said.contains(&facts), "{said}");
    assert_eq!(tracer_told().to_string(), tracer);

    // The control: the same program by itself.
    server.kill();
    own_network();
    let mut server = victim().start();
    server.expect("listening");
    let holders = answer(&["--json"]);
    assert!(holders.contains("\"tracer\""), "{holders}");
    assert!(tracer_told().is_null());
}

/// The same words and exit codes as ever.
#[test]
fn fails_as_before_where_there_is_nothing_to_start() {
    let folder = Folder::new("engines-bad");
    let place = |name: &str, bytes: &[u8]| folder.script(name, bytes);
    let elf = fs::read(compile_c(
        "bad",
        "int main(void) { return 0; }",
        &["-static"],
    ))
    .expect("it is there");
    let mut of_another_machine = elf.clone();
    of_another_machine[18..20].copy_from_slice(&40_u16.to_le_bytes());
    for (path, code, says) in [
        (
            place("data", b"\x00\x01\x02\x03 no program"),
            125,
            "neither an ELF file nor a script",
        ),
        (place("torn", &elf[..100]), 125, "damaged ELF file"),
        (
            place("broken", b"#!/no/such/interpreter\n"),
            125,
            "can't be read",
        ),
        (
            place("arm", &of_another_machine),
            125,
            "whose system calls the tracer does not know",
        ),
    ] {
        let finished = run().argument(&path).run();
        assert_eq!(finished.status.code(), Some(code), "{finished:#?}");
        let said = in_one_line(&finished.stderr);
        assert!(said.contains(says), "{finished:#?}");
    }
    // An interpreter that is static.
    let finished = run()
        .argument("-v")
        .argument(place(
            "script",
            format!("#!{}\n", place("static", &elf).display()).as_bytes(),
        ))
        .run();
    assert_eq!(finished.status.code(), Some(0), "{finished:#?}");
    assert!(finished.stderr.contains("engine trace: "), "{finished:#?}");
}

/// The arguments just fit, and what `run` adds to the environment does not any more.
#[test]
fn fails_as_a_shell_does_where_the_environment_has_no_room() {
    let folder = Folder::new("engines-room");
    // By short names: the kernel counts them as well.
    folder.copy(support::reuseaddr(), "r");
    let text = "int main(void) { return 0; }";
    folder.copy(compile_c("room", text, &[]), "d");
    folder.copy(compile_c("static-room", text, &["-static"]), "s");
    for program in ["./d", "./s"] {
        let started_with = |bytes: usize| {
            let mut command = std::process::Command::new("./r");
            // What is said of the tests' own variables would be the answer.
            command.env_clear().current_dir(folder.path());
            command.args(["run", program]);
            command.args(vec!["x".repeat(100_000); bytes / 100_000]);
            command.arg("x".repeat(bytes % 100_000)).output()
        };
        let (mut fits, mut too_much) = (0, 8 << 20);
        let mut last = None;
        while too_much - fits > 1 {
            let middle = usize::midpoint(fits, too_much);
            match started_with(middle) {
                Ok(output) => (fits, last) = (middle, Some(output)),
                Err(error) => {
                    assert_eq!(error.raw_os_error(), Some(libc::E2BIG));
                    too_much = middle;
                }
            }
        }
        let last = last.expect("few arguments fit");
        let said = String::from_utf8_lossy(&last.stderr);
        assert_eq!(last.status.code(), Some(126), "{said}");
        let expected = format!("reuseaddr: {program} can't be executed: Argument list too long");
        assert!(said.contains(&expected), "{said}");
    }
}

/// It is there when it is looked at, and gone when it is to be executed.
#[test]
fn fails_as_a_shell_does_where_the_program_vanishes() {
    let folder = Folder::new("engines-vanishing");
    for flags in [&[][..], &["-static"]] {
        let there = compile_c("vanishing", "int main(void) { return 0; }", flags);
        let mut vanished = 0;
        for _ in 0..200 {
            let path = folder.copy(&there, "program");
            let looked_at = Closings::of(&path);
            let running = run().argument(&path).start();
            looked_at.wait();
            fs::remove_file(&path).expect("it was there");
            let finished = running.finish();
            match finished.status.code() {
                Some(0) => {}
                Some(127) => {
                    let path = path.display().to_string();
                    // Where the lines break depends on the path's length.
                    let words: Vec<&str> = finished.stderr.split_whitespace().collect();
                    let words = words.join(" ");
                    let said = ["is not there any more", "can't be executed: No such file"]
                        .map(|what| words.contains(&format!("{path} {what}")));
                    assert!(said.contains(&true), "{finished:#?}");
                    vanished += 1;
                }
                _ => panic!("{finished:#?}"),
            }
            if vanished == 3 {
                break;
            }
        }
        assert_eq!(vanished, 3, "{flags:?}");
    }
}

/// Tells when a file that was read has been closed again (inotify(7)).
struct Closings(OwnedFd);

impl Closings {
    fn of(path: &Path) -> Self {
        // SAFETY: inotify_init1 takes flags.
        let fd = unsafe { libc::inotify_init1(libc::IN_CLOEXEC) };
        assert!(fd >= 0);
        // SAFETY: the descriptor is new, and nobody else has it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let path = CString::new(path.as_os_str().as_bytes()).expect("a path");
        // SAFETY: the path ends with a zero and outlives the call.
        let watch = unsafe {
            libc::inotify_add_watch(fd.as_raw_fd(), path.as_ptr(), libc::IN_CLOSE_NOWRITE)
        };
        assert!(watch >= 0);
        Self(fd)
    }

    fn wait(&self) {
        let patience = i32::try_from(support::patience().as_millis()).expect("not that long");
        let mut poll = libc::pollfd {
            fd: self.0.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: one pollfd, which outlives the call.
        assert_eq!(unsafe { libc::poll(&raw mut poll, 1, patience) }, 1);
    }
}
