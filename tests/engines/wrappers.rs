//! Servers behind something that starts them, and programs whose calls the library never sees: what
//! `run` does about them, and what `check` reports.

use crate::{BUSY, PORT, crash, dynamic_victim, nobody, run, run_with, status, victim_file};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::{Folder, Program, compile_c, own_network, program, succeed, wait_until};

/// A program in a PID namespace of its own, all of which ends with it. It is not process 1 there.
fn contained(started: &Program) -> Program {
    Program::new(program(&["unshare"]))
        .arguments(["-pf", "--kill-child", "--mount-proc", "sh", "-c"])
        .arguments(["\"$@\"; exit", "-"])
        .command(started)
}

/// What the second start comes to when the first one was killed.
fn second_start(server: &Program) -> String {
    own_network();
    let server = contained(server);
    let mut first = server.start();
    first.expect("listening");
    crash(first, PORT);
    server.start().line()
}

/// Puts a copy there by a process that has it alone: a descriptor of ours would be in the children
/// of other tests, and what is open for writing can't be executed.
fn install(file: impl AsRef<Path>, place: &Path, mode: &str) -> PathBuf {
    let mut install = Command::new(program(&["install"]));
    succeed(
        install
            .args(["-D", "-m", mode])
            .args([file.as_ref(), place]),
    );
    place.to_owned()
}

fn executable(folder: &Folder, name: &str, text: &str) -> PathBuf {
    folder.script(name, text)
}

/// The words of a line; `SERVER` is the server with its port.
fn line(words: &str, server: &Path) -> Program {
    let words = words.replace("SERVER", &format!("{} {PORT}", server.display()));
    let mut words = split(&words).into_iter();
    Program::new(program(&[&words.next().expect("a program")])).arguments(words)
}

/// Splits at spaces, and takes what is quoted for one word.
fn split(line: &str) -> Vec<String> {
    let quoted = line.split('\'').enumerate();
    quoted
        .flat_map(|(number, part)| {
            if number % 2 == 0 {
                part.split_whitespace().map(str::to_owned).collect()
            } else {
                vec![part.to_owned()]
            }
        })
        .collect()
}

fn check(program: &Program) -> String {
    let answer = Program::new(support::reuseaddr())
        .arguments(["check", "--library"])
        .argument(support::shim())
        .command(program)
        .run();
    assert_eq!(answer.status.code(), Some(0), "{answer:#?}");
    answer.stdout
}

#[test]
fn serves_a_static_server_behind_what_starts_it() {
    let folder = Folder::for_other_users("wrappers");
    let server = install(victim_file(), &folder.join("server"), "755");
    let exec = executable(
        &folder,
        "exec.sh",
        &format!("#!/bin/sh\nexec {} {PORT}\n", server.display()),
    );
    let child = executable(
        &folder,
        "child.sh",
        &format!("#!/bin/sh\n{} {PORT}\necho ended\n", server.display()),
    );
    let lock = folder.join("lock");
    for (words, certain) in [
        (exec.display().to_string().as_str(), false),
        (child.display().to_string().as_str(), false),
        ("sh -c 'SERVER'", true),
        ("sh -c 'true; SERVER'", false),
        ("bash -c 'sh -c \"true; SERVER\"; true'", false),
        (&format!("flock {} SERVER", lock.display()), true),
        ("chroot / SERVER", true),
        ("setarch -R SERVER", true),
        ("xargs -a /dev/null SERVER", true),
        ("unshare -m SERVER", true),
        ("bwrap --bind / / --dev /dev SERVER", true),
        ("runuser -u nobody -- SERVER", true),
        ("setpriv --reuid nobody --clear-groups SERVER", true),
        (
            &format!(
                "start-stop-daemon --start --exec {} -- {PORT}",
                server.display()
            ),
            true,
        ),
        ("s6-setuidgid nobody SERVER", true),
        ("setuidgid nobody SERVER", true),
        ("chpst -u nobody SERVER", true),
        ("tini -s -- SERVER", true),
        ("dumb-init SERVER", true),
        // In none of the tables.
        (&format!("ld.so-like-launcher {}", server.display()), false),
    ] {
        let started = if words.starts_with("ld.so-like-launcher") {
            let starter = compile_c("unknown-starter", include_str!("exec_arguments.c"), &[]);
            Program::new(starter)
                .argument(&server)
                .argument(PORT.to_string())
        } else {
            line(words, &server)
        };
        assert_eq!(second_start(&started), BUSY, "the control: {words}");
        assert_eq!(
            second_start(&run_with::<&str>([], &started)),
            "listening",
            "{words}"
        );
        let said = check(&started);
        let expected = if certain {
            "yes: `reuseaddr run` traces"
        } else {
            "probably: the library works in"
        };
        assert!(said.starts_with(expected), "{words}: {said}");
    }
}

