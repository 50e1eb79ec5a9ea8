//! The command alone: it carries the library, and puts it where programs can load it.

use crate::{assert_says, code, command_for_others, crash_after_serving, in_bin, nobody, server};
use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use support::{Finished, Folder, Program, own_network, program, shim};

/// A shell script as root, with file systems of its own below `/run`, `/var/cache` and `/tmp`: what
/// it mounts and writes there is gone with it. `$COMMAND` is the command.
fn in_own_folders(command: &Path, script: &str) -> Program {
    let mounts = "
set -eu
mount --make-rprivate /
for place in /run /var/cache /srv; do mount -t tmpfs -o mode=755 own $place; done
list() { # folder, the most that any entry of it gives: an access control list (acl(5)) with a group that may write
    /usr/bin/python3 -I -c \"
import os, struct, sys
entries = [(1, 7, -1), (4, 0, -1), (8, 7, 12345), (16, int(sys.argv[2]), -1), (32, 5, -1)]
packed = b''.join(struct.pack('<HHi', *entry) for entry in entries)
os.setxattr(sys.argv[1], 'system.posix_acl_access', struct.pack('<I', 2) + packed)\" \"$@\"
}
as_nobody() { setpriv --reuid 65534 --regid 65534 --clear-groups env -i \"$@\"; }
";
    Program::new(program(&["unshare"]))
        .arguments(["--mount", "sh", "-c"])
        .argument(format!("{mounts}{script}"))
        .with("COMMAND", command)
}

/// What `LD_PRELOAD` was in the program that was started, or why none was.
fn preload(finished: &Finished) -> String {
    let line = finished
        .stdout
        .lines()
        .find_map(|line| line.strip_prefix("LD_PRELOAD="));
    line.map_or_else(|| finished.stderr.clone(), ToOwned::to_owned)
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// A server, started by somebody without rights, environment or home.
fn started_by_nobody(command: &Path, port: u16) -> Program {
    nobody()
        .arguments(["env", "-i"])
        .argument(command)
        .argument("run")
        .command(&server(port))
}

#[test]
fn restarts_a_program_with_no_other_file_of_the_project() {
    own_network();
    let (folder, command) = command_for_others("alone");
    // Without it the second start fails.
    crash_after_serving(&server(5000), 5000);
    assert_eq!(server(5000).run().stdout.trim(), "EADDRINUSE");

    let program = started_by_nobody(&command, 5001);
    crash_after_serving(&program, 5001);
    let mut again = program.start();
    again.expect("listening");
    std::net::TcpStream::connect(("127.0.0.1", 5001)).expect("it listens");
    again.expect("served");
    assert_eq!(files_below(folder.path()), [command]);
    let maps = fs::read_to_string(format!("/proc/{}/maps", again.pid())).expect("we are root");
    assert!(maps.contains("/libreuse.so"), "{maps}");
}

/// Each place, where the ones before it won't do.
#[test]
fn takes_the_first_place_that_will_do() {
    let (_folder, command) = command_for_others("places");
    for (script, expected) in [
        ("exec $COMMAND run env", "/run/libreuse/"),
        // What root starts may become anybody, so root's own folders won't do.
        (
            "HOME=/srv XDG_RUNTIME_DIR=/srv exec $COMMAND run env",
            "/run/libreuse/",
        ),
        (
            "mount -o remount,noexec /run; exec $COMMAND run env",
            "/var/cache/libreuse/",
        ),
        (
            "mount -o remount,ro /run; exec $COMMAND run env",
            "/var/cache/libreuse/",
        ),
        (
            "mount -o remount,size=16k /run; exec $COMMAND run env",
            "/var/cache/libreuse/",
        ),
        // What is not ours is not touched, however it came there.
        (
            "ln -s /srv /run/libreuse; exec $COMMAND run env",
            "/var/cache/libreuse/",
        ),
        ("touch /run/libreuse; exec $COMMAND run env", "/var/cache/libreuse/"),
        (
            "mkdir /run/libreuse; chown 65534 /run/libreuse; exec $COMMAND run env",
            "/var/cache/libreuse/",
        ),
        ("chmod 777 /run; exec $COMMAND run env", "/var/cache/libreuse/"),
        ("chmod 1777 /run; exec $COMMAND run env", "/run/libreuse/"),
        // What was made with another umask is set right.
        (
            "umask 077; mkdir /run/libreuse; exec $COMMAND run env",
            "/run/libreuse/",
        ),
        (
            "mkdir -m 777 /run/libreuse; exec $COMMAND run env",
            "/run/libreuse/",
        ),
        (
            "mkdir -m 777 /srv/a /srv/b; chown 65534 /srv/?; chmod 700 /srv/?
             as_nobody XDG_RUNTIME_DIR=/srv/a XDG_CACHE_HOME=/srv/b HOME=/srv/b $COMMAND run env",
            "/srv/a/libreuse/",
        ),
        (
            "mkdir /srv/b; chown 65534 /srv/b
             as_nobody XDG_RUNTIME_DIR=/nowhere XDG_CACHE_HOME=/srv/b/c HOME=/srv $COMMAND run env",
            "/srv/b/c/libreuse/",
        ),
        (
            "mkdir /srv/b; chown 65534 /srv/b
             as_nobody XDG_CACHE_HOME=not/absolute HOME=/srv/b $COMMAND run env",
            "/srv/b/.cache/libreuse/",
        ),
        // A home may be behind a link, but what is below it may not.
        (
            "mkdir /srv/b; chown 65534 /srv/b; ln -s b /srv/home; as_nobody HOME=/srv/home \
             $COMMAND run env",
            "/srv/b/.cache/libreuse/",
        ),
        (
            "mkdir /srv/b /srv/t; chown 65534 /srv/?; ln -s /nowhere /srv/b/.cache
             as_nobody HOME=/srv/b TMPDIR=/srv/t $COMMAND run env",
            "/srv/t/libreuse-65534/",
        ),
        (
            "mkdir '/srv/a b' /srv/c:d '/srv/$e' /srv/t; chown 65534 /srv/*
             as_nobody XDG_RUNTIME_DIR='/srv/a b' XDG_CACHE_HOME=/srv/c:d TMPDIR=/srv/t $COMMAND run env",
            "/srv/t/libreuse-65534/",
        ),
        // Somebody else's home, and a folder that anybody may change.
        (
            "mkdir /srv/a /srv/b; chown 12345 /srv/a; chmod 777 /srv/?; mkdir /srv/b/c /srv/t; chown 65534 /srv/b/c /srv/t
             as_nobody XDG_RUNTIME_DIR=/srv/a HOME=/srv/b/c TMPDIR=/srv/t $COMMAND run env",
            "/srv/t/libreuse-65534/",
        ),
        // Not where a group may put another folder in the place of one on the way.
        (
            "mkdir -m 775 /srv/g; chown 65534 /srv/g; mkdir /srv/b; chown 65534 /srv/b
             as_nobody XDG_RUNTIME_DIR=/srv/g HOME=/srv/b $COMMAND run env",
            "/srv/b/.cache/libreuse/",
        ),
        // Root of a user namespace alone.
        (
            "mkdir /srv/b; chown 65534 /srv/b
             as_nobody HOME=/srv/b unshare -Ur $COMMAND run env",
            "/srv/b/.cache/libreuse/",
        ),
        // The home that the user database tells.
        (
            "sed 's,^\\(nobody:.*\\):/nonexistent:,\\1:/srv/home:,' /etc/passwd > /srv/passwd
             mount --bind /srv/passwd /etc/passwd; mkdir /srv/home; chown 65534 /srv/home
             as_nobody $COMMAND run env",
            "/srv/home/.cache/libreuse/",
        ),
    ] {
        let finished = in_own_folders(&command, script).run();
        let preload = preload(&finished);
        assert!(preload.starts_with(expected), "{script}: {preload} {finished:#?}");
        assert!(preload.ends_with("/libreuse.so"), "{preload}");
        assert_eq!(finished.stderr, "", "{script}");
    }
}

#[test]
fn starts_nothing_where_there_is_no_place() {
    let (_folder, command) = command_for_others("no-place");
    for (script, says) in [
        (
            "mount -o remount,ro /run; mount -o remount,noexec /var/cache; $COMMAND run env",
            &[
                "there is no place for the library that this command carries",
                "/run/libreuse can't be written: Read-only file system",
                "/var/cache/libreuse is mounted noexec",
                "name one with --library",
            ][..],
        ),
        (
            "ln -s /srv /run/libreuse; mkdir /var/cache/libreuse; chown 12345 /var/cache/libreuse; \
             $COMMAND run env",
            &[
                "/run/libreuse is a link, or no folder",
                "/var/cache/libreuse belongs to uid 12345",
            ],
        ),
        (
            "chmod 700 /srv; mkdir -m 777 /tmp/t-$$; mkdir /tmp/t-$$/libreuse-65534
             result=0; as_nobody HOME=/root XDG_RUNTIME_DIR=/srv TMPDIR=/tmp/t-$$ $COMMAND run env || result=$?
             rm -r /tmp/t-$$; exit $result",
            &[
                "/srv/libreuse can't be written: Permission denied",
                "/root/.cache/libreuse can't be reached: Permission denied",
                "/libreuse-65534 is not safe, since others may change /tmp/t-",
            ],
        ),
        (
            "mkdir -m 775 /srv/shared; chown 65534 /srv/shared
             as_nobody HOME=/srv/shared XDG_RUNTIME_DIR=relative TMPDIR=/nowhere $COMMAND run env",
            &["is not safe, since others may change /srv/shared"],
        ),
        (
            // The bits of the group are 0 until somebody gives a group more by a list.
            "mkdir -m 705 /srv/shared; chown 65534 /srv/shared; list /srv/shared 7
             as_nobody HOME=/srv/shared XDG_RUNTIME_DIR=relative TMPDIR=/nowhere $COMMAND run env",
            &["is not safe, since others may change /srv/shared"],
        ),
        (
            "mkdir '/srv/a b'; chown 65534 '/srv/a b'
             as_nobody HOME='/srv/a b' XDG_RUNTIME_DIR=relative TMPDIR=/srv $COMMAND run env",
            &[
                "/srv/a b/.cache/libreuse has a space in its path, which LD_PRELOAD can't carry",
                "/srv/libreuse-65534 can't be written: Permission denied",
            ],
        ),
        (
            "place=$($COMMAND run env | sed -n 's/LD_PRELOAD=//p'); rm $place; mkdir -p $place/x
             mount -o remount,ro /var/cache; $COMMAND run env",
            &["/run/libreuse can't be written: Is a directory"],
        ),
    ] {
        let finished = in_own_folders(&command, script).run();
        assert_eq!(
            (code(&finished), finished.stdout.as_str()),
            (125, ""),
            "{script}: {finished:#?}"
        );
        for says in says {
            assert_says(&finished.stderr, says);
        }
        assert_says(&finished.stderr, "so env was not started");
    }
    // The control: a list that lets nobody write.
    let script = "mkdir -m 705 /srv/shared; chown 65534 /srv/shared; list /srv/shared 5
         as_nobody HOME=/srv/shared XDG_RUNTIME_DIR=relative TMPDIR=/nowhere $COMMAND run env";
    let finished = in_own_folders(&command, script).run();
    assert_says(&preload(&finished), "/srv/shared/.cache/libreuse");
    // A program that has no use for it itself is traced all the same.
    let fixed = support::compile_c(
        "carried-static",
        "int main(void) { return 0; }",
        &["-static"],
    );
    let nowhere = "for place in /run /var/cache; do mount -o remount,ro $place; done";
    let finished = in_own_folders(&command, &format!("{nowhere}; $COMMAND run $PROGRAM"))
        .with("PROGRAM", &fixed)
        .run();
    assert_eq!(
        (code(&finished), finished.stderr.as_str()),
        (0, ""),
        "{finished:#?}"
    );
}

/// What is there is looked at each time, and is set right where it is ours.
#[test]
fn replaces_what_is_not_the_library() {
    let (_folder, command) = command_for_others("replaced");
    for change in [
        "printf x >> $place",
        "printf x | dd of=$place conv=notrunc bs=1 seek=5000 2>/dev/null",
        ": > $place",
        "rm $place",
        "chown 65534 $place",
        "chmod 666 $place",
        "rm $place; mkfifo $place",
        "rm $place; cp /bin/true /srv/true; ln -s /srv/true $place",
        "rm $place; ln -s /nowhere $place",
        "rm -r $(dirname $place)",
    ] {
        let script = format!(
            "place=$($COMMAND run env | sed -n 's/LD_PRELOAD=//p'); cp $place /srv/library; cp /bin/true /srv/true
             {change}; $COMMAND run env; cmp $place /srv/library; cmp /bin/true /srv/true
             stat -c '%F %u %a' $place; ls -A $(dirname $place)"
        );
        let finished = in_own_folders(&command, &script).run();
        assert_eq!(code(&finished), 0, "{change}: {finished:#?}");
        assert_eq!(finished.stderr, "", "{change}");
        assert!(preload(&finished).starts_with("/run/libreuse/"), "{change}");
        let end = "\nregular file 0 644\nlibreuse.so\n";
        assert!(finished.stdout.ends_with(end), "{change}: {finished:#?}");
    }
    // Mode alone is not worth another file.
    let finished = in_own_folders(
        &command,
        "place=$($COMMAND run env | sed -n 's/LD_PRELOAD=//p'); stat -c %i $place
         chmod 600 $place; chmod 700 /run/libreuse; $COMMAND run stat -c '%i %a' $place; stat -c %a /run/libreuse",
    )
    .run();
    let lines: Vec<&str> = finished.stdout.lines().collect();
    assert_eq!(lines[1], format!("{} 644", lines[0]), "{finished:#?}");
    assert_eq!(lines[2], "755", "{finished:#?}");
}

#[test]
fn starts_many_at_once() {
    let (folder, command) = command_for_others("race");
    for round in 0..5 {
        let runtime = folder.join(format!("runtime-{round}"));
        fs::create_dir(&runtime).expect("ours");
        chown(&runtime, Some(65534), Some(65534)).expect("we are root");
        let program = nobody()
            .argument(&command)
            .arguments(["run", "grep", "-m1", "libreuse.so", "/proc/self/maps"])
            .with("XDG_RUNTIME_DIR", &runtime);
        let running: Vec<_> = (0..20).map(|_| program.start()).collect();
        for running in running {
            let finished = running.finish();
            assert_eq!(code(&finished), 0, "{finished:#?}");
            assert_says(&finished.stdout, text(&runtime));
            assert_eq!(finished.stderr, "");
        }
        let files = files_below(&runtime);
        assert!(
            matches!(&files[..], [file] if file.ends_with("libreuse.so")),
            "{files:?}"
        );
    }
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder)
        .expect("a folder")
        .flat_map(|entry| {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                files_below(&path)
            } else {
                vec![path]
            }
        })
        .collect()
}

