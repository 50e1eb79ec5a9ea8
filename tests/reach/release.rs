//! `scripts/build/release`: what it makes is whole, and the same wherever it is made.

use crate::restart::LEGACY;
use crate::systems::{System, dist, project, release, succeed, toolchains};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use support::{Folder, Program, port_after_crash};

#[test]
fn the_same_source_gives_the_same_bytes_elsewhere() {
    let sums = fs::read_to_string(dist().join("SHA256SUMS")).expect("the sums");
    // For five processors a tarball and a Debian package, for three an rpm, for two the command's
    // packages of Debian, Red Hat, PyPI and npm; and npm's launcher, Arch's PKGBUILD and the image.
    assert!(sums.lines().count() >= 19, "{sums}");
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
        // The command's package has links to the sources of the library.
        match fs::read_link(project().join(file)) {
            Ok(link) => std::os::unix::fs::symlink(link, place).expect("a link"),
            Err(_) => drop(fs::copy(project().join(file), place).expect("a file of the project")),
        }
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
    // Two tarballs, three packages each for Debian and Red Hat, and a wheel.
    assert_eq!(again.lines().count(), 9, "{again}");
    for line in again.lines() {
        assert!(sums.contains(line), "{again}\n{sums}");
    }
}

/// What a test suite pays that starts thousands of servers by it. The first time, the library is
/// put in its place.
#[test]
fn the_command_makes_few_system_calls_before_the_program() {
    let folder = Folder::new("launcher");
    let trace = folder.join("trace");
    // In a place of its own, where no other version has left anything.
    let twice = "mount -t tmpfs -o mode=755 tmpfs /run; trace=$1; shift; \"$@\"; exec strace -f -o \
                 \"$trace\" \"$@\"";
    let run = Program::new("/usr/bin/unshare")
        .arguments(["--mount", "sh", "-ec", twice, "sh"])
        .argument(&trace)
        .argument(release("x86_64").join("bin/reuseaddr"))
        .arguments(["run", "/usr/bin/python3", "-c", ""]);
    assert!(run.run().status.success());
    let text = fs::read_to_string(&trace).expect("strace wrote it");
    let calls = text
        .lines()
        .position(|line| line.contains("execve(\"/usr/bin/python3\""))
        .expect("it starts the program");
    assert!((20..200).contains(&calls), "{calls}:\n{text}");
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
        for other in ["socket2", "clap_derive"] {
            assert!(!bill.contains(other), "{bill}");
        }
        assert_eq!(bill.contains("\"clap\""), product == "reuseaddr", "{bill}");
    }
}

/// Nothing is taken in but under the licences, and from the registry, that deny.toml names.
#[test]
fn it_takes_nothing_that_may_not_be_passed_on() {
    let check = |rules: &Path| {
        Command::new(project().join("scripts/build/third-party"))
            .arg("check")
            .arg(rules)
            .output()
            .expect("Python runs")
    };
    let rules = project().join("deny.toml");
    let output = check(&rules);
    assert!(output.status.success(), "{output:#?}");
    // The control: with a licence that is needed taken away.
    let folder = Folder::new("deny");
    let text = fs::read_to_string(&rules).expect("ours");
    let stricter = folder.join("deny.toml");
    fs::write(&stricter, text.replace(", \"Unicode-3.0\"", "")).expect("ours");
    let output = check(&stricter);
    assert_eq!(output.status.code(), Some(1), "{output:#?}");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(complaint.contains("unicode-ident"), "{complaint}");
}

#[test]
fn the_sums_are_those_of_the_files() {
    succeed(
        Command::new("sha256sum")
            .args(["--check", "--strict", "SHA256SUMS"])
            .current_dir(dist()),
    );
}

/// Scanners read it, such as `cargo audit bin`.
#[test]
fn the_command_bears_a_list_of_its_crates() {
    const READ: &str = "import json, subprocess, sys, zlib\n\
                        subprocess.run([sys.argv[1], '--dump-section', '.dep-v0=' + sys.argv[3], \
                        sys.argv[2], '/dev/null'], check=True)\n\
                        print([part['name'] for part in \
                        json.loads(zlib.decompress(open(sys.argv[3], 'rb').read()))['packages']])";
    let folder = Folder::new("auditable");
    for (machine, objcopy) in [
        ("x86_64", "objcopy"),
        ("aarch64", "aarch64-linux-gnu-objcopy"),
    ] {
        let names = succeed(
            Command::new("python3")
                .args(["-c", READ, objcopy])
                .arg(release(machine).join("bin/reuseaddr"))
                .arg(folder.join("list")),
        );
        for name in ["'clap'", "'libreuse-rules'", "'reuseaddr'"] {
            assert!(names.contains(name), "{machine}: {names}");
        }
    }
}

