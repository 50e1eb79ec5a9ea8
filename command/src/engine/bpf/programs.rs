//! The six programs. Each returns 1, always: a bind is never refused because of us.
//!
//! | at | does |
//! |---|---|
//! | `bind4`, `bind6` | if the port was listened on: claims this very address, and sets SO_REUSEADDR unless another socket that does not listen yet has claimed it |
//! | `post_bind4`, `post_bind6` | claims the address that a bind without a port got |
//! | `listen` | sets SO_REUSEADDR, notes the port, and gives up the claim |
//! | `release` | gives up the claim |
//!
//! The claim is made before the bind, since two sockets on two processors may bind in the same
//! instant: of those one claims the address. No hook sees a bind that failed, so a claim lasts
//! until its socket listens, binds again or is closed; whoever binds the address meanwhile binds as
//! without us.
//!
//! The flag can't be put back after `bind`: no hook between that and `listen` may. So a bind that
//! might not need it has it as well; the second gate keeps it from binding beside a copy of itself
//! that is about to listen.

use super::asm::{
    Arithmetic, Assembler, Helper, Instruction, Jump, R0, R1, R2, R3, R4, R5, R6, R7, R8, R9,
    Register, STACK, Size,
};
use super::maps::{ALLOWED, BoundMaps, Ports};
use super::sys;
use anyhow::Result;
use std::os::fd::AsFd;

/// Where a program is attached, by the numbers of linux/bpf.h.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Hook {
    Release,
    Listen,
    PostBind4,
    PostBind6,
    Bind4,
    Bind6,
}

impl Hook {
    /// In the order of attaching: what forgets comes before what notes, and what acts on it comes
    /// last, so that half of them do no harm.
    pub(crate) const ALL: [Self; 6] = [
        Self::Release,
        Self::Listen,
        Self::PostBind4,
        Self::PostBind6,
        Self::Bind4,
        Self::Bind6,
    ];

    pub(crate) fn attach_type(self) -> u32 {
        match self {
            Self::Listen => 3,
            Self::Bind4 => 8,
            Self::Bind6 => 9,
            Self::PostBind4 => 12,
            Self::PostBind6 => 13,
            Self::Release => 34,
        }
    }

    pub(crate) fn kind(self) -> u32 {
        match self {
            Self::Listen => sys::PROGRAM_SOCK_OPS,
            Self::Bind4 | Self::Bind6 => sys::PROGRAM_CGROUP_SOCK_ADDR,
            Self::PostBind4 | Self::PostBind6 | Self::Release => sys::PROGRAM_CGROUP_SOCK,
        }
    }

    /// The name that `bpftool prog` shows.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Release => "reuse_release",
            Self::Listen => "reuse_listen",
            Self::PostBind4 => "reuse_bound4",
            Self::PostBind6 => "reuse_bound6",
            Self::Bind4 => "reuse_bind4",
            Self::Bind6 => "reuse_bind6",
        }
    }

    /// The program for this place.
    pub(crate) fn code(self, ports: &Ports, bound: &BoundMaps) -> Result<Vec<Instruction>> {
        match self {
            Self::Release => release(bound),
            Self::Listen => listen(ports, bound),
            Self::PostBind4 => post_bind(ports, bound, Family::V4),
            Self::PostBind6 => post_bind(ports, bound, Family::V6),
            Self::Bind4 => bind(ports, bound, Family::V4),
            Self::Bind6 => bind(ports, bound, Family::V6),
        }
    }
}

#[derive(Clone, Copy)]
enum Family {
    V4,
    V6,
}

/// For a map that must not have the key yet, and for a storage that is made.
const IF_NONE: i32 = 1;
const CREATE: i32 = 1;

const OUT: &str = "out";

const SOCK_STREAM: i32 = libc::SOCK_STREAM;

/// Also the protocol of an MPTCP socket's subflow, which is bound and listens in its place.
const TCP: i32 = libc::IPPROTO_TCP;

