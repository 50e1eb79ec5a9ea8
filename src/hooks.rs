//! Everything that the program calls: the five interposed functions, and no decisions.
//!
//! What is done before, instead of and after a call is a sequence of the rules
//! (`libreuse_rules::sequence`); a hook lends it libc. What the sequences add is advice and never a
//! veto: if it fails, the program runs as if the shim were absent. The caller's call comes last and
//! happens once, but for three cases: `setsockopt` makes it before it acts, so that errors stay the
//! kernel's; `bind` repeats it after `EADDRINUSE`; and what `listen` can't do before the call,
//! because the socket has no port yet, it does afterwards.
//!
//! The caller's memory is read only after the kernel has read it without complaint. `errno` is the
//! caller's: it has the value from before the call until the real function sets it.
//!
//! What is seldom needed stands apart from the hook (`#[cold]`): the usual path then keeps few
//! registers and little stack.

use crate::load::settings;
use crate::socket::{Socket, size};
use crate::{errno, real};
use core::ffi::{c_int, c_void};
use core::ptr;
use libc::{sockaddr, socklen_t};
use libreuse_rules::calls::{Errno, OriginalCall, SocketOption};
use libreuse_rules::endpoint::{self, Endpoint};
use libreuse_rules::settings::{Linger, Settings};
use libreuse_rules::{policy, sequence};

/// # Safety
///
/// As for bind(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn bind(fd: c_int, address: *const sockaddr, length: socklen_t) -> c_int {
    let errno_before = errno::get();
    // SAFETY: the caller's own arguments.
    let result = unsafe { real::BIND.get()(fd, address, length) };
    match settings() {
        Some(settings) if result == 0 => {
            if settings.reuse_port {
                // SAFETY: the caller's own arguments, and the kernel has just taken them.
                unsafe { share_port(settings, fd, address, length) };
            }
            result
        }
        Some(settings) if errno::get() == libc::EADDRINUSE => {
            // SAFETY: the caller's own arguments, and the kernel has just found the address in use.
            unsafe { bind_in_use(settings, fd, address, length, errno_before) }
        }
        _ => result,
    }
}

/// `bind` once more, to an address that is in use.
///
/// # Safety
///
/// As for [`Bind::accepted`].
#[cold]
#[inline(never)]
unsafe fn bind_in_use(
    settings: &Settings,
    fd: c_int,
    address: *const sockaddr,
    length: socklen_t,
    errno_before: c_int,
) -> c_int {
    // SAFETY: the caller's promise.
    let call = unsafe { Bind::accepted(fd, address, length) };
    let result = sequence::bind_in_use(settings, &Socket(fd), &call, call.address());
    answer(result, errno_before)
}

/// Lets other copies of the program bind the port as well.
///
/// # Safety
///
/// As for [`Bind::accepted`].
#[cold]
#[inline(never)]
unsafe fn share_port(settings: &Settings, fd: c_int, address: *const sockaddr, length: socklen_t) {
    // SAFETY: the caller's promise.
    let call = unsafe { Bind::accepted(fd, address, length) };
    errno::kept(|| sequence::bound(settings, &Socket(fd), call.address()));
}

/// # Safety
///
/// As for listen(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn listen(fd: c_int, backlog: c_int) -> c_int {
    let call = Listen { fd, backlog };
    let errno_before = errno::get();
    let result = match settings() {
        Some(settings) => sequence::listen(settings, &Socket(fd), &call),
        None => call.make(),
    };
    answer(result, errno_before)
}

/// # Safety
///
/// As for connect(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn connect(fd: c_int, address: *const sockaddr, length: socklen_t) -> c_int {
    match settings() {
        Some(settings) if policy::has_something_for_connections(settings) => {
            prepare_connect(settings, fd);
        }
        _ => {}
    }
    // SAFETY: the caller's own arguments.
    unsafe { real::CONNECT.get()(fd, address, length) }
}

#[cold]
#[inline(never)]
fn prepare_connect(settings: &Settings, fd: c_int) {
    errno::kept(|| sequence::connect(settings, &Socket(fd)));
}

