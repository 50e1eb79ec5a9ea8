//! `check`: what it says of a program is what `run` then does.

use crate::{assert_says, check, code, json, nobody, reuseaddr, run, server};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use support::{
    Folder, Program, TcpState, compile_c, compile_for_musl, own_network, program, python,
    set_capabilities, wait_for,
};

/// Prints which library is mapped, so that a verdict can be compared with what happens.
const WITNESS: &str = r#"
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
int main(int argc, char **argv) {
    char line[4096];
    const char *answer = "without";
    FILE *maps = fopen("/proc/self/maps", "r");
    if (argc > 99) bind(0, 0, 0);
    (void)argv;
    while (maps && fgets(line, sizeof line, maps))
        if (strstr(line, "libreuse.so")) answer = "with";
    puts(answer);
    return 0;
}
"#;

/// What the witness says when the library is simply preloaded, as nobody's launcher would stop it.
pub(crate) fn witnessed(path: &Path) -> String {
    Program::new(path).shimmed().run().stdout.trim().to_owned()
}

/// The library does not work in it, so that it is traced.
fn traced(path: &Path, why: &str) {
    assert_ne!(witnessed(path), "with", "{}", path.display());
    traced_unwitnessed(path, why);
    let started = run().argument(path).run();
    assert_eq!(
        (
            code(&started),
            started.stdout.trim(),
            started.stderr.as_str()
        ),
        (0, "without", ""),
        "{started:#?}"
    );
}

fn traced_unwitnessed(path: &Path, why: &str) {
    let checked = check().argument(path).run();
    assert_eq!(code(&checked), 0, "{checked:#?}");
    assert_says(&checked.stdout, "yes: `reuseaddr run` traces");
    assert_says(&checked.stdout, why);
    // Who insists on the library is told why not.
    let started = run()
        .arguments(["--engine", "preload"])
        .argument(path)
        .run();
    assert_eq!(
        (code(&started), started.stdout.as_str()),
        (125, ""),
        "{started:#?}"
    );
    assert_says(&started.stderr, why);
    assert_says(&started.stderr, "reuseaddr run --anyway");
}

pub(crate) fn build(name: &str, flags: &[&str]) -> PathBuf {
    compile_c(name, WITNESS, flags)
}

#[test]
fn approves_of_an_ordinary_program() {
    let witness = build("witness", &[]);
    assert_eq!(witnessed(&witness), "with");
    let answer = json(&check().argument("--json").argument(&witness));
    assert_eq!(answer["works"], true, "{answer}");
    assert_eq!(answer["format"]["libc"], "glibc", "{answer}");
    assert_eq!(answer["format"]["linkage"], "dynamic", "{answer}");
    assert_eq!(
        answer["imports"]["bind"][0],
        witness.to_str().expect("UTF-8"),
        "{answer}"
    );
    assert!(answer["imports"]["setsockopt"].is_null(), "{answer}");
    assert_eq!(run().argument(&witness).output().trim(), "with");
    let text = check().argument(&witness).run().stdout;
    assert_says(&text, "it sets no SO_REUSEADDR by itself");
}

#[test]
fn finds_static_programs_to_be_traced() {
    let witness = build("witness-static", &["-static"]);
    traced(&witness, "statically linked");
    let pie = build("witness-static-pie", &["-static-pie", "-fPIE"]);
    traced(&pie, "statically linked");
    let anyway = run()
        .arguments(["--engine", "preload", "--anyway"])
        .argument(&witness)
        .run();
    assert_eq!(
        (code(&anyway), anyway.stdout.trim()),
        (0, "without"),
        "{anyway:#?}"
    );
}

#[test]
fn finds_go_programs_to_be_traced() {
    // One that uses cgo is dynamic and loads the library, to no avail.
    for (name, linkage) in [("gosu", "static"), ("webhook", "dynamic")] {
        let path = program(&[name]);
        traced_unwitnessed(&path, "is a Go program");
        let answer = json(&check().argument("--json").argument(&path));
        assert_eq!(answer["format"]["linkage"], linkage, "{answer}");
    }
}

#[test]
fn finds_programs_of_another_kind_to_be_traced() {
    traced(&build("witness-32", &["-m32"]), "is 32-bit i386");
}

