//! Texts of a bounded length.

use super::Fault;
use core::fmt::{self, Write};

/// Bytes kept where they stay, since the program may overwrite its environment later.
#[derive(Clone, Copy)]
pub struct Text<const ROOM: usize> {
    bytes: [u8; ROOM],
    length: u16,
}

impl<const ROOM: usize> Text<ROOM> {
    pub(crate) const EMPTY: Self = Self {
        bytes: [0; ROOM],
        length: 0,
    };

    /// A text of our own, which fits.
    pub(crate) const fn of(text: &str) -> Self {
        let mut bytes = [0; ROOM];
        let mut length = 0_u16;
        while (length as usize) < text.len() {
            bytes[length as usize] = text.as_bytes()[length as usize];
            length += 1;
        }
        Self { bytes, length }
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length.into()).unwrap_or_default()
    }

    pub(super) fn replace(&mut self, value: &[u8]) -> Result<(), Fault> {
        let length = u16::try_from(value.len()).map_err(|_| "too long")?;
        let room = self.bytes.get_mut(..value.len()).ok_or("too long")?;
        for (place, byte) in room.iter_mut().zip(value) {
            *place = *byte;
        }
        self.length = length;
        Ok(())
    }
}

/// Unchanged, if it is ASCII.
impl<const ROOM: usize> fmt::Display for Text<ROOM> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_bytes()
            .iter()
            .try_for_each(|&byte| f.write_char(char::from(byte)))
    }
}
