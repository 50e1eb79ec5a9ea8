//! `run` and `check` beside other things that are preloaded: `AddressSanitizer`'s runtime, and what
//! /etc/ld.so.preload names.

use crate::check::build;
use crate::{assert_says, check, code, crash_after_serving, json, nobody, run};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::{Folder, Program, compile_c, own_network, program, succeed};

/// Serves one connection at a time, closes first and sets no option.
const SERVER: &str = r#"
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
int main(int argc, char **argv) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    setvbuf(stdout, NULL, _IOLBF, 0);
    address.sin_port = htons(atoi(argv[1]));
    if (argc > 2) return system(argv[2]) != 0;
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 5)) {
        puts("in use");
        return 1;
    }
    for (puts("listening");; puts("served"))
        close(accept(listener, NULL, NULL));
}
"#;

fn asan_server() -> PathBuf {
    // Without it, gcc would have the runtime that clang has by default, which is not shared.
    compile_c("asan-server", SERVER, &["-fsanitize=address"])
}

/// Where gcc has the runtime.
fn asan_runtime() -> PathBuf {
    let path = succeed(Command::new("gcc").arg("-print-file-name=libasan.so"));
    fs::canonicalize(path.trim()).expect("gcc's runtime is there")
}

#[test]
fn serves_programs_of_address_sanitizer() {
    let server = asan_server();
    // The library in front of the runtime, which ends the program, and without it.
    let preloaded = Program::new(&server).argument("0").shimmed().run();
    assert!(
        preloaded
            .stderr
            .contains("ASan runtime does not come first"),
        "{preloaded:#?}"
    );
    let plain = Program::new(&server).argument("5000");
    let by_hand = plain
        .clone()
        .with("LD_PRELOAD", support::shim())
        .with("ASAN_OPTIONS", "verify_asan_link_order=0");
    let by_run = run().argument(&server).argument("5000");
    let with_runtime = by_run.clone().with("LD_PRELOAD", asan_runtime());
    for (program, expected) in [
        (&plain, "in use"),
        (&by_hand, "listening"),
        (&by_run, "listening"),
        (&with_runtime, "listening"),
    ] {
        own_network();
        crash_after_serving(program, 5000);
        assert_eq!(program.start().line(), expected, "{program:?}");
    }
    let checked = check().argument(&server).run().stdout;
    assert_says(&checked, "is built with AddressSanitizer");
    assert_says(&checked, "which LD_PRELOAD alone needs as well");
}

/// `LeakSanitizer` and a tracer exclude each other, which is said where it is asked for.
#[test]
fn says_that_leaks_are_not_looked_for_under_a_tracer() {
    let traced = |options: &str| {
        run()
            .arguments(["-v", "--engine", "trace"])
            .argument(asan_server())
            .arguments(["0", "true"])
            .with("ASAN_OPTIONS", options)
            .run()
    };
    let finished = traced("");
    assert_says(&finished.stderr, "LeakSanitizer fails under a tracer");
    assert_ne!(code(&finished), 0, "{finished:#?}");
    let finished = traced("detect_leaks=0");
    assert_eq!(code(&finished), 0, "{finished:#?}");
    // The control: by the library it works.
    let finished = run().argument(asan_server()).arguments(["0", "true"]).run();
    assert_eq!(code(&finished), 0, "{finished:#?}");
}

/// What it starts has no runtime to look for leaks with.
#[test]
fn leaves_what_a_program_of_address_sanitizer_starts_alone() {
    let perl = "perl -e 'print qq(done\\n)'";
    let started = run().argument(asan_server()).arguments(["0", perl]).run();
    assert_eq!(
        (started.stdout.as_str(), started.stderr.as_str()),
        ("done\n", "")
    );
    // The control: what would happen if the runtime were in LD_PRELOAD.
    let looked_for_leaks = Program::new(asan_server())
        .arguments(["0", perl])
        .with("LD_PRELOAD", asan_runtime())
        .run();
    assert_says(&looked_for_leaks.stderr, "LeakSanitizer");
}

