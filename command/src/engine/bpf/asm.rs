//! An assembler for eBPF (the kernel's `Documentation/bpf/standardization/instruction-set.rst`), so
//! that nothing has to be compiled when the command is built.
//!
//! It knows what our programs use. Whether a program makes sense is the verifier's to say, when it
//! is loaded.

use anyhow::{Context, Result};
use std::collections::HashMap;
use std::os::fd::{AsRawFd, BorrowedFd};

/// One instruction, in the machine's byte order.
pub(crate) type Instruction = [u8; 8];

/// A register. `R1` is the context, `R0` the result, `R1` to `R5` are a helper's arguments and lost
/// by its call, `R6` to `R9` survive it, and `R10` is the end of the stack, which grows down.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Register(u8);

pub(crate) const R0: Register = Register(0);
pub(crate) const R1: Register = Register(1);
pub(crate) const R2: Register = Register(2);
pub(crate) const R3: Register = Register(3);
pub(crate) const R4: Register = Register(4);
pub(crate) const R5: Register = Register(5);
pub(crate) const R6: Register = Register(6);
pub(crate) const R7: Register = Register(7);
pub(crate) const R8: Register = Register(8);
pub(crate) const R9: Register = Register(9);
pub(crate) const STACK: Register = Register(10);

/// How much is loaded or stored.
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
pub(crate) enum Size {
    Word = 0x00,
    Half = 0x08,
    Double = 0x18,
}

/// A comparison of two unsigned 64-bit numbers.
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
pub(crate) enum Jump {
    Equal = 0x10,
    Greater = 0x20,
    NotEqual = 0x50,
}

/// An operation on 64 bits.
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
pub(crate) enum Arithmetic {
    Add = 0x00,
    Subtract = 0x10,
    And = 0x50,
    ShiftLeft = 0x60,
    ShiftRight = 0x70,
}

/// The helpers that our programs call, by the numbers of linux/bpf.h.
#[derive(Clone, Copy, Debug)]
#[repr(i32)]
pub(crate) enum Helper {
    MapLookup = 1,
    MapUpdate = 2,
    MapDelete = 3,
    GetTime = 5,
    GetThread = 14,
    GetUser = 15,
    GetName = 16,
    GetSocketCookie = 46,
    SetSockOpt = 49,
    GetSockOpt = 57,
    StorageGet = 107,
    StorageDelete = 108,
    ReadFromUser = 112,
    GetNetnsCookie = 122,
    RingOutput = 130,
}

const ALU64: u8 = 0x07;
const ALU: u8 = 0x04;
const JMP: u8 = 0x05;
const LDX: u8 = 0x61;
const ST: u8 = 0x62;
const STX: u8 = 0x63;
const BY_REGISTER: u8 = 0x08;

/// A program as it grows.
#[derive(Debug, Default)]
pub(crate) struct Assembler {
    code: Vec<Instruction>,
    labels: HashMap<&'static str, usize>,
    jumps: Vec<(usize, &'static str)>,
}

impl Assembler {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Names the place of the next instruction.
    pub(crate) fn label(&mut self, name: &'static str) {
        self.labels.insert(name, self.code.len());
    }

    /// `to = from`
    pub(crate) fn copy(&mut self, to: Register, from: Register) {
        self.push(ALU64 | BY_REGISTER | 0xb0, to, from, 0, 0);
    }

    /// `to = number`
    pub(crate) fn set(&mut self, to: Register, number: i32) {
        self.push(ALU64 | 0xb0, to, R0, 0, number);
    }

    /// `to = to op number`
    pub(crate) fn compute(&mut self, op: Arithmetic, to: Register, number: i32) {
        self.push(ALU64 | op as u8, to, R0, 0, number);
    }

    /// `to = ` the address of this place on the stack
    pub(crate) fn address(&mut self, to: Register, place: i16) {
        self.copy(to, STACK);
        self.compute(Arithmetic::Add, to, place.into());
    }

    /// `to = to op by`
    pub(crate) fn compute_by(&mut self, op: Arithmetic, to: Register, by: Register) {
        self.push(ALU64 | BY_REGISTER | op as u8, to, by, 0, 0);
    }

    /// `to = ` its lower 16 bits, turned from network order into the machine's.
    pub(crate) fn network_to_host(&mut self, to: Register) {
        const TO_BIG_ENDIAN: u8 = 0xd8;
        self.push(ALU | TO_BIG_ENDIAN, to, R0, 0, 16);
    }

    /// `to = from[offset]`
    pub(crate) fn load(&mut self, size: Size, to: Register, from: Register, offset: i16) {
        self.push(LDX | size as u8, to, from, offset, 0);
    }

    /// `to[offset] = from`
    pub(crate) fn store(&mut self, size: Size, to: Register, offset: i16, from: Register) {
        self.push(STX | size as u8, to, from, offset, 0);
    }

    /// `to[offset] = number`
    pub(crate) fn store_number(&mut self, size: Size, to: Register, offset: i16, number: i32) {
        self.push(ST | size as u8, to, R0, offset, number);
    }

    /// `to[offset] |= from`, 32 bits in one step
    pub(crate) fn set_bits(&mut self, to: Register, offset: i16, from: Register) {
        const ATOMIC: u8 = 0xc0;
        const OR: i32 = 0x40;
        self.push(ATOMIC | 0x03, to, from, offset, OR);
    }

    /// `to[offset] += from`, 64 bits in one step
    pub(crate) fn add_to(&mut self, to: Register, offset: i16, from: Register) {
        const ATOMIC: u8 = 0xc0;
        const ADD: i32 = 0x00;
        self.push(ATOMIC | 0x1b, to, from, offset, ADD);
    }

