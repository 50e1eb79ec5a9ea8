//! `scripts/build/install`: puts every file where it is looked for, and takes every one away again.

use crate::restart::LEGACY;
use crate::systems::{System, project, release, succeed};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;
use support::{Folder, Program, port_after_crash};

/// A shell's commands, in this machine's own root file system, under a layer that holds all changes
/// and goes with them.
fn here(commands: &str) -> Program {
    const SCRIPT: &str = r#"
        folder=$1 commands=$2
        mount -t tmpfs tmpfs "$folder"
        mkdir "$folder/changes" "$folder/work" "$folder/root"
        mount -t overlay -o "lowerdir=/,upperdir=$folder/changes,workdir=$folder/work" overlay "$folder/root"
        mount --rbind /dev "$folder/root/dev"
        exec chroot "$folder/root" sh -ec "$commands"
    "#;
    let folder = project().join("target/tmp/layer");
    fs::create_dir_all(&folder).expect("the target folder is writable");
    Program::new("/usr/bin/unshare")
        .arguments(["--mount", "sh", "-ec", SCRIPT, "sh"])
        .argument(folder)
        .argument(format!("cd {}\n{commands}", project().display()))
}

#[test]
fn both_spellings_of_the_library_work_once_it_is_installed_here() {
    release("x86_64");
    for system in [System::Here, System::Here32] {
        let binary = system.compile("legacy", LEGACY, &[]);
        let run = |steps: &str, preload: &str| {
            port_after_crash(&here(&format!(
                "{steps}\nLD_PRELOAD='{preload}' exec {}",
                binary.display()
            )))
        };
        for preload in ["libreuse.so", "/usr/$LIB/libreuse.so"] {
            assert_eq!(
                run("scripts/build/install >&2", preload),
                "port 49200",
                "{system:?} {preload}"
            );
        }
        let twice = "scripts/build/install >&2; scripts/build/install --uninstall >&2";
        assert_eq!(run(twice, ""), "port 49201", "{system:?}");
    }
    let said = here("PREFIX=/usr/local scripts/build/install").output();
    assert!(said.contains("LD_PRELOAD=libreuse.so PROGRAM"), "{said}");
    let said = here("PREFIX=/opt/reuse scripts/build/install").output();
    assert!(
        said.contains("LD_PRELOAD='/opt/reuse/$LIB/libreuse.so' PROGRAM"),
        "{said}"
    );
}

/// Who may not write there is told what to do; in a folder of his own it works.
#[test]
fn says_that_it_takes_root() {
    let folder = Folder::for_other_users("install-as-nobody");
    folder.copy(project().join("scripts/build/install"), "install");
    fs::create_dir(folder.join("lib")).expect("the folder is ours");
    folder.copy(support::shim(), "lib/libreuse.so");
    let own = folder.join("own");
    fs::create_dir(&own).expect("the folder is ours");
    fs::set_permissions(&own, fs::Permissions::from_mode(0o777)).expect("the folder is ours");
    let install = |prefix: &Path, words: &[&str]| {
        Program::new("/usr/bin/setpriv")
            .arguments(["--reuid=65534", "--regid=65534", "--clear-groups", "sh"])
            .argument(folder.join("install"))
            .arguments(words)
            .with("PREFIX", prefix)
            .with("LIBDIR", "lib")
            .run()
    };
    // Not one of the machine's own folders, should it ever work.
    let others = folder.join("others");
    fs::create_dir(&others).expect("the folder is ours");
    let refused = install(&others, &[]);
    assert_eq!(refused.status.code(), Some(1), "{refused:#?}");
    let said = "can't be written: run this as root, or set PREFIX";
    assert!(refused.stderr.contains(said), "{refused:#?}");
    for (words, is_there) in [(&[][..], true), (&["--uninstall"], false)] {
        let done = install(&own, words);
        assert!(done.status.success(), "{done:#?}");
        assert_eq!(own.join("lib/libreuse.so").exists(), is_there, "{done:#?}");
    }
}

