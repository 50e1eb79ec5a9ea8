//! How the shim came into the process, before and after whom: constructors, plug-ins, other
//! preloaded libraries.

use crate::host::{Libc, changes_nothing_in, compiled_with, host};
use std::path::Path;
use std::{fs, os};
use support::matrix::{Log, Setting, changes_nothing_when};
use support::{Folder, Program, own_network, program, shim};

const SHARED: [&str; 1] = ["-shared"];

/// A program with these libraries preloaded.
pub(crate) fn preloading(program: &Program, libraries: &[&Path]) -> Program {
    let list: Vec<_> = libraries
        .iter()
        .map(|library| library.to_str().expect("a path in UTF-8"))
        .collect();
    program.clone().with("LD_PRELOAD", list.join(":"))
}

/// Asserts that nothing changes, whether the shim is before the other library or behind it.
fn changes_nothing_beside(program: &Program, library: &Path) {
    changes_nothing_beside_with(Libc::Glibc, program, library);
}

fn changes_nothing_beside_with(libc: Libc, program: &Program, library: &Path) {
    let control = preloading(program, &[library]);
    for both in [[shim(), library], [library, shim()]] {
        changes_nothing_when(&control, &preloading(program, &both), libc.settings());
    }
}

#[test]
fn serves_calls_from_constructors_and_destructors_of_the_program() {
    changes_nothing_in(Libc::BOTH, "every_hook.c", &[]);
}

#[test]
fn serves_calls_before_its_own_constructor() {
    for libc in Libc::BOTH {
        let other = libc.compiled("plugin.c", &SHARED);
        changes_nothing_beside_with(libc, &libc.host("every_hook.c"), &other);
    }
}

/// The loader runs the constructors of the program's libraries before ours.
#[test]
fn serves_a_port_that_a_constructor_of_the_programs_libraries_opens() {
    const REFUSED: &str = "agent: bind: Address ";
    for libc in Libc::BOTH {
        let agent = libc.compiled("agent.c", &["-shared", "-DAGENT"]);
        let folder = agent.parent().expect("a folder").display();
        let search = format!("-Wl,-rpath,{folder}");
        let flags = [agent.to_str().expect("a path in UTF-8"), search.as_str()];
        let program = Program::new(libc.compiled("agent.c", &flags));
        own_network();
        let unserved = "agent: SO_REUSEADDR is 0\nprogram: SO_REUSEADDR is 0\n";
        assert_eq!(program.output(), unserved, "{libc:?}");
        assert!(program.output().starts_with(REFUSED), "{libc:?}");
        own_network();
        for _ in 0..3 {
            let served = "agent: SO_REUSEADDR is 1\nprogram: SO_REUSEADDR is 1\n";
            assert_eq!(program.clone().shimmed().output(), served, "{libc:?}");
        }
        // The variables count there too.
        let elsewhere = program.shimmed().with("LIBREUSE_PROGRAMS", "other");
        assert!(elsewhere.output().starts_with(REFUSED), "{libc:?}");
    }
}

#[test]
fn serves_plugins() {
    for libc in Libc::BOTH {
        let plugin = libc.compiled("plugin.c", &SHARED);
        let program = libc.host("plugins.c").argument(plugin);
        changes_nothing_when(&program, &program.clone().shimmed(), libc.settings());
    }
}

#[test]
fn can_be_opened_as_a_plugin_itself() {
    for libc in Libc::BOTH {
        let plugin = libc.compiled("plugin.c", &SHARED);
        let control = libc.host("plugins.c").argument(&plugin);
        let opened = control.clone().argument(shim());
        changes_nothing_when(&control, &opened, libc.settings());
    }
}

