//! Texts of a bounded length.

use super::Fault;

/// Bytes kept where they stay, since the program may overwrite its environment later.
pub struct Text<const ROOM: usize> {
    bytes: [u8; ROOM],
    length: usize,
}

impl<const ROOM: usize> Text<ROOM> {
    pub(super) const EMPTY: Self = Self {
        bytes: [0; ROOM],
        length: 0,
    };

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
