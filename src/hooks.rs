//! Everything that the program calls: the five interposed functions, and no decisions.
//!
//! A hook acts, then makes the caller's call with the caller's own arguments. What it adds is advice and never a
//! veto: if it fails, the program runs as if the shim were absent. The caller's call comes last and happens once,
//! but for three cases: `setsockopt` makes it first, so that errors stay the kernel's; `bind` repeats it after
//! `EADDRINUSE`; and what `listen` can't do before the call, because the socket has no port yet, it does afterwards.
//!
//! The caller's memory is read only after the kernel has read it without complaint. `errno` is the caller's: it has
//! the value from before the call until the real function sets it.

use crate::load::settings;
use crate::socket::{Socket, size};
use crate::{clock, errno, file, real, report, signals};
use core::ffi::{c_int, c_void};
use core::slice;
use libc::{sockaddr, socklen_t};
use libreuse_rules::endpoint::{self, Endpoint};
use libreuse_rules::policy::{self, Decision, Options, Reason};
use libreuse_rules::settings::{Linger, Settings};

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
                // SAFETY: the kernel has just taken an address from there.
                let address = unsafe { accepted(address, length) };
                share_port(settings, fd, address);
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

/// `bind` once more, to an address that is in use. Apart from the hook, like all that is seldom called: the usual
/// path then keeps few registers and little stack.
///
/// # Safety
///
/// As for bind(2); and the kernel has just read the address and found it in use.
#[cold]
#[inline(never)]
unsafe fn bind_in_use(
    settings: &Settings,
    fd: c_int,
    address: *const sockaddr,
    length: socklen_t,
    errno_before: c_int,
) -> c_int {
    // SAFETY: the kernel has just looked at an address there.
    let accepted = unsafe { accepted(address, length) };
    // SAFETY: the caller's own arguments.
    let call = || unsafe { real::BIND.get()(fd, address, length) };
    let error = bind_again(settings, fd, accepted, call);
    errno::set(error.unwrap_or(errno_before));
    if error.is_none() { 0 } else { -1 }
}

/// # Safety
///
/// As for listen(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn listen(fd: c_int, backlog: c_int) -> c_int {
    let before = settings().map(|settings| errno::kept(|| prepare_listener(settings, fd)));
    // SAFETY: the caller's own arguments.
    let result = unsafe { real::LISTEN.get()(fd, backlog) };
    if result == 0 && before == Some(Decision::StepAside(Reason::Unbound)) {
        // The kernel has chosen a port.
        settings().map(|settings| errno::kept(|| prepare_listener(settings, fd)));
    }
    result
}

/// # Safety
///
/// As for connect(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn connect(fd: c_int, address: *const sockaddr, length: socklen_t) -> c_int {
    if let Some(settings) = settings() {
        errno::kept(|| {
            prepare("connect", fd, || {
                policy::connect(settings, &Socket::borrow(fd))
            })
        });
    }
    // SAFETY: the caller's own arguments.
    unsafe { real::CONNECT.get()(fd, address, length) }
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
    // SAFETY: the caller's own arguments.
    let result = unsafe { real::SETSOCKOPT.get()(fd, level, name, value, length) };
    // Another preloaded library, or a seccomp filter, may have said success in the kernel's place.
    let readable = !value.is_null() && length >= size::<c_int>();
    if result == 0 && readable && is_ours(level, name) {
        // SAFETY: the kernel has just read an int from there, as it does for both options (tcp(7), socket(7)).
        let value = unsafe { value.cast::<c_int>().read_unaligned() };
        if let Some(settings) = settings() {
            set_again(settings, fd, name, value);
        }
    }
    result
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

/// The address that a `bind` was given; `None` if it is neither IPv4 nor IPv6.
///
/// # Safety
///
/// The kernel has just read `length` bytes from `address`.
unsafe fn accepted(address: *const sockaddr, length: socklen_t) -> Option<Endpoint> {
    let length = usize::try_from(length).unwrap_or(0).min(endpoint::LONGEST);
    if address.is_null() {
        return None;
    }
    // SAFETY: at most as many bytes as the kernel read, from where it read them.
    Endpoint::decode(unsafe { slice::from_raw_parts(address.cast::<u8>(), length) })
}

/// Lets other copies of the program bind the port as well.
#[cold]
#[inline(never)]
fn share_port(settings: &Settings, fd: c_int, address: Option<Endpoint>) {
    let Some(address) = address else {
        return;
    };
    errno::kept(|| {
        prepare("bind", fd, || {
            policy::bound(settings, &Socket::borrow(fd), address.port)
        })
    });
}

/// Between two tries at an address: the pause grows up to this.
const LONGEST_PAUSE_MS: u64 = 100;

/// Binds over what an earlier run left behind, waiting for it if the settings allow; returns the last error.
#[cold]
fn bind_again(
    settings: &Settings,
    fd: c_int,
    address: Option<Endpoint>,
    call: impl Fn() -> c_int,
) -> Option<c_int> {
    let socket = Socket::borrow(fd);
    let decision = match address {
        Some(address) => policy::bind(settings, &socket, address.port),
        None => Decision::StepAside(Reason::NotTcp),
    };
    let options = match decision {
        Decision::Act(options) => options,
        Decision::StepAside(reason) => {
            report::stepped_aside("bind", fd, reason);
            return Some(libc::EADDRINUSE);
        }
    };

    let error = bind_with(options, socket, &call);
    if error == Some(libc::EADDRINUSE) && settings.wait_ms > 0 {
        report::waiting(address, settings.wait_ms);
        let outcome = wait_to_bind(settings, options, fd, &call);
        report::bound(address, outcome.options, outcome.error, outcome.waited_ms);
        outcome.error
    } else {
        report::bound(address, options, error, 0);
        error
    }
}

