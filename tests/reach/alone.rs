//! The command of the release by itself, without the library beside it: it carries both kinds.

use crate::restart::LEGACY;
use crate::systems::{Layer, System, release, succeed};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::{Folder, Program, port_after_crash};

/// The command in a folder with nothing else.
fn alone(name: &str) -> Folder {
    let folder = Folder::new(name);
    folder.copy(release("x86_64").join("bin/reuseaddr"), "reuseaddr");
    folder
}

/// Somebody without rights, environment or home, and what the command starts for him.
fn started(command: &Path) -> [String; 9] {
    [
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        "env",
        "-i",
        "PATH=/bin",
        command.to_str().expect("UTF-8"),
        "run",
        "--ports=49200",
    ]
    .map(Into::into)
}

#[test]
fn it_serves_both_kinds_of_programs_on_systems_that_know_nothing_of_it() {
    let folder = alone("alone");
    // Others may not be let to where the project is. A layer has folders of its own on the way.
    let here = Folder::for_other_users("alone");
    here.copy(folder.join("reuseaddr"), "reuseaddr");
    let old = Layer::new("old-alone", ":");
    for (system, on) in [
        (System::Here, None),
        (System::Here32, None),
        (System::Old, Some(&old)),
        (System::Old32, Some(&old)),
    ] {
        let place = if on.is_none() { &here } else { &folder };
        let command = place.join("reuseaddr");
        let for_all =
            |binary: PathBuf, name: &str| place.copy(binary, format!("{name}-{system:?}"));
        let binary = for_all(system.compile("legacy", LEGACY, &[]), "legacy");
        let setpriv = || match on {
            None => Program::new("/usr/bin/setpriv"),
            Some(root) => root.program("setpriv"),
        };
        let plain = setpriv()
            .arguments(&started(&command)[..3])
            .argument(&binary);
        assert_eq!(port_after_crash(&plain), "port 49201", "{system:?}");
        let program = setpriv().arguments(started(&command)).argument(&binary);
        assert_eq!(port_after_crash(&program), "port 49200", "{system:?}");
        // A 64-bit program starts it, and each finds the library for its own kind.
        let by_shell = setpriv()
            .arguments(started(&command))
            .arguments(["sh", "-c", "exec \"$0\""])
            .argument(&binary);
        assert_eq!(port_after_crash(&by_shell), "port 49200", "{system:?}");
        let nothing = system.compile("nothing", "int main(void) { return 0; }", &[]);
        let nothing = for_all(nothing, "nothing");
        let quiet = setpriv()
            .arguments(started(&command))
            .arguments(["sh", "-c", "exec \"$0\""])
            .argument(nothing)
            .run()
            .succeeded();
        assert_eq!(quiet.stderr, "", "{system:?}");
    }
}

/// musl's dynamic linker takes what `LD_PRELOAD` names to the letter, and does not start a program
/// without it.
#[test]
fn what_it_starts_may_start_a_program_for_musl() {
    let folder = alone("alone-with-musl");
    let source = folder.join("for-musl.c");
    let binary = folder.join("for-musl");
    fs::write(
        &source,
        "#include <stdio.h>\nint main(void) { return puts(\"started\") < 0; }",
    )
    .expect("ours");
    succeed(Command::new("musl-gcc").arg("-o").args([&binary, &source]));
    let lines = "echo $LD_PRELOAD; exec \"$0\"";
    let finished = Program::new(folder.join("reuseaddr"))
        .arguments(["run", "sh", "-c", lines])
        .argument(&binary)
        .run()
        .succeeded();
    let (preload, rest) = finished.stdout.split_once('\n').expect("lines");
    assert!(preload.contains("/$LIB/libreuse.so"), "{finished:#?}");
    assert_eq!((rest, finished.stderr.as_str()), ("started\n", ""));
}

#[test]
fn it_carries_the_libraries_that_are_shipped_beside_it() {
    for (machine, kinds) in [
        ("x86_64", &["x86_64", "i686"][..]),
        ("aarch64", &["aarch64"]),
    ] {
        let command = fs::read(release(machine).join("bin/reuseaddr")).expect("the command");
        for kind in kinds {
            let library = fs::read(release(kind).join("lib/libreuse.so")).expect("the library");
            let is_inside = command
                .windows(library.len())
                .any(|window| window == library);
            assert!(is_inside, "{kind} in the command for {machine}");
        }
    }
}