/// Neither is in a table of names: a script of an interpreter's that starts it, and a program that
/// binds nothing itself, behind a shell as well.
#[test]
fn serves_a_static_server_behind_a_script_or_an_unknown_program_that_starts_it() {
    let folder = Folder::for_other_users("starters");
    let server = install(victim_file(), &folder.join("server"), "755");
    let binds = "#include <sys/socket.h>\nint binds(void) { return bind(0, 0, 0); }";
    let library = compile_c("libbinds.so", binds, &["-shared", "-fPIC"]);
    let library = library.to_str().expect("UTF-8").to_owned();
    let flags = ["-Wl,--no-as-needed", &library];
    let launcher = compile_c("starter", include_str!("exec_arguments.c"), &flags);
    let launcher = launcher.display();
    let python = format!(
        "#!{}\nimport subprocess\nsubprocess.run([{:?}, '{PORT}'])\n",
        support::python().display(),
        server.display().to_string()
    );
    let python = executable(&folder, "start.py", &python);
    let python = python.display();
    let module = format!(
        "import os as system\ndef serve(): system.execv({:?}, ['s', '{PORT}'])\n",
        server.display().to_string()
    );
    fs::create_dir(folder.join("parts")).expect("a folder");
    folder.script("parts/starter.py", module.as_bytes());
    let main = |text: &str| format!("#!{}\n{text}\n", support::python().display());
    let loads = "from parts.starter import serve\nserve()";
    let loads = executable(&folder, "loads.py", &main(loads));
    for words in [
        &python.to_string(),
        &loads.display().to_string(),
        &format!(
            "perl -e 'open(my $pipe, \"|-\", \"{}\", {PORT}); close $pipe'",
            server.display()
        ),
        &format!("sh -c 'true; {python}'"),
        // Not UTF-8.
        &format!("sh -c 'true; {python} $(printf \"\\377\")'"),
        &format!("perl -e 'exec \"{}\", {PORT}'", server.display()),
        "git -c 'alias.serve=!SERVER' serve",
        &format!("{launcher} SERVER"),
        &format!("sh -c '{launcher} SERVER; true'"),
        "execlineb -c 's6-setuidgid nobody SERVER'",
    ] {
        let plain = line(words, &server);
        assert_eq!(second_start(&plain), BUSY, "the control: {words}");
        let ours = run_with::<&str>([], &plain);
        assert_eq!(second_start(&ours), "listening", "{words}");
        let said = check(&plain);
        assert!(said.starts_with("probably: "), "{words}: {said}");
    }
    // A debugger's program has one tracer, and may be static.
    let said = check(&line("gdb --args SERVER", &server));
    assert!(said.starts_with("not looked at: "), "{said}");
    // A script of the same folder that does not load it starts nothing.
    let alone = executable(&folder, "alone.py", &main("import json"));
    let said = check(&Program::new(&alone));
    assert!(said.starts_with("yes: "), "{said}");
    // Who starts nothing has nobody behind it.
    let python = Program::new(support::python()).arguments(["-m", "http.server"]);
    let said = check(&python);
    assert!(said.starts_with("yes: "), "{said}");
}

