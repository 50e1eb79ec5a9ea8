//! Signals by name (signal(7)).

use rustix::process::Signal;

const NAMES: [(&str, Signal); 12] = [
    ("HUP", Signal::HUP),
    ("INT", Signal::INT),
    ("QUIT", Signal::QUIT),
    ("ABRT", Signal::ABORT),
    ("KILL", Signal::KILL),
    ("USR1", Signal::USR1),
    ("USR2", Signal::USR2),
    ("ALRM", Signal::ALARM),
    ("TERM", Signal::TERM),
    ("WINCH", Signal::WINCH),
    ("PWR", Signal::POWER),
    ("STOP", Signal::STOP),
];

/// `SIGTERM`.
pub(crate) fn name(signal: Signal) -> String {
    NAMES
        .iter()
        .find(|(_, known)| *known == signal)
        .map_or_else(
            || format!("signal {}", signal.as_raw()),
            |(name, _)| format!("SIG{name}"),
        )
}

/// A signal that asks a process to exit, as kill(1) takes it: `TERM`, `SIGTERM`, `15`.
pub(crate) fn read(text: &str) -> Result<Signal, String> {
    let upper = text.to_uppercase();
    let bare = upper.strip_prefix("SIG").unwrap_or(&upper);
    NAMES
        .iter()
        // A process that is stopped does not exit.
        .filter(|(name, _)| *name != "STOP")
        .find(|(name, signal)| *name == bare || signal.as_raw().to_string() == bare)
        .map(|&(_, signal)| signal)
        .ok_or_else(|| {
            "expected a signal that asks to exit: TERM, INT, HUP, QUIT, USR1, USR2, ABRT, ALRM, \
             PWR, WINCH or KILL"
                .to_owned()
        })
}
