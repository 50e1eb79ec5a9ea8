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

/// Removes a key, which must have the map's size: the kernel reads as many bytes as that.
pub(crate) fn delete(map: BorrowedFd<'_>, key: &[u8]) -> io::Result<()> {
    if u32::try_from(key.len()) != Ok(MapInfo::of(map)?.key_size) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    Attributes::new()
        .fd(0, map)
        .from(8, key)
        .call(Command::MapDelete)
        .map(drop)
}

/// Every key of a hash and its value. What is there from the beginning to the end is there once,
/// whatever comes and goes meanwhile.
pub(crate) fn entries(map: BorrowedFd<'_>) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    /// Far more than share a hash, which the kernel hands over together.
    const AT_ONCE: u32 = 1024;
    let info = MapInfo::of(map)?;
    let [key_size, value_size, at_once] = [info.key_size, info.value_size, AT_ONCE]
        .map(|number| usize::try_from(number).unwrap_or_default());
    let mut keys = vec![0; key_size * at_once];
    let mut values = vec![0; value_size * at_once];
    let mut entries = Vec::new();
    let mut last: Option<[u8; 4]> = None;
    loop {
        let mut next = [0; 4];
        let mut attributes = Attributes::new()
            .into(8, &mut next)
            .into(16, &mut keys)
            .into(24, &mut values)
            .number(32, AT_ONCE)
            .fd(36, map);
        if let Some(last) = &last {
            attributes = attributes.from(0, last);
        }
        let is_last = match attributes.call(Command::MapLookupBatch) {
            Ok(_) => false,
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => true,
            Err(error) => return Err(error),
        };
        let number = usize::try_from(attributes.number_at(32)).unwrap_or_default();
        let found = keys
            .chunks_exact(key_size)
            .zip(values.chunks_exact(value_size));
        entries.extend(
            found
                .take(number)
                .map(|(key, value)| (key.to_vec(), value.to_vec())),
        );
        if is_last {
            return Ok(entries);
        }
        last = Some(next);
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn reads_every_entry_once() {
        let hash = |max_entries| {
            create_map(&MapKind {
                name: "reuse_test",
                kind: MAP_HASH,
                key_size: 8,
                value_size: 16,
                max_entries,
                flags: 0,
                types: None,
            })
        };
        for number in [0_u64, 1, 5000] {
            let Ok(map) = hash(8192) else {
                eprintln!("skipped: it takes CAP_BPF");
                return;
            };
            let entry = |number: u64| {
                (
                    number.to_ne_bytes().to_vec(),
                    number.to_ne_bytes().repeat(2),
                )
            };
            for (key, value) in (0..number).map(entry) {
                Attributes::new()
                    .fd(0, map.as_fd())
                    .from(8, &key)
                    .from(16, &value)
                    .call(Command::MapUpdate)
                    .expect("there is room");
            }
            let mut found = entries(map.as_fd()).expect("it is a hash");
            found.sort_by_key(|(key, _)| key.first_chunk().map(|key| u64::from_ne_bytes(*key)));
            let expected: Vec<_> = (0..number).map(entry).collect();
            assert!(found == expected, "{number}: {}", found.len());
            for (key, _) in &found {
                delete(map.as_fd(), key).expect("it is there");
            }
            assert_eq!(entries(map.as_fd()).expect("it is a hash"), []);
        }
    }
}