/// What came of waiting for an address.
struct Outcome {
    /// What `bind` was tried with in the end.
    options: Options,
    error: Option<c_int>,
    waited_ms: u64,
}

/// Tries again with a growing pause, until the address is free or the time is up.
#[cold]
#[inline(never)]
fn wait_to_bind(
    settings: &Settings,
    options: Options,
    fd: c_int,
    call: &impl Fn() -> c_int,
) -> Outcome {
    let in_use = |waited_ms| Outcome {
        options,
        error: Some(libc::EADDRINUSE),
        waited_ms,
    };
    let file = file::identify(fd);
    let Some(start) = clock::now_ms() else {
        return in_use(0);
    };
    let mut waited_ms = 0;
    let mut pause = 1;
    loop {
        let left = u64::from(settings.wait_ms).saturating_sub(waited_ms);
        if left == 0 {
            return in_use(waited_ms);
        }
        let until = start
            .saturating_add(waited_ms)
            .saturating_add(left.min(pause));
        // Another thread may have closed the descriptor meanwhile, and its number be another socket's.
        if !clock::sleep_until(until) || file::identify(fd) != file {
            return in_use(waited_ms);
        }
        let (options, error) = bind_plain_first(options, Socket::borrow(fd), call);
        waited_ms = clock::now_ms().map_or(waited_ms, |now| now.saturating_sub(start));
        if error != Some(libc::EADDRINUSE) {
            return Outcome {
                options,
                error,
                waited_ms,
            };
        }
        pause = LONGEST_PAUSE_MS.min(pause.saturating_mul(2));
    }
}

/// As the first try was: without any option, and with the options only if the address is in use. Another copy may wait
/// for the same port, and take a failure of `bind` as its lock. Returns the options of the last try, and the error.
fn bind_plain_first(
    options: Options,
    socket: Socket,
    call: &impl Fn() -> c_int,
) -> (Options, Option<c_int>) {
    // Copies that are to share the port have to say so before they bind.
    if !options.reuse_port {
        let error = tried(call);
        if error != Some(libc::EADDRINUSE) {
            return (Options::NONE, error);
        }
    }
    (options, bind_with(options, socket, call))
}

/// Binds with the options set, puts back what the program had, and returns the error.
fn bind_with(options: Options, socket: Socket, call: &impl Fn() -> c_int) -> Option<c_int> {
    // A handler that jumped out in the middle would leave an option set on the program's socket.
    signals::held(|| bind_uninterrupted(options, socket, call))
        .unwrap_or_else(|| bind_uninterrupted(options, socket, call))
}

fn bind_uninterrupted(
    options: Options,
    socket: Socket,
    call: &impl Fn() -> c_int,
) -> Option<c_int> {
    // Only what is off is set, and only what was set is put back.
    let address = options.reuse_address
        && socket.reuse_address() == Some(false)
        && socket.set_reuse_address(true);
    let port =
        options.reuse_port && socket.reuse_port() == Some(false) && socket.set_reuse_port(true);
    let error = tried(call);
    if address {
        socket.set_reuse_address(false);
    }
    // A bound socket keeps it: the next copy needs it there.
    if port && error.is_some() {
        socket.set_reuse_port(false);
    }
    error
}

/// Makes the call, and returns its error.
fn tried(call: &impl Fn() -> c_int) -> Option<c_int> {
    (call() != 0).then(errno::get)
}

fn prepare_listener(settings: &Settings, fd: c_int) -> Decision {
    prepare("listen", fd, || {
        policy::listen(settings, &Socket::borrow(fd))
    })
}

/// Apart from the hook, which then needs no stack of its own where nothing is to be done: that is nearly every close.
#[cold]
#[inline(never)]
fn prepare_close(settings: &Settings, fd: c_int) {
    errno::kept(|| prepare("close", fd, || policy::close(settings, &Socket::borrow(fd))));
}

/// Does what is decided before the caller's call, and reports it.
fn prepare(function: &'static str, fd: c_int, decide: impl FnOnce() -> Decision) -> Decision {
    let decision = decide();
    match decision {
        Decision::Act(options) => {
            if Socket::borrow(fd).apply(options) {
                report::acted(function, fd, options);
            } else {
                report::stepped_aside(function, fd, Reason::Refused);
            }
        }
        Decision::StepAside(reason) => report::stepped_aside(function, fd, reason),
    }
    decision
}

/// Whether this is an option that we set.
fn is_ours(level: c_int, name: c_int) -> bool {
    (level, name) == (libc::SOL_SOCKET, libc::SO_REUSEADDR)
        || (level, name) == (libc::IPPROTO_TCP, libc::TCP_LINGER2)
}

/// Sets an option of ours again if the program has just cleared it where it counts.
#[cold]
#[inline(never)]
fn set_again(settings: &Settings, fd: c_int, name: c_int, value: c_int) {
    let reuse_address = name == libc::SO_REUSEADDR && value == 0 && settings.reuse_address;
    let graceful = name == libc::TCP_LINGER2 && value >= 0 && settings.linger == Linger::Graceful;
    if reuse_address || graceful {
        let linger = if graceful {
            Linger::Graceful
        } else {
            Linger::Off
        };
        let wanted = Options {
            reuse_address,
            reuse_port: false,
            linger,
        };
        errno::kept(|| {
            prepare("setsockopt", fd, || {
                policy::cleared(settings, &Socket::borrow(fd), wanted)
            })
        });
    }
}
