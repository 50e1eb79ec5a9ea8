//! The guard of a second try: a socket of our own on the same port, for as long as the try takes.
//!
//! While the program's socket carries `SO_REUSEADDR`, another socket with the option can be bound
//! over it. Two copies of a program that make their second try at the same moment would both get
//! the port. So each binds a guard first: to an address that nobody else uses, and without the
//! option. The kernel refuses the second guard, and its owner tries again a moment later.
//!
//! The guard does more on older kernels (6.18 needs it no longer). For a socket with the option,
//! those compare no addresses while every socket on the port had the option when it was bound
//! (`tb->fastreuse` in `inet_csk_get_port`). They then give the port to any number of sockets,
//! although the first of them has lost the option again. The guard is bound without it: from then
//! on the kernel compares.

use crate::calls::{Errno, Kernel, Spare};
use crate::diag::BindAddress;

/// How often a guard that is taken is tried again, which takes a tenth of a second. A process
/// that holds it for longer was stopped.
const TRIES: u32 = 1_000;

/// The outcome of taking the guard.
pub(crate) enum Guard<S> {
    /// It is held until it is dropped.
    Held(S),
    /// It could not be taken: the second try is made without it.
    Missing,
    /// A live socket is bound to the wildcard address on the port, so that every `bind` fails.
    Refused,
}

/// Takes the guard of the port.
#[cold]
#[inline(never)]
pub(crate) fn take<C: Kernel>(kernel: &C, wanted: &BindAddress) -> Guard<C::Spare> {
    let address = wanted.address;
    for _ in 0..TRIES {
        let Some(spare) = kernel.spare(address) else {
            break;
        };
        match spare.bind(address.guard()) {
            Ok(()) => {
                // Now a socket with the option, such as the program's, can bind the wildcard
                // address over it. A second guard can't: it is bound without the option.
                spare.reuse_address();
                return Guard::Held(spare);
            }
            Err(Errno::IN_USE) => {}
            Err(_) => break,
        }
        // The guard is taken, or the wildcard address is: then this address is refused as well.
        // With the option, so that it blocks no other copy.
        spare.reuse_address();
        if spare.bind(address.beside_guard()) == Err(Errno::IN_USE)
            // A wildcard address on another interface does not conflict with the program's socket.
            && wanted.interface == Some(0)
        {
            return Guard::Refused;
        }
        drop(spare);
        kernel.pause();
    }
    Guard::Missing
}