// The stack, downwards.
const KEY: i16 = -32;
const KEY_ADDRESS: i16 = KEY + 8;
const KEY_PORT: i16 = KEY + 24;
const HOLDER: i16 = -48;
const HOLDER_INSTANCE: i16 = HOLDER + 8;
const VALUE: i16 = -56;

/// Where a context has what we ask of a socket.
struct Layout {
    kind: i16,
    protocol: i16,
    port: i16,
    /// The port is in network order.
    is_port_swapped: bool,
    address4: i16,
    address6: i16,
}

/// `struct bpf_sock_addr` of linux/bpf.h: of a socket that is about to be bound.
const ADDRESS: Layout = Layout {
    kind: 32,
    protocol: 36,
    port: 24,
    is_port_swapped: true,
    address4: 4,
    address6: 8,
};
const ADDRESS_SOCKET: i16 = 64;

/// `struct bpf_sock`.
const SOCKET: Layout = Layout {
    kind: 8,
    protocol: 12,
    port: 44,
    is_port_swapped: false,
    address4: 24,
    address6: 28,
};

/// `struct bpf_sock_ops`.
mod ops {
    pub(super) const OP: i16 = 0;
    pub(super) const PORT: i16 = 68;
    pub(super) const SOCKET: i16 = 184;
    /// BPF_SOCK_OPS_TCP_LISTEN_CB
    pub(super) const LISTEN: i32 = 11;
}

impl Layout {
    /// Begins a program, with the context in `R6`, which goes on for TCP alone.
    fn begin(&self) -> Assembler {
        let mut a = Assembler::new();
        a.copy(R6, R1);
        only(&mut a, self.kind, SOCK_STREAM);
        only(&mut a, self.protocol, TCP);
        a
    }

    /// Claims the context's address for the socket in `R8`, with the port in `R7`; goes on if it
    /// is claimed, elsewhere if it can't be, and nowhere if the port was not listened on.
    fn claim(
        &self,
        a: &mut Assembler,
        ports: &Ports,
        bound: &BoundMaps,
        family: Family,
        otherwise: &'static str,
    ) -> Result<()> {
        a.load(Size::Word, R7, R6, self.port);
        if self.is_port_swapped {
            a.network_to_host(R7);
        }
        a.compute(Arithmetic::And, R7, 0xffff);
        only_if_set(a, ports, 0);
        key(
            a,
            family,
            match family {
                Family::V4 => self.address4,
                Family::V6 => self.address6,
            },
        );
        claim(a, ports, bound, otherwise)
    }
}

fn bind(ports: &Ports, bound: &BoundMaps, family: Family) -> Result<Vec<Instruction>> {
    let mut a = ADDRESS.begin();
    a.load(Size::Double, R8, R6, ADDRESS_SOCKET);
    a.jump_if(R8, Jump::Equal, 0, OUT);
    // A socket that is bound keeps its claim: the kernel refuses it a second bind.
    a.load(Size::Word, R1, R8, SOCKET.port);
    a.jump_if(R1, Jump::NotEqual, 0, OUT);
    give_up_claim(&mut a, bound, "unclaimed");
    a.label("unclaimed");
    ADDRESS.claim(&mut a, ports, bound, family, "contested")?;
    a.label("claimed");
    reuse_address(&mut a, OUT);
    a.jump(OUT);
    a.label("contested");
    a.map(R1, bound.by_address.as_fd());
    a.address(R2, KEY);
    a.call(Helper::MapLookup);
    // Without room for the claim: it is a gate less, and no reason to refuse a restart.
    a.jump_if(R0, Jump::Equal, 0, "claimed");
    end(a)
}

fn post_bind(ports: &Ports, bound: &BoundMaps, family: Family) -> Result<Vec<Instruction>> {
    let mut a = SOCKET.begin();
    a.copy(R8, R6);
    SOCKET.claim(&mut a, ports, bound, family, OUT)?;
    end(a)
}

