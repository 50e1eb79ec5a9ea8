//! libreuse.so(8).

use super::page::Page;
use crate::library::variables::capitalised;
use libreuse_rules::settings::SETTINGS;

/// The page, from the table of variables.
pub(super) fn page() -> String {
    let mut page = Page::new(
        "libreuse.so",
        "8",
        "System Manager's Manual",
        "let an unmodified program bind its TCP port again at once",
    );
    page.section("SYNOPSIS");
    page.usage("LD_PRELOAD=libreuse.so PROGRAM [ARGUMENT]...");
    page.usage("reuseaddr run PROGRAM [ARGUMENT]...");
    page.section("DESCRIPTION");
    page.words(
        "A restarted program finds its port busy for a minute: its closed connections are still in \
         TIME_WAIT, unless it sets `SO_REUSEADDR`. This library stands between the program and \
         libc, and sets the option for it.",
    );
    page.paragraph(
        "The program's `bind` is unchanged. Only after EADDRINUSE it is repeated, with the option \
         set for that one call. `listen` sets the option for good. Accepted connections inherit \
         it, so the next run can bind over what they leave behind. If the program clears the \
         option on a listener, it is set again; on an accepted connection too, while its port has \
         a live listener. Nothing else changes: ports with a live listener, UDP, a bind to port 0, \
         return values, errno, blocking, signals and descriptors.",
    );
    page.paragraph(
        "Linux wants the option on the old socket as well as on the new one. So the first restart \
         after a run without the library still fails. `LIBREUSE_WAIT` makes it wait, that once; \
         `reuseaddr evict` clears the port at once.",
    );
    page.section("ENVIRONMENT");
    page.words(
        "Read once, when the library is loaded. A wrong value, or an unknown variable with this \
         prefix, is reported in one line on stderr, unless LIBREUSE_LOG is off or error, and the \
         default applies.",
    );
    for setting in &SETTINGS {
        let meaning = format!(
            "{}.\n\nValues: {}. Default: {}.",
            capitalised(setting.effect),
            setting.values,
            setting.default
        );
        page.term(setting.name, "", &meaning);
    }
    page.section("NOTES");
    page.term(
        "graceful",
        "",
        "`LIBREUSE_LINGER=graceful`: the kernel sends everything and the end of file. Once that is \
         acknowledged, it forgets the connection and sends a reset. The peer gets every byte. A \
         peer that writes after the end, or that looks at its connection late, notices the reset.",
    );
    page.term(
        "zero",
        "",
        "`LIBREUSE_LINGER=zero`: a reset at once. What has not been sent is thrown away.",
    );
    page.term(
        "Where it is not loaded",
        "",
        "Static programs have no dynamic linker, and Go programs do not call libc. For setuid, \
         setgid and programs with file capabilities the dynamic linker drops LD_PRELOAD; under \
         systemd use `AmbientCapabilities=` in place of file capabilities. `reuseaddr check \
         PROGRAM` reports all that.",
    );
    page.term(
        "32-bit programs",
        "",
        "need the 32-bit library. Where both are installed, `LD_PRELOAD='/usr/$LIB/libreuse.so'` \
         names the right one for either. `reuseaddr run` finds it by itself.",
    );
    page.section("DIAGNOSTICS");
    page.words(
        "Each message is one line, written by one system call, to `LIBREUSE_LOG_FILE` or to \
         stderr:",
    );
    page.term(
        "libreuse[PID]: loaded: ...",
        "",
        "with `LIBREUSE_LOG=debug`: the library is loaded, with these settings.",
    );
    page.term(
        "libreuse[PID]: bind ADDRESS: ..., bound with SO_REUSEADDR",
        "",
        "with `LIBREUSE_LOG=info`: the bind succeeded because of the library.",
    );
    page.term(
        "libreuse[PID]: bind ADDRESS: in use, waiting for up to ... ms",
        "",
        "by default: `LIBREUSE_WAIT` is set, and the bind waits. A line like it says how the wait \
         ended, or that a live listener is no reason to wait.",
    );
    page.term(
        "libreuse: LIBREUSE_...=...: ...",
        "",
        "by default, and always to stderr: the value is wrong, or there is no such variable. The \
         default applies.",
    );
    page.section("EXAMPLES");
    for (purpose, command) in [
        ("A program:", "LD_PRELOAD=libreuse.so ./program"),
        (
            "A service, by a drop-in that reuseaddr writes:",
            "sudo reuseaddr systemd --install myd",
        ),
        (
            "On its own ports only, and with a line for each bind that it saved:",
            "LIBREUSE_PORTS=8000-8100 LIBREUSE_LOG=info LD_PRELOAD=libreuse.so ./program",
        ),
        ("Is it at work in a process?", "reuseaddr check --pid 4711"),
    ] {
        page.example(purpose, command);
    }
    page.see_also(&[
        ("reuseaddr", "1"),
        ("ld.so", "8"),
        ("bind", "2"),
        ("socket", "7"),
        ("tcp", "7"),
    ]);
    page.finish()
}
