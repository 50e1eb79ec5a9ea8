//! The core of the hostile-host suite (`tests/hostile`) on the systems that it is not written on.

use crate::systems::{LIBRARY, Processor, System, processors, project};
use std::fs;
use support::matrix::{Log, Setting, changes_nothing_when};

/// Programs and their arguments. They are compiled for each system from the same text.
const CORE: &[(&str, &[&str])] = &[
    ("every_hook", &[]),
    ("errno", &[]),
    ("pointers", &[]),
    ("stacks", &[]),
    ("signals", &[]),
    ("jump", &["sig"]),
    ("jump", &["plain"]),
    ("signal_storm", &[]),
    ("forks", &["200"]),
    ("children", &[]),
    ("limits", &["descriptors"]),
    ("limits", &["three descriptors"]),
    ("limits", &["no file size"]),
];

/// What qemu's user emulation can't run of any processor, shim or not: wild pointers end it, it has
/// no `CLONE_FILES`, and a program that executes itself is one for another processor. When a
/// threaded program forks, another thread may hold a lock of qemu's own: in one run of six children
/// hung there, all of them waiting for the same futex in qemu's image.
const BEYOND_QEMU: &[(&str, &[&str])] = &[
    ("pointers", &[]),
    ("forks", &["200"]),
    ("children", &[]),
    ("limits", &["three descriptors"]),
    ("limits", &["no file size"]),
];

fn changes_nothing_on(system: System) {
    let folder = project().join("tests/hostile");
    let include = format!("-I{}", folder.display());
    let runs = CORE.iter().filter(|entry| match system {
        System::Foreign(_) if BEYOND_QEMU.contains(entry) => false,
        // qemu ends itself: `cpu_exec: assertion failed: (cpu == current_cpu)`.
        System::Foreign(Processor::Armv7) => !["signals", "limits"].contains(&entry.0),
        _ => true,
    });
    for (name, arguments) in runs {
        let text = fs::read_to_string(folder.join(name).with_extension("c"))
            .expect("it is part of the repository");
        // Timers were in a library of their own once.
        let flags = ["-D_GNU_SOURCE", &include, "-lrt"];
        let binary = system.compile(&format!("hostile-{name}"), &text, &flags);
        // Each linger mode, and each place for the log.
        let settings = [
            ("off", Log::Off),
            ("graceful", Log::Stderr),
            ("zero", Log::File),
        ];
        let run = |variables| system.program(&binary, variables).arguments(*arguments);
        changes_nothing_when(
            &run(&[]),
            &run(&[("LD_PRELOAD", LIBRARY)]),
            settings
                .map(|(linger, log)| Setting::new(linger, log))
                .into(),
        );
    }
}

#[test]
fn changes_nothing_in_32_bit_programs() {
    changes_nothing_on(System::Here32);
}

#[test]
fn changes_nothing_on_the_oldest_system() {
    changes_nothing_on(System::Old);
}

#[test]
fn changes_nothing_in_32_bit_programs_on_the_oldest_system() {
    changes_nothing_on(System::Old32);
}

#[test]
fn changes_nothing_with_glibc_2_41() {
    changes_nothing_on(System::Trixie);
}

#[test]
fn changes_nothing_with_the_newest_glibc() {
    changes_nothing_on(System::Sid);
}

#[test]
fn changes_nothing_on_other_processors() {
    for processor in processors() {
        changes_nothing_on(System::Foreign(processor));
    }
}
