//! The few calls that neither std nor rustix has. Beside `engine/trace`, this is the only unsafe code of the command.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char, c_int};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

/// What std changes before `main`, and [`exec`] puts back: bits 0 to 2 say that this descriptor was closed, bit 3 that
/// SIGPIPE was ignored. std opens /dev/null where a standard descriptor is missing, and ignores SIGPIPE; a program
/// that we become must not find either, nor miss that systemd had SIGPIPE ignored for it.
static FOUND: AtomicU8 = AtomicU8::new(0);
const SIGPIPE_IGNORED: u8 = 1 << 3;

// SAFETY: the section holds functions that take these arguments or fewer; glibc calls each once (elf/dl-init.c).
#[unsafe(link_section = ".init_array")]
#[used]
static LOOK: extern "C" fn() = look;

extern "C" fn look() {
    let mut found = 0;
    for fd in 0..3 {
        // SAFETY: F_GETFD changes nothing, and any number may be asked about.
        if unsafe { libc::fcntl(fd, libc::F_GETFD) } == -1 {
            found |= 1 << fd;
        }
    }
    // SAFETY: a sigaction is numbers, flags and an optional function: all zeroes are one.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: nothing is set, and the old action is written to a place of that type.
    let result = unsafe { libc::sigaction(libc::SIGPIPE, ptr::null(), &raw mut action) };
    if result == 0 && action.sa_sigaction == libc::SIG_IGN {
        found |= SIGPIPE_IGNORED;
    }
    FOUND.store(found, Ordering::Relaxed);
}

/// Becomes another program, which finds descriptors, signals and mask as we found them. Returns only if that fails.
///
/// Not by `std::process::Command`: its exec clears the signal mask and sets SIGPIPE to its default.
pub(crate) fn exec(path: &CStr, arguments: &[CString], environment: &[CString]) -> io::Error {
    let found = FOUND.load(Ordering::Relaxed);
    let action = if found & SIGPIPE_IGNORED == 0 {
        libc::SIG_DFL
    } else {
        libc::SIG_IGN
    };
    // SAFETY: both actions exist for SIGPIPE, and neither calls anything of ours.
    unsafe { libc::signal(libc::SIGPIPE, action) };
    for fd in (0..3).filter(|fd| found & 1 << fd != 0) {
        // SAFETY: it holds the /dev/null that std opened, which no value in this process owns.
        unsafe { libc::close(fd) };
    }
    let arguments = array(arguments);
    let environment = array(environment);
    // SAFETY: path and arrays are C strings, the arrays end with a null pointer, and all of them outlive the call.
    unsafe { libc::execve(path.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
    let error = io::Error::last_os_error();
    // SAFETY: as std had it, so that a message to a closed pipe does not end us.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
    error
}

fn array(strings: &[CString]) -> Vec<*const c_char> {
    strings
        .iter()
        .map(|string| string.as_ptr())
        .chain([ptr::null()])
        .collect()
}

/// Whether the kernel maps a file as code.
pub(crate) fn maps_as_code(file: BorrowedFd<'_>) -> bool {
    /// The least there is to map.
    const LENGTH: usize = 1;
    let protection = libc::PROT_READ | libc::PROT_EXEC;
    let descriptor = file.as_raw_fd();
    // SAFETY: the kernel chooses the place, where nothing else is, and nobody looks at what it maps there.
    let place = unsafe {
        libc::mmap(
            ptr::null_mut(),
            LENGTH,
            protection,
            libc::MAP_PRIVATE,
            descriptor,
            0,
        )
    };
    if place == libc::MAP_FAILED {
        return false;
    }
    // SAFETY: it was mapped just now, with this length, and no pointer into it is left.
    unsafe { libc::munmap(place, LENGTH) };
    true
}

/// Where C has a socket option.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) level: c_int,
    pub(crate) name: c_int,
}

/// Sets `TCP_LINGER2` to -1: closed by this side, the connection leaves no `TIME_WAIT` (tcp(7)).
pub(crate) fn set_no_time_wait(socket: BorrowedFd<'_>) -> io::Result<()> {
    let place = Place {
        level: libc::IPPROTO_TCP,
        name: libc::TCP_LINGER2,
    };
    set_option(socket, place, -1)
}

/// Has `connect` choose this port, which other connections may have as well, and `bind` leave the choice to it (ip(7),
/// since Linux 6.3). A port that the kernel does not hand out is not chosen.
pub(crate) fn set_port_of_connect(socket: BorrowedFd<'_>, port: u16) -> io::Result<()> {
    /// From include/uapi/linux/in.h: the lowest port in the lower half, the highest in the upper.
    const IP_LOCAL_PORT_RANGE: c_int = 51;
    let range = u32::from(port) | u32::from(port) << 16;
    let place = |name| Place {
        level: libc::IPPROTO_IP,
        name,
    };
    set_option(socket, place(libc::IP_BIND_ADDRESS_NO_PORT), 1)?;
    set_option(
        socket,
        place(IP_LOCAL_PORT_RANGE),
        c_int::from_ne_bytes(range.to_ne_bytes()),
    )
}

/// Sets a socket option whose value is an int (setsockopt(2)).
pub(crate) fn set_option(socket: BorrowedFd<'_>, place: Place, value: c_int) -> io::Result<()> {
    // SAFETY: the value is an int, outlives the call, and the length is its size.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            place.level,
            place.name,
            (&raw const value).cast(),
            4,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// The signals that end, stop or resize a program on a terminal, held back until they are waited for.
pub(crate) struct Signals(libc::sigset_t);

impl Signals {
    const THESE: [c_int; 6] = [
        libc::SIGINT,
        libc::SIGTERM,
        libc::SIGHUP,
        libc::SIGQUIT,
        libc::SIGTSTP,
        libc::SIGWINCH,
    ];

    /// Holds them back from this thread, the only one, from now on.
    pub(crate) fn hold() -> Self {
        let set = set_of(&Self::THESE);
        // SAFETY: both pointers may be null, and the one that is not outlives the call.
        unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, ptr::null_mut()) };
        Self(set)
    }

    /// Waits for one of them, or until the time is up.
    pub(crate) fn wait(&self, time: Duration) -> Option<c_int> {
        let time = libc::timespec {
            tv_sec: libc::time_t::try_from(time.as_secs()).unwrap_or(libc::time_t::MAX),
            tv_nsec: time.subsec_nanos().into(),
        };
        // SAFETY: set and time outlive the call, and nobody asks for the details.
        let signal =
            unsafe { libc::sigtimedwait(&raw const self.0, ptr::null_mut(), &raw const time) };
        (signal > 0).then_some(signal)
    }

    /// Stops this process, as Ctrl-Z does, until somebody lets it go on. Not where nobody could: the kernel ignores SIGTSTP in
    /// an orphaned process group, such as one that `ssh -t` or a container begins with.
    pub(crate) fn stop(&self) {
        // SAFETY: raise takes any number. It waits, as one of those that are held back.
        unsafe { libc::raise(libc::SIGTSTP) };
        let this = set_of(&[libc::SIGTSTP]);
        // SAFETY: both pointers may be null, and the one that is not outlives the call. Here it stops.
        unsafe { libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const this, ptr::null_mut()) };
        // SAFETY: as above.
        unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const self.0, ptr::null_mut()) };
    }

    /// Ends this process by a signal that was waited for, so that whoever started it sees that.
    pub(crate) fn end_by(&self, signal: c_int) -> ! {
        // SAFETY: the default action exists for every signal, and calls nothing of ours.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
        // SAFETY: raise takes any number.
        unsafe { libc::raise(signal) };
        // SAFETY: both pointers may be null, and the one that is not outlives the call.
        unsafe { libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const self.0, ptr::null_mut()) };
        std::process::exit(128 + signal)
    }
}

