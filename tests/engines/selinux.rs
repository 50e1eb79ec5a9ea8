//! Programs that `SELinux` starts in another domain.

use crate::{BUSY, PORT, crash, dynamic_victim, run_with, second_run};
use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use support::{
    Folder, Program, compile_c, in_one_line, is_in_a_guest, own_network, program, reuseaddr, shim,
    succeed,
};

/// The policy is the whole machine's, and can't be taken back: this is for a guest of
/// `scripts/check/kernels`.
fn may_load_policy() -> bool {
    static LOADED: OnceLock<()> = OnceLock::new();
    if !is_in_a_guest("LIBREUSE_TEST_MAY_LOAD_POLICY") {
        return false;
    }
    LOADED.get_or_init(|| {
        let folder = Folder::new("selinux");
        let text = folder.join("text");
        fs::write(&text, include_str!("selinux.policy")).expect("the folder is ours");
        let policy = folder.join("policy");
        let mut compiler = Command::new(program(&["checkpolicy"]));
        succeed(compiler.args(["-U", "allow", "-o"]).args([&policy, &text]));
        let policy = fs::read(policy).expect("it was made");
        fs::write("/sys/fs/selinux/load", policy).expect("the kernel takes it");
        fs::write("/sys/fs/selinux/enforce", "1").expect("the kernel allows it");
    });
    true
}

/// Gives a program's file the label by which it is started in another domain.
fn label(file: &Path, domain: &str) {
    let context = format!("base_u:object_r:{domain}_exec_t");
    let text = "import os, sys; os.setxattr(sys.argv[1], 'security.selinux', sys.argv[2].encode())";
    let mut python = Command::new(program(&["python3"]));
    succeed(python.args(["-c", text]).arg(file).arg(context));
}

/// What `check` says of a command line, in one line.
fn checked<T: AsRef<OsStr>>(words: impl IntoIterator<Item = T>) -> String {
    let report = Program::new(reuseaddr())
        .arguments(["check", "--library"])
        .argument(shim())
        .arguments(words)
        .run();
    in_one_line(&report.stdout)
}

