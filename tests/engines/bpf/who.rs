//! Which programs the engine serves, as the table of the manual says.

use super::{Machine, attach};
use crate::crash;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;
use support::{
    Folder, Program, compile_c, compile_go, own_network, program, project, reuseaddr,
    set_capabilities, shim,
};

/// Takes the first port that it can have, from 49200 on, in a way that depends on how it was
/// compiled.
const SERVER: &str = include_str!("server.c");

/// What a row is about, and a program that somebody without any right starts.
struct Row {
    what: &'static str,
    program: Program,
}

fn rows(folder: &Folder) -> Vec<Row> {
    let nobody = |path: PathBuf| {
        Program::new(program(&["setpriv"]))
            .arguments([
                "--reuid",
                "65534",
                "--regid",
                "65534",
                "--clear-groups",
                "--inh-caps",
                "-all",
            ])
            .argument(path)
    };
    let place = |name: &str, flags: &[&str]| folder.copy(compile_c(name, SERVER, flags), name);
    let setuid = place("who-setuid", &[]);
    fs::set_permissions(&setuid, fs::Permissions::from_mode(0o4755)).expect("the file is ours");
    let capable = place("who-setcap", &["-DFIRST=80"]);
    set_capabilities(&capable, "cap_net_bind_service+ep");
    let mut rows = vec![
        Row {
            what: "a dynamic program",
            program: nobody(place("who-plain", &[])),
        },
        Row {
            what: "static",
            program: nobody(place("who-static", &["-static"])),
        },
        Row {
            what: "bare system calls in a dynamic program",
            program: nobody(place("who-bare", &["-DBARE"])),
        },
        Row {
            what: "a listener that is opened late",
            program: nobody(place("who-late", &["-DLATE=2"])),
        },
        Row {
            what: "setuid",
            program: nobody(setuid),
        },
        Row {
            what: "file capabilities, port 80",
            program: nobody(capable),
        },
    ];
    match go(folder) {
        Some(go) => rows.push(Row {
            what: "Go, by bare system calls",
            program: nobody(go),
        }),
        None => eprintln!("skipped: go is not installed"),
    }
    match free_pascal(folder) {
        Some(server) => rows.push(Row {
            what: "Free Pascal, by its own system calls",
            program: nobody(server),
        }),
        None => eprintln!("skipped: fpc is not installed"),
    }
    if can_bind_by_io_uring() {
        rows.push(Row {
            what: "bind and listen by io_uring",
            program: nobody(place("who-uring", &["-DURING"])),
        });
    } else {
        eprintln!("skipped: this kernel has no bind by io_uring (Linux 6.11)");
    }
    rows
}

/// The server in Go, where that is.
fn go(folder: &Folder) -> Option<PathBuf> {
    Path::new("/usr/bin/go")
        .exists()
        .then(|| compile_go(folder, "who-go", include_str!("server.go")))
}

/// The server in Free Pascal, where that is.
fn free_pascal(folder: &Folder) -> Option<PathBuf> {
    if !Path::new("/usr/bin/fpc").exists() {
        return None;
    }
    fs::write(folder.join("server.pas"), include_str!("server.pas")).expect("the folder is ours");
    let built = Program::new("/usr/bin/fpc")
        .arguments(["-v0", "-owho-pascal", "server.pas"])
        .inside(folder.join(""))
        .run();
    assert!(built.status.success(), "{built:#?}");
    Some(folder.join("who-pascal"))
}

fn can_bind_by_io_uring() -> bool {
    let switch = fs::read_to_string("/proc/sys/kernel/io_uring_disabled");
    super::kernel() >= (6, 11) && switch.is_ok_and(|value| value.trim() == "0")
}

/// The port that the second start gets, when the first has crashed.
fn second(program: &Program) -> String {
    second_after(program, program)
}

/// The same, where the first start is another one.
fn second_after(first: &Program, program: &Program) -> String {
    own_network();
    // The latest listens after 90 s.
    let long = support::patience() + Duration::from_secs(90);
    let mut first = first.start();
    let port: u16 = first
        .line_within(long)
        .and_then(|line| line.parse().ok())
        .unwrap_or_else(|| panic!("{program:?}"));
    crash(first, port);
    program.start().line()
}

#[test]
fn the_table_of_the_manual_is_what_comes_of_it() {
    let Some(mut machine) = Machine::new() else {
        return;
    };
    let folder = Folder::for_other_users("who");
    let library = folder.copy(shim(), "libreuse.so");
    let group = machine.group("who");
    // In a network without this port's past.
    own_network();
    let said = attach(&group).run();
    assert!(said.status.success(), "{said:#?}");
    let rows = rows(&folder).into_iter().map(|Row { what, program }| {
        let ports = ways(&library, &machine, &group, &program).map(|program| second(&program));
        row(what, &ports)
    });
    are_in_the_manual(&rows.collect::<Vec<_>>());
}

/// Longer than the tracer stays at all (`--trace-limit`). The second start opens its listener at
/// once: after 90 s nothing would be left of the first.
#[test]
#[ignore = "takes two minutes of waiting: run by hand"]
fn a_listener_that_is_opened_after_90_seconds_is_served() {
    let Some(mut machine) = Machine::new() else {
        return;
    };
    let folder = Folder::for_other_users("who-later");
    let library = folder.copy(shim(), "libreuse.so");
    let group = machine.attached("later");
    let program = Program::new(compile_c("who-later", SERVER, &["-DLATE=2"]));
    let ways = ways(&library, &machine, &group, &program);
    // Each thread has a network of its own.
    let ports = thread::scope(|scope| {
        let started = ways.map(|program| {
            let late = program.clone().with("LATE", "90");
            scope.spawn(move || second_after(&late, &program.with("LATE", "0")))
        });
        started.map(|way| way.join().expect("it has ended"))
    });
    assert_eq!(ports, ["49201", "49200", "49201", "49200"]);
}

/// The same program by nothing, the library, the tracer, and BPF programs.
fn ways(library: &Path, machine: &Machine, group: &str, program: &Program) -> [Program; 4] {
    [
        program.clone(),
        program.clone().with("LD_PRELOAD", library),
        traced(program),
        machine.inside(group, program),
    ]
}

/// A row of the manual's table.
pub(super) fn row(what: &str, ports: &[String]) -> String {
    format!("| {what} | {} |", ports.join(" | "))
}

/// Fails unless the manual has these rows.
pub(super) fn are_in_the_manual(rows: &[String]) {
    let manual = project().join("docs/engines.md");
    let manual = fs::read_to_string(&manual).expect("there is a page");
    let missing: Vec<&String> = rows.iter().filter(|row| !manual.contains(*row)).collect();
    assert!(
        missing.is_empty(),
        "not in docs/engines.md:\n{}",
        rows.join("\n")
    );
}

/// The same behind the tracer, whatever `run` says against it.
pub(super) fn traced(program: &Program) -> Program {
    Program::new(reuseaddr())
        .arguments([
            "run",
            "--engine",
            "trace",
            "--anyway",
            "--trace-quiet",
            "300ms",
            "--",
        ])
        .command(program)
}
