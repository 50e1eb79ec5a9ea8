//! The real functions: what the program's calls would have reached without us, which may be libc's
//! or another preloaded library's.
//!
//! A table of addresses of our own, and not the macros of the redhook crate, which resolve each
//! function behind a `Once`: a child forked at the wrong moment finds that locked for ever, a
//! failure to resolve is a panic, and both need the standard library, which is most of what a Rust
//! shim adds to the start of every process.
//!
//! `dlsym` finds them. musl has it in libc, and so has glibc since 2.34; before, it was in
//! `libdl.so.2`, which not every program loads, and to load it everywhere would add three quarters
//! to what this library costs at the start of a program. Where it is missing, no library in the
//! process can have asked it for the functions behind its own, so none passes calls on, and libc's
//! are the real ones.

use crate::copies;
use core::arch::global_asm;
use core::ffi::{CStr, c_char, c_int, c_long, c_void};
use core::marker::PhantomData;
use core::sync::atomic::{AtomicPtr, Ordering::Relaxed};
use core::{mem, ptr};
use libc::{sockaddr, socklen_t};

type Connect = unsafe extern "C" fn(c_int, *const sockaddr, socklen_t) -> c_int;
type Close = unsafe extern "C" fn(c_int) -> c_int;
type Listen = unsafe extern "C" fn(c_int, c_int) -> c_int;
type Setsockopt = unsafe extern "C" fn(c_int, c_int, c_int, *const c_void, socklen_t) -> c_int;

/// A function that we interpose.
///
/// # Safety
///
/// `Function` is a function pointer's type, and the function called `NAME` is of it.
pub(crate) unsafe trait Interposed {
    type Function: Copy;
    const NAME: &CStr;
    /// libc's, without dlsym.
    const LIBCS: Self::Function;
}

macro_rules! interposed {
    ($($marker:ident, $name:literal, $function:ty, $libcs:ident;)+) => {
        $(
            pub(crate) enum $marker {}

            // SAFETY: the type is that of the declaration in the manual page.
            unsafe impl Interposed for $marker {
                type Function = $function;
                const NAME: &CStr = $name;
                const LIBCS: Self::Function = $libcs;
            }
        )+
    };
}

interposed!(
    BindCall, c"bind", Connect, bind;
    CloseCall, c"close", Close, close;
    ConnectCall, c"connect", Connect, connect;
    ListenCall, c"listen", Listen, listen;
    SetsockoptCall, c"setsockopt", Setsockopt, setsockopt;
);

pub(crate) static BIND: Real<BindCall> = Real::new();
pub(crate) static CLOSE: Real<CloseCall> = Real::new();
pub(crate) static CONNECT: Real<ConnectCall> = Real::new();
pub(crate) static LISTEN: Real<ListenCall> = Real::new();
pub(crate) static SETSOCKOPT: Real<SetsockoptCall> = Real::new();

/// Looks all of them up, so that no hook need do it.
pub(crate) fn resolve_all() {
    BIND.resolve();
    CLOSE.resolve();
    CONNECT.resolve();
    LISTEN.resolve();
    SETSOCKOPT.resolve();
}

/// Where the function behind ours is. What it is called is no part of it: the loader would have to
/// adjust each pointer in a static when it starts a program.
pub(crate) struct Real<I> {
    /// Null until it is looked up. Everybody who looks it up finds the same address, so this needs
    /// no lock, and neither a signal handler nor a forked child can find one held.
    address: AtomicPtr<c_void>,
    function: PhantomData<I>,
}

impl<I: Interposed> Real<I> {
    const fn new() -> Self {
        Self {
            address: AtomicPtr::new(ptr::null_mut()),
            function: PhantomData,
        }
    }

    /// The real function.
    ///
    /// Before our constructor has run it is looked up here: other libraries' constructors may call
    /// us first.
    #[inline(always)]
    pub(crate) fn get(&self) -> I::Function {
        let mut address = self.address.load(Relaxed);
        if address.is_null() {
            address = self.resolve();
        }
        // SAFETY: a function pointer is as large as an address, and this one is of that type
        // (see `Interposed`).
        unsafe { mem::transmute_copy(&address) }
    }

    /// Apart for each function, so that a hook which needs it has a call there and no arguments.
    #[cold]
    #[inline(never)]
    fn resolve(&self) -> *mut c_void {
        // SAFETY: a function pointer is as large as an address (see `Interposed`).
        let libcs = unsafe { mem::transmute_copy(&I::LIBCS) };
        resolve(&self.address, I::NAME.as_ptr(), libcs)
    }
}

// Never inlined: tests/hostile/purity.rs asserts that no hook calls dlsym but by way of this.
#[cold]
#[inline(never)]
fn resolve(place: &AtomicPtr<c_void>, name: *const c_char, libcs: *mut c_void) -> *mut c_void {
    let mut address = look_up(name);
    if address.is_null() {
        address = libcs;
    }
    place.store(address, Relaxed);
    address
}

/// The function behind ours, as dlsym finds it; null if there is no dlsym, or it finds none.
#[inline]
fn look_up(name: *const c_char) -> *mut c_void {
    // SAFETY: the loader filled it in before it called anything in this library.
    let Some(dlsym) = (unsafe { DLSYM }) else {
        return ptr::null_mut();
    };
    // SAFETY: the name is a C string. RTLD_NEXT asks from the caller of dlsym, which is this
    // library: what follows keeps the call from becoming a jump.
    let mut address = unsafe { dlsym(libc::RTLD_NEXT, name) };
    if address.is_null() {
        // To musl, what is opened as a plug-in comes after all others, libc included: nothing is
        // behind it. SAFETY: as above.
        address = unsafe { dlsym(libc::RTLD_DEFAULT, name) };
    }
    // A library in front that has a dlsym of its own, and passes the question on by an ordinary
    // call, asks from where it stands itself: next to that are we.
    if copies::holds(address) {
        return ptr::null_mut();
    }
    address
}

