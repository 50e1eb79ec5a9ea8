//! A program's own instructions, as far as they show that it makes the system calls of a server by
//! itself, and not by its C library.

use super::blocks::Blocks;
use object::elf::{EM_X86_64, FileHeader64, PF_X, PT_LOAD};
use object::read::ReadCache;
use object::read::elf::{FileHeader, ProgramHeader};
use object::{Endianness, FileKind};
use std::fs::File;
use std::path::Path;

/// Whether a program has an instruction that makes system calls, and loads the numbers of
/// socket(2), bind(2) and listen(2) into a register for it. Known of x86-64 alone.
pub(crate) fn serves_by_itself(program: &Path) -> bool {
    looked(program).unwrap_or(false)
}

fn looked(program: &Path) -> Option<bool> {
    let data = &ReadCache::new(Blocks::of(File::open(program).ok()?).ok()?);
    if FileKind::parse(data).ok()? != FileKind::Elf64 {
        return None;
    }
    let header = FileHeader64::<Endianness>::parse(data).ok()?;
    let endian = header.endian().ok()?;
    if header.e_machine(endian) != EM_X86_64 {
        return None;
    }
    let mut code = Vec::new();
    for segment in header.program_headers(endian, data).ok()? {
        if segment.p_type(endian) == PT_LOAD && segment.p_flags(endian).0 & PF_X.0 != 0 {
            code.push(segment.data(endian, data).ok()?);
        }
    }
    Some(is_a_server(&code))
}

fn is_a_server(code: &[&[u8]]) -> bool {
    const SYSCALL: [u8; 2] = [0x0f, 0x05];
    const NUMBERS: [u8; 3] = [41, 49, 50];
    // mov $NUMBER, %eax, where it makes the call itself, or %edi, where a function does that is
    // given the number.
    let loads =
        |number: u8| move |code: &[u8]| matches!(code, [0xb8 | 0xbf, it, 0, 0, 0] if *it == number);
    code.iter()
        .any(|code| code.windows(2).any(|found| found == SYSCALL))
        && NUMBERS
            .iter()
            .all(|&number| code.iter().any(|code| code.windows(5).any(loads(number))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_all_four() {
        const INLINE: &[u8] =
            b"\x90\xb8\x29\0\0\0\x0f\x05\xb8\x31\0\0\0\x0f\x05\xb8\x32\0\0\0\x0f\x05";
        const BY_FUNCTION: [&[u8]; 2] = [
            b"\x48\x89\xf8\x0f\x05\xc3",
            b"\xbf\x29\0\0\0\xe8\xbf\x31\0\0\0\xe8\xbf\x32\0\0\0\xe8",
        ];
        assert!(is_a_server(&[INLINE]) && is_a_server(&BY_FUNCTION));
        assert!(!is_a_server(&BY_FUNCTION[..1]) && !is_a_server(&BY_FUNCTION[1..]));
        assert!(!is_a_server(&[&INLINE[..15]]));
    }
}
