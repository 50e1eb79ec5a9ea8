//! `scripts/build/release`: what it makes is whole, and the same wherever it is made.

use crate::restart::{LEGACY, port_after_crash};
use crate::systems::{System, dist, project, release, succeed, toolchains};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use support::{Folder, Program};

#[test]
fn the_same_source_gives_the_same_bytes_elsewhere() {
    let sums = fs::read_to_string(dist().join("SHA256SUMS")).expect("the sums");
    // A tarball and the library's package for each target, and the command's package for two.
    assert!(sums.lines().count() >= 12, "{sums}");
    let elsewhere = Folder::new("a/copy elsewhere");
    let copy = elsewhere.join("libreuse");
    fs::create_dir_all(copy.join("target")).expect("the folder for temporary files is writable");
    let date = succeed(
        Command::new("git")
            .args(["log", "-1", "--format=%ct"])
            .current_dir(project()),
    );
    let files = succeed(
        Command::new("git")
            .args(["ls-files", "--cached", "--others", "--exclude-standard"])
            .current_dir(project()),
    );
    for file in files.lines() {
        let place = copy.join(file);
        fs::create_dir_all(place.parent().expect("a folder")).expect("the folder is writable");
        fs::copy(project().join(file), place).expect("a file of the project");
    }
    // The compilers are where they are.
    std::os::unix::fs::symlink(
        project().join("target/toolchains"),
        copy.join("target/toolchains"),
    )
    .expect("a link");
    // Not for aarch64 as well, which would only take longer.
    succeed(
        Command::new(copy.join("scripts/build/release"))
            .args(["x86_64", "i686"])
            .env("SOURCE_DATE_EPOCH", date.trim()),
    );
    let again = fs::read_to_string(copy.join("target/dist/SHA256SUMS")).expect("the sums");
    assert_eq!(again.lines().count(), 5, "{again}");
    for line in again.lines() {
        assert!(sums.contains(line), "{again}\n{sums}");
    }
}

/// What a test suite pays that starts thousands of programs by it. The first time, the library is put in its place.
#[test]
fn the_command_makes_few_system_calls_before_the_program() {
    let folder = Folder::new("launcher");
    let trace = folder.join("trace");
    // In a place of its own, where no other version has left anything.
    let twice = "mount -t tmpfs -o mode=755 tmpfs /run; trace=$1; shift; \"$@\"; exec strace -f -o \"$trace\" \"$@\"";
    let run = Program::new("/usr/bin/unshare")
        .arguments(["--mount", "sh", "-ec", twice, "sh"])
        .argument(&trace)
        .argument(release("x86_64").join("bin/reuseaddr"))
        .arguments(["run", "/bin/true"]);
    assert!(run.run().status.success());
    let text = fs::read_to_string(&trace).expect("strace wrote it");
    let calls = text
        .lines()
        .position(|line| line.contains("execve(\"/bin/true\""))
        .expect("it starts the program");
    assert!((20..150).contains(&calls), "{calls}:\n{text}");
}

#[test]
fn the_command_for_another_processor_runs() {
    let command = release("aarch64").join("bin/reuseaddr");
    let version = succeed(
        Command::new("/usr/bin/qemu-aarch64-static")
            .arg(command)
            .arg("--version"),
    );
    assert_eq!(
        version.trim(),
        concat!("reuseaddr ", env!("CARGO_PKG_VERSION"))
    );
}

/// The licences of all that is linked in come with it.
#[test]
fn it_says_whose_code_is_in_it() {
    for (machine, product, parts) in [
        ("x86_64", "libreuse", &["libc", "log"][..]),
        ("i686", "libreuse", &["libc", "log"]),
        ("aarch64", "libreuse", &["libc", "log"]),
        (
            "x86_64",
            "reuseaddr",
            &["clap", "libreuse", "object", "glibc"],
        ),
        (
            "aarch64",
            "reuseaddr",
            &["clap", "libreuse", "object", "glibc"],
        ),
    ] {
        let folder = release(machine).join("share/doc").join(product);
        let notices = fs::read_to_string(folder.join("THIRD-PARTY")).expect("the notices");
        let bill =
            fs::read_to_string(folder.join(format!("{product}.cdx.json"))).expect("the bill");
        for part in parts {
            assert!(notices.contains(&format!("\n{part} ")), "{product} {part}");
            assert!(bill.contains(&format!("\"name\": \"{part}\"")), "{bill}");
        }
        assert!(notices.contains("Permission is hereby granted, free of charge"));
        // What only builds or tests it is not in it; nor is in the library what the command has.
        for other in ["criterion", "clap_derive"] {
            assert!(!bill.contains(other), "{bill}");
        }
        assert_eq!(bill.contains("\"clap\""), product == "reuseaddr", "{bill}");
    }
}

