//! bpf(2), and the memory of a map (mmap(2)): the only unsafe code of this engine.
//!
//! Every command of bpf(2) takes one structure, of which each uses a part; [`Attributes`] is that
//! structure, filled by offset. What it points to is borrowed for the call alone.
#![allow(unsafe_code)]

use super::asm::Instruction;
use std::ffi::{CStr, CString, c_int, c_long};
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr::{self, NonNull};
use std::sync::atomic::AtomicU32;

/// The commands, by the numbers of linux/bpf.h.
#[derive(Clone, Copy)]
#[repr(u32)]
enum Command {
    MapCreate = 0,
    MapLookup = 1,
    MapDelete = 3,
    MapNextKey = 4,
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
}

/// `union bpf_attr`: zero where nothing is set, which every kernel takes for "as it always was".
#[repr(C, align(8))]
struct Attributes<'a> {
    bytes: [u8; 144],
    borrowed: PhantomData<&'a mut [u8]>,
}

impl<'a> Attributes<'a> {
    fn new() -> Self {
        Self {
            bytes: [0; 144],
            borrowed: PhantomData,
        }
    }

    fn number(mut self, at: usize, number: u32) -> Self {
        self.bytes[at..at + 4].copy_from_slice(&number.to_ne_bytes());
        self
    }

    fn wide(mut self, at: usize, number: u64) -> Self {
        self.bytes[at..at + 8].copy_from_slice(&number.to_ne_bytes());
        self
    }

    fn fd(self, at: usize, fd: BorrowedFd<'_>) -> Self {
        self.number(at, u32::try_from(fd.as_raw_fd()).unwrap_or(u32::MAX))
    }

    /// Something for the kernel to read, which lives as long as these attributes.
    fn from<T>(self, at: usize, what: &'a [T]) -> Self {
        self.wide(at, what.as_ptr().addr() as u64)
    }

    fn text(self, at: usize, what: &'a CStr) -> Self {
        self.from(at, what.to_bytes_with_nul())
    }

    /// Something for the kernel to write to. It is told the size by another attribute.
    fn into<T>(self, at: usize, what: &'a mut [T]) -> Self {
        self.wide(at, what.as_mut_ptr().addr() as u64)
    }

    /// A name: at most 15 letters, digits, `_` and `.`.
    fn name(mut self, at: usize, name: &str) -> Self {
        let length = name.len().min(NAME - 1);
        self.bytes[at..at + length].copy_from_slice(&name.as_bytes()[..length]);
        self
    }

    fn number_at(&self, at: usize) -> u32 {
        number(&self.bytes, at)
    }

    /// Makes the call.
    fn call(&mut self, command: Command) -> io::Result<c_int> {
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
    fn open(&mut self, command: Command) -> io::Result<OwnedFd> {
        let fd = self.call(command)?;
        // SAFETY: the kernel has just opened it for us, with O_CLOEXEC.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }
}

const NAME: usize = 16;

fn number(bytes: &[u8], at: usize) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&bytes[at..at + 4]);
    u32::from_ne_bytes(number)
}

fn name(bytes: &[u8], at: usize) -> String {
    let name = &bytes[at..at + NAME];
    let end = name.iter().position(|&byte| byte == 0).unwrap_or(NAME);
    String::from_utf8_lossy(&name[..end]).into_owned()
}

fn length_of<T>(what: &[T]) -> u32 {
    u32::try_from(size_of_val(what)).unwrap_or(u32::MAX)
}

/// A map to be made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MapKind<'a> {
    pub(crate) name: &'a str,
    pub(crate) kind: u32,
    pub(crate) key_size: u32,
    pub(crate) value_size: u32,
    pub(crate) max_entries: u32,
    pub(crate) flags: u32,
    /// The types of key and value, for the kinds that ask for them.
    pub(crate) types: Option<(BorrowedFd<'a>, u32, u32)>,
}

/// Kinds of maps, by the numbers of linux/bpf.h.
pub(crate) const MAP_HASH: u32 = 1;
pub(crate) const MAP_ARRAY: u32 = 2;
pub(crate) const MAP_LRU_HASH: u32 = 9;
pub(crate) const MAP_SK_STORAGE: u32 = 24;
pub(crate) const MAP_RINGBUF: u32 = 27;