/// Claims the address whose key is on the stack for the socket in `R8`; goes elsewhere if another
/// one has claimed it, or there is no room. Who is there first keeps it: a second one is there by
/// options of their own.
fn claim(
    a: &mut Assembler,
    ports: &Ports,
    bound: &BoundMaps,
    otherwise: &'static str,
) -> Result<()> {
    a.copy(R1, R6);
    a.call(Helper::GetSocketCookie);
    a.store(Size::Double, STACK, HOLDER, R0);
    // Ids are numbers that the kernel counts up: they are far from the sign.
    let instance = i32::try_from(ports.id()?)?;
    a.store_number(Size::Word, STACK, HOLDER_INSTANCE, instance);
    a.store_number(Size::Word, STACK, HOLDER_INSTANCE + 4, 0);
    a.map(R1, bound.by_address.as_fd());
    a.address(R2, KEY);
    a.address(R3, HOLDER);
    a.set(R4, IF_NONE);
    a.call(Helper::MapUpdate);
    a.jump_if(R0, Jump::NotEqual, 0, otherwise);
    a.map(R1, bound.by_socket.as_fd());
    a.copy(R2, R8);
    a.address(R3, KEY);
    a.set(R4, CREATE);
    a.call(Helper::StorageGet);
    a.jump_if(R0, Jump::NotEqual, 0, "stored");
    // Without memory for it nobody would ever take the entry away.
    a.map(R1, bound.by_address.as_fd());
    a.address(R2, KEY);
    a.call(Helper::MapDelete);
    a.label("stored");
    Ok(())
}

fn listen(ports: &Ports, bound: &BoundMaps) -> Result<Vec<Instruction>> {
    let mut a = Assembler::new();
    a.copy(R6, R1);
    only(&mut a, ops::OP, ops::LISTEN);
    a.load(Size::Word, R7, R6, ops::PORT);
    a.compute(Arithmetic::And, R7, 0xffff);
    only_if_set(&mut a, ports, ALLOWED);
    reuse_address(&mut a, "set");
    a.label("set");
    bit(&mut a, ports, 0);
    a.set_bits(R1, 0, R3);
    a.load(Size::Double, R8, R6, ops::SOCKET);
    a.jump_if(R8, Jump::Equal, 0, OUT);
    give_up_claim(&mut a, bound, OUT);
    end(a)
}

/// Takes away the claim of the socket in `R8`, and goes on; goes elsewhere if it has none.
fn give_up_claim(a: &mut Assembler, bound: &BoundMaps, none: &'static str) {
    find_claim(a, bound, R8, none);
    forget_address(a, bound, "storage");
    a.label("storage");
    a.map(R1, bound.by_socket.as_fd());
    a.copy(R2, R8);
    a.call(Helper::StorageDelete);
}

/// Points `R9` to the claim of the socket in `socket`; goes elsewhere if it has none.
fn find_claim(a: &mut Assembler, bound: &BoundMaps, socket: Register, none: &'static str) {
    a.map(R1, bound.by_socket.as_fd());
    a.copy(R2, socket);
    a.set(R3, 0);
    a.set(R4, 0);
    a.call(Helper::StorageGet);
    a.jump_if(R0, Jump::Equal, 0, none);
    a.copy(R9, R0);
}

fn release(bound: &BoundMaps) -> Result<Vec<Instruction>> {
    let mut a = SOCKET.begin();
    find_claim(&mut a, bound, R6, OUT);
    // The storage goes with the socket.
    forget_address(&mut a, bound, OUT);
    end(a)
}

/// Goes on only if a word of the context is this number.
fn only(a: &mut Assembler, field: i16, number: i32) {
    a.load(Size::Word, R2, R6, field);
    a.jump_if(R2, Jump::NotEqual, number, OUT);
}