/// Each channel takes maintainer and home page from Cargo.toml; these three can't.
#[test]
fn the_project_has_one_maintainer_and_one_home() {
    let text =
        |name: &str| fs::read_to_string(project().join(name)).expect("a file of the project");
    let own = text("Cargo.toml");
    let lines: Vec<&str> = own
        .lines()
        .filter(|line| {
            ["authors = ", "homepage = ", "repository = "]
                .iter()
                .any(|key| line.starts_with(key))
        })
        .collect();
    assert_eq!(lines.len(), 3, "{lines:?}");
    for line in &lines {
        assert!(
            text("command/Cargo.toml").contains(&format!("\n{line}\n")),
            "{line}"
        );
    }
    let address = lines[0].split(['<', '>']).nth(1).expect("an address");
    let repository = lines
        .iter()
        .find_map(|line| line.strip_prefix("repository = \"")?.strip_suffix('"'))
        .expect("the repository");
    assert!(
        text("packaging/README.md").contains(&format!("<{repository}>")),
        "{repository}"
    );
    assert!(
        text("SECURITY.md").contains(&format!("<{address}>")),
        "{address}"
    );
}

/// A release is what is signed. With placeholders, or by a key that nobody could check, nothing is.
#[test]
fn only_what_has_a_home_is_signed_and_only_by_a_known_key() {
    let folder = Folder::new("signing");
    for name in ["packaging", "Cargo.toml"] {
        succeed(
            Command::new("cp")
                .arg("-R")
                .arg(project().join(name))
                .arg(folder.path()),
        );
    }
    let key = folder.join("key");
    succeed(
        Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-f"])
            .arg(&key),
    );
    fs::create_dir(folder.join("dist")).expect("ours");
    fs::write(folder.join("dist/SHA256SUMS"), "0  nothing\n").expect("ours");
    let sign = || {
        Program::new(folder.join("packaging/sign"))
            .argument(&key)
            .argument(folder.join("dist"))
            .run()
    };
    let refuses = |why: &str| {
        let finished = sign();
        assert_eq!(finished.status.code(), Some(1), "{finished:#?}");
        assert!(finished.stderr.contains(why), "{finished:#?}");
        assert!(!folder.join("dist/SHA256SUMS.sig").exists());
    };
    let manifest = fs::read_to_string(folder.join("Cargo.toml")).expect("ours");
    fs::write(
        folder.join("Cargo.toml"),
        manifest.replace(".example", ".org"),
    )
    .expect("ours");
    refuses("does not name the key");
    let public = fs::read_to_string(folder.join("key.pub")).expect("the public key");
    let signers = format!("release@libreuse namespaces=\"libreuse-release\" {public}");
    fs::write(folder.join("packaging/allowed_signers"), signers).expect("ours");
    for line in [
        "authors = [\"A <a@b.example>\"]",
        "homepage = \"https://b.example\"",
        "repository = \"https://b.example/c\"",
    ] {
        let key = line.split(" = ").next().expect("a key");
        let with: Vec<&str> = manifest
            .lines()
            .map(|own| {
                if own.starts_with(&format!("{key} = ")) {
                    line
                } else {
                    own
                }
            })
            .collect();
        fs::write(
            folder.join("Cargo.toml"),
            with.join("\n")
                .replace("maintainers.example", "b.org")
                .replace("libreuse.example", "b.org"),
        )
        .expect("ours");
        refuses("which stands for what is not decided yet");
    }

    fs::write(
        folder.join("Cargo.toml"),
        manifest.replace(".example", ".org"),
    )
    .expect("ours");
    let finished = sign();
    assert!(finished.status.success(), "{finished:#?}");
    // As docs/install.md says it.
    let verify = |sums: &str| {
        let line = format!(
            "printf '{sums}' | ssh-keygen -Y verify -f packaging/allowed_signers -I \
             release@libreuse -n libreuse-release -s dist/SHA256SUMS.sig"
        );
        Program::new("/bin/sh")
            .arguments(["-c", &line])
            .inside(folder.path())
            .run()
            .status
            .success()
    };
    assert!(verify("0  nothing\\n"));
    assert!(!verify("1  nothing\\n"), "the control");
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

/// And the command with all that it takes, which builds the library for each kind of program that
/// this compiler knows, and carries them.
#[test]
fn the_oldest_rust_builds_a_command_that_serves_both_kinds_of_programs() {
    succeed(
        Command::new(env!("CARGO"))
            .args([
                "build",
                "--quiet",
                "--locked",
                "--release",
                "--manifest-path",
            ])
            .arg(project().join("command/Cargo.toml"))
            // Nobody measures it.
            .args(["--config", "profile.release.opt-level=0"])
            .arg("--config")
            .arg(format!("build.rustc={:?}", toolchains().join("rust/rustc")))
            .arg("--target-dir")
            .arg(project().join("target/oldest-rust")),
    );
    let folder = Folder::for_other_users("reach-oldest-rust");
    let command = folder.copy(
        project().join("target/oldest-rust/release/reuseaddr"),
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
