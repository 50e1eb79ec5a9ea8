//! The real functions: what the program's calls would have reached without us, which may be libc's or another
//! preloaded library's.
//!
//! A table of addresses of our own, and not the macros of the redhook crate, which resolve each function behind a
//! `Once`: a child forked at the wrong moment finds that locked for ever, a failure to resolve is a panic, and both
//! need the standard library, which is most of what a Rust shim adds to the start of every process.
//!
//! `dlsym` finds them. It is in libc since glibc 2.34 and was in `libdl.so.2` before, which not every program loads; to
//! load it everywhere would add three quarters to what this library costs at the start of a program. Where it is
//! missing, no library in the process can have asked it for the functions behind its own, so none passes calls on, and
//! libc's are the real ones.

use core::arch::global_asm;
use core::ffi::{CStr, c_char, c_int, c_long, c_void};
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

// SAFETY: each type is that of the function's declaration in its manual page, and of what stands in for it.
pub(crate) static BIND: Real<Bind> = unsafe { Real::new(c"bind", bind) };
// SAFETY: as above.
pub(crate) static CLOSE: Real<Close> = unsafe { Real::new(c"close", __close) };
// SAFETY: as above.
pub(crate) static CONNECT: Real<Connect> = unsafe { Real::new(c"connect", __connect) };
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
    without_dlsym: F,
}

impl<F: Copy> Real<F> {
    /// # Safety
    ///
    /// * `F` is a function pointer type.
    /// * The function called `name` is of that type.
    const unsafe fn new(name: &'static CStr, without_dlsym: F) -> Self {
        Self {
            name,
            address: AtomicPtr::new(ptr::null_mut()),
            function: PhantomData,
            without_dlsym,
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
        // SAFETY: the loader filled it in before it called anything in this library.
        let dlsym = unsafe { DLSYM };
        let mut address = dlsym.map_or(ptr::null_mut(), |dlsym| {
            // SAFETY: the name is a C string. RTLD_NEXT asks from the caller of dlsym, which is this library: the null
            // check below keeps the call from becoming a jump.
            unsafe { dlsym(libc::RTLD_NEXT, self.name.as_ptr()) }
        });
        if address.is_null() {
            // SAFETY: a function pointer is as large as an address (see `new`).
            address = unsafe { mem::transmute_copy(&self.without_dlsym) };
        }
        self.address.store(address, Relaxed);
        address
    }
}

type Dlsym = unsafe extern "C" fn(*mut c_void, *const c_char) -> *mut c_void;

/// The version of `dlsym` since the first glibc for the processor. libc.so.6 has kept it beside `GLIBC_2.34`, which the
/// linker would choose by itself and which no older glibc satisfies.
#[cfg(target_arch = "x86_64")]
macro_rules! dlsym_version {
    () => {
        "GLIBC_2.2.5"
    };
}
#[cfg(target_arch = "x86")]
macro_rules! dlsym_version {
    () => {
        "GLIBC_2.0"
    };
}
#[cfg(target_arch = "aarch64")]
macro_rules! dlsym_version {
    () => {
        "GLIBC_2.17"
    };
}

// A weak reference, which stays null if nobody provides the symbol. Rust has no stable word for one.
global_asm!(
    ".weak dlsym",
    concat!(".symver dlsym, dlsym@", dlsym_version!()),
    ".pushsection .data.rel.ro.libreuse_dlsym, \"aw\"",
    ".balign {size}",
    ".hidden libreuse_dlsym",
    ".globl libreuse_dlsym",
    "libreuse_dlsym: .dc.a dlsym",
    ".type libreuse_dlsym, %object",
    ".size libreuse_dlsym, {size}",
    ".popsection",
    size = const size_of::<Option<Dlsym>>(),
);

unsafe extern "C" {
    /// The address of `dlsym`, if the process has one.
    #[link_name = "libreuse_dlsym"]
    static DLSYM: Option<Dlsym>;

    // libc's own, under names that nobody interposes. They are cancellation points like the ones that they stand in
    // for, as a bare system call would not be.
    fn __close(fd: c_int) -> c_int;
    fn __connect(fd: c_int, address: *const sockaddr, length: socklen_t) -> c_int;
}

/// Makes a socket call without libc's function for it.
#[cfg(not(target_arch = "x86"))]
macro_rules! socket_call {
    ($call:ident, $number:ident, $($argument:expr),+) => {
        libc::syscall(libc::$call, $($argument),+)
    };
}

/// As libc makes it on 32-bit x86: until Linux 4.3 there is one system call for all of them (socketcall(2)).
#[cfg(target_arch = "x86")]
macro_rules! socket_call {
    ($call:ident, $number:ident, $($argument:expr),+) => {
        libc::syscall(
            libc::SYS_socketcall,
            $number,
            [$($argument as c_long),+].as_ptr(),
        )
    };
}

/// Their numbers there (include/uapi/linux/net.h).
#[cfg(target_arch = "x86")]
const SYS_BIND: c_int = 2;
#[cfg(target_arch = "x86")]
const SYS_LISTEN: c_int = 4;
#[cfg(target_arch = "x86")]
const SYS_SETSOCKOPT: c_int = 14;

// libc has no second name for the other three, which are no cancellation points: the system call is all they are.

unsafe extern "C" fn bind(fd: c_int, address: *const sockaddr, length: socklen_t) -> c_int {
    // SAFETY: the caller's own arguments, which the kernel checks.
    result(unsafe { socket_call!(SYS_bind, SYS_BIND, fd, address, length) })
}

unsafe extern "C" fn listen(fd: c_int, backlog: c_int) -> c_int {
    // SAFETY: as above.
    result(unsafe { socket_call!(SYS_listen, SYS_LISTEN, fd, backlog) })
}

unsafe extern "C" fn setsockopt(
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *const c_void,
    length: socklen_t,
) -> c_int {
    // SAFETY: as above.
    result(unsafe {
        socket_call!(
            SYS_setsockopt,
            SYS_SETSOCKOPT,
            fd,
            level,
            name,
            value,
            length
        )
    })
}

#[allow(clippy::cast_possible_truncation)] // These calls return 0 or -1.
const fn result(value: c_long) -> c_int {
    value as c_int
}
