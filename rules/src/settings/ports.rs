//! `LIBREUSE_PORTS`.

use super::value::decimal;
use super::{EMPTY_ENTRY, Fault};

/// The local ports that the shim acts on: one bit each, so that a look-up costs one load however many ranges there
/// are, and no list can be too long.
pub struct Ports {
    /// Whether there is a list; without one it is every port.
    listed: bool,
    bits: [u64; 1024],
}

impl Ports {
    pub(super) const ALL: Self = Self {
        listed: false,
        bits: [0; 1024],
    };

    /// Whether this is every port, so that nobody need ask which one a socket has.
    #[must_use]
    pub fn all(&self) -> bool {
        !self.listed
    }

    /// Whether the shim acts on `port`.
    #[must_use]
    pub fn contains(&self, port: u16) -> bool {
        let word = self.bits.get(usize::from(port >> 6)).copied().unwrap_or(0);
        !self.listed || word >> (port & 63) & 1 == 1
    }

    pub(super) fn replace(&mut self, list: &[u8]) -> Result<(), Fault> {
        // Two passes, so that a mistake at the end of the list leaves no half of it behind.
        for entry in list.split(|&byte| byte == b',') {
            port_range(entry)?;
        }
        self.listed = true;
        self.bits = [0; 1024];
        for entry in list.split(|&byte| byte == b',') {
            let (low, high) = port_range(entry)?;
            // By words: 1024-65535 is a list that people write, and every exec reads it.
            let (from, to) = (low >> 6, high >> 6);
            for index in from..=to {
                let mut ports = u64::MAX;
                if index == from {
                    ports &= u64::MAX.wrapping_shl(u32::from(low));
                }
                if index == to {
                    ports &= u64::MAX.wrapping_shr(u32::from(!high));
                }
                if let Some(word) = self.bits.get_mut(usize::from(index)) {
                    *word |= ports;
                }
            }
        }
        Ok(())
    }
}

/// Reads `49200` or `8000-8100`.
fn port_range(entry: &[u8]) -> Result<(u16, u16), Fault> {
    let port = |digits| match u16::try_from(decimal(digits)?) {
        Ok(0) => Err("port 0 is never acted on"),
        Ok(port) => Ok(port),
        Err(_) => Err("there is no port above 65535"),
    };
    if entry.is_empty() {
        return Err(EMPTY_ENTRY);
    }
    let mut ends = entry.splitn(2, |&byte| byte == b'-');
    let low = port(ends.next().unwrap_or_default())?;
    let high = ends.next().map_or(Ok(low), port)?;
    if low > high {
        return Err("a range runs from high to low");
    }
    Ok((low, high))
}

#[cfg(test)]
mod tests {
    use crate::settings::Settings;
    use crate::settings::tests::with;
    use std::format;

    #[test]
    fn reads_ports() {
        let settings = with("LIBREUSE_PORTS", "49200,8000-8100,1,65535");
        for (port, expected) in [
            (1, true),
            (2, false),
            (7999, false),
            (8000, true),
            (8063, true),
            (8064, true),
            (8100, true),
            (8101, false),
            (49199, false),
            (49200, true),
            (49201, false),
            (65534, false),
            (65535, true),
        ] {
            assert_eq!(settings.ports.contains(port), expected, "{port}");
        }
        assert!(Settings::DEFAULT.ports.contains(49200));
    }

    #[test]
    fn a_range_has_exact_ends() {
        for (low, high) in [
            (1, 63),
            (1, 64),
            (64, 127),
            (63, 64),
            (65, 65),
            (100, 300),
            (65472, 65535),
        ] {
            let settings = with("LIBREUSE_PORTS", &format!("{low}-{high}"));
            assert!(
                (1..=u16::MAX)
                    .all(|port| settings.ports.contains(port) == (low..=high).contains(&port)),
                "{low}-{high}"
            );
        }
    }

    #[test]
    fn reads_the_whole_port_range() {
        let settings = with("LIBREUSE_PORTS", "1-65535");
        assert!((1..=u16::MAX).all(|port| settings.ports.contains(port)));
        assert!(!settings.ports.contains(0));
    }

    #[test]
    fn a_wrong_list_changes_nothing() {
        let mut settings = with("LIBREUSE_PORTS", "8000");
        assert!(settings.set(b"LIBREUSE_PORTS", b"9000,x").is_err());
        assert!(settings.ports.contains(8000) && !settings.ports.contains(9000));
    }
}
