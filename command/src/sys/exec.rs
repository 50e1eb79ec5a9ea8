//! execve(2), with what std changes before `main` put back.

use std::ffi::{CStr, CString, OsString, c_char};
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::ptr;
use std::sync::atomic::{AtomicU8, Ordering};

/// The state that std changes before `main`, and [`exec`] restores: bits 0 to 2 say that this
/// descriptor was closed, bit 3 that SIGPIPE was ignored. std opens /dev/null where a standard
/// descriptor is missing, and ignores SIGPIPE; a program that we become must not find either, nor
/// miss that systemd had SIGPIPE ignored for it.
static FOUND: AtomicU8 = AtomicU8::new(0);
const SIGPIPE_IGNORED: u8 = 1 << 3;

// SAFETY: the section holds functions that take these arguments or fewer; glibc calls each once
// (elf/dl-init.c).
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

/// Becomes another program, which finds descriptors, signals and mask as we found them. Returns
/// only if that fails.
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
    // SAFETY: path and arrays are C strings, the arrays end with a null pointer, and all of them
    // outlive the call.
    unsafe { libc::execve(path.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
    let error = io::Error::last_os_error();
    // SAFETY: as std had it, so that a message to a closed pipe does not end us.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
    error
}

unsafe extern "C" {
    // environ(7): an array of C strings that a null pointer ends.
    static environ: *const *const c_char;
}

/// The environment, entry by entry. std leaves out those without an `=`.
pub(crate) fn environment() -> Vec<OsString> {
    let mut entries = Vec::new();
    // SAFETY: libc has set it before `main`, and nothing in this program changes it.
    let mut place = unsafe { environ };
    while !place.is_null() {
        // SAFETY: the array goes on until its null pointer, which ends this loop.
        let entry = unsafe { *place };
        if entry.is_null() {
            break;
        }
        // SAFETY: what is not null there is a C string, which lives as long as the environment.
        let entry = unsafe { CStr::from_ptr(entry) };
        entries.push(OsString::from_vec(entry.to_bytes().to_vec()));
        // SAFETY: the null pointer has not been reached, so there is another element.
        place = unsafe { place.add(1) };
    }
    entries
}

fn array(strings: &[CString]) -> Vec<*const c_char> {
    strings
        .iter()
        .map(|string| string.as_ptr())
        .chain([ptr::null()])
        .collect()
}
