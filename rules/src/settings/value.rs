//! Single values: switches, numbers and durations.

use super::{Fault, UNKNOWN};

pub(super) fn switch(value: &[u8]) -> Result<bool, Fault> {
    match value {
        b"on" => Ok(true),
        b"off" => Ok(false),
        _ => Err(UNKNOWN),
    }
}

/// Reads decimal digits, and nothing else.
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