/// A program that root starts may become anybody, and starts others then.
#[test]
fn what_root_starts_loads_it_as_nobody_too() {
    let (_folder, command) = command_for_others("to-nobody");
    let finished = Program::new(&command)
        .arguments(["run", "sh", "-c", "umask 077; \"$@\"; true", "sh"])
        .command(&nobody().arguments(["sh", "-c", "grep -c libreuse.so /proc/self/maps; id -u"]))
        .run();
    assert_eq!(finished.stderr, "", "{finished:#?}");
    let lines: Vec<&str> = finished.stdout.lines().collect();
    assert!(
        matches!(lines[..], [mapped, "65534"] if mapped != "0"),
        "{finished:#?}"
    );
}

#[test]
fn removes_what_older_versions_left_and_nobody_uses() {
    let (_folder, command) = command_for_others("older");
    let waits = support::compile_c(
        "waits-static",
        "#include <unistd.h>\nint main(void) { return pause(); }",
        &["-static"],
    );
    let script = "
file=$($COMMAND run env | sed -n 's/LD_PRELOAD=//p')
older() { echo /run/libreuse/0.1.$1-0123456789abcdef; }
for number in 0 1 2 3 4; do
    mkdir -p $(older $number)/multiarch/lib
    cp $file $(older $number)/; cp $file $(older $number)/multiarch/lib/; cp $file $(older $number)/.libreuse.so.4711.1
done
touch $(older 3)/of-somebody-else
cp -r $(older 0) /run/libreuse/mine-0123456789abcdef
ln -s /srv /run/libreuse/0.1.5-0123456789abcdef; touch /srv/libreuse.so
touch -d '1 hour ago' /run/libreuse/*; touch $(older 4)
LD_PRELOAD=$(older 1)/libreuse.so sleep 60 & maps=$!
LD_PRELOAD=$(older 2)/libreuse.so $WAITS & names=$!
until grep -q libreuse.so /proc/$maps/maps && grep -q 0.1.2 /proc/$names/environ; do sleep 0.01; done
$COMMAND run true
kill $maps $names
cd /run/libreuse; echo * | sed \"s,$(basename $(dirname $file)),own,\"; ls -A $(older 3); ls /srv";
    let finished = in_own_folders(&command, script).with("WAITS", &waits).run();
    assert_eq!(finished.stderr, "", "{finished:#?}");
    let lines: Vec<&str> = finished.stdout.lines().collect();
    assert_eq!(
        lines,
        [
            // 1 is mapped, 2 is in an environment, 3 holds more than ours, 4 was just used, and 5
            // is a link.
            "0.1.1-0123456789abcdef 0.1.2-0123456789abcdef 0.1.3-0123456789abcdef \
             0.1.4-0123456789abcdef 0.1.5-0123456789abcdef own mine-0123456789abcdef",
            "of-somebody-else",
            "libreuse.so",
        ],
        "{finished:#?}"
    );
}

/// The library as another version of it, or one that does not tell.
fn of_version(folder: &Folder, version: Option<&str>) -> PathBuf {
    let own = concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes();
    let mut library = fs::read(shim()).expect("the library");
    let note = library
        .windows(own.len())
        .rposition(|window| window == own)
        .expect("its version");
    let other = version.map_or_else(|| "\0".repeat(own.len()), |version| format!("{version}\0"));
    assert_eq!(other.len(), own.len(), "as long as {own:?}");
    library[note..note + own.len()].copy_from_slice(other.as_bytes());
    if version.is_none() {
        // Nor has it a note that could be empty.
        let name = b".note.libreuse";
        let section = library
            .windows(name.len())
            .position(|window| window == name)
            .expect("a name of a section");
        library[section + 1] = b'x';
    }
    let path = folder.join("bin/libreuse.so");
    fs::write(&path, library).expect("ours");
    path
}

#[test]
fn takes_an_installed_library_of_its_own_version_first() {
    let (folder, command) = command_for_others("installed");
    let started = || Program::new(&command).arguments(["run", "env"]).run();
    let installed = folder.copy(shim(), "bin/libreuse.so");
    let finished = started();
    assert_eq!(preload(&finished), text(&installed), "{finished:#?}");
    assert_eq!(finished.stderr, "");

    for (version, says) in [
        (Some("0.1.9"), "is of version 0.1.9"),
        (None, "names no version"),
    ] {
        let other = of_version(&folder, version);
        let finished = started();
        assert!(
            preload(&finished).starts_with("/run/libreuse/"),
            "{finished:#?}"
        );
        assert_says(
            &finished.stderr,
            &format!(
                "warning: {} {says}, and this command is of version {}: the library that it \
                 carries is used",
                other.display(),
                env!("CARGO_PKG_VERSION"),
            ),
        );
        // Whoever names it has it.
        let named = Program::new(&command)
            .arguments(["run", "--library", text(&other), "env"])
            .run();
        assert_eq!(preload(&named), text(&other), "{named:#?}");
        assert_eq!(named.stderr, "");
    }
}

#[test]
fn a_command_that_carries_none_needs_an_installed_one() {
    let folder = Folder::for_other_users("external");
    let (folder, command) = in_bin(folder, support::reuseaddr_without_library());
    let started = || Program::new(&command).arguments(["run", "env"]).run();
    let finished = in_own_folders(
        &command,
        "for place in /usr/local/lib /usr/lib/*-linux-gnu; do [ ! -e $place/libreuse.so ] || mount \
         --bind /dev/null $place/libreuse.so; done; $COMMAND run env",
    )
    .run();
    assert_eq!(
        (code(&finished), finished.stdout.as_str()),
        (125, ""),
        "{finished:#?}"
    );
    let installed = of_version(&folder, Some("0.1.9"));
    let finished = started();
    assert_eq!(preload(&finished), text(&installed), "{finished:#?}");
    assert_says(
        &finished.stderr,
        "is of version 0.1.9, and this command is of version",
    );
    let installed = folder.copy(shim(), "bin/libreuse.so");
    let finished = started();
    assert_eq!(preload(&finished), text(&installed), "{finished:#?}");
    assert_eq!(finished.stderr, "");
}

#[test]
fn check_says_which_library_it_is() {
    let (_folder, command) = command_for_others("checked");
    let finished = Program::new(&command)
        .arguments(["check", "/usr/bin/python3"])
        .run();
    assert_eq!(code(&finished), 0, "{finished:#?}");
    assert_says(
        &finished.stdout,
        "the library is the one that this command carries, as /run/libreuse/",
    );
    let aside = crate::check().argument("/usr/bin/python3").run();
    assert!(!aside.stdout.contains("carries, as"), "{aside:#?}");
}

/// What systemd starts after a reboot needs a library that is still there.
#[test]
fn systemd_has_the_library_put_where_it_stays() {
    let (_folder, command) = command_for_others("stays");
    let script = "
mount -t tmpfs own /usr/local/lib; mount -t tmpfs own /etc/systemd/system
$COMMAND systemd myd
ls -A /usr/local/lib
$COMMAND systemd --install --linger zero myd
cat /etc/systemd/system/myd.service.d/50-libreuse.conf
stat -c '%a %u' /usr/local/lib/libreuse /usr/local/lib/libreuse/libreuse.so
LD_PRELOAD=/usr/local/lib/libreuse/libreuse.so grep -m1 -o libreuse.so /proc/self/maps";
    let finished = in_own_folders(&command, script).run();
    let line = "Environment=\"LD_PRELOAD=/usr/local/lib/libreuse/libreuse.so\"\n";
    let header = "# Written by `reuseaddr systemd`; remove it with `reuseaddr systemd --remove \
                  UNIT`.\n[Service]\n";
    assert_eq!(
        finished.stdout,
        format!(
            "{header}{line}{header}{line}Environment=\"LIBREUSE_LINGER=zero\"\n755 0\n644 \
             0\nlibreuse.so\n"
        ),
        "{finished:#?}"
    );
    assert_says(
        &finished.stderr,
        "To write it, and to put the library there:",
    );
    assert_says(
        &finished.stderr,
        "The library that this command carries is put into /usr/local/lib/libreuse.",
    );

    let script = "
mkdir /srv/home; chown 65534 /srv/home
as_nobody HOME=/srv/home $COMMAND systemd --user --install myd
cat /srv/home/.config/systemd/user/myd.service.d/50-libreuse.conf; ls /srv/home/.local/lib/libreuse";
    let finished = in_own_folders(&command, script).run();
    assert_eq!(
        finished.stdout,
        format!(
            "{header}Environment=\"LD_PRELOAD=/srv/home/.local/lib/libreuse/libreuse.so\"\nlibreuse.so\n"
        ),
        "{finished:#?}"
    );
}
