//! What the exit codes mean.

/// It is as was asked for.
pub(crate) const YES: u8 = 0;
/// It is not.
pub(crate) const NO: u8 = 1;
/// It could not be found out or done.
pub(crate) const FAILED: u8 = 2;
/// Nothing was started, since something that was asked for can't be.
pub(crate) const REFUSED: u8 = 125;
/// The program can't be executed, as in sh.
pub(crate) const NOT_EXECUTABLE: u8 = 126;
/// The program is not there, as in sh.
pub(crate) const NOT_FOUND: u8 = 127;

/// What each exit code means, per subcommand.
pub(crate) const EXIT_STATUS: &[(&str, &[(&str, &str)])] = &[
    (
        "run",
        &[
            (
                "125",
                "it was asked for something that can't be; nothing was started",
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
            ("2", "that could not be found out"),
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
            ("2", "that could not be found out"),
        ],
    ),
    (
        "evict",
        &[
            ("0", "nothing that it ends is left on the ports"),
            ("1", "something is left"),
            (
                "2",
                "it may not or can't end anything, or was asked for what can't be",
            ),
        ],
    ),
    (
        "arm",
        &[
            ("0", "every socket of the port is armed"),
            ("1", "there was nothing to arm, or not all of it could be"),
            ("2", "it may not, or was asked for what can't be"),
        ],
    ),
    (
        "systemd, completions, man",
        &[("0", "done"), ("2", "not done")],
    ),
];