fn set_of(signals: &[c_int]) -> libc::sigset_t {
    // SAFETY: a set of signals is bits: all zeroes are one.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set is ours and outlives the call.
    unsafe { libc::sigemptyset(&raw mut set) };
    for &signal in signals {
        // SAFETY: the set is ours, and the callers name signals that exist.
        unsafe { libc::sigaddset(&raw mut set, signal) };
    }
    set
}

/// The time of day here, `15:04:05`.
pub(crate) fn time_of_day() -> String {
    // SAFETY: the pointer may be null.
    let now = unsafe { libc::time(ptr::null_mut()) };
    // SAFETY: a tm is numbers, and a pointer to the zone's name that may be null: all zeroes are one.
    let mut here: libc::tm = unsafe { std::mem::zeroed() };
    // SAFETY: both outlive the call, which writes to the second a tm.
    unsafe { libc::localtime_r(&raw const now, &raw mut here) };
    format!("{:02}:{:02}:{:02}", here.tm_hour, here.tm_min, here.tm_sec)
}

/// The value of a socket option that is an int, if it can be had (getsockopt(2)).
pub(crate) fn option(socket: BorrowedFd<'_>, place: Place) -> Option<c_int> {
    let mut value = [0; 4];
    let length = get(socket, place, &mut value)?;
    (length == value.len()).then(|| c_int::from_ne_bytes(value))
}

/// The number of the state of a TCP socket: the first byte of `TCP_INFO` (tcp(7)).
pub(crate) fn tcp_state(socket: BorrowedFd<'_>) -> Option<u8> {
    let mut state = [0];
    tcp_info(socket, &mut state).map(|_| state[0])
}

/// The first bytes of `TCP_INFO` of a TCP socket (tcp(7)); returns how many the kernel has.
pub(crate) fn tcp_info(socket: BorrowedFd<'_>, into: &mut [u8]) -> Option<usize> {
    let place = Place {
        level: libc::IPPROTO_TCP,
        name: libc::TCP_INFO,
    };
    get(socket, place, into)
}

/// Reads a socket option; returns its length.
fn get(socket: BorrowedFd<'_>, place: Place, into: &mut [u8]) -> Option<usize> {
    let mut length = libc::socklen_t::try_from(into.len()).ok()?;
    // SAFETY: the kernel writes at most `length` bytes, which `into` has, and to the length, which outlives the call.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            place.level,
            place.name,
            into.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    (result == 0).then_some(usize::try_from(length).ok()?)
}

/// The address that a socket is bound to, as the kernel has it (getsockname(2)); returns its length, which may be more than
/// there is room for.
pub(crate) fn local(socket: BorrowedFd<'_>, into: &mut [u8]) -> Option<usize> {
    let mut length = libc::socklen_t::try_from(into.len()).ok()?;
    // SAFETY: the kernel writes at most `length` bytes, which `into` has, and to the length, which outlives the call.
    let result = unsafe {
        libc::getsockname(
            socket.as_raw_fd(),
            into.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    (result == 0).then_some(usize::try_from(length).ok()?)
}
