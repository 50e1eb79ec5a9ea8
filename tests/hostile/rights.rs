//! Programs with few privileges, or with more than their callers, and variables of any content.

use crate::host::{Libc, changes_nothing_in, compiled, compiled_with};
use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::{fs, io};
use support::matrix::{LINGERS, Log, Setting, changes_nothing_when};
use support::{Folder, Program, own_network, set_capabilities, shim};

/// With linger off, close, connect, a successful bind, a failed one and setsockopt of other options
/// cost no system call.
#[test]
fn makes_no_system_call_that_the_program_does_not_make() {
    for libc in Libc::BOTH {
        let program = libc.host("seccomp.c").argument("strict");
        own_network();
        let expected = program.run().succeeded();
        let finished = program.shimmed().run().succeeded();
        assert_eq!(
            (finished.stdout, finished.stderr),
            (expected.stdout, expected.stderr),
            "{libc:?}"
        );
    }
}

/// Neither does it to be loaded, unless it is to speak.
#[test]
fn makes_no_system_call_to_be_loaded() {
    for libc in Libc::BOTH {
        let program = libc.host("seccomp.c").argument("start");
        assert_eq!(program.output(), "alive\n");
        for linger in LINGERS {
            let shimmed = Setting::new(linger, Log::Off).applied_to(program.clone().shimmed());
            assert_eq!(shimmed.output(), "alive\n", "{libc:?} {linger}");
        }
    }
}

/// A sandbox may answer system calls in a handler of its own: nothing of ours keeps the handler
/// from being called.
#[test]
fn lets_a_sandbox_answer_its_system_calls() {
    changes_nothing_in(Libc::BOTH, "seccomp.c", &["trapping"]);
}

/// Where the time can't be had there is no wait, and not one without end.
#[test]
fn does_not_wait_in_a_sandbox_without_a_clock() {
    for libc in Libc::BOTH {
        let control = libc.host("seccomp.c").argument("timeless");
        let waiting = control
            .clone()
            .shimmed()
            .with("LIBREUSE_WAIT", "10m,listeners");
        changes_nothing_when(&control, &waiting, libc.settings());
    }
}

/// The clock stops while it waits: a handler brings the sandbox.
#[test]
fn ends_its_wait_when_the_clock_stops() {
    for libc in Libc::BOTH {
        let control = libc.host("seccomp.c").argument("stopping");
        let waiting = control.clone().shimmed().with("LIBREUSE_WAIT", "10m");
        changes_nothing_when(&control, &waiting, libc.settings());
    }
}

/// A sandbox that keeps an answer of the kernel from being taken off, or says that it is empty, has
/// nobody read it for ever.
#[test]
fn goes_on_in_a_sandbox_that_spoils_answers() {
    for libc in Libc::BOTH {
        for argument in ["untaken", "empty"] {
            own_network();
            let program = libc.host("seccomp.c").argument(argument);
            assert_eq!(program.output(), "in use\nalive\n", "{libc:?} {argument}");
            own_network();
            let shimmed = program.shimmed();
            assert_eq!(shimmed.output(), "alive\n", "{libc:?} {argument}");
        }
    }
}

/// Where nobody may look for listeners, the wait is as if there were none: here it goes on to its
/// end.
#[test]
fn waits_in_a_sandbox_that_shows_no_listeners() {
    let program = Libc::Glibc.host("seccomp.c").argument("unseeing").shimmed();
    for (argument, expected) in [
        ("unseeing", "still in use after"),
        ("seeing", "not waiting"),
    ] {
        own_network();
        let finished = program
            .clone()
            .replacing_argument(0, argument)
            .with("LIBREUSE_WAIT", "100ms")
            .run()
            .succeeded();
        assert_eq!(finished.stdout, "alive\n");
        assert!(finished.stderr.contains(expected), "{finished:#?}");
    }
}

