//! The words for what is found on ports, and for what is done about it.

mod diagnosis;
pub(crate) mod free;

pub(super) use diagnosis::summary;

use crate::process::holders::sees_all;

/// Why root sees nobody who holds a socket.
pub(crate) fn unseen() -> &'static str {
    if sees_all() {
        "No process has a descriptor of it: io_uring may have registered it, or it is on its way \
         through a Unix socket"
    } else {
        "No process that can be seen from this PID namespace has a descriptor of it: it may be in \
         another one, perhaps a container"
    }
}
