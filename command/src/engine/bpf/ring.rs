//! A ring that programs write records to and one reader takes them from (the kernel's
//! `Documentation/bpf/ringbuf.rst`).

use super::sys::{self, MapKind, Shared};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};

/// How many bytes it has room for. What does not fit is lost, and the reader learns it.
const ROOM: u32 = 1 << 20;

/// A record's length, and what the kernel says about it: it is not finished, or not to be read.
const HEADER: u32 = 8;
const BUSY: u32 = 1 << 31;
const DISCARDED: u32 = 1 << 30;

pub(super) struct Ring {
    map: OwnedFd,
    /// A page with the reader's position.
    read: Shared,
    /// A page with the writers' position, and the records: twice, so that one that goes round the
    /// end is in one piece.
    written: Shared,
    /// Where the data begins.
    page: u32,
    /// How much has been read since the start.
    position: u64,
    /// How many bytes a record takes.
    record: u32,
    /// Whether there was no room for another record at some time.
    was_full: bool,
}

impl Ring {
    /// A ring for records of this many bytes.
    pub(super) fn new(name: &str, record: u32) -> io::Result<Self> {
        let map = sys::create_map(&MapKind {
            name,
            kind: sys::MAP_RINGBUF,
            key_size: 0,
            value_size: 0,
            max_entries: ROOM,
            flags: 0,
            types: None,
        })?;
        let page = u32::try_from(rustix::param::page_size()).unwrap_or(4096);
        let length = |bytes: u32| usize::try_from(bytes).unwrap_or(usize::MAX);
        let read = Shared::map(map.as_fd(), 0, length(page), true)?;
        let written = Shared::map(map.as_fd(), page, length(page + 2 * ROOM), false)?;
        Ok(Self {
            map,
            read,
            written,
            page,
            position: 0,
            record: HEADER + record,
            was_full: false,
        })
    }

    /// Whether a record may have been lost since this was last asked.
    ///
    /// Only the reader makes room: what was full when a record did not fit is so when it next
    /// looks.
    pub(super) fn was_full(&mut self) -> bool {
        std::mem::take(&mut self.was_full)
    }

    /// The next record, if one is finished.
    pub(super) fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            let [position, _] = halves(self.position);
            // Of both positions the low half tells enough: they are never further apart than the
            // ring is long.
            let [low, _] = places();
            let end = word(&self.written, low).load(Ordering::Acquire);
            if position == end {
                return None;
            }
            // The kernel keeps one byte free (`__bpf_ringbuf_reserve`).
            self.was_full |= end.wrapping_sub(position) + self.record >= ROOM;
            let start = self.page / 4 + (position & (ROOM - 1)) / 4;
            let header = word(&self.written, start).load(Ordering::Acquire);
            if header & BUSY != 0 {
                return None;
            }
            let length = header & !DISCARDED;
            let record = (header & DISCARDED == 0).then(|| {
                let first = start + HEADER / 4;
                (first..first + length.div_ceil(4))
                    .flat_map(|at| {
                        word(&self.written, at)
                            .load(Ordering::Relaxed)
                            .to_ne_bytes()
                    })
                    .collect()
            });
            self.position += u64::from((length + HEADER).next_multiple_of(8));
            self.give_back();
            if record.is_some() {
                return record;
            }
        }
    }

    /// Gives the room back that has been read.
    fn give_back(&self) {
        for (place, half) in places().into_iter().zip(halves(self.position)).rev() {
            word(&self.read, place).store(half, Ordering::Release);
        }
    }
}

impl AsFd for Ring {
    /// Readable when there is a record.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.map.as_fd()
    }
}

/// Where the low and the high half of a position are, which is the first number of its page.
fn places() -> [u32; 2] {
    if cfg!(target_endian = "little") {
        [0, 1]
    } else if cfg!(target_pointer_width = "64") {
        [1, 0]
    } else {
        [0, 1]
    }
}

fn halves(position: u64) -> [u32; 2] {
    let low = u32::try_from(position & u64::from(u32::MAX)).unwrap_or_default();
    [low, u32::try_from(position >> 32).unwrap_or_default()]
}

fn word(memory: &Shared, at: u32) -> &AtomicU32 {
    &memory.words()[usize::try_from(at).unwrap_or(usize::MAX)]
}
