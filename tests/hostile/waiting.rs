//! `LIBREUSE_WAIT` amid signals.

use crate::host::host;
use crate::support::matrix::{Setting, changes_nothing_when};

/// Results are those without the shim, each after the whole wait and with the socket as it was; `wait.c` checks it.
#[test]
fn waits_through_signals_and_leaves_no_trace() {
    let control = host("wait.c");
    let waiting = control
        .clone()
        .argument("250")
        .shimmed()
        .with("LIBREUSE_WAIT", "250ms");
    changes_nothing_when(&control, &waiting, Setting::all());
}