/// Memory is taken when an entry is made, and not before.
pub(crate) const NO_PREALLOC: u32 = 1;
pub(crate) const MMAPABLE: u32 = 1 << 10;

/// Makes a map.
pub(crate) fn create_map(map: &MapKind<'_>) -> io::Result<OwnedFd> {
    let mut attributes = Attributes::new()
        .number(0, map.kind)
        .number(4, map.key_size)
        .number(8, map.value_size)
        .number(12, map.max_entries)
        .number(16, map.flags)
        .name(28, map.name);
    if let Some((btf, key, value)) = map.types {
        attributes = attributes.fd(48, btf).number(52, key).number(56, value);
    }
    attributes.open(Command::MapCreate)
}

/// Loads a description of types (`Documentation/bpf/btf.rst`).
pub(crate) fn load_types(btf: &[u8]) -> io::Result<OwnedFd> {
    Attributes::new()
        .from(0, btf)
        .number(16, length_of(btf))
        .open(Command::BtfLoad)
}

/// Reads the value of a key. Both have the map's sizes.
pub(crate) fn lookup(map: BorrowedFd<'_>, key: &[u8], value: &mut [u8]) -> io::Result<()> {
    check(map, key.len(), Some(value.len()))?;
    Attributes::new()
        .fd(0, map)
        .from(8, key)
        .into(16, value)
        .call(Command::MapLookup)
        .map(drop)
}

/// Removes a key.
pub(crate) fn delete(map: BorrowedFd<'_>, key: &[u8]) -> io::Result<()> {
    check(map, key.len(), None)?;
    Attributes::new()
        .fd(0, map)
        .from(8, key)
        .call(Command::MapDelete)
        .map(drop)
}