/// A dynamic server that loses the library on its way, or the file of it.
#[test]
fn serves_a_dynamic_server_that_loses_the_library() {
    let folder = Folder::for_other_users("lost");
    let server = dynamic_victim(&folder);
    let root = folder.join("root");
    for (file, place) in [
        ("/lib64/ld-linux-x86-64.so.2", "lib64"),
        ("/lib/x86_64-linux-gnu/libc.so.6", "lib/x86_64-linux-gnu"),
    ] {
        let name = Path::new(file).file_name().expect("a name");
        install(file, &root.join(place).join(name), "755");
    }
    install(&server, &root.join("server"), "755");
    let hides = format!(
        "unshare -m sh -c 'mount -t tmpfs none {}; SERVER'",
        support::shim()
            .parent()
            .expect("it is in a folder")
            .display()
    );
    for words in [
        &format!("chroot {} /server {PORT}", root.display()),
        hides.as_str(),
        "sh -c 'unset LD_PRELOAD; SERVER'",
        "sh -c 'true; env -i SERVER'",
    ] {
        let started = line(words, &server);
        assert_eq!(second_start(&started), BUSY, "the control: {words}");
        let by_run = run_with::<&str>([], &started);
        assert_eq!(second_start(&by_run), "listening", "{words}");
    }
}

/// It is the library's, and nobody traces it any more.
#[test]
fn detaches_from_a_dynamic_server_behind_a_script() {
    let folder = Folder::new("let-alone");
    let server = dynamic_victim(&folder);
    for command in ["exec SERVER", "SERVER; true"] {
        own_network();
        let started = line(&format!("sh -c '{command}'"), &server);
        let mut running = run_with::<&str>([], &started).start();
        running.expect("listening");
        let pid = if command.starts_with("exec") {
            running.pid()
        } else {
            let children = format!("/proc/{0}/task/{0}/children", running.pid());
            let children = fs::read_to_string(children).expect("it runs");
            children.trim().parse().expect("one child")
        };
        assert_eq!(status(pid, "TracerPid"), "0", "{command}");
        // The shell has something to start still.
        if pid != running.pid() {
            assert_ne!(status(running.pid(), "TracerPid"), "0");
        }
        let maps = fs::read_to_string(format!("/proc/{pid}/maps")).expect("it runs");
        assert!(maps.contains("libreuse.so"), "{command}");
        // SAFETY: kill takes any numbers; the server is the test's own.
        unsafe { libc::kill(i32::try_from(pid).expect("a pid"), libc::SIGKILL) };
    }
}

/// What gets privileges from its file keeps them, and a debugger can trace.
#[test]
fn takes_nothing_away_from_what_a_script_starts() {
    let folder = Folder::for_other_users("kept");
    let text = "#include <stdio.h>\n#include <unistd.h>\n\
                int main(void) { printf(\"%d\\n\", geteuid()); return 0; }";
    let setuid = install(
        compile_c("whoami", text, &[]),
        &folder.join("whoami"),
        "4755",
    );
    let command = install(support::reuseaddr(), &folder.join("reuseaddr"), "755");
    let shown = nobody(&folder)
        .argument(command)
        .argument("run")
        .command(&line(
            &format!("sh -c 'true; {}; id -u'", setuid.display()),
            &setuid,
        ))
        .run();
    assert_eq!(shown.stdout, "0\n65534\n", "{shown:#?}");
    let strace = run()
        .arguments(["sh", "-c", "strace -o /dev/null true && echo traced"])
        .run();
    assert_eq!(strace.stdout, "traced\n", "{strace:#?}");
}