#[test]
fn survives_values_of_any_content() {
    let longest = "9".repeat(128 * 1024 - 32);
    let values: [&[u8]; 16] = [
        b"",
        b" ",
        b"=",
        b"on\n",
        b"\n\nlibreuse: all is well\n",
        b"%s%s%s%n%n%n%x",
        b"%p%p%p%p",
        b"/%",
        b"/%q",
        b"\xff\xfe\x80",
        b"\x1b[2J\x07",
        b"99999999999999999999999999",
        b"4294967295m",
        b"0-65535",
        b"*************************a",
        longest.as_bytes(),
    ];
    let names = [
        "REUSEADDR",
        "LINGER",
        "WAIT",
        "REUSEPORT",
        "PORTS",
        "LOG",
        "LOG_FILE",
        "",
        "=",
        "\n",
    ];
    own_network();
    let expected = Libc::Glibc.host("every_hook.c").run();
    // LIBREUSE_PROGRAMS takes nearly anything for a name, and then this is another program, where
    // the shim is silent.
    for (libc, value, programs) in Libc::BOTH.into_iter().flat_map(|libc| {
        let each = values.into_iter();
        each.flat_map(move |value| [(libc, value, false), (libc, value, true)])
    }) {
        let program = libc.host("every_hook.c");
        let mut hostile = program.clone().shimmed();
        for name in names {
            hostile = hostile.with(format!("LIBREUSE_{name}"), OsStr::from_bytes(value));
        }
        if programs {
            hostile = hostile.with("LIBREUSE_PROGRAMS", OsStr::from_bytes(value));
        }
        let finished = hostile.run();
        assert_eq!(
            (&finished.stdout, finished.status),
            (&expected.stdout, expected.status)
        );
        // One short line each, of printable characters.
        let complaints: Vec<_> = finished.stderr.lines().collect();
        assert!(
            complaints.len() <= names.len() + 1 && (programs || !complaints.is_empty()),
            "{:?}: {complaints:#?}",
            String::from_utf8_lossy(&value[..value.len().min(80)])
        );
        for complaint in complaints {
            assert!(
                complaint.starts_with("libreuse: LIBREUSE_")
                    && complaint.len() < 512
                    && complaint.bytes().all(|byte| (b' '..=b'~').contains(&byte)),
                "{complaint:?}"
            );
        }
    }
}

#[test]
fn survives_values_of_a_mebibyte() {
    own_network();
    for libc in Libc::BOTH {
        let program = libc.host("values.c").argument(shim());
        let finished = program.run().succeeded();
        assert_eq!(finished.stdout.lines().count(), 10);
        assert!(
            finished.stdout.lines().all(|line| line.ends_with(": 0")),
            "{finished:#?}"
        );
        for line in finished.stderr.lines() {
            assert!(
                line.starts_with("libreuse: LIBREUSE_") && line.len() < 512,
                "{line:?}"
            );
        }
    }
}

