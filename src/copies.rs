//! This library as the loader has mapped it, and other copies of it in the same process.
//!
//! Two different files of it may be preloaded, of two versions or by two people. Then the one next
//! to libc acts, and the others pass calls on: the outer one's wait would be around the inner
//! one's, with signals blocked during it.

use core::arch::global_asm;
use core::ffi::{c_int, c_void};
use core::ops::Range;
use core::{ptr, slice};

// By this note, and not by its file's name, one copy knows another; and the command reads the
// version there. Its parts are those of every ELF note: the sizes of name and description, the
// type, and both of them in whole words (elf(5)).
global_asm!(
    ".pushsection .note.libreuse, \"a\", %note",
    ".balign 4",
    ".hidden libreuse_note",
    ".globl libreuse_note",
    "libreuse_note: .4byte 9, 3f - 2f, 1",
    ".asciz \"libreuse\"",
    ".balign 4",
    ".type libreuse_note, %object",
    ".size libreuse_note, {size}",
    concat!("2: .asciz \"", env!("CARGO_PKG_VERSION"), "\""),
    "3: .balign 4",
    ".popsection",
    size = const NOTE_SIZE,
);

/// Without the version.
const NOTE_SIZE: usize = 24;
/// Where the size of the version stands, which is no part of what is compared.
const VERSION_SIZE: Range<usize> = 4..8;

unsafe extern "C" {
    #[link_name = "libreuse_note"]
    static NOTE: [u8; NOTE_SIZE];

    // The linker's names for where the file's image begins and ends in memory.
    #[link_name = "__ehdr_start"]
    static BEGIN: u8;
    #[link_name = "_end"]
    static END: u8;
}

/// Whether an address is one of this library.
pub(crate) fn holds(address: *const c_void) -> bool {
    let begin = (&raw const BEGIN).addr();
    let size = (&raw const END).addr().wrapping_sub(begin);
    address.addr().wrapping_sub(begin) < size
}

/// Whether the loader looks for functions in another copy of this library after this one.
pub(crate) fn another_copy_is_behind() -> bool {
    let mut search = Search {
        past_us: false,
        found: false,
    };
    // SAFETY: `visit` takes what is passed with it, a `Search` that outlives the call.
    unsafe { libc::dl_iterate_phdr(Some(visit), (&raw mut search).cast()) };
    search.found
}

struct Search {
    past_us: bool,
    found: bool,
}

/// Looks at one of the loaded files, which come in the order in which the loader searches them.
///
/// # Safety
///
/// * `file` describes a loaded file, as `dl_iterate_phdr` gives it.
/// * `search` is a `Search` that nobody else uses.
unsafe extern "C" fn visit(
    file: *mut libc::dl_phdr_info,
    _: libc::size_t,
    search: *mut c_void,
) -> c_int {
    // SAFETY: the caller's promise.
    let search = unsafe { &mut *search.cast::<Search>() };
    // SAFETY: the caller's promise.
    let file = unsafe { &*file };
    if search.past_us {
        // SAFETY: the caller's promise.
        search.found = unsafe { has_the_note(file) };
    } else {
        search.past_us = holds(file.dlpi_phdr.cast());
    }
    c_int::from(search.found)
}

/// # Safety
///
/// `file` describes a loaded file, as `dl_iterate_phdr` gives it.
unsafe fn has_the_note(file: &libc::dl_phdr_info) -> bool {
    if file.dlpi_phdr.is_null() {
        return false;
    }
    // SAFETY: the file has so many headers there, as long as it is loaded.
    let headers = unsafe { slice::from_raw_parts(file.dlpi_phdr, file.dlpi_phnum.into()) };
    headers
        .iter()
        .filter(|header| header.p_type == libc::PT_NOTE)
        // Not every file's notes need be in memory.
        .filter(|notes| {
            headers.iter().any(|loaded| {
                let before = notes.p_vaddr.checked_sub(loaded.p_vaddr);
                let end = before.and_then(|before| before.checked_add(notes.p_filesz));
                loaded.p_type == libc::PT_LOAD
                    && loaded.p_flags & libc::PF_R != 0
                    && end.is_some_and(|end| end <= loaded.p_filesz)
            })
        })
        .any(|notes| {
            let address = usize::try_from(file.dlpi_addr.wrapping_add(notes.p_vaddr));
            let size = usize::try_from(notes.p_filesz);
            let (Ok(address), Ok(size)) = (address, size) else {
                return false;
            };
            // SAFETY: the loader has mapped so many bytes there, to be read.
            let notes =
                unsafe { slice::from_raw_parts(ptr::with_exposed_provenance::<u8>(address), size) };
            // SAFETY: it is defined above, and never changes.
            let ours = unsafe { &NOTE };
            // Each begins with a word.
            let places = notes.windows(NOTE_SIZE).step_by(4);
            places.into_iter().any(|note| {
                note.get(..VERSION_SIZE.start) == ours.get(..VERSION_SIZE.start)
                    && note.get(VERSION_SIZE.end..) == ours.get(VERSION_SIZE.end..)
            })
        })
}
