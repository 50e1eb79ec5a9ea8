//! `LIBREUSE_PORTS`.

use super::value::decimal;
use super::{EMPTY_ENTRY, Fault};
use core::ops::RangeInclusive;

/// The local ports that the shim acts on: ranges, or none for all of them.
///
/// A bit for each port would be quicker to ask than a long list, and was: 8 KiB of it, for which
/// the loader had to map memory of its own at the start of every program (BENCHMARKS.md).
pub struct Ports {
    ranges: [Range; MOST],
    /// How many of them count.
    length: usize,
}

/// The most ranges there may be. Ports that follow one another in the list are one.
const MOST: usize = 512;

/// The first port and the last.
#[derive(Clone, Copy)]
struct Range(u16, u16);

impl Ports {
    pub(super) const ALL: Self = Self {
        ranges: [Range(0, 0); MOST],
        length: 0,
    };

    /// Whether this is every port, so that nobody need ask which one a socket has.
    #[must_use]
    #[inline(always)]
    pub fn all(&self) -> bool {
        self.length == 0
    }

    /// Whether the shim acts on `port`.
    #[must_use]
    #[inline(always)]
    pub fn contains(&self, port: u16) -> bool {
        self.all() || self.lists(port)
    }

    /// The ranges as they were listed, which may overlap; a single one if it is every port.
    pub fn ranges(&self) -> impl Iterator<Item = RangeInclusive<u16>> {
        let all = self.all().then_some(1..=u16::MAX);
        let listed = self.ranges.iter().take(self.length);
        all.into_iter()
            .chain(listed.map(|&Range(first, last)| first..=last))
    }

    #[cold]
    #[inline(never)]
    fn lists(&self, port: u16) -> bool {
        self.ranges
            .iter()
            .take(self.length)
            .any(|&Range(first, last)| first <= port && port <= last)
    }

    pub(super) fn replace(&mut self, list: &[u8]) -> Result<(), Fault> {
        let mut ports = Self::ALL;
        for entry in list.split(|&byte| byte == b',') {
            ports.add(range(entry)?)?;
        }
        *self = ports;
        Ok(())
    }

    fn add(&mut self, Range(first, last): Range) -> Result<(), Fault> {
        let before = self.length.checked_sub(1);
        if let Some(before) = before.and_then(|index| self.ranges.get_mut(index)) {
            if before.1.checked_add(1) == Some(first) {
                before.1 = last;
                return Ok(());
            }
        }
        let next = self.ranges.get_mut(self.length);
        *next.ok_or("more than 512 ranges")? = Range(first, last);
        self.length = self.length.saturating_add(1);
        Ok(())
    }
}

/// Reads `49200` or `8000-8100`.
fn range(entry: &[u8]) -> Result<Range, Fault> {
    let port = |digits| match u16::try_from(decimal(digits)?) {
        Ok(0) => Err("no listener has port 0"),
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
    Ok(Range(low, high))
}

#[cfg(test)]
mod tests {
    use crate::settings::Settings;
    use crate::settings::tests::with;
    use std::format;
    use std::prelude::rust_2024::*;

    /// Miri, which looks at memory and not at answers, would take hours for all of them.
    fn every_port() -> impl Iterator<Item = u16> {
        (1..=u16::MAX).step_by(if cfg!(miri) { 251 } else { 1 })
    }

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
                every_port()
                    .all(|port| settings.ports.contains(port) == (low..=high).contains(&port)),
                "{low}-{high}"
            );
        }
    }

    #[test]
    fn reads_the_whole_port_range() {
        let settings = with("LIBREUSE_PORTS", "1-65535");
        assert!(every_port().all(|port| settings.ports.contains(port)));
        assert!(!settings.ports.contains(0));
    }

    #[test]
    fn holds_512_ranges_and_no_more() {
        let every_second = |number: u32| {
            let ports: Vec<_> = (1..=number).map(|port| (port * 2).to_string()).collect();
            ports.join(",")
        };
        let settings = with("LIBREUSE_PORTS", &every_second(512));
        assert!(every_port().all(|port| {
            settings.ports.contains(port) == (port <= 1024 && port.is_multiple_of(2))
        }));
        let mut settings = Settings::DEFAULT;
        let longer = every_second(513);
        let complaint = settings.set(b"LIBREUSE_PORTS", longer.as_bytes());
        assert!(
            complaint
                .is_err_and(|complaint| format!("{complaint}").contains("more than 512 ranges"))
        );
        assert!(settings.ports.all());
    }

    #[test]
    fn ports_one_after_another_are_one_range() {
        let ports: Vec<_> = (8000..=9000).map(|port| port.to_string()).collect();
        let settings = with("LIBREUSE_PORTS", &format!("{},65535,1", ports.join(",")));
        assert!(every_port().all(|port| {
            settings.ports.contains(port)
                == ((8000..=9000).contains(&port) || port == 65535 || port == 1)
        }));
    }

    #[test]
    fn a_wrong_list_changes_nothing() {
        let mut settings = with("LIBREUSE_PORTS", "8000");
        assert!(settings.set(b"LIBREUSE_PORTS", b"9000,x").is_err());
        assert!(settings.ports.contains(8000) && !settings.ports.contains(9000));
    }
}