/// The key that follows one, or the first; `None` behind the last.
pub(crate) fn next_key(map: BorrowedFd<'_>, key: Option<&[u8]>) -> io::Result<Option<Vec<u8>>> {
    let info = MapInfo::of(map)?;
    if let Some(key) = key {
        check(map, key.len(), None)?;
    }
    let mut next = vec![0; usize::try_from(info.key_size).unwrap_or_default()];
    let mut attributes = Attributes::new().fd(0, map);
    if let Some(key) = key {
        attributes = attributes.from(8, key);
    }
    match attributes.into(16, &mut next).call(Command::MapNextKey) {
        Ok(_) => Ok(Some(next)),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The kernel knows the sizes, and reads and writes as much whatever there is here.
fn check(map: BorrowedFd<'_>, key: usize, value: Option<usize>) -> io::Result<()> {
    let info = MapInfo::of(map)?;
    let fits = |found: usize, wanted: u32| usize::try_from(wanted) == Ok(found);
    if fits(key, info.key_size) && value.is_none_or(|value| fits(value, info.value_size)) {
        Ok(())
    } else {
        Err(io::ErrorKind::InvalidInput.into())
    }
}

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

/// How programs are attached: others may be there as well.
const ALLOW_MULTI: u32 = 1 << 1;
const REPLACE: u32 = 1 << 2;

/// Attaches a program to a cgroup beside others, or in the place of another.
pub(crate) fn attach(
    cgroup: BorrowedFd<'_>,
    program: BorrowedFd<'_>,
    attach_type: u32,
    replaced: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    let mut attributes = Attributes::new()
        .fd(0, cgroup)
        .fd(4, program)
        .number(8, attach_type)
        .number(12, ALLOW_MULTI | replaced.map_or(0, |_| REPLACE));
    if let Some(replaced) = replaced {
        attributes = attributes.fd(16, replaced);
    }
    attributes.call(Command::Attach).map(drop)
}

/// Detaches a program from a cgroup.
pub(crate) fn detach(
    cgroup: BorrowedFd<'_>,
    program: BorrowedFd<'_>,
    attach_type: u32,
) -> io::Result<()> {
    Attributes::new()
        .fd(0, cgroup)
        .fd(4, program)
        .number(8, attach_type)
        .call(Command::Detach)
        .map(drop)
}

/// What is attached to a cgroup.
#[derive(Debug)]
pub(crate) struct Attached {
    /// How: 0 if it is the only one, and others are kept out below.
    pub(crate) flags: u32,
    pub(crate) programs: Vec<u32>,
}

/// Asks what is attached to a cgroup itself.
pub(crate) fn query(cgroup: BorrowedFd<'_>, attach_type: u32) -> io::Result<Attached> {
    // The kernel allows no more than this many (BPF_CGROUP_MAX_PROGS).
    let mut ids = [0_u32; 64];
    let room = u32::try_from(ids.len()).unwrap_or_default();
    let mut attributes = Attributes::new()
        .fd(0, cgroup)
        .number(4, attach_type)
        .into(16, &mut ids)
        .number(24, room);
    attributes.call(Command::Query)?;
    let (flags, number) = (attributes.number_at(12), attributes.number_at(24));
    let number = usize::try_from(number).unwrap_or_default().min(ids.len());
    Ok(Attached {
        flags,
        programs: ids[..number].to_vec(),
    })
}

/// Gives a map or program a name in a file system of type bpf.
pub(crate) fn pin(object: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    Attributes::new()
        .text(0, &path)
        .fd(8, object)
        .call(Command::Pin)
        .map(drop)
}

/// Opens what has such a name.
pub(crate) fn open_pinned(path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    Attributes::new().text(0, &path).open(Command::OpenPinned)
}

/// Opens a program by its id.
pub(crate) fn program_by_id(id: u32) -> io::Result<OwnedFd> {
    Attributes::new().number(0, id).open(Command::ProgramById)
}

/// Opens a map by its id.
pub(crate) fn map_by_id(id: u32) -> io::Result<OwnedFd> {
    Attributes::new().number(0, id).open(Command::MapById)
}

/// What the kernel says of a program.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct ProgramInfo {
    pub(crate) id: u32,
    pub(crate) name: String,
    /// What its instructions come to, whatever maps it uses.
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

/// What the kernel says of a map.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct MapInfo {
    pub(crate) kind: u32,
    pub(crate) id: u32,
    pub(crate) key_size: u32,
    pub(crate) value_size: u32,
    pub(crate) name: String,
}

impl MapInfo {
    pub(crate) fn of(map: BorrowedFd<'_>) -> io::Result<Self> {
        // struct bpf_map_info, as far as it is needed.
        let mut info = [0_u8; 40];
        Attributes::new()
            .fd(0, map)
            .number(4, length_of(&info))
            .into(8, &mut info)
            .call(Command::Info)?;
        Ok(Self {
            kind: number(&info, 0),
            id: number(&info, 4),
            key_size: number(&info, 8),
            value_size: number(&info, 12),
            name: name(&info, 24),
        })
    }
}

/// The memory of a map, as 32-bit numbers that others change too.
#[derive(Debug)]
pub(crate) struct Shared {
    start: NonNull<AtomicU32>,
    length: usize,
}

impl Shared {
    /// Maps so many bytes, from this one on; both are multiples of a page.
    pub(crate) fn map(
        fd: BorrowedFd<'_>,
        offset: u32,
        length: usize,
        writable: bool,
    ) -> io::Result<Self> {
        let protection = libc::PROT_READ | if writable { libc::PROT_WRITE } else { 0 };
        // SAFETY: the kernel chooses a place where nothing is.
        let start = unsafe {
            libc::mmap(
                ptr::null_mut(),
                length,
                protection,
                libc::MAP_SHARED,
                fd.as_raw_fd(),
                libc::off_t::from(i32::try_from(offset).unwrap_or(i32::MAX)),
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { start, length })
    }

    /// The numbers.
    pub(crate) fn words(&self) -> &[AtomicU32] {
        // SAFETY: as many bytes are mapped, on a page's boundary, until this is dropped; whoever
        // else writes them does so in whole words. What is mapped to be read alone is only loaded
        // from: a store would end the process, and do no other harm.
        unsafe {
            std::slice::from_raw_parts(self.start.as_ptr(), self.length / size_of::<AtomicU32>())
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: it was mapped so, and nobody has a reference into it any more.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.length) };
    }
}
