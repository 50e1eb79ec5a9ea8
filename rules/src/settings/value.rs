//! Single values: switches, numbers and durations.

use super::{Fault, UNKNOWN};

/// A word of at most eight letters as a number; 0 if it is longer, or holds a null byte. A choice
/// of words is one comparison each this way; as slices the compiler compares them letter by letter,
/// and the library had 250 bytes more.
pub(super) const fn word(text: &[u8]) -> u64 {
    let mut word = 0;
    let mut rest = text;
    if text.len() > 8 {
        return 0;
    }
    while let [letter, later @ ..] = rest {
        if *letter == 0 {
            return 0;
        }
        word = word << 8 | *letter as u64;
        rest = later;
    }
    word
}

pub(super) const OFF: u64 = word(b"off");
const ON: u64 = word(b"on");

pub(super) fn switch(value: &[u8]) -> Result<bool, Fault> {
    match word(value) {
        ON => Ok(true),
        OFF => Ok(false),
        _ => Err(UNKNOWN),
    }
}

/// Reads decimal digits, and nothing else.
// In one place of the library, not in four.
#[inline(never)]
pub(super) fn decimal(digits: &[u8]) -> Result<u32, Fault> {
    if digits.is_empty() {
        return Err(UNKNOWN);
    }
    digits.iter().try_fold(0_u32, |number, byte| match byte {
        b'0'..=b'9' => number
            .checked_mul(10)
            .and_then(|tens| tens.checked_add(u32::from(byte.wrapping_sub(b'0'))))
            .ok_or("too large a number"),
        _ => Err(UNKNOWN),
    })
}

pub(super) fn milliseconds(value: &[u8]) -> Result<u32, Fault> {
    if value == b"0" {
        return Ok(0);
    }
    let (number, scale) = if let Some(number) = value.strip_suffix(b"ms") {
        (number, 1)
    } else if let Some(number) = value.strip_suffix(b"s") {
        (number, 1_000)
    } else if let Some(number) = value.strip_suffix(b"m") {
        (number, 60_000)
    } else {
        return Err(if decimal(value).is_ok() {
            "no unit"
        } else {
            UNKNOWN
        });
    };
    decimal(number)?
        .checked_mul(scale)
        .ok_or("longer than 49 days")
}
