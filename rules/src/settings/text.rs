//! Texts of a bounded length.

use super::Fault;
use core::fmt::{self, Write};

/// Bytes kept where they stay, since the program may overwrite its environment later.
#[derive(Clone, Copy)]
pub struct Text<const ROOM: usize> {
    bytes: [u8; ROOM],
    length: usize,
}

impl<const ROOM: usize> Text<ROOM> {
    pub(crate) const EMPTY: Self = Self {
        bytes: [0; ROOM],
        length: 0,
    };

    /// A text of our own, which fits.
    pub(crate) const fn of(text: &str) -> Self {
        let mut bytes = [0; ROOM];
        let mut index = 0;
        while index < text.len() {
            bytes[index] = text.as_bytes()[index];
            index += 1;
        }
        Self {
            bytes,
            length: text.len(),
        }
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    pub(super) fn replace(&mut self, value: &[u8]) -> Result<(), Fault> {
        let room = self.bytes.get_mut(..value.len()).ok_or("too long")?;
        for (place, byte) in room.iter_mut().zip(value) {
            *place = *byte;
        }
        self.length = value.len();
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
