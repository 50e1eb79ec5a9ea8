//! The real functions: what the program's calls would have reached without us, which may be libc's or another
//! preloaded library's.
//!
//! A table of addresses of our own, and not the macros of the redhook crate, which resolve each function behind a
//! `Once`: a child forked at the wrong moment finds that locked for ever, a failure to resolve is a panic, and both
//! need the standard library, which is most of what a Rust shim adds to the start of every process.

use core::ffi::{CStr, c_int, c_long, c_void};
use core::marker::PhantomData;
use core::sync::atomic::{AtomicPtr, Ordering::Relaxed};
use core::{mem, ptr};
use libc::{sockaddr, socklen_t};

pub(crate) type Bind = unsafe extern "C" fn(c_int, *const sockaddr, socklen_t) -> c_int;
pub(crate) type Close = unsafe extern "C" fn(c_int) -> c_int;
pub(crate) type Connect = unsafe extern "C" fn(c_int, *const sockaddr, socklen_t) -> c_int;
pub(crate) type Listen = unsafe extern "C" fn(c_int, c_int) -> c_int;
pub(crate) type Setsockopt =
    unsafe extern "C" fn(c_int, c_int, c_int, *const c_void, socklen_t) -> c_int;

// SAFETY: each type is that of the function's declaration in its manual page, and of the system call behind it.
pub(crate) static BIND: Real<Bind> = unsafe { Real::new(c"bind", bind) };
// SAFETY: as above.
pub(crate) static CLOSE: Real<Close> = unsafe { Real::new(c"close", close) };
// SAFETY: as above.
pub(crate) static CONNECT: Real<Connect> = unsafe { Real::new(c"connect", connect) };
// SAFETY: as above.
pub(crate) static LISTEN: Real<Listen> = unsafe { Real::new(c"listen", listen) };
// SAFETY: as above.
pub(crate) static SETSOCKOPT: Real<Setsockopt> = unsafe { Real::new(c"setsockopt", setsockopt) };

/// Looks all of them up, so that no hook need do it.
pub(crate) fn resolve_all() {
    BIND.resolve();
    CLOSE.resolve();
    CONNECT.resolve();
    LISTEN.resolve();
    SETSOCKOPT.resolve();
}

/// A function that we interpose, of type `F`.
pub(crate) struct Real<F> {
    name: &'static CStr,
    /// Null until it is looked up. Everybody who looks it up finds the same address, so this needs no lock, and
    /// neither a signal handler nor a forked child can find one held.
    address: AtomicPtr<c_void>,
    function: PhantomData<F>,
    system_call: F,
}

impl<F: Copy> Real<F> {
    /// # Safety
    ///
    /// * `F` is a function pointer type.
    /// * The function called `name` is of that type.
    const unsafe fn new(name: &'static CStr, system_call: F) -> Self {
        Self {
            name,
            address: AtomicPtr::new(ptr::null_mut()),
            function: PhantomData,
            system_call,
        }
    }

    /// The real function.
    ///
    /// Before our constructor has run it is looked up here: other libraries' constructors may call us first.
    #[inline]
    pub(crate) fn get(&self) -> F {
        let mut address = self.address.load(Relaxed);
        if address.is_null() {
            address = self.resolve();
        }
        // SAFETY: a function pointer is as large as an address, and this one is of type F (see `new`).
        unsafe { mem::transmute_copy(&address) }
    }

    // Never inlined: tests/hostile/purity.rs asserts that no hook calls dlsym but by way of this.
    #[cold]
    #[inline(never)]
    fn resolve(&self) -> *mut c_void {
        // SAFETY: the name is a C string. RTLD_NEXT asks from the caller of dlsym, which is this library: the null
        // check below keeps the call from becoming a jump.
        let mut address = unsafe { libc::dlsym(libc::RTLD_NEXT, self.name.as_ptr()) };
        if address.is_null() {
            // Not seen with glibc, but reported for odd loaders. The host must go on.
            // SAFETY: a function pointer is as large as an address (see `new`).
            address = unsafe { mem::transmute_copy(&self.system_call) };
        }
        self.address.store(address, Relaxed);
        address
    }
}

#[allow(clippy::cast_possible_truncation)] // These calls return 0 or -1.
const fn result(value: c_long) -> c_int {
    value as c_int
}

unsafe extern "C" fn bind(fd: c_int, address: *const sockaddr, length: socklen_t) -> c_int {
    // SAFETY: the caller's own arguments, which the kernel checks.
    result(unsafe { libc::syscall(libc::SYS_bind, fd, address, length) })
}

unsafe extern "C" fn close(fd: c_int) -> c_int {
    // SAFETY: as above.
    result(unsafe { libc::syscall(libc::SYS_close, fd) })
}

unsafe extern "C" fn connect(fd: c_int, address: *const sockaddr, length: socklen_t) -> c_int {
    // SAFETY: as above.
    result(unsafe { libc::syscall(libc::SYS_connect, fd, address, length) })
}

unsafe extern "C" fn listen(fd: c_int, backlog: c_int) -> c_int {
    // SAFETY: as above.
    result(unsafe { libc::syscall(libc::SYS_listen, fd, backlog) })
}

unsafe extern "C" fn setsockopt(
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *const c_void,
    length: socklen_t,
) -> c_int {
    // SAFETY: as above.
    result(unsafe { libc::syscall(libc::SYS_setsockopt, fd, level, name, value, length) })
}
