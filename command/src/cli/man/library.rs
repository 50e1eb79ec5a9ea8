//! libreuse.so(8).

use super::page::Page;
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
        "A program that is restarted finds its port busy for a minute with what its last run left behind (TIME_WAIT), \
         unless it sets `SO_REUSEADDR`. This library stands between a program and libc, and does that for it.",
    );
    page.paragraph(
        "A `bind` is made as it is, and only after EADDRINUSE once more with the option set for that one call. `listen` sets \
         the option, which accepted connections inherit, so that what they leave behind can be bound over by the next run. \
         When the program clears the option on a socket that listens or is connected, it is set again. Nothing else changes: \
         not a port that somebody listens on, nor UDP, nor a bind to port 0, nor return values, errno, blocking, signals and \
         descriptors.",
    );
    page.paragraph(
        "Linux wants the option on the old socket as well as on the new one. So the first restart after a run without the \
         library still fails; `LIBREUSE_WAIT` lets it wait that one time, and `reuseaddr evict` ends what is left.",
    );
    page.section("ENVIRONMENT");
    page.words(
        "Read once, when the library is loaded. A wrong value is told in one line on stderr, and the default holds; so is a \
         variable of this prefix that does not exist.",
    );
    for setting in &SETTINGS {
        let mut letters = setting.effect.chars();
        let effect: String = letters
            .next()
            .map(|first| first.to_uppercase().chain(letters).collect())
            .unwrap_or_default();
        let meaning = format!(
            "{effect}.\n\nValues: {}. Default: {}.",
            setting.values, setting.default
        );
        page.term(setting.name, "", &meaning);
    }
    page.section("NOTES");
    page.term("graceful", "", "`LIBREUSE_LINGER=graceful`: the kernel sends everything and the end of file, and once that is \
        acknowledged forgets the connection and says so by a reset. The peer gets every byte; one that writes after the end, \
        or that looks at its connection late, notices the reset.");
    page.term(
        "zero",
        "",
        "`LIBREUSE_LINGER=zero`: a reset at once. What has not been sent is thrown away.",
    );
    page.term("Where it is not loaded", "", "Static programs have no dynamic linker, and Go programs do not call libc. \
        For setuid, setgid and programs with file capabilities the dynamic linker drops LD_PRELOAD; under systemd \
        `AmbientCapabilities=` does what the latter are for. `reuseaddr check` tells for a program.");
    page.term("32-bit programs", "", "need the library of their kind. Where both are installed, \
        `LD_PRELOAD='/usr/$LIB/libreuse.so'` is the right one for either, and `reuseaddr run` finds it by itself.");
    page.section("DIAGNOSTICS");
    page.words("One line each, by one system call, where `LIBREUSE_LOG_FILE` says, or on stderr:");
    page.term(
        "libreuse[PID]: loaded: ...",
        "",
        "with `LIBREUSE_LOG=info`, that it is there, and with which settings.",
    );
    page.term(
        "libreuse[PID]: bind ADDRESS: ..., bound with SO_REUSEADDR",
        "",
        "with `LIBREUSE_LOG=info`, that it was needed.",
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
