//! Programs: loads them, and says what the kernel knows of them.

use super::super::asm::Instruction;
use super::attributes::{Attributes, Command, length_of, name, number};
use std::ffi::CStr;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

/// A program to be loaded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Program<'a> {
    pub(crate) name: &'a str,
    pub(crate) kind: u32,
    /// Where it will be attached, for the kinds that have to know.
    pub(crate) attach_type: u32,
    pub(crate) code: &'a [Instruction],
}

/// Kinds of programs, by the numbers of linux/bpf.h.
pub(crate) const PROGRAM_TRACEPOINT: u32 = 5;
pub(crate) const PROGRAM_CGROUP_SOCK: u32 = 9;
pub(crate) const PROGRAM_SOCK_OPS: u32 = 13;
pub(crate) const PROGRAM_CGROUP_SOCK_ADDR: u32 = 18;

/// Why a program was not loaded.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) error: io::Error,
    /// The last lines of what the verifier says, if it was asked and it was that.
    pub(crate) verifier: String,
}

/// Loads a program. The verifier is asked for its reasons only if it refuses.
pub(crate) fn load(program: &Program<'_>) -> Result<OwnedFd, Refused> {
    // Ours is MIT or Apache-2.0. Some helpers, those that read a program's memory, ask for one that
    // goes with the GPL.
    const LICENCE: &CStr = c"Dual MIT/GPL";
    let attributes = || {
        Attributes::new()
            .number(0, program.kind)
            .number(4, u32::try_from(program.code.len()).unwrap_or(u32::MAX))
            .from(8, program.code)
            .text(16, LICENCE)
            .name(48, program.name)
            .number(68, program.attach_type)
    };
    let error = match attributes().open(Command::ProgramLoad) {
        Ok(program) => return Ok(program),
        Err(error) => error,
    };
    let mut log = vec![0_u8; 1 << 16];
    let again = attributes()
        .number(24, 1)
        .number(28, length_of(&log))
        .into(32, &mut log)
        .open(Command::ProgramLoad);
    match again {
        Ok(program) => Ok(program),
        Err(_) => Err(Refused {
            error,
            verifier: last_line(&log),
        }),
    }
}

/// The verifier's last word, which is why it refuses; behind it is a line of statistics.
fn last_line(log: &[u8]) -> String {
    let end = log.iter().position(|&byte| byte == 0).unwrap_or(log.len());
    let text = String::from_utf8_lossy(&log[..end]);
    text.lines()
        .rev()
        .find(|line| !line.trim().is_empty() && !line.starts_with("processed "))
        .unwrap_or_default()
        .trim()
        .to_owned()
}

/// Opens a program by its id.
pub(crate) fn program_by_id(id: u32) -> io::Result<OwnedFd> {
    Attributes::new().number(0, id).open(Command::ProgramById)
}

/// A program's description (struct bpf_prog_info).
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct ProgramInfo {
    pub(crate) id: u32,
    pub(crate) name: String,
    /// A hash of its instructions, whatever maps it uses.
    pub(crate) tag: [u8; 8],
    pub(crate) maps: Vec<u32>,
}

impl ProgramInfo {
    pub(crate) fn of(program: BorrowedFd<'_>) -> io::Result<Self> {
        // struct bpf_prog_info, as far as it is needed: `nr_map_ids` at 52 and `map_ids` at 56 say
        // where ids go.
        let mut maps = [0_u32; 16];
        let mut info = [0_u64; 10];
        let room = u64::try_from(maps.len()).unwrap_or_default();
        let bytes = |info: &[u64; 10]| -> Vec<u8> {
            info.iter().flat_map(|word| word.to_ne_bytes()).collect()
        };
        info[6] = if cfg!(target_endian = "little") {
            room << 32
        } else {
            room
        };
        info[7] = maps.as_mut_ptr().addr() as u64;
        Attributes::new()
            .fd(0, program)
            .number(4, length_of(&info))
            .into(8, &mut info)
            .call(Command::Info)?;
        let info = bytes(&info);
        let number_of_maps = usize::try_from(number(&info, 52)).unwrap_or_default();
        let mut tag = [0; 8];
        tag.copy_from_slice(&info[8..16]);
        Ok(Self {
            id: number(&info, 4),
            name: name(&info, 64),
            tag,
            maps: maps[..number_of_maps.min(maps.len())].to_vec(),
        })
    }
}