    /// `to = ` a map, as helpers take it
    pub(crate) fn map(&mut self, to: Register, map: BorrowedFd<'_>) {
        const MAP: Register = Register(1);
        self.wide(to, MAP, map.as_raw_fd(), 0);
    }

    /// `to = ` where the only value of an array is, and so many bytes further
    pub(crate) fn value_of(&mut self, to: Register, map: BorrowedFd<'_>, offset: i32) {
        const MAP_VALUE: Register = Register(2);
        self.wide(to, MAP_VALUE, map.as_raw_fd(), offset);
    }

    /// Jumps.
    pub(crate) fn jump(&mut self, to: &'static str) {
        self.jumps.push((self.code.len(), to));
        self.push(JMP, R0, R0, 0, 0);
    }

    /// Jumps if it is so of a register and a number.
    pub(crate) fn jump_if(
        &mut self,
        register: Register,
        jump: Jump,
        number: i32,
        to: &'static str,
    ) {
        self.jumps.push((self.code.len(), to));
        self.push(JMP | jump as u8, register, R0, 0, number);
    }

    /// Jumps if it is so of two registers.
    pub(crate) fn jump_if_both(
        &mut self,
        one: Register,
        jump: Jump,
        other: Register,
        to: &'static str,
    ) {
        self.jumps.push((self.code.len(), to));
        self.push(JMP | BY_REGISTER | jump as u8, one, other, 0, 0);
    }

    /// Calls a helper.
    pub(crate) fn call(&mut self, helper: Helper) {
        self.push(JMP | 0x80, R0, R0, 0, helper as i32);
    }

    /// Returns `R0`.
    pub(crate) fn exit(&mut self) {
        self.push(JMP | 0x90, R0, R0, 0, 0);
    }

    /// The program.
    ///
    /// # Errors
    ///
    /// A jump leads to no label, or too far.
    pub(crate) fn finish(mut self) -> Result<Vec<Instruction>> {
        for (at, label) in self.jumps {
            let to = *self
                .labels
                .get(label)
                .with_context(|| format!("there is no label {label}"))?;
            // Counted from the instruction behind the jump.
            let distance = i16::try_from(i64::try_from(to)? - i64::try_from(at)? - 1)
                .with_context(|| format!("{label} is too far"))?;
            let instruction = self.code.get_mut(at).context("a jump is in the program")?;
            instruction[2..4].copy_from_slice(&distance.to_ne_bytes());
        }
        Ok(self.code)
    }

    /// A load of 64 bits, which takes two instructions.
    fn wide(&mut self, to: Register, kind: Register, low: i32, high: i32) {
        const LOAD_DOUBLE: u8 = 0x18;
        self.push(LOAD_DOUBLE, to, kind, 0, low);
        self.push(0, R0, R0, 0, high);
    }

    fn push(&mut self, code: u8, to: Register, from: Register, offset: i16, number: i32) {
        // Two bit fields of a C structure: the first is the lower one on little-endian machines.
        let registers = if cfg!(target_endian = "little") {
            from.0 << 4 | to.0
        } else {
            to.0 << 4 | from.0
        };
        let mut instruction = [code, registers, 0, 0, 0, 0, 0, 0];
        instruction[2..4].copy_from_slice(&offset.to_ne_bytes());
        instruction[4..8].copy_from_slice(&number.to_ne_bytes());
        self.code.push(instruction);
    }
}

#[cfg(test)]
#[cfg(target_endian = "little")]
mod tests {
    use super::*;

    /// The bytes that the description of the instruction set has for these lines.
    #[test]
    fn assembles_as_the_instruction_set_has_it() {
        let mut a = Assembler::new();
        a.copy(R6, R1);
        a.load(Size::Word, R2, R6, 32);
        a.jump_if(R2, Jump::NotEqual, 1, "out");
        a.network_to_host(R2);
        a.store(Size::Double, STACK, -8, R2);
        a.store_number(Size::Word, STACK, -4, 7);
        a.set_bits(R3, 4, R2);
        a.add_to(R3, 8, R2);
        a.compute(Arithmetic::ShiftRight, R2, 3);
        a.call(Helper::MapLookup);
        a.label("out");
        a.set(R0, 1);
        a.exit();
        let expected: [Instruction; 12] = [
            [0xbf, 0x16, 0, 0, 0, 0, 0, 0],
            [0x61, 0x62, 32, 0, 0, 0, 0, 0],
            [0x55, 0x02, 7, 0, 1, 0, 0, 0],
            [0xdc, 0x02, 0, 0, 16, 0, 0, 0],
            [0x7b, 0x2a, 0xf8, 0xff, 0, 0, 0, 0],
            [0x62, 0x0a, 0xfc, 0xff, 7, 0, 0, 0],
            [0xc3, 0x23, 4, 0, 0x40, 0, 0, 0],
            [0xdb, 0x23, 8, 0, 0, 0, 0, 0],
            [0x77, 0x02, 0, 0, 3, 0, 0, 0],
            [0x85, 0x00, 0, 0, 1, 0, 0, 0],
            [0xb7, 0x00, 0, 0, 1, 0, 0, 0],
            [0x95, 0x00, 0, 0, 0, 0, 0, 0],
        ];
        assert_eq!(a.finish().unwrap(), expected);
    }

    #[test]
    fn refuses_a_jump_to_nowhere() {
        let mut a = Assembler::new();
        a.jump_if(R0, Jump::Equal, 0, "nowhere");
        assert!(a.finish().is_err());
    }
}