/// Runs something where /etc/ld.so.preload has this text.
fn where_all_preload(text: &str, folder: &Folder, program: &Program) -> Program {
    let etc = folder.join("etc");
    if !etc.exists() {
        let status = Command::new("cp").arg("-a").arg("/etc").arg(&etc).status();
        assert!(status.expect("cp runs").success());
    }
    fs::write(etc.join("ld.so.preload"), text).expect("the folder is ours");
    Program::new(program_of("unshare"))
        .arguments(["-m", "sh", "-c", "mount --bind \"$0\" /etc && exec \"$@\""])
        .argument(etc)
        .command(program)
}

fn program_of(name: &str) -> PathBuf {
    program(&[name])
}

#[test]
fn knows_what_the_system_preloads() {
    let folder = Folder::for_other_users("system-wide");
    let library = folder.copy(support::shim(), "libreuse.so");
    let text = format!("{}\n", library.display());
    let setuid = folder.copy(build("witness-system-wide", &[]), "witness");
    fs::set_permissions(&setuid, fs::Permissions::from_mode(0o4755)).expect("the file is ours");
    let command = folder.copy(support::reuseaddr(), "reuseaddr");
    let by_nobody = |what: &str, options: &[&str]| {
        nobody()
            .arguments([command.as_path(), Path::new(what)])
            .arguments(options)
            .argument(&setuid)
    };
    // The kernel gives it more than its caller has, and the library is in it all the same.
    let alone = nobody().argument(&setuid);
    let seen = where_all_preload(&text, &folder, &alone).run();
    assert_eq!(seen.stdout.trim(), "with", "{seen:#?}");
    let answer = json(&where_all_preload(
        &text,
        &folder,
        &by_nobody("check", &["--json"]),
    ));
    assert_eq!(answer["engine"]["name"], "preload", "{answer}");
    assert!(answer["preload"].is_null(), "{answer}");
    let started = where_all_preload(&text, &folder, &by_nobody("run", &[])).run();
    assert_eq!(
        (started.stdout.trim(), started.stderr.as_str()),
        ("with", ""),
        "{started:#?}"
    );
    // The controls: another library there, and none.
    for text in ["# /opt/libreuse.so\n", ""] {
        let seen = where_all_preload(text, &folder, &alone).run();
        assert_eq!(seen.stdout.trim(), "without", "{seen:#?}");
        let answer = json(&where_all_preload(
            text,
            &folder,
            &by_nobody("check", &["--json"]),
        ));
        assert_eq!(answer["engine"]["name"], "wait", "{answer}");
    }
}

/// Its entries come through as they are.
#[test]
fn hands_the_environment_on_as_it_is() {
    let execve = |path: &Path, arguments: &str| {
        Program::python(&format!(
            "import ctypes\n\
             def array(*words): return (ctypes.c_char_p * (len(words) + 1))(*words, None)\n\
             libc = ctypes.CDLL(None)\n\
             path = b'{0}'\n\
             libc.execve(path, array(path, {arguments}), array(b'Z=1', b'odd', b'A=2', b'Z=3'))",
            path.display()
        ))
    };
    let witness = "print(open('/proc/self/environ').read().replace(chr(0), ' '))";
    let python = support::python();
    let natively = execve(&python, &format!("b'-c', b\"\"\"{witness}\"\"\"")).output();
    assert_eq!(natively.trim(), "Z=1 odd A=2 Z=3");
    let library = support::shim().display().to_string();
    let by_run = execve(
        support::reuseaddr(),
        &format!(
            "b'run', b'--library', b'{library}', b'{}', b'-c', b\"\"\"{witness}\"\"\"",
            python.display()
        ),
    )
    .output();
    assert_eq!(
        by_run.trim(),
        format!("Z=1 odd A=2 Z=3 LD_PRELOAD={library}")
    );
}