/// What libc has under a name that we do not interpose; null if it has none, or there is no dlsym.
pub(crate) fn find(name: &CStr) -> *mut c_void {
    // SAFETY: the loader filled it in before it called anything in this library.
    let Some(dlsym) = (unsafe { DLSYM }) else {
        return ptr::null_mut();
    };
    // SAFETY: the name is a C string.
    unsafe { dlsym(libc::RTLD_DEFAULT, name.as_ptr()) }
}

type Dlsym = unsafe extern "C" fn(*mut c_void, *const c_char) -> *mut c_void;

/// The version of `dlsym` since the first glibc for the processor. libc.so.6 has kept it beside
/// `GLIBC_2.34`, which the linker would choose by itself and which no older glibc satisfies.
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
#[cfg(target_arch = "arm")]
macro_rules! dlsym_version {
    () => {
        "GLIBC_2.4"
    };
}
#[cfg(target_arch = "riscv64")]
macro_rules! dlsym_version {
    () => {
        "GLIBC_2.27"
    };
}
// Little-endian: build.rs lets no other through.
#[cfg(target_arch = "powerpc64")]
macro_rules! dlsym_version {
    () => {
        "GLIBC_2.17"
    };
}
#[cfg(target_arch = "s390x")]
macro_rules! dlsym_version {
    () => {
        "GLIBC_2.2"
    };
}

/// Keeps the address of a function in a static, null if nobody in the process has it: a weak
/// reference, for which Rust has no stable word. With a version, that one is asked for.
macro_rules! weak {
    ($holder:literal, $function:literal $(, $version:expr)?) => {
        global_asm!(
            concat!(".weak ", $function),
            $(concat!(".symver ", $function, ", ", $function, "@", $version),)?
            concat!(".pushsection .data.rel.ro.", $holder, ", \"aw\""),
            ".balign {size}",
            concat!(".hidden ", $holder),
            concat!(".globl ", $holder),
            concat!($holder, ": .dc.a ", $function),
            concat!(".type ", $holder, ", %object"),
            concat!(".size ", $holder, ", {size}"),
            ".popsection",
            size = const size_of::<Option<Dlsym>>(),
        );
    };
}

weak!("libreuse_dlsym", "dlsym", dlsym_version!());
weak!("libreuse_close", "__close");
weak!("libreuse_connect", "__connect");

unsafe extern "C" {
    #[link_name = "libreuse_dlsym"]
    static DLSYM: Option<Dlsym>;

    // glibc's own, under names that nobody interposes. They are cancellation points like the ones
    // that they stand in for, as a bare system call is not. musl has no such names.
    #[link_name = "libreuse_close"]
    static LIBCS_CLOSE: Option<Close>;
    #[link_name = "libreuse_connect"]
    static LIBCS_CONNECT: Option<Connect>;
}

/// Makes a socket call without libc's function for it.
#[cfg(not(any(target_arch = "x86", target_arch = "s390x")))]
macro_rules! socket_call {
    ($call:ident, $number:ident, $($argument:expr),+) => {
        libc::syscall(libc::$call, $($argument),+)
    };
}

/// As libc makes it on 32-bit x86 and on s390x: until Linux 4.3 there is one system call for all of
/// them (socketcall(2)).
#[cfg(any(target_arch = "x86", target_arch = "s390x"))]
macro_rules! socket_call {
    ($call:ident, $number:ident, $($argument:expr),+) => {
        libc::syscall(
            libc::SYS_socketcall,
            crate::real::numbers::$number,
            [$($argument as libc::c_long),+].as_ptr(),
        )
    };
}

/// Their numbers there (include/uapi/linux/net.h).
#[cfg(any(target_arch = "x86", target_arch = "s390x"))]
pub(crate) mod numbers {
    use core::ffi::c_int;

    pub(crate) const SYS_BIND: c_int = 2;
    pub(crate) const SYS_CONNECT: c_int = 3;
    pub(crate) const SYS_LISTEN: c_int = 4;
    pub(crate) const SYS_GETSOCKNAME: c_int = 6;
    pub(crate) const SYS_SETSOCKOPT: c_int = 14;
    pub(crate) const SYS_GETSOCKOPT: c_int = 15;
}

pub(crate) use socket_call;

unsafe extern "C" fn close(fd: c_int) -> c_int {
    // SAFETY: the loader filled it in before it called anything in this library.
    if let Some(close) = unsafe { LIBCS_CLOSE } {
        // SAFETY: the caller's own arguments.
        return unsafe { close(fd) };
    }
    // SAFETY: as above.
    result(unsafe { libc::syscall(libc::SYS_close, fd) })
}

unsafe extern "C" fn connect(fd: c_int, address: *const sockaddr, length: socklen_t) -> c_int {
    // SAFETY: the loader filled it in before it called anything in this library.
    if let Some(connect) = unsafe { LIBCS_CONNECT } {
        // SAFETY: the caller's own arguments.
        return unsafe { connect(fd, address, length) };
    }
    // SAFETY: as above.
    result(unsafe { socket_call!(SYS_connect, SYS_CONNECT, fd, address, length) })
}

// No libc has a second name for the other three, which are no cancellation points: the system call
// is all they are.

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