/// The dynamic linker leaves the library out of a program that is started in the domain `cleaned`;
/// `check` knows of these words that they start it there, and `run` traces it.
fn is_cleaned<T: AsRef<OsStr>>(program: &Program, words: impl IntoIterator<Item = T>) {
    assert_eq!(second_run(&program.clone().shimmed()), BUSY);
    let said = checked(words);
    for part in [
        "in base_u:base_r:cleaned_t, where the dynamic linker ignores LD_PRELOAD",
        "`allow base_t cleaned_t:process noatsecure;`",
        "the engine is trace",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert_eq!(second_run(&run_with::<&str>([], program)), "listening");
}

/// In another domain a program has `AT_SECURE`, and the dynamic linker drops `LD_PRELOAD`, unless
/// the policy says otherwise. `check` knows, and `run` traces it.
#[test]
fn another_domain_keeps_the_library_out() {
    if !may_load_policy() {
        return;
    }
    let folder = Folder::new("selinux-domains");
    let server = dynamic_victim(&folder);
    let bare = Program::new(&server).argument(PORT.to_string());
    let preloaded = bare.clone().shimmed();
    assert_eq!(second_run(&bare), BUSY);
    assert_eq!(second_run(&preloaded), "listening");

    label(&server, "kept");
    assert_eq!(second_run(&preloaded), "listening");
    assert!(checked([&server]).contains("the engine is preload"));

    label(&server, "cleaned");
    is_cleaned(&bare, [&server]);
}

/// What begins with a script is started in the domain of the script's label, whatever runs it.
#[test]
fn a_scripts_own_label_counts() {
    if !may_load_policy() {
        return;
    }
    let folder = Folder::new("selinux-script");
    let server = dynamic_victim(&folder);
    let text = format!("#!/bin/sh\nexec {} {PORT}\n", server.display());
    let script = folder.script("script", text);
    let bare = Program::new(&script);
    assert_eq!(second_run(&bare.clone().shimmed()), "listening");
    label(&script, "cleaned");
    is_cleaned(&bare, [&script]);
}

/// A context that is asked for goes before that of the label.
#[test]
fn a_context_that_is_asked_for_counts() {
    if !may_load_policy() {
        return;
    }
    let folder = Folder::new("selinux-asked");
    let server = dynamic_victim(&folder);
    label(&server, "kept");
    let setpriv = program(&["setpriv"]);
    let words = [
        "--selinux-label".as_ref(),
        "base_u:base_r:cleaned_t".as_ref(),
        server.as_os_str(),
    ];
    let asking = Program::new(&setpriv)
        .arguments(words)
        .argument(PORT.to_string());
    is_cleaned(&asking, [setpriv.as_os_str()].into_iter().chain(words));
}

/// What a static program starts has the library in its environment, and is detached from only if
/// the linker takes it from there.
#[test]
fn what_a_static_program_starts_is_served_in_another_domain() {
    if !may_load_policy() {
        return;
    }
    let folder = Folder::new("selinux-static");
    let server = dynamic_victim(&folder);
    label(&server, "cleaned");
    let parent = compile_c(
        "static-starter",
        include_str!("exec_arguments.c"),
        &["-static"],
    );
    let started = Program::new(parent)
        .argument(&server)
        .argument(PORT.to_string());
    assert_eq!(second_run(&started), BUSY);
    assert_eq!(second_run(&run_with::<&str>([], &started)), "listening");
}

/// Without new privileges there is no other domain either.
#[test]
fn no_other_domain_without_new_privileges() {
    if !may_load_policy() {
        return;
    }
    let folder = Folder::new("selinux-privileges");
    let server = dynamic_victim(&folder);
    label(&server, "cleaned");
    let unprivileged = |command: &[&str]| {
        Program::new(program(&["setpriv"]))
            .argument("--no-new-privs")
            .arguments(command)
            .argument(&server)
    };
    let preloaded = unprivileged(&[]).argument(PORT.to_string()).shimmed();
    assert_eq!(second_run(&preloaded), "listening");
    let command = reuseaddr();
    let command = command.to_str().expect("a path in UTF-8");
    let report = unprivileged(&[command, "check"]).run();
    assert!(
        report.stdout.contains("the engine is preload"),
        "{report:?}"
    );
}

/// Where the policy lets nobody trace it, `run` waits until the port is free.
#[test]
fn a_domain_that_nobody_may_trace_is_waited_for() {
    if !may_load_policy() {
        return;
    }
    own_network();
    let folder = Folder::new("selinux-sealed");
    let server = dynamic_victim(&folder);
    label(&server, "sealed");
    let bare = Program::new(&server).argument(PORT.to_string());
    // The control: what is traced there does not start.
    let traced = Program::new(program(&["strace"]))
        .argument(&server)
        .argument(PORT.to_string())
        .run();
    assert!(
        traced.stderr.contains("Operation not permitted"),
        "{traced:?}"
    );
    let mut running = run_with(["-v", "--ports", "5000"], &bare).start();
    running.expect("listening");
    let said = running.stderr_so_far();
    for part in ["engine wait: ", "forbids tracing it from here"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    crash(running, PORT);
}

/// A traced program may become one that nobody may trace, as it may without a tracer.
#[test]
fn what_nobody_may_trace_is_let_go() {
    if !may_load_policy() {
        return;
    }
    own_network();
    let folder = Folder::new("selinux-becomes");
    let server = dynamic_victim(&folder);
    label(&server, "sealed");
    let shell = Program::new("/bin/sh")
        .arguments(["-c", "exec \"$@\"", "sh"])
        .argument(&server)
        .argument(PORT.to_string());
    let control = Program::new(program(&["strace"]))
        .argument("-f")
        .command(&shell)
        .run();
    assert!(
        control.stderr.contains("Operation not permitted"),
        "{control:?}"
    );
    let mut running = run_with(["--engine", "trace"], &shell).start();
    running.expect("listening");
    crash(running, PORT);
}
