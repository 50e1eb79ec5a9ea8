//! Descriptors of a thread's own (unshare(2)).

/// Gives the calling thread a table of descriptors of its own, with copies of all that are open: it
/// opens and closes its own without waiting for another thread's turn. Where that can't be, it
/// shares them as before.
///
/// For a thread that ends without having closed what others opened.
pub(crate) fn of_this_thread() {
    // SAFETY: unshare takes a number. Each descriptor stays what it was for this thread, and what
    // others do with theirs is not seen here: both is so for the sockets that a thread opens,
    // uses and closes itself.
    unsafe { libc::unshare(libc::CLONE_FILES) };
}