#[test]
fn may_be_given_twice() {
    let folder = Folder::new("twice");
    let link = folder.join("link.so");
    let copy = folder.join("copy.so");
    os::unix::fs::symlink(shim(), &link).expect("a symlink");
    fs::copy(shim(), &copy).expect("a copy");
    for libc in Libc::BOTH {
        let program = libc.host("every_hook.c");
        for twice in [
            [shim(), shim()],
            [shim(), &link],
            [shim(), &copy],
            [&copy, shim()],
        ] {
            changes_nothing_when(&program, &preloading(&program, &twice), libc.settings());
        }
    }
}

/// The outer one's wait would be around the inner one's, with signals held back meanwhile, and four
/// times as long.
#[test]
fn acts_once_where_there_are_two_of_it() {
    let folder = Folder::new("two");
    let copy = folder.copy(shim(), "copy.so");
    for libc in Libc::BOTH {
        let control = libc.host("wait.c");
        let program = control
            .clone()
            .argument("250")
            .with("LIBREUSE_WAIT", "250ms,listeners");
        for two in [[shim(), &copy], [&copy, shim()]] {
            let both = preloading(&program, &two);
            changes_nothing_when(&control, &both, vec![Setting::new("off", Log::Stderr)]);
            // What it says, it says once.
            own_network();
            let mistaken = preloading(&libc.host("every_hook.c"), &two)
                .with("LIBREUSE_COLOUR", "red")
                .run();
            assert_eq!(mistaken.stderr.lines().count(), 1, "{mistaken:#?}");
        }
    }
}

#[test]
fn stands_beside_libfaketime() {
    let library = program(&["/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"]);
    changes_nothing_beside(&host("every_hook.c").with("FAKETIME", "+10y"), &library);
}

#[test]
fn stands_beside_libeatmydata() {
    let library = program(&["/usr/lib/x86_64-linux-gnu/libeatmydata.so"]);
    changes_nothing_beside(&host("every_hook.c"), &library);
}

#[test]
fn stands_beside_jemalloc() {
    let library = program(&["/usr/lib/x86_64-linux-gnu/libjemalloc.so.2"]);
    changes_nothing_beside(&host("every_hook.c"), &library);
}

#[test]
fn stands_beside_another_interposer() {
    for libc in Libc::BOTH {
        let other = libc.compiled("interposer.c", &SHARED);
        changes_nothing_beside_with(libc, &libc.host("every_hook.c"), &other);
    }
}

/// That library's question for the next function finds the shim's own.
#[test]
fn stands_beside_a_library_that_asks_dlsym_for_it() {
    changes_nothing_beside(
        &host("every_hook.c"),
        &compiled_with("dlsym_interposer.c", &SHARED),
    );
}

#[test]
fn reads_nothing_that_another_library_took_unread() {
    for libc in Libc::BOTH {
        let swallower = libc.compiled("answers_unread.c", &SHARED);
        let program = libc
            .host("answered_unread.c")
            .with("LIBREUSE_REUSEPORT", "on");
        // The other order swallows the calls before the shim sees them.
        changes_nothing_when(
            &preloading(&program, &[&swallower]),
            &preloading(&program, &[shim(), &swallower]),
            libc.settings(),
        );
    }
}

/// The wait goes by the kernel's clock: by libfaketime's it would take a thousand times as long.
#[test]
fn waits_by_the_real_clock() {
    own_network();
    let faketime = program(&["/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"]);
    let program = Program::python(
        "
listener = socket.socket()
listener.bind(('127.0.0.1', 5000))
listener.listen()
signal.alarm(100)
try:
    socket.socket().bind(('127.0.0.1', 5000))
except OSError as error:
    print(errno.errorcode[error.errno])
",
    );
    for order in [[shim(), &faketime], [&faketime, shim()]] {
        let waiting = Setting::new("off", Log::Off).applied_to(
            preloading(&program, &order)
                .with("FAKETIME", "+10y x0.001")
                .with("LIBREUSE_WAIT", "200ms,listeners"),
        );
        assert_eq!(waiting.output(), "EADDRINUSE\n");
    }
}