/// `R1 = ` the word with the bit of the port in `R7`, and `R3 = ` that bit.
fn bit(a: &mut Assembler, ports: &Ports, table: i32) {
    a.value_of(R1, ports.as_fd(), table);
    a.copy(R2, R7);
    a.compute(Arithmetic::ShiftRight, R2, 5);
    a.compute(Arithmetic::ShiftLeft, R2, 2);
    a.compute_by(Arithmetic::Add, R1, R2);
    a.copy(R2, R7);
    a.compute(Arithmetic::And, R2, 31);
    a.set(R3, 1);
    a.compute_by(Arithmetic::ShiftLeft, R3, R2);
}

/// Goes on only if the bit of the port in `R7` is set in one of the two tables.
fn only_if_set(a: &mut Assembler, ports: &Ports, table: i32) {
    bit(a, ports, table);
    a.load(Size::Word, R2, R1, 0);
    a.compute_by(Arithmetic::And, R2, R3);
    a.jump_if(R2, Jump::Equal, 0, OUT);
}

/// Writes the key of an address, which is at this place of the context, and the port in `R7`: IPv4
/// as IPv6 has it (`::ffff:0:0/96`), since an IPv6 socket may be bound to that.
fn key(a: &mut Assembler, family: Family, address: i16) {
    a.copy(R1, R6);
    a.call(Helper::GetNetnsCookie);
    a.store(Size::Double, STACK, KEY, R0);
    match family {
        Family::V4 => {
            a.store_number(Size::Word, STACK, KEY_ADDRESS, 0);
            a.store_number(Size::Word, STACK, KEY_ADDRESS + 4, 0);
            let mapped = i32::from_be_bytes([0, 0, 0xff, 0xff]);
            a.store_number(Size::Word, STACK, KEY_ADDRESS + 8, mapped);
            a.load(Size::Word, R1, R6, address);
            a.store(Size::Word, STACK, KEY_ADDRESS + 12, R1);
        }
        Family::V6 => {
            for word in [0, 4, 8, 12] {
                a.load(Size::Word, R1, R6, address + word);
                a.store(Size::Word, STACK, KEY_ADDRESS + word, R1);
            }
        }
    }
    a.store(Size::Word, STACK, KEY_PORT, R7);
    a.store_number(Size::Word, STACK, KEY_PORT + 4, 0);
}

/// Takes the address away that `R9` leads to, if the entry is this socket's.
fn forget_address(a: &mut Assembler, bound: &BoundMaps, otherwise: &'static str) {
    a.map(R1, bound.by_address.as_fd());
    a.copy(R2, R9);
    a.call(Helper::MapLookup);
    a.jump_if(R0, Jump::Equal, 0, otherwise);
    a.load(Size::Double, R7, R0, 0);
    a.copy(R1, R6);
    a.call(Helper::GetSocketCookie);
    a.jump_if_both(R0, Jump::NotEqual, R7, otherwise);
    a.map(R1, bound.by_address.as_fd());
    a.copy(R2, R9);
    a.call(Helper::MapDelete);
}

/// Sets SO_REUSEADDR on the context's socket, and goes on; goes elsewhere if it is set, as by
/// TCP_REPAIR to a value that setsockopt(2) has not.
fn reuse_address(a: &mut Assembler, already: &'static str) {
    a.store_number(Size::Word, STACK, VALUE, 0);
    reuse_address_by(a, Helper::GetSockOpt);
    a.load(Size::Word, R1, STACK, VALUE);
    a.jump_if(R1, Jump::NotEqual, 0, already);
    a.store_number(Size::Word, STACK, VALUE, 1);
    reuse_address_by(a, Helper::SetSockOpt);
}

/// Reads or writes SO_REUSEADDR at `VALUE` on the stack.
fn reuse_address_by(a: &mut Assembler, helper: Helper) {
    a.copy(R1, R6);
    a.set(R2, libc::SOL_SOCKET);
    a.set(R3, libc::SO_REUSEADDR);
    a.address(R4, VALUE);
    a.set(R5, 4);
    a.call(helper);
}

fn end(mut a: Assembler) -> Result<Vec<Instruction>> {
    a.label(OUT);
    a.set(R0, 1);
    a.exit();
    a.finish()
}
