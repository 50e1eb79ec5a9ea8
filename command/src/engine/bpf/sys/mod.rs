//! bpf(2): what the kernel is asked, by one file for each thing that there is.
//!
//! * `attributes`: the call itself, and `memory`: what of a map is mapped (mmap(2)). No other code
//!   of this engine but that of the tracepoints is unsafe.
//! * `map`, `program`: makes, reads and finds them.
//! * `attachment`: programs at a control group.
//! * `pin`: names in a file system of type bpf.

mod attachment;
mod attributes;
mod map;
mod memory;
mod pin;
mod program;

pub(super) use attachment::{attach, detach, query};
pub(super) use map::{
    MAP_ARRAY, MAP_HASH, MAP_LRU_HASH, MAP_RINGBUF, MAP_SK_STORAGE, MMAPABLE, MapInfo, MapKind,
    NO_PREALLOC, create_map, delete, entries, load_types, map_by_id,
};
pub(super) use memory::Shared;
pub(super) use pin::{open_pinned, pin};
pub(super) use program::{
    PROGRAM_CGROUP_SOCK, PROGRAM_CGROUP_SOCK_ADDR, PROGRAM_SOCK_OPS, PROGRAM_TRACEPOINT, Program,
    ProgramInfo, load, program_by_id,
};
