//! Defines the C functions that the compiler calls: to copy, fill and compare memory.
//!
//! They are our own, since each symbol that the loader looks up in libc delays the start of every
//! program. They are hidden: they interpose no other library's, and none interposes them. They copy
//! few bytes, and so byte by byte. Their accesses are volatile: otherwise the compiler would
//! recognise each loop and replace it with a call to itself.

use core::arch::global_asm;
use core::ffi::{c_int, c_void};

macro_rules! as_c_calls_it {
    ($($name:literal => $function:path),+) => {
        $(
            global_asm!(
                concat!(".hidden ", $name),
                concat!(".globl ", $name),
                concat!(".type ", $name, ", %function"),
                concat!(".set ", $name, ", {function}"),
                function = sym $function,
            );
        )+
    };
}

as_c_calls_it!(
    "memcpy" => copy,
    "memset" => fill,
    "memcmp" => compare,
    "bcmp" => compare,
    "strlen" => length
);

/// # Safety
///
/// As for memcpy(3).
unsafe extern "C" fn copy(to: *mut c_void, from: *const c_void, size: usize) -> *mut c_void {
    for place in 0..size {
        // SAFETY: the caller's promise: so many bytes are there.
        let source = unsafe { from.cast::<u8>().add(place) };
        // SAFETY: as above.
        let target = unsafe { to.cast::<u8>().add(place) };
        // SAFETY: as above, and they may be read.
        let byte = unsafe { source.read_volatile() };
        // SAFETY: as above, and they may be written.
        unsafe { target.write_volatile(byte) };
    }
    to
}

/// # Safety
///
/// As for memset(3).
unsafe extern "C" fn fill(to: *mut c_void, with: c_int, size: usize) -> *mut c_void {
    let [byte, ..] = with.to_le_bytes();
    for place in 0..size {
        // SAFETY: the caller's promise: so many bytes are there.
        let target = unsafe { to.cast::<u8>().add(place) };
        // SAFETY: as above, and they may be written.
        unsafe { target.write_volatile(byte) };
    }
    to
}

/// # Safety
///
/// As for memcmp(3).
unsafe extern "C" fn compare(one: *const c_void, other: *const c_void, size: usize) -> c_int {
    for place in 0..size {
        // SAFETY: the caller's promise: so many bytes are there.
        let one = unsafe { one.cast::<u8>().add(place) };
        // SAFETY: as above.
        let other = unsafe { other.cast::<u8>().add(place) };
        // SAFETY: as above, and they may be read.
        let one = unsafe { one.read_volatile() };
        // SAFETY: as above.
        let other = unsafe { other.read_volatile() };
        if one != other {
            return c_int::from(one).wrapping_sub(c_int::from(other));
        }
    }
    0
}

/// # Safety
///
/// As for strlen(3).
unsafe extern "C" fn length(string: *const c_void) -> usize {
    let mut length = 0_usize;
    loop {
        // SAFETY: the string has not ended yet.
        let byte = unsafe { string.cast::<u8>().add(length) };
        // SAFETY: as above, and it may be read.
        if unsafe { byte.read_volatile() } == 0 {
            return length;
        }
        length = length.wrapping_add(1);
    }
}
