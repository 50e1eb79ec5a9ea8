//! Searches a program's instructions for a server's system calls, made without libc.

use super::blocks::Blocks;
use object::elf::{EM_AARCH64, EM_X86_64, FileHeader64, PF_X, PT_LOAD};
use object::read::ReadCache;
use object::read::elf::{FileHeader, ProgramHeader};
use object::{Endianness, FileKind};
use std::fs::File;
use std::path::Path;

/// Whether a program has an instruction that makes system calls, and loads the numbers of
/// socket(2), bind(2) and listen(2) into a register for it. Known of x86-64 and arm64 alone.
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
    let is_a_server = match header.e_machine(endian) {
        EM_X86_64 => is_a_server_on_x86_64,
        EM_AARCH64 => is_a_server_on_arm64,
        _ => return None,
    };
    let mut code = Vec::new();
    for segment in header.program_headers(endian, data).ok()? {
        if segment.p_type(endian) == PT_LOAD && segment.p_flags(endian).0 & PF_X.0 != 0 {
            code.push(segment.data(endian, data).ok()?);
        }
    }
    Some(is_a_server(&code))
}

fn is_a_server_on_x86_64(code: &[&[u8]]) -> bool {
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

fn is_a_server_on_arm64(code: &[&[u8]]) -> bool {
    const SVC: u32 = 0xd400_0001;
    const NUMBERS: [u32; 3] = [198, 200, 201];
    // mov w8 or x8, #NUMBER, where it makes the call itself, or w0 or x0.
    let loads = |number: u32| {
        move |instruction: u32| {
            [0, 8].contains(&((instruction & 0x7fff_ffff) ^ (0x5280_0000 | number << 5)))
        }
    };
    let has = |wanted: &dyn Fn(u32) -> bool| {
        let words = code.iter().flat_map(|code| code.chunks_exact(4));
        words
            .filter_map(|word| word.try_into().ok())
            .map(u32::from_le_bytes)
            .any(wanted)
    };
    has(&|instruction| instruction == SVC) && NUMBERS.iter().all(|&number| has(&loads(number)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_all_four_on_arm64() {
        // As `as` and `objdump -d` have them.
        const SVC: u32 = 0xd400_0001;
        let code = |words: &[u32]| -> Vec<u8> {
            words.iter().flat_map(|word| word.to_le_bytes()).collect()
        };
        let is_a_server = |words: &[u32]| is_a_server_on_arm64(&[&code(words)]);
        // mov x8, #198; mov w8, #200; mov x8, #201
        let inline = [0xd280_18c8, SVC, 0x5280_1908, SVC, 0xd280_1928, SVC];
        assert!(is_a_server(&inline));
        assert!(!is_a_server(&inline[..4]));
        // mov x0, #198; mov w0, #200; mov w0, #201
        let by_function = [0xd280_18c0, 0x5280_1900, 0x5280_1920];
        assert!(!is_a_server(&by_function));
        assert!(is_a_server(&[&by_function[..], &[SVC]].concat()));
        // mov w1, #200 is an argument.
        assert!(!is_a_server(&[0xd280_18c8, 0x5280_1901, 0xd280_1928, SVC]));
        // None of it where no instruction begins.
        let shifted = [&[0][..], &code(&inline)].concat();
        assert!(!is_a_server_on_arm64(&[&shifted]));
    }

    #[test]
    fn takes_all_four_on_x86_64() {
        const INLINE: &[u8] =
            b"\x90\xb8\x29\0\0\0\x0f\x05\xb8\x31\0\0\0\x0f\x05\xb8\x32\0\0\0\x0f\x05";
        const BY_FUNCTION: [&[u8]; 2] = [
            b"\x48\x89\xf8\x0f\x05\xc3",
            b"\xbf\x29\0\0\0\xe8\xbf\x31\0\0\0\xe8\xbf\x32\0\0\0\xe8",
        ];
        let is_a_server = is_a_server_on_x86_64;
        assert!(is_a_server(&[INLINE]) && is_a_server(&BY_FUNCTION));
        assert!(!is_a_server(&BY_FUNCTION[..1]) && !is_a_server(&BY_FUNCTION[1..]));
        assert!(!is_a_server(&[&INLINE[..15]]));
    }
}