#[test]
fn serves_programs_of_musl_by_the_same_library() {
    let witness = compile_for_musl("witness-musl", WITNESS, &[]);
    assert_eq!(witnessed(&witness), "with");
    let answer = json(&check().argument("--json").argument(&witness));
    assert_eq!(answer["engine"]["name"], "preload", "{answer}");
    assert_eq!(answer["format"]["libc"], "musl", "{answer}");
    // musl's own calls are its own business.
    let callers = [witness.to_str().expect("UTF-8")];
    assert_eq!(
        answer["imports"]["bind"],
        serde_json::json!(callers),
        "{answer}"
    );
    assert_eq!(run().argument(&witness).output().trim(), "with");
    // A shell of glibc may start it as well.
    let by_shell = run()
        .arguments(["sh", "-c", "exec \"$0\""])
        .argument(&witness);
    assert_eq!(by_shell.output().trim(), "with");
}

/// The kernel and the dynamic linker never read a program's sections.
#[test]
fn serves_programs_whose_sections_can_not_be_read() {
    let folder = Folder::new("sections");
    let whole = fs::read(build("witness-sections", &[])).expect("the program");
    // Where the table is, and how many there are (elf(5)): packed away, or nonsense.
    for (name, place, count) in [("none", 0_u64, 0_u16), ("elsewhere", 1 << 40, 20)] {
        let mut bytes = whole.clone();
        bytes[0x28..0x30].copy_from_slice(&place.to_le_bytes());
        bytes[0x3c..0x3e].copy_from_slice(&count.to_le_bytes());
        let path = folder.script(name, &bytes);
        assert_eq!(Program::new(&path).output().trim(), "without", "{name}");
        let answer = json(&check().argument("--json").argument(&path));
        assert_eq!(answer["engine"]["name"], "preload", "{answer}");
        assert_eq!(answer["certain"], false, "{answer}");
        assert_eq!(run().argument(&path).output().trim(), "with", "{name}");
    }
}

#[test]
fn refuses_what_no_kernel_or_linker_can_start() {
    let folder = Folder::new("unstartable");
    let whole = fs::read(build("witness-whole", &[])).expect("the program");
    let cut = folder.script("cut", &whole[..whole.len() / 2]);
    let magic = folder.script("magic", b"\x7fELF");
    let linker = "-Wl,--dynamic-linker=/nowhere/ld-linux-x86-64.so.2";
    let homeless = build("witness-homeless", &[linker]);
    for (path, why) in [
        (&cut, "it ends before its segments do"),
        (&magic, "it is cut short"),
        (
            &homeless,
            "/nowhere/ld-linux-x86-64.so.2, which is not there",
        ),
    ] {
        let control = Program::new("/bin/sh").arguments(["-c", "exec \"$0\""]);
        let control = control.argument(path).run();
        assert!(!control.status.success(), "{control:#?}");
        let checked = check().argument(path).run();
        assert_eq!(code(&checked), 1, "{checked:#?}");
        assert_says(&checked.stdout, "no: ");
        assert_says(&checked.stdout, why);
        let started = run().argument(path).run();
        assert_eq!(code(&started), 125, "{started:#?}");
    }
    // It may be there in other files.
    let elsewhere = check().arguments(["unshare", "-m"]).argument(&homeless);
    let elsewhere = elsewhere.run();
    assert_eq!(code(&elsewhere), 0, "{elsewhere:#?}");
    assert_says(&elsewhere.stdout, "probably: ");
}

/// The command as nobody, for whom a setuid or capable file is more than it is for root.
fn as_nobody(command: &Path, arguments: &[&str]) -> Program {
    nobody().argument(command).arguments(arguments)
}

