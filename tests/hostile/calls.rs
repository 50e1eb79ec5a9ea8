//! What a call returns: the kernel's answer, and errno untouched where it succeeds.

use crate::host::host;
use support::matrix::changes_nothing;

#[test]
fn leaves_results_and_errno_alone() {
    changes_nothing(&host("errno.c"));
}

#[test]
fn reads_no_memory_that_the_kernel_has_not_accepted() {
    changes_nothing(&host("pointers.c"));
}