/// A setuid program, run by somebody else, with the shim in /etc/ld.so.preload, so that the loader
/// takes it in spite of everything. Where there is nobody else, in a namespace with one user, the
/// program has a file capability instead.
#[test]
fn obeys_no_variable_in_a_program_with_more_rights() {
    let users = fs::read_to_string("/proc/self/uid_map").expect("the map of users");
    let alone = users.split_whitespace().last() == Some("1");
    own_network();
    let folder = Folder::for_other_users("secure");
    own_mounts(folder.path());
    // The tmpfs may hold setuid programs, and everybody may reach what is in it.
    let give_rights = |program: &Path| {
        if alone {
            set_capabilities(program, "cap_net_bind_service+p");
        } else {
            let setuid = fs::Permissions::from_mode(0o4755);
            fs::set_permissions(program, setuid).expect("the file is ours");
        }
    };
    let program = folder.copy(compiled("at_secure.c"), "secure");
    give_rights(&program);
    let library = folder.copy(shim(), "libreuse.so");
    let log = folder.join("log");
    fs::create_dir(folder.join("etc")).expect("a folder");
    fs::write(folder.join("ld.so.preload"), library.as_os_str().as_bytes()).expect("a file");

    let run = |program: &Path, user: &str, library_is_on: bool| {
        let become_user = if alone {
            format!("unshare --user --map-user={user}")
        } else {
            format!("setpriv --reuid {user} --clear-groups")
        };
        // The file that names the library is in place for this one command, which is of nobody
        // else's namespace.
        let script = format!(
            "{mount} exec {become_user} env LIBREUSE_LINGER=graceful LIBREUSE_LOG=trace \
             LIBREUSE_LOG_FILE={log} LIBREUSE_COLOUR=red {program}",
            mount = if library_is_on {
                format!(
                    "mount --bind {folder}/etc /etc && cp {folder}/ld.so.preload \
                     /etc/ld.so.preload &&",
                    folder = folder.path().display()
                )
            } else {
                String::new()
            },
            log = log.display(),
            program = program.display(),
        );
        // `env` has the variables from its arguments: the shim in it, and in the others, sees none.
        Program::new("/usr/bin/unshare")
            .arguments(["--mount", "sh", "-c", &script])
            .run()
            .succeeded()
    };

    // Root has no more rights than itself: the variables count, which shows that the library is
    // there.
    let obeyed = run(&program, "0", true);
    assert_eq!(
        obeyed.stdout,
        "secure: 0\nTCP_LINGER2 of the accepted socket: -1\nbind over TIME_WAIT: bound\n"
    );
    assert!(obeyed.stderr.contains("LIBREUSE_COLOUR"), "{obeyed:#?}");
    fs::remove_file(&log).expect("a log file, since it was asked for");

    // The defaults apply: bind works, and nothing else changes.
    let secure = run(&program, "65534", true);
    assert_eq!(
        secure.stdout,
        "secure: 1\nTCP_LINGER2 of the accepted socket: 60\nbind over TIME_WAIT: bound\n"
    );
    assert_eq!(secure.stderr, "");
    assert!(!log.exists(), "a file was written");

    // musl takes no preload into such a program at all: this one is linked with the shim.
    let search = format!("-Wl,-rpath,{}", folder.path().display());
    let flags = [library.to_str().expect("a path in UTF-8"), &search];
    let linked = folder.copy(Libc::Musl.compiled("at_secure.c", &flags), "linked");
    give_rights(&linked);
    let secure = run(&linked, "65534", false);
    assert_eq!(
        secure.stdout,
        "secure: 1\nTCP_LINGER2 of the accepted socket: 60\nbind over TIME_WAIT: bound\n"
    );
    assert_eq!(secure.stderr, "");
    assert!(!log.exists(), "a file was written");

    let control = run(&program, "65534", false);
    assert_eq!(
        control.stdout,
        "secure: 1\nTCP_LINGER2 of the accepted socket: 60\nbind over TIME_WAIT: in use\n"
    );
}

/// Where neither libc nor /proc tells whose rights a program has, its variables can't be read; and
/// one of them may leave it out.
#[test]
fn stays_off_where_nobody_tells_its_rights() {
    let hider = compiled_with(
        "dlsym_interposer.c",
        &["-shared", "-fPIC", "-DHIDDEN=\"getauxval\""],
    );
    let program = compiled("at_secure.c");
    for (set_up, result) in [("true", "bound"), ("mount -t tmpfs none /proc", "in use")] {
        own_network();
        let script = format!(
            "{set_up} && exec env LD_PRELOAD={}:{} LIBREUSE_PORTS=1-65535 {}",
            hider.display(),
            shim().display(),
            program.display()
        );
        let finished = Program::new("/usr/bin/unshare")
            .arguments(["--mount", "sh", "-c", &script])
            .run()
            .succeeded();
        let last = finished.stdout.lines().last().unwrap_or_default();
        assert_eq!(
            last,
            format!("bind over TIME_WAIT: {result}"),
            "{finished:#?}"
        );
        assert_eq!(finished.stderr, "");
    }
}

/// Gives the calling thread mounts of its own, with a small file system in the folder.
fn own_mounts(folder: &Path) {
    // SAFETY: unshare takes flags alone; a mount namespace is the calling thread's own
    // (unshare(2)).
    let unshared = unsafe { libc::unshare(libc::CLONE_NEWNS) };
    assert_eq!(unshared, 0, "{}", io::Error::last_os_error());
    let target = CString::new(folder.as_os_str().as_bytes()).expect("no null byte");
    for (path, kind, flags) in [
        (c"/", c"", libc::MS_REC | libc::MS_PRIVATE),
        (&*target, c"tmpfs", 0),
    ] {
        // SAFETY: C strings all, which outlive the call; no options.
        let result = unsafe {
            libc::mount(
                c"none".as_ptr(),
                path.as_ptr(),
                kind.as_ptr(),
                flags,
                std::ptr::null(),
            )
        };
        assert_eq!(result, 0, "{}", io::Error::last_os_error());
    }
    fs::set_permissions(folder, fs::Permissions::from_mode(0o777)).expect("our own folder");
}
