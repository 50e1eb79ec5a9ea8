//! BPF maps (bpf(2)): created, read, written and described.

use super::attributes::{Attributes, Command, length_of, name, number};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

/// The attributes of a new map.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MapKind<'a> {
    pub(crate) name: &'a str,
    pub(crate) kind: u32,
    pub(crate) key_size: u32,
    pub(crate) value_size: u32,
    pub(crate) max_entries: u32,
    pub(crate) flags: u32,
    /// The BTF types of key and value, for kinds that require them.
    pub(crate) types: Option<(BorrowedFd<'a>, u32, u32)>,
}

/// Map types, as numbered in linux/bpf.h.
pub(crate) const MAP_HASH: u32 = 1;
pub(crate) const MAP_ARRAY: u32 = 2;
pub(crate) const MAP_LRU_HASH: u32 = 9;
pub(crate) const MAP_SK_STORAGE: u32 = 24;
pub(crate) const MAP_RINGBUF: u32 = 27;

/// Allocates memory for each entry when it is made.
pub(crate) const NO_PREALLOC: u32 = 1;
pub(crate) const MMAPABLE: u32 = 1 << 10;

/// Creates a map.
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

/// Loads type information (BTF, `Documentation/bpf/btf.rst`).
pub(crate) fn load_types(btf: &[u8]) -> io::Result<OwnedFd> {
    Attributes::new()
        .from(0, btf)
        .number(16, length_of(btf))
        .open(Command::BtfLoad)
}

/// Reads the value of a key. Both must have the map's sizes.
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

/// The key after this one, or the first; `None` after the last.
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

/// Checks the sizes: the kernel reads and writes as many bytes as the map has, whatever the buffers
/// hold.
fn check(map: BorrowedFd<'_>, key: usize, value: Option<usize>) -> io::Result<()> {
    let info = MapInfo::of(map)?;
    let fits = |found: usize, wanted: u32| usize::try_from(wanted) == Ok(found);
    if fits(key, info.key_size) && value.is_none_or(|value| fits(value, info.value_size)) {
        Ok(())
    } else {
        Err(io::ErrorKind::InvalidInput.into())
    }
}

/// Opens a map by its id.
pub(crate) fn map_by_id(id: u32) -> io::Result<OwnedFd> {
    Attributes::new().number(0, id).open(Command::MapById)
}

/// A map's description (struct bpf_map_info).
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
        // The fields of struct bpf_map_info that are needed.
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
