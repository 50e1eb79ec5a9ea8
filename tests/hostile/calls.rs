//! What a call returns: the kernel's answer, and errno untouched where it succeeds.

use crate::host::{Libc, changes_nothing_in};

#[test]
fn leaves_results_and_errno_alone() {
    changes_nothing_in(Libc::BOTH, "errno.c", &[]);
}

#[test]
fn reads_no_memory_that_the_kernel_has_not_accepted() {
    changes_nothing_in(Libc::BOTH, "pointers.c", &[]);
}