#[test]
fn refuses_programs_with_more_rights_than_their_caller() {
    let folder = Folder::for_other_users("secure");
    let witness = build("witness-secure", &[]);
    let command = folder.copy(support::reuseaddr(), "reuseaddr");
    let library = folder.copy(support::shim(), "libreuse.so");
    let mode = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("the file is ours");
    };
    let setuid = folder.copy(&witness, "setuid");
    mode(&setuid, 0o4755);
    let setgid = folder.copy(&witness, "setgid");
    mode(&setgid, 0o2755);
    let capable = folder.copy(&witness, "capable");
    set_capabilities(&capable, "cap_net_bind_service=ep");
    let plain = folder.copy(&witness, "plain");

    for (path, why) in [
        (&setuid, "is setuid"),
        (&setgid, "is setgid"),
        (&capable, "AmbientCapabilities="),
    ] {
        let path = path.to_str().expect("UTF-8");
        // What happens without the command: it runs, and the library is not in it.
        let alone = nobody()
            .argument("env")
            .argument(format!("LD_PRELOAD={}", library.display()))
            .argument(path)
            .run();
        assert_eq!(alone.stdout.trim(), "without", "{alone:#?}");
        let started = as_nobody(&command, &["run", path]).run();
        assert_eq!(
            (code(&started), started.stdout.as_str()),
            (125, ""),
            "{started:#?}"
        );
        assert_says(&started.stderr, why);
        // Whoever has the rights already does not get more.
        let as_root = Program::new(&command).arguments(["run", path]).run();
        assert_eq!(as_root.stdout.trim(), "with", "{as_root:#?}");
        // Nor does who can get none, but for file capabilities: the kernel still calls such a
        // program secure.
        let no_more = nobody()
            .argument("--no-new-privs")
            .argument(&command)
            .arguments(["run", "--anyway", path])
            .run();
        let expected = if path.ends_with("capable") {
            "without"
        } else {
            "with"
        };
        assert_eq!(no_more.stdout.trim(), expected, "{no_more:#?}");
        assert_eq!(
            no_more.stderr.is_empty(),
            expected == "with",
            "{no_more:#?}"
        );
    }
    let started = as_nobody(&command, &["run", plain.to_str().expect("UTF-8")]).run();
    assert_eq!(started.stdout.trim(), "with", "{started:#?}");
}

#[test]
fn tells_of_a_process_whether_the_library_is_in_it() {
    own_network();
    let mut plain = server(5000).start();
    plain.expect("listening");
    let finished = reuseaddr(["check", "--pid", &plain.pid().to_string()]).run();
    assert_eq!(code(&finished), 1, "{finished:#?}");
    assert_says(&finished.stdout, "the library is not in process");
    assert_says(
        &finished.stdout,
        "the listener on 127.0.0.1:5000 does not carry SO_REUSEADDR",
    );

    let mut shimmed = server(5001).shimmed().with("LIBREUSE_WAIT", "5s").start();
    shimmed.expect("listening");
    let answer = json(&reuseaddr([
        "check",
        "--json",
        "--pid",
        &shimmed.pid().to_string(),
    ]));
    assert_eq!(answer["works"], true, "{answer}");
    assert_eq!(answer["variables"]["LIBREUSE_WAIT"], "5s", "{answer}");
    assert_eq!(answer["sockets"][0]["reuse_address"], true, "{answer}");
    assert_eq!(answer["sockets"][0]["listening"], true, "{answer}");

    let mut mistaken = server(5002).shimmed().with("LIBREUSE_WAIT", "5").start();
    mistaken.expect("listening");
    let finished = reuseaddr(["check", "--pid", &mistaken.pid().to_string()]).run();
    assert_eq!(code(&finished), 0, "{finished:#?}");
    assert_says(
        &finished.stdout,
        "LIBREUSE_WAIT=5: no unit; expected a duration such as 0, 500ms, 60s or 2m, or \
         60s,listeners. The default applies",
    );

    let folder = Folder::new("check-renamed");
    let renamed = folder.copy(support::shim(), "reuse-1.0.so");
    let mut other = server(5003).with("LD_PRELOAD", &renamed).start();
    other.expect("listening");
    let finished = reuseaddr(["check", "--pid", &other.pid().to_string()]).run();
    assert_eq!(code(&finished), 0, "{finished:#?}");
    assert_says(&finished.stdout, "reuse-1.0.so is mapped");

    let gone = reuseaddr(["check", "--pid", "4194304"]).run();
    assert_eq!(code(&gone), 2);
    assert_says(&gone.stderr, "there is no process 4194304");
}

/// The path of a file that it has mapped need not be UTF-8.
#[test]
fn tells_of_a_process_of_any_name() {
    own_network();
    let folder = Folder::new("check-named");
    let binary = compile_c("named-victim", include_str!("../spec/victim.c"), &[]);
    for name in [&b"server"[..], b"stra\xdfe"] {
        let file = folder.copy(&binary, OsStr::from_bytes(name));
        let mut running = Program::new(file).argument("5000").shimmed().start();
        running.expect("listening");
        let finished = reuseaddr(["check", "--pid", &running.pid().to_string()]).run();
        assert_eq!(code(&finished), 0, "{finished:#?}");
        assert_says(&finished.stdout, "libreuse.so is mapped");
    }
}

