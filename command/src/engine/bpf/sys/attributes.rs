//! The call itself.
//!
//! Every command of bpf(2) takes one structure, of which each uses a part; [`Attributes`] is that
//! structure, filled by offset. What it points to is borrowed for the call alone.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_int, c_long};
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// The commands, by the numbers of linux/bpf.h.
#[derive(Clone, Copy)]
#[repr(u32)]
pub(super) enum Command {
    MapCreate = 0,
    #[cfg(test)]
    MapUpdate = 2,
    MapDelete = 3,
    ProgramLoad = 5,
    Pin = 6,
    OpenPinned = 7,
    Attach = 8,
    Detach = 9,
    ProgramById = 13,
    MapById = 14,
    Info = 15,
    Query = 16,
    BtfLoad = 18,
    MapLookupBatch = 24,
}

/// `union bpf_attr`: zero where nothing is set, which every kernel takes for "as it always was".
#[repr(C, align(8))]
pub(super) struct Attributes<'a> {
    bytes: [u8; 144],
    borrowed: PhantomData<&'a mut [u8]>,
}

impl<'a> Attributes<'a> {
    pub(super) fn new() -> Self {
        Self {
            bytes: [0; 144],
            borrowed: PhantomData,
        }
    }

    pub(super) fn number(mut self, at: usize, number: u32) -> Self {
        self.bytes[at..at + 4].copy_from_slice(&number.to_ne_bytes());
        self
    }

    pub(super) fn wide(mut self, at: usize, number: u64) -> Self {
        self.bytes[at..at + 8].copy_from_slice(&number.to_ne_bytes());
        self
    }

    pub(super) fn fd(self, at: usize, fd: BorrowedFd<'_>) -> Self {
        self.number(at, u32::try_from(fd.as_raw_fd()).unwrap_or(u32::MAX))
    }

    /// Something for the kernel to read, which lives as long as these attributes.
    pub(super) fn from<T>(self, at: usize, what: &'a [T]) -> Self {
        self.wide(at, what.as_ptr().addr() as u64)
    }

    pub(super) fn text(self, at: usize, what: &'a CStr) -> Self {
        self.from(at, what.to_bytes_with_nul())
    }

    /// Something for the kernel to write to. Another attribute says its size.
    pub(super) fn into<T>(self, at: usize, what: &'a mut [T]) -> Self {
        self.wide(at, what.as_mut_ptr().addr() as u64)
    }

    /// A name: at most 15 letters, digits, `_` and `.`.
    pub(super) fn name(mut self, at: usize, name: &str) -> Self {
        let length = name.len().min(NAME - 1);
        self.bytes[at..at + length].copy_from_slice(&name.as_bytes()[..length]);
        self
    }

    pub(super) fn number_at(&self, at: usize) -> u32 {
        number(&self.bytes, at)
    }

    /// Makes the call.
    pub(super) fn call(&mut self, command: Command) -> io::Result<c_int> {
        let size = self.bytes.len();
        // SAFETY: the kernel reads and writes at most `size` bytes here, which there are; what the
        // pointers in it lead to is borrowed for as long as `self` lives, and each function below
        // tells its size rightly.
        let result = unsafe {
            libc::syscall(
                libc::SYS_bpf,
                command as c_long,
                self.bytes.as_mut_ptr(),
                size,
            )
        };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(c_int::try_from(result).unwrap_or(c_int::MAX))
    }

    /// Makes a call that opens something.
    pub(super) fn open(&mut self, command: Command) -> io::Result<OwnedFd> {
        let fd = self.call(command)?;
        // SAFETY: the kernel has just opened it for us, with O_CLOEXEC.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }
}

const NAME: usize = 16;

pub(super) fn number(bytes: &[u8], at: usize) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&bytes[at..at + 4]);
    u32::from_ne_bytes(number)
}

pub(super) fn name(bytes: &[u8], at: usize) -> String {
    let name = &bytes[at..at + NAME];
    let end = name.iter().position(|&byte| byte == 0).unwrap_or(NAME);
    String::from_utf8_lossy(&name[..end]).into_owned()
}

pub(super) fn length_of<T>(what: &[T]) -> u32 {
    u32::try_from(size_of_val(what)).unwrap_or(u32::MAX)
}