#[test]
fn the_command_picks_the_library_for_the_kind_of_program() {
    release("x86_64");
    let wide = System::Here.compile("legacy", LEGACY, &[]);
    let narrow = System::Here32.compile("legacy", LEGACY, &[]);
    // The last is a 64-bit program that becomes a 32-bit one.
    for program in [
        wide.display().to_string(),
        narrow.display().to_string(),
        format!("sh -c 'exec {}'", narrow.display()),
    ] {
        // Others have a library of this name too.
        let command = format!(
            "scripts/build/install >&2\necho theirs >/usr/local/lib/libreuse.so\nexec reuseaddr \
             run {program}"
        );
        assert_eq!(port_after_crash(&here(&command)), "port 49200", "{program}");
    }

    // What is not installed the command has itself, unless it is told to take another.
    let without = |options: &str| {
        here(&format!(
            "scripts/build/install >&2\nrm /usr/lib32/libreuse.so\nexec reuseaddr run {options} {}",
            narrow.display()
        ))
    };
    assert_eq!(port_after_crash(&without("")), "port 49200");
    let of_another_kind = "--engine preload --library /usr/lib/x86_64-linux-gnu/libreuse.so";
    let refused = without(of_another_kind).run();
    assert_eq!(refused.status.code(), Some(125), "{refused:#?}");
    let said = "is 32-bit i386, and the library is here for 64-bit x86-64 \
                (/usr/lib/x86_64-linux-gnu/libreuse.so)";
    let words: Vec<_> = refused.stderr.split_whitespace().collect();
    assert!(words.join(" ").contains(said), "{refused:#?}");
}

/// A program with file capabilities, for an ordinary user: the dynamic linker gives it a library by
/// its bare name alone, and only if that has the bit of set-user-ID.
#[test]
fn a_program_with_capabilities_keeps_its_port_once_that_is_asked_for() {
    release("x86_64");
    let legacy = System::Here.compile("legacy", LEGACY, &[]);
    let port = |install: &str, preload: &str| {
        port_after_crash(&here(&format!(
            "cp {legacy} /usr/bin/legacy; setcap cap_net_bind_service=ep /usr/bin/legacy\n\
             cp {command} /usr/bin/; {install}\n\
             export LD_PRELOAD={preload}\n\
             exec setpriv --reuid=65534 --regid=65534 --clear-groups /usr/bin/legacy",
            legacy = legacy.display(),
            command = release("x86_64").join("bin/reuseaddr").display()
        )))
    };
    assert_eq!(
        port("reuseaddr install >&2", "libreuse.so"),
        "port 49201",
        "off by default"
    );
    let secure = "reuseaddr install --secure-programs >&2";
    assert_eq!(port(secure, "libreuse.so"), "port 49200");
    // It is not the bit alone: what names a file by its path is never taken there.
    assert_eq!(
        port(secure, "/usr/lib/x86_64-linux-gnu/libreuse.so"),
        "port 49201"
    );
    // Whoever starts it can't make it do more than the defaults.
    let told = "reuseaddr install --secure-programs >&2; export LIBREUSE_REUSEADDR=off \
                LIBREUSE_LOG_FILE=/tmp/log";
    assert_eq!(port(told, "libreuse.so"), "port 49200");
    let undone = "reuseaddr install --secure-programs >&2; reuseaddr install --remove >&2";
    assert_eq!(port(undone, "libreuse.so"), "port 49201");

    let said = here(&format!(
        "cp {} /usr/bin/; reuseaddr install --secure-programs; stat -c %a \
         /usr/lib/x86_64-linux-gnu/libreuse.so; reuseaddr install; stat -c %a \
         /usr/lib/x86_64-linux-gnu/libreuse.so",
        release("x86_64").join("bin/reuseaddr").display()
    ))
    .output();
    assert!(said.contains("its code runs with"), "{said}");
    // A plain one after it does not take it back unasked.
    assert_eq!(
        said.lines().filter(|line| *line == "4644").count(),
        2,
        "{said}"
    );
}