#[test]
fn the_sums_are_those_of_the_files() {
    succeed(
        Command::new("sha256sum")
            .args(["--check", "--strict", "SHA256SUMS"])
            .current_dir(dist()),
    );
}

#[test]
fn nothing_in_it_tells_of_the_machine_that_built_it() {
    for file in [
        "x86_64/lib/libreuse.so",
        "i686/lib/libreuse.so",
        "aarch64/lib/libreuse.so",
        "x86_64/bin/reuseaddr",
        "aarch64/bin/reuseaddr",
    ] {
        let (machine, path) = file.split_once('/').expect("a machine");
        let bytes = fs::read(release(machine).join(path)).expect("a file of the release");
        for place in [project().to_str().expect("UTF-8"), "/.cargo/", "/.rustup/"] {
            let found = bytes
                .windows(place.len())
                .any(|window| window == place.as_bytes());
            assert!(!found, "{place} in {file}");
        }
        // The library has nothing of Rust's own that could tell where that was compiled.
        let is_library = path.starts_with("lib");
        assert!(!is_library || !bytes.windows(6).any(|window| window == b"/rustc"));
    }
}

/// With the same compiler the release has built the command for aarch64.
#[test]
fn the_oldest_rust_that_is_promised_builds_the_library() {
    let rustc = toolchains().join("rust/rustc");
    let version = succeed(Command::new(&rustc).arg("--version"));
    let promised = format!("rustc {}.", env!("CARGO_PKG_RUST_VERSION"));
    assert!(version.starts_with(&promised), "{version}");
    // By way of cargo's configuration, since `succeed` takes RUSTC away.
    succeed(
        Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--release", "--locked"])
            .arg("--config")
            .arg(format!("build.rustc={rustc:?}"))
            .arg("--target-dir")
            .arg(project().join("target/oldest-rust"))
            .current_dir(project()),
    );
    assert!(
        project()
            .join("target/oldest-rust/release/libreuse.so")
            .exists()
    );
}

/// And the command with all that it takes, which builds the library for each kind of program that this compiler knows, and
/// carries them.
#[test]
fn the_oldest_rust_builds_a_command_that_serves_both_kinds_of_programs() {
    succeed(
        Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--locked", "--manifest-path"])
            .arg(project().join("command/Cargo.toml"))
            .arg("--config")
            .arg(format!("build.rustc={:?}", toolchains().join("rust/rustc")))
            .arg("--target-dir")
            .arg(project().join("target/oldest-rust")),
    );
    let folder = Folder::for_other_users("reach-oldest-rust");
    let command = folder.copy(
        project().join("target/oldest-rust/debug/reuseaddr"),
        "reuseaddr",
    );
    // Where it puts what it carries.
    let temporary = folder.join("tmp");
    fs::create_dir(&temporary).expect("the folder is ours");
    fs::set_permissions(&temporary, fs::Permissions::from_mode(0o1777)).expect("it is ours");
    for system in [System::Here, System::Here32] {
        let legacy = folder.copy(system.compile("legacy", LEGACY, &[]), "legacy");
        let nobody = || {
            Program::new("/usr/bin/setpriv").arguments([
                "--reuid=65534",
                "--regid=65534",
                "--clear-groups",
            ])
        };
        let plain = nobody().argument(&legacy);
        assert_eq!(port_after_crash(&plain), "port 49201", "{system:?}");
        let served = nobody()
            .with("TMPDIR", &temporary)
            .argument(&command)
            .arguments(["run", "--engine", "preload"])
            .argument(&legacy);
        assert_eq!(port_after_crash(&served), "port 49200", "{system:?}");
    }
}
