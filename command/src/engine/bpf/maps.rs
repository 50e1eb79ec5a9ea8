//! Creates and reads the maps: the ports of an instance, and which socket has bound which address.

use super::sys::{self, MapInfo, MapKind, Shared};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;

/// `struct Key`, as the programs lay it out: network namespace, address, port.
pub(super) const KEY: u32 = 32;

/// The socket's cookie, and the id of the instance whose program wrote it.
pub(super) const HOLDER: u32 = 16;

/// How many addresses can be bound at one moment without anybody listening there. What comes beyond
/// is not remembered.
const MOST_BOUND: u32 = 4096;

const BYTES_OF_PORTS: u32 = 65536 / 8;

/// Where the ports begin that are to be served; before them are those that were listened on.
pub(super) const ALLOWED: i32 = 65536 / 8;

/// The ports of one instance: 65 536 bits for those that were listened on, and as many for those
/// that are to be served.
///
/// One array lookup that the JIT compiles to a load. A hash with a limit forgot ports: with room
/// for 4 096, one was gone after 4 762 other listens.
#[derive(Debug)]
pub(crate) struct Ports {
    map: OwnedFd,
    memory: Shared,
}

impl Ports {
    /// Makes a map in which no port is set.
    pub(crate) fn create() -> io::Result<Self> {
        Self::open(sys::create_map(&MapKind {
            name: "reuse_ports",
            kind: sys::MAP_ARRAY,
            key_size: 4,
            value_size: 2 * BYTES_OF_PORTS,
            max_entries: 1,
            flags: sys::MMAPABLE,
            types: None,
        })?)
    }

    /// Takes a map that is there.
    pub(crate) fn open(map: OwnedFd) -> io::Result<Self> {
        let length = usize::try_from(2 * BYTES_OF_PORTS).unwrap_or_default();
        let info = MapInfo::of(map.as_fd())?;
        if info.kind != sys::MAP_ARRAY || info.value_size != 2 * BYTES_OF_PORTS {
            return Err(io::Error::other("it is another map"));
        }
        let memory = Shared::map(map.as_fd(), 0, length, true)?;
        Ok(Self { map, memory })
    }

    pub(crate) fn id(&self) -> io::Result<u32> {
        Ok(MapInfo::of(self.map.as_fd())?.id)
    }

    /// Notes that this port was listened on.
    pub(crate) fn serve(&self, port: u16) {
        let (word, bit) = place(port);
        if let Some(word) = self.served_words().get(word) {
            word.fetch_or(bit, Relaxed);
        }
    }

    /// Says which ports are to be served. Another one is not, from now on.
    pub(crate) fn allow(&self, allowed: impl Fn(u16) -> bool) {
        for (number, word) in self.allowed_words().iter().enumerate() {
            let bits = (0..32)
                .filter(|bit| u16::try_from(number * 32 + bit).is_ok_and(&allowed))
                .fold(0, |bits, bit| bits | 1_u32 << bit);
            word.store(bits, Relaxed);
            if let Some(served) = self.served_words().get(number) {
                served.fetch_and(bits, Relaxed);
            }
        }
    }

    /// The ports that were listened on.
    pub(crate) fn served(&self) -> Vec<u16> {
        set(self.served_words())
    }

    /// The ports that are to be served.
    pub(crate) fn allowed(&self) -> Vec<u16> {
        set(self.allowed_words())
    }

    fn served_words(&self) -> &[AtomicU32] {
        self.halves().0
    }

    fn allowed_words(&self) -> &[AtomicU32] {
        self.halves().1
    }

    fn halves(&self) -> (&[AtomicU32], &[AtomicU32]) {
        let words = self.memory.words();
        words.split_at(words.len() / 2)
    }
}

impl AsFd for Ports {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.map.as_fd()
    }
}

/// Word and bit of a port, as the programs find them.
fn place(port: u16) -> (usize, u32) {
    (usize::from(port / 32), 1 << (port % 32))
}

fn set(words: &[AtomicU32]) -> Vec<u16> {
    (0..=u16::MAX)
        .filter(|&port| {
            let (word, bit) = place(port);
            words
                .get(word)
                .is_some_and(|word| word.load(Relaxed) & bit != 0)
        })
        .collect()
}

/// The sockets that are bound and don't listen, for all instances: by address, and by socket.
#[derive(Debug)]
pub(crate) struct BoundMaps {
    /// Address to socket.
    pub(crate) by_address: OwnedFd,
    /// Socket to address: sock_release is not told the address.
    pub(crate) by_socket: OwnedFd,
}

impl BoundMaps {
    pub(crate) fn create() -> io::Result<Self> {
        let by_address = sys::create_map(&MapKind {
            name: "reuse_bound",
            kind: sys::MAP_HASH,
            key_size: KEY,
            value_size: HOLDER,
            max_entries: MOST_BOUND,
            flags: sys::NO_PREALLOC,
            types: None,
        })?;
        let types = sys::load_types(&types())?;
        let by_socket = sys::create_map(&MapKind {
            name: "reuse_holder",
            kind: sys::MAP_SK_STORAGE,
            key_size: 4,
            value_size: KEY,
            max_entries: 0,
            flags: sys::NO_PREALLOC,
            types: Some((types.as_fd(), 1, 2)),
        })?;
        Ok(Self {
            by_address,
            by_socket,
        })
    }

    /// Takes maps that are there; `None` if they are others.
    pub(crate) fn open(by_address: OwnedFd, by_socket: OwnedFd) -> Option<Self> {
        let is = |map: &OwnedFd, kind, key_size, value_size| {
            MapInfo::of(map.as_fd()).is_ok_and(|info| {
                (info.kind, info.key_size, info.value_size) == (kind, key_size, value_size)
            })
        };
        let are_ours = is(&by_address, sys::MAP_HASH, KEY, HOLDER)
            && is(&by_socket, sys::MAP_SK_STORAGE, 4, KEY);
        are_ours.then_some(Self {
            by_address,
            by_socket,
        })
    }

    /// Forgets what an instance has noted, of which nobody will say that it is closed.
    pub(crate) fn forget(&self, instance: u32) -> io::Result<()> {
        let map = self.by_address.as_fd();
        for (key, value) in sys::entries(map)? {
            if value[8..12] == instance.to_ne_bytes() {
                // One that is gone meanwhile need not be forgotten.
                let _ = sys::delete(map, &key);
            }
        }
        Ok(())
    }
}

/// The types of a socket storage's key and value, which the kernel insists on: an int, and an array
/// of as many as a key has (`Documentation/bpf/btf.rst`).
fn types() -> Vec<u8> {
    const MAGIC_AND_VERSION: u32 = if cfg!(target_endian = "little") {
        0x0001_eb9f
    } else {
        0xeb9f_0100
    };
    const HEADER: u32 = 24;
    const INT: u32 = 1 << 24;
    const ARRAY: u32 = 3 << 24;
    const NAMES: &[u8; 8] = b"\0int\0\0\0\0";
    let section = [
        // 1: int, of 4 bytes and 32 bits
        1,
        INT,
        4,
        32,
        // 2: int[KEY / 4], counted by an int
        0,
        ARRAY,
        0,
        1,
        1,
        KEY / 4,
    ];
    let length = u32::try_from(size_of_val(&section)).unwrap_or_default();
    let header = [
        MAGIC_AND_VERSION,
        HEADER,
        0,
        length,
        length,
        u32::try_from(NAMES.len()).unwrap_or_default(),
    ];
    header
        .iter()
        .chain(&section)
        .flat_map(|word| word.to_ne_bytes())
        .chain(*NAMES)
        .collect()
}