/// The tracer would be process 1's child and stay as a zombie: so nobody follows, and `check` says
/// so.
#[test]
fn follows_nothing_as_process_1() {
    let folder = Folder::new("process-1");
    let script = executable(&folder, "start.sh", "#!/bin/sh\nps -eo stat=,comm=\n");
    let as_process_1 = |program: &Program| {
        Program::new(program_of("unshare"))
            .arguments(["-pf", "--kill-child", "--mount-proc"])
            .command(program)
            .run()
            .stdout
    };
    let by_run = run_with::<&str>([], &Program::new(&script));
    let listed = as_process_1(&by_run);
    assert!(
        listed.contains("start.sh") || listed.contains("sh"),
        "{listed}"
    );
    assert!(!listed.contains("reuseaddr"), "{listed}");
    // The control: not as process 1 there is one.
    assert!(contained(&by_run).run().stdout.contains("reuseaddr"));

    let checked = Program::new(support::reuseaddr())
        .argument("check")
        .argument(&script);
    let said = as_process_1(&checked);
    assert!(said.starts_with("not looked at: "), "{said}");
    assert!(said.contains("reuseaddr run --engine trace"), "{said}");
}

fn program_of(name: &str) -> PathBuf {
    program(&[name])
}

/// tmux's server runs, with an environment from long ago.
#[test]
fn knows_that_a_server_starts_what_tmux_is_told() {
    // The name of a socket has to be short.
    let folder = Folder::for_other_users("tmux");
    let tmux = |arguments: &[&str]| {
        Program::new(program_of("tmux"))
            .with("TMUX_TMPDIR", folder.path())
            .arguments(["-L", "libreuse"])
            .arguments(arguments)
    };
    let check = || {
        Program::new(support::reuseaddr())
            .with("TMUX_TMPDIR", folder.path())
            .argument("check")
            .command(&tmux(&["new-window", "true"]))
            .run()
            .stdout
    };
    assert!(check().starts_with("probably: "), "{}", check());
    let started = tmux(&["new-session", "-d", "sleep 1000"]).run();
    assert!(started.status.success(), "{started:#?}");
    let said = check();
    tmux(&["kill-server"]).run();
    assert!(said.starts_with("not looked at: "), "{said}");
    assert!(said.contains("in front of the program itself"), "{said}");
}

/// A victim that asks the kernel by itself, as Free Pascal's run-time library and Rust's rustix do.
fn past_libc(more: &str) -> String {
    let raw = "#include <sys/syscall.h>\n#include <unistd.h>\n\
               #define bind(...) syscall(SYS_bind, __VA_ARGS__)\n\
               #define listen(...) syscall(SYS_listen, __VA_ARGS__)\n";
    let text = include_str!("../spec/victim.c");
    let (includes, rest) = text.split_once("\nint main").expect("a C program");
    format!("{includes}\n{raw}\n{more}\nint main{rest}")
}

#[test]
fn traces_dynamic_programs_that_never_call_libc() {
    let server = compile_c("past-libc", &past_libc(""), &[]);
    let server = Program::new(server).argument(PORT.to_string());
    assert_eq!(second_start(&server), BUSY);
    let preloaded = run_with(["--engine", "preload"], &server);
    assert_eq!(second_start(&preloaded), BUSY, "the control");
    assert_eq!(second_start(&run_with::<&str>([], &server)), "listening");
    let said = check(&server);
    assert!(said.starts_with("yes: `reuseaddr run` traces"), "{said}");
    assert!(said.contains("can call libc's bind"), "{said}");
}

/// What it loads later may call it.
#[test]
fn is_not_certain_of_programs_that_load_libraries_later() {
    let loads = "#include <dlfcn.h>\nvoid *load(char *name) { return dlopen(name, RTLD_NOW); }";
    let server = compile_c("loads-later", &past_libc(loads), &[]);
    let server = Program::new(server).argument(PORT.to_string());
    let said = check(&server);
    assert!(said.starts_with("probably: "), "{said}");
    assert!(said.contains("reuseaddr run --engine trace"), "{said}");
    let traced = run_with(["--engine", "trace"], &server);
    assert_eq!(second_start(&traced), "listening");
}