/// # Safety
///
/// As for setsockopt(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn setsockopt(
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *const c_void,
    length: socklen_t,
) -> c_int {
    let option = SocketOption::at(level, name);
    let carried = option == Some(SocketOption::ReuseAddress) && carries_the_option(fd);
    // SAFETY: the caller's own arguments.
    let result = unsafe { real::SETSOCKOPT.get()(fd, level, name, value, length) };
    // Another preloaded library, or a seccomp filter, may have said success in the kernel's place.
    let readable = !value.is_null() && length >= size::<c_int>();
    if result == 0 && readable {
        if let Some(option) = option {
            // SAFETY: the kernel has just read an int from there, as it does for both options
            // (tcp(7), socket(7)).
            let value = unsafe { value.cast::<c_int>().read_unaligned() };
            set_again(fd, option, value, carried);
        }
    }
    result
}

#[cold]
#[inline(never)]
fn carries_the_option(fd: c_int) -> bool {
    settings()
        .is_some_and(|settings| errno::kept(|| sequence::carries_the_option(settings, &Socket(fd))))
}

/// Sets an option of ours again if the program has just cleared it where it counts.
#[cold]
#[inline(never)]
fn set_again(fd: c_int, option: SocketOption, value: c_int, carried: bool) {
    if let Some(settings) = settings() {
        errno::kept(|| sequence::option_set(settings, &Socket(fd), option, value, carried));
    }
}

/// # Safety
///
/// As for close(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn close(fd: c_int) -> c_int {
    match settings() {
        Some(settings) if settings.linger != Linger::Off => prepare_close(settings, fd),
        _ => {}
    }
    // SAFETY: the caller's own arguments.
    unsafe { real::CLOSE.get()(fd) }
}

#[cold]
#[inline(never)]
fn prepare_close(settings: &Settings, fd: c_int) {
    errno::kept(|| sequence::close(settings, &Socket(fd)));
}

/// What a hook returns, with `errno` as the program is to find it.
#[inline(always)]
fn answer(result: Result<(), Errno>, errno_before: c_int) -> c_int {
    match result {
        Ok(()) => {
            errno::set(errno_before);
            0
        }
        Err(Errno(number)) => failed(number),
    }
}

#[cold]
#[inline(never)]
fn failed(number: c_int) -> c_int {
    errno::set(number);
    -1
}

/// A `bind` of the program's, of which the kernel has read the address.
struct Bind {
    fd: c_int,
    address: *const sockaddr,
    length: socklen_t,
}

impl Bind {
    /// # Safety
    ///
    /// * These are the arguments of a hook that does not return before the value is dropped.
    /// * The kernel has read the address, and said success or `EADDRINUSE`.
    unsafe fn accepted(fd: c_int, address: *const sockaddr, length: socklen_t) -> Self {
        Self {
            fd,
            address,
            length,
        }
    }

    /// Where it is to bind; `None` if that is neither IPv4 nor IPv6.
    fn address(&self) -> Option<Endpoint> {
        let length = usize::try_from(self.length).unwrap_or(0);
        let length = length.min(endpoint::LONGEST);
        // Another preloaded library may have said success in the kernel's place.
        if self.address.is_null() {
            return None;
        }
        let mut family = [0; 2];
        if length < family.len() {
            return None;
        }
        // SAFETY: the kernel has read as many bytes (see `accepted`), and `family` has them.
        unsafe {
            ptr::copy_nonoverlapping(self.address.cast(), family.as_mut_ptr(), family.len());
        }
        let length = length.min(endpoint::length_of(family));
        let mut bytes = [0; endpoint::LONGEST];
        // SAFETY: at most as many bytes as the kernel has read (see `accepted`), and as `bytes`
        // has.
        unsafe {
            ptr::copy_nonoverlapping(self.address.cast::<u8>(), bytes.as_mut_ptr(), length);
        }
        Endpoint::decode(bytes.get(..length)?)
    }
}

impl OriginalCall for Bind {
    fn make(&self) -> Result<(), Errno> {
        // SAFETY: the caller's own arguments (see `accepted`).
        made(unsafe { real::BIND.get()(self.fd, self.address, self.length) })
    }
}

/// A `listen` of the program's.
struct Listen {
    fd: c_int,
    backlog: c_int,
}

impl OriginalCall for Listen {
    #[inline(always)]
    fn make(&self) -> Result<(), Errno> {
        // SAFETY: two numbers, which the kernel checks.
        made(unsafe { real::LISTEN.get()(self.fd, self.backlog) })
    }
}

#[inline(always)]
fn made(result: c_int) -> Result<(), Errno> {
    if result == 0 {
        Ok(())
    } else {
        Err(Errno(errno::get()))
    }
}