/// For a container's volume, without any tool beside it.
#[test]
fn the_command_puts_the_library_into_a_folder() {
    let folder = Folder::new("install-into");
    let command = Program::new(release("x86_64").join("bin/reuseaddr"));
    command
        .clone()
        .argument("install")
        .argument(folder.path())
        .run()
        .succeeded();
    let expected = fs::read(release("x86_64").join("lib/libreuse.so")).expect("the library");
    assert_eq!(
        fs::read(folder.join("libreuse.so")).expect("it is there"),
        expected
    );
    assert_eq!(files(folder.path()), ["libreuse.so"]);
    let missing = command.arguments(["install", "/no/such/folder"]).run();
    assert_eq!(missing.status.code(), Some(2), "{missing:#?}");
    assert!(
        missing
            .stderr
            .contains("/no/such/folder/libreuse.so can't be written"),
        "{missing:#?}"
    );
}

fn files(folder: &Path) -> Vec<String> {
    let listing = succeed(
        Command::new("find")
            .args(["-type", "f", "-printf", "%P\\n"])
            .current_dir(folder),
    );
    let mut files: Vec<_> = listing.lines().map(ToOwned::to_owned).collect();
    files.sort_unstable();
    files
}

#[test]
fn everything_that_is_installed_is_removed_again() {
    release("x86_64");
    let folder = Folder::new("destination");
    let install = |argument: &[&str]| {
        succeed(
            Command::new(project().join("scripts/build/install"))
                .args(argument)
                .env("DESTDIR", folder.path())
                .env("PREFIX", "/usr/local"),
        )
    };
    install(&[]);
    let installed = files(folder.path());
    assert!(
        installed.contains(&"usr/local/share/doc/libreuse/LICENSE-MIT".to_owned()),
        "{installed:#?}"
    );
    let libraries = installed
        .iter()
        .filter(|file| file.ends_with("/libreuse.so"));
    assert_eq!(libraries.count(), 2, "{installed:#?}");
    for file in &installed {
        let mode = fs::metadata(folder.join(file))
            .expect("a file")
            .permissions()
            .mode();
        let expected = if file.contains("/bin/") { 0o755 } else { 0o644 };
        assert_eq!(mode & 0o7777, expected, "{file}");
    }

    // Somebody else's files stay.
    let neighbour = folder.join("usr/local/share/doc/neighbour");
    fs::write(&neighbour, "").expect("the folder is writable");
    install(&["--uninstall"]);
    assert_eq!(files(folder.path()), ["usr/local/share/doc/neighbour"]);
    assert!(!folder.join("usr/local/share/doc/libreuse").exists());
}

#[test]
fn a_new_library_takes_the_place_of_one_in_use_without_touching_it() {
    release("x86_64");
    let folder = Folder::new("in-use");
    let mut install = Command::new(project().join("scripts/build/install"));
    install.env("DESTDIR", folder.path()).env("LIBDIR", "lib");
    succeed(&mut install);
    let library = folder.join("usr/lib/libreuse.so");
    let mapped = fs::File::open(&library).expect("the library");
    let before = fs::metadata(&library).expect("the library");
    succeed(&mut install);
    let after = fs::metadata(&library).expect("the library");
    assert_ne!(before.ino(), after.ino());
    assert_eq!(
        mapped.metadata().expect("the old library").len(),
        before.len()
    );
}

#[test]
fn uninstalling_refuses_while_every_program_would_complain() {
    release("x86_64");
    let folder = Folder::new("preloaded");
    fs::create_dir_all(folder.join("etc")).expect("the folder is writable");
    fs::write(folder.join("etc/ld.so.preload"), "libreuse.so\n").expect("the folder is writable");
    let output = Command::new(project().join("scripts/build/install"))
        .arg("--uninstall")
        .env("DESTDIR", folder.path())
        .output()
        .expect("it runs");
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("ld.so.preload names libreuse.so"), "{said}");
}

#[test]
fn a_tarball_installs_by_itself() {
    let archive = format!("{}.tar.gz", release("x86_64").display());
    let folder = Folder::new("tarball");
    succeed(
        Command::new("tar")
            .arg("-xf")
            .arg(&archive)
            .arg("-C")
            .arg(folder.path()),
    );
    let unpacked = folder.join(release("x86_64").file_name().expect("a name"));
    let said = succeed(Command::new(unpacked.join("install")).env("DESTDIR", folder.join("root")));
    assert!(said.contains("libreuse.so"), "{said}");
    assert!(
        files(&folder.join("root"))
            .iter()
            .any(|file| file.ends_with("libreuse.so"))
    );
}
