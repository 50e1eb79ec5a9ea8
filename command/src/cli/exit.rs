//! The exit codes.

/// The answer is yes, or all was done.
pub(crate) const YES: u8 = 0;
/// The answer is no, or not all was done.
pub(crate) const NO: u8 = 1;
/// It could not be found out or done.
pub(crate) const FAILED: u8 = 2;
/// Nothing was started: a request can't be met.
pub(crate) const REFUSED: u8 = 125;
/// The program can't be executed, as in sh.
pub(crate) const NOT_EXECUTABLE: u8 = 126;
/// The program is not there, as in sh.
pub(crate) const NOT_FOUND: u8 = 127;

/// The meaning of each exit code, per subcommand.
pub(crate) const EXIT_STATUS: &[(&str, &[(&str, &str)])] = &[
    (
        "run",
        &[
            (
                "125",
                "an option is wrong, or no engine works for PROGRAM; nothing was started",
            ),
            ("126", "PROGRAM was found and can't be executed"),
            ("127", "PROGRAM was not found"),
            ("other", "PROGRAM's own, since `run` becomes PROGRAM"),
        ],
    ),
    (
        "check",
        &[
            ("0", "the library works in it, or it can be traced"),
            ("1", "neither"),
            ("2", "the answer could not be found out"),
        ],
    ),
    (
        "status",
        &[
            (
                "0",
                "a plain bind of every PORT succeeds now, or no PORT was named",
            ),
            ("1", "a plain bind of some PORT fails now"),
            ("2", "the answer could not be found out"),
        ],
    ),
    (
        "wait",
        &[
            (
                "0",
                "every PORT can be bound now; or, with --listening, something listens on it",
            ),
            ("1", "the time was up first"),
            (
                "2",
                "you may not bind it, or the answer could not be found out",
            ),
        ],
    ),
    (
        "watch",
        &[
            ("0", "the reader of its stdout has gone"),
            ("2", "permission is missing, or the kernel can't do it"),
        ],
    ),
    (
        "evict",
        &[
            ("0", "no leftover is on the ports any more"),
            ("1", "some are left"),
            ("2", "permission is missing, or the kernel can't do it"),
        ],
    ),
    (
        "free",
        &[
            (
                "0",
                "every PORT can be bound now; or, with --dry-run, could be",
            ),
            (
                "1",
                "all that is allowed was done, and some PORT is still busy",
            ),
            (
                "2",
                "a process that holds a PORT may not be terminated, or you did not agree; none was",
            ),
        ],
    ),
    (
        "arm",
        &[
            ("0", "every socket of the port is armed"),
            ("1", "there was nothing to arm, or not all of it could be"),
            ("2", "permission is missing, or PID listens on no TCP port"),
        ],
    ),
    (
        "next",
        &[
            ("0", "a port was printed"),
            ("1", "none can be bound"),
            ("2", "the answer could not be found out"),
        ],
    ),
    (
        "bpf",
        &[
            (
                "0",
                "done; of `status`, something is attached or remembered",
            ),
            (
                "1",
                "nothing is attached (`status`), or nothing was there (`detach`, but for --all)",
            ),
            ("2", "not done, or permission is missing"),
        ],
    ),
    (
        "clean",
        &[
            ("0", "nothing of ours is left"),
            ("1", "something is in use or can't be removed, and stays"),
            ("2", "that could not be done"),
        ],
    ),
    (
        "systemd, install, completions, man",
        &[("0", "done"), ("2", "not done")],
    ),
];
