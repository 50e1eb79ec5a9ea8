//! Finds other copies of this library in the same process.
//!
//! Two files of it may be preloaded, of two versions or by two people. Then the last one before
//! libc in the loader's order acts, and the others pass calls on: otherwise one copy's wait would
//! be nested in the other's, with signals blocked.

use core::arch::global_asm;
use core::ffi::{c_int, c_void};
use core::ops::Range;
use core::{ptr, slice};

// One copy recognises another by this note, not by its file's name; the command reads the version
// from it. An ELF note (`Nhdr` in elf(5)): the sizes of name and description, the type, then name
// and description, each padded to 4 bytes.
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

/// The size of the note without the version.
const NOTE_SIZE: usize = 24;
/// The bytes of `n_descsz`, the size of the version, which are not compared.
const VERSION_SIZE: Range<usize> = 4..8;

unsafe extern "C" {
    #[link_name = "libreuse_note"]
    static NOTE: [u8; NOTE_SIZE];

    // The linker's symbols for the start and the end of this file's image in memory.
    #[link_name = "__ehdr_start"]
    static BEGIN: u8;
    #[link_name = "_end"]
    static END: u8;
}

/// Whether an address is in this library's image.
pub(crate) fn holds(address: *const c_void) -> bool {
    let begin = (&raw const BEGIN).addr();
    let size = (&raw const END).addr().wrapping_sub(begin);
    address.addr().wrapping_sub(begin) < size
}

/// Whether another copy of this library comes after this one in the loader's search order.
pub(crate) fn another_copy_follows() -> bool {
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

/// Inspects one loaded file (`dl_iterate_phdr(3)`). They come in the loader's search order.
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

/// Whether a loaded file has our note.
///
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
        // Notes need not be in a loaded segment.
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
            // A note begins at a multiple of 4 bytes.
            let places = notes.windows(NOTE_SIZE).step_by(4);
            places.into_iter().any(|note| {
                note.get(..VERSION_SIZE.start) == ours.get(..VERSION_SIZE.start)
                    && note.get(VERSION_SIZE.end..) == ours.get(VERSION_SIZE.end..)
            })
        })
}