#[test]
fn tells_of_a_process_that_the_library_is_in_it_to_no_avail() {
    own_network();
    for (names, code_expected) in [("other,pyth*", 0), ("other", 1)] {
        let mut running = server(5000)
            .shimmed()
            .with("LIBREUSE_PROGRAMS", names)
            .start();
        running.expect("listening");
        let finished = reuseaddr(["check", "--pid", &running.pid().to_string()]).run();
        assert_eq!(code(&finished), code_expected, "{finished:#?}");
        if code_expected == 1 {
            assert_says(&finished.stdout, "the library does nothing in process");
            assert_says(
                &finished.stdout,
                "LIBREUSE_PROGRAMS leaves this program out",
            );
        }
    }

    let folder = Folder::new("check-go");
    let hooks = folder.join("hooks.json");
    fs::write(&hooks, "[]").expect("the folder is ours");
    let running = Program::new(program(&["webhook"]))
        .arguments(["-ip", "127.0.0.1", "-port", "5001", "-nopanic", "-hooks"])
        .argument(&hooks)
        .shimmed()
        .start();
    wait_for(5001, TcpState::Listen, 1);
    let finished = reuseaddr(["check", "--pid", &running.pid().to_string()]).run();
    assert_eq!(code(&finished), 1, "{finished:#?}");
    assert_says(&finished.stdout, "libreuse.so is mapped");
    assert_says(&finished.stdout, "the library does nothing in process");
    assert_says(&finished.stdout, "is a Go program");
    assert_says(
        &finished.stdout,
        "the listener on 127.0.0.1:5001 carries SO_REUSEADDR",
    );
}

#[test]
fn says_what_is_missing() {
    let folder = Folder::new("missing");
    let broken = folder.join("broken").display().to_string();
    std::os::unix::fs::symlink("nowhere", &broken).expect("a link");
    for (name, why) in [
        ("no-such-program", "in PATH"),
        ("/no/such", "there is no file"),
        ("/etc/passwd", "can't be executed"),
        ("", "PROGRAM is empty"),
        (broken.as_str(), "is a link to a file that is not there"),
    ] {
        let checked = check().argument(name).run();
        assert_eq!(code(&checked), 2, "{checked:#?}");
        assert_says(&checked.stderr, why);
    }
    assert!(python().is_file());
    // An option of ours that would be the program's.
    let finished = check().arguments(["true", "--json"]).run();
    assert_eq!(code(&finished), 2, "{finished:#?}");
    assert_says(
        &finished.stderr,
        "--json after PROGRAM is an argument of PROGRAM",
    );
}

/// Prints whether it is traced, and whether the library is mapped.
const WHO_SERVES: &str = r#"
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
int main(int argc, char **argv) {
    char line[4096];
    /* A program that calls bind, as servers do. */
    if (argc > 9)
        return bind(0, (void *)argv, 0);
    int libraries = 0, tracer = -1;
    FILE *file = fopen("/proc/self/maps", "r");
    while (file && fgets(line, sizeof line, file))
        libraries |= strstr(line, "libreuse.so") != NULL;
    file = fopen("/proc/self/status", "r");
    while (file && fgets(line, sizeof line, file))
        sscanf(line, "TracerPid: %d", &tracer);
    printf("%s, %s\n", libraries ? "with" : "without", tracer ? "traced" : "not traced");
    return 0;
}
"#;

/// What a traced program starts.
#[test]
fn detaches_from_what_the_library_serves() {
    const LAUNCHER: &str = "
#include <unistd.h>
int main(int argc, char **argv) {
    (void)argc;
    execv(argv[1], argv + 1);
    return 1;
}
";
    let launcher = compile_c("launcher-static", LAUNCHER, &["-static"]);
    for program in [
        compile_c("who-serves", WHO_SERVES, &[]),
        compile_for_musl("who-serves-musl", WHO_SERVES, &[]),
    ] {
        let started = run().argument(&launcher).argument(&program);
        assert_eq!(started.output(), "with, not traced\n", "{program:?}");
    }
    let static_one = compile_for_musl("who-serves-static", WHO_SERVES, &["-static"]);
    let started = run().argument(&launcher).argument(static_one);
    assert_eq!(started.output(), "without, traced\n");
}
