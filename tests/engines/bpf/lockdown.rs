//! Where the kernel is locked down to confidentiality (`kernel_lockdown(7)`).

use super::Machine;
use std::{env, fs};
use support::{Program, in_one_line, reuseaddr};

/// Elsewhere the tests of `watch` are the control.
#[test]
fn serves_and_says_what_watch_takes() {
    let modes = fs::read_to_string("/sys/kernel/security/lockdown").unwrap_or_default();
    let is_locked_down = modes.contains("[confidentiality]");
    if env::var_os("LIBREUSE_TEST_IS_LOCKED_DOWN").is_some() {
        assert!(is_locked_down, "{modes}");
    }
    if !is_locked_down {
        eprintln!(
            "skipped: this kernel is not locked down, as a guest of scripts/check/kernels is"
        );
        return;
    }
    let said = Program::new(reuseaddr()).argument("watch").run();
    assert_eq!(said.status.code(), Some(2), "{said:#?}");
    assert_eq!(
        in_one_line(&said.stderr),
        "reuseaddr: this kernel is locked down to confidentiality, under which nobody may trace \
         it: `watch` takes lockdown=integrity, or none, on the kernel's command line \
         (kernel_lockdown(7)). The engine bpf and `reuseaddr status` still work",
        "{said:#?}"
    );
    // Before Linux 6.1 there is nothing to serve by.
    let Some(mut machine) = Machine::new() else {
        return;
    };
    let group = machine.attached("locked-down");
    assert!(machine.serves(&group));
}
