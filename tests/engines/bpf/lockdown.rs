//! Where the kernel is locked down to confidentiality (`kernel_lockdown(7)`).

use super::faults::words;
use super::{Machine, attach};
use std::fs;
use std::path::Path;
use support::{Program, is_in_a_guest, reuseaddr};

const MODES: &str = "/sys/kernel/security/lockdown";

/// The setting is the whole machine's, and can't be taken back: this is for a guest of
/// `scripts/check/kernels`.
#[test]
fn serves_and_says_what_watch_takes() {
    if !is_in_a_guest("LIBREUSE_TEST_MAY_LOCK_DOWN") {
        return;
    }
    assert!(
        Path::new(MODES).exists(),
        "this kernel has no lockdown, or securityfs is not mounted"
    );
    let watch = Program::new(reuseaddr()).argument("watch");
    for mode in ["integrity", "confidentiality"] {
        fs::write(MODES, mode).expect("root may lock it down");
        if mode == "integrity" {
            // The control: less of it allows everything.
            let watching = watch.start();
            support::wait_until("watching", || {
                watching.stderr_so_far().contains("Watching for programs")
            });
            watching.kill();
        } else {
            let said = watch.run();
            assert_eq!(said.status.code(), Some(2), "{said:#?}");
            assert_eq!(
                words(&said.stderr),
                "reuseaddr: this kernel is locked down to confidentiality, under which nobody may \
                 trace it: `watch` takes lockdown=integrity, or none, on the kernel's command \
                 line (kernel_lockdown(7)). The engine bpf and `reuseaddr status` still work",
                "{said:#?}"
            );
        }
        // Before Linux 6.1 there is nothing to serve by.
        let Some(mut machine) = Machine::new() else {
            continue;
        };
        let group = machine.group(mode);
        let attached = attach(&group).run();
        assert!(attached.status.success(), "{attached:#?}");
        assert!(machine.serves(&group), "{mode}");
    }
}