/// Free Pascal's programs with threads load libraries, and make each call by a function of their
/// own that is given its number.
#[test]
fn traces_dynamic_programs_that_make_their_own_calls() {
    let own = r#"#include <dlfcn.h>
#include <errno.h>
void *load(char *name) { return dlopen(name, RTLD_NOW); }
__attribute__((noinline)) static int call(long number, long a, long b, long c) {
#ifdef __aarch64__
    register long x8 __asm__("x8") = number, x1 __asm__("x1") = b, x2 __asm__("x2") = c;
    register long result __asm__("x0") = a;
    __asm__ volatile("svc #0" : "+r"(result) : "r"(x8), "r"(x1), "r"(x2) : "memory");
#else
    long result = number;
    __asm__ volatile("syscall" : "+a"(result) : "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
#endif
    return result < 0 ? (errno = -result, -1) : result;
}
#define socket(a, b, c) call(SYS_socket, a, b, c)
#undef bind
#undef listen
#define bind(a, b, c) call(SYS_bind, a, (long)(b), c)
#define listen(a, b) call(SYS_listen, a, b, 0)
"#;
    let server = compile_c("own-calls", &past_libc(own), &["-O1"]);
    let server = Program::new(server).argument(PORT.to_string());
    let preloaded = run_with(["--engine", "preload"], &server);
    assert_eq!(second_start(&preloaded), BUSY, "the control");
    assert_eq!(second_start(&run_with::<&str>([], &server)), "listening");
    let said = check(&server);
    assert!(said.starts_with("yes: `reuseaddr run` traces"), "{said}");
    assert!(said.contains("has system calls of its own"), "{said}");
    // And where something else starts it.
    let started = Program::new(program(&["env"])).command(&server);
    let preloaded = run_with(["--engine", "preload"], &started);
    assert_eq!(second_start(&preloaded), BUSY, "the control");
    for engine in [&[][..], &["--engine", "trace"]] {
        let traced = run_with(engine.iter().copied(), &started);
        assert_eq!(second_start(&traced), "listening", "{engine:?}");
    }
}

#[test]
fn tells_of_a_process_by_what_its_listeners_carry() {
    let folder = Folder::new("by-listeners");
    let check = |pid: u32| {
        Program::new(support::reuseaddr())
            .arguments(["check", "--pid", &pid.to_string()])
            .run()
    };
    let dynamic = Program::new(dynamic_victim(&folder)).argument(PORT.to_string());
    let raw =
        Program::new(compile_c("raw-listener", &past_libc(""), &[])).argument(PORT.to_string());
    let itself = Program::python(
        "s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)\n\
         s.bind(('127.0.0.1', 5000)); s.listen(); print('listening'); time.sleep(1000)",
    );
    for (server, is_traced, code, verdict) in [
        (dynamic.clone(), false, 1, "not loaded: "),
        (
            run_with(["--engine", "trace"], &dynamic),
            true,
            0,
            "nothing to do: ",
        ),
        (itself, false, 0, "nothing to do: "),
        (
            run_with(["--engine", "preload"], &dynamic),
            false,
            0,
            "loaded: ",
        ),
        (
            run_with(["--engine", "preload"], &raw),
            false,
            1,
            "loaded in vain: ",
        ),
    ] {
        own_network();
        let mut running = server.start();
        running.expect("listening");
        if is_traced {
            wait_until("the tracer to detach", || {
                status(running.pid(), "TracerPid") == "0"
            });
        }
        let answer = check(running.pid());
        assert_eq!(answer.status.code(), Some(code), "{answer:#?}");
        assert!(answer.stdout.starts_with(verdict), "{answer:#?}");
        if verdict.contains("vain") {
            assert!(answer.stdout.contains("run --engine trace"), "{answer:#?}");
        }
    }
}
