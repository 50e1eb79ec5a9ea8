//! Matches program names against `LIBREUSE_PROGRAMS`.

use super::text::Text;
use super::{EMPTY_ENTRY, Fault};

/// The programs that the shim acts in: a list of name patterns; if it is empty, all programs.
pub struct Programs(Text<ROOM>);

/// The longest list, in bytes.
pub(super) const ROOM: usize = 1024;

impl Programs {
    pub(super) const ALL: Self = Self(Text::EMPTY);

    pub(super) fn replace(&mut self, patterns: &[u8]) -> Result<(), Fault> {
        for pattern in patterns.split(|&byte| byte == b',') {
            if pattern.is_empty() {
                return Err(EMPTY_ENTRY);
            }
            #[allow(clippy::manual_contains)] // It would bring 200 bytes that search word by word.
            if pattern.iter().any(|&byte| byte == b'/') {
                return Err("a program's name holds no slash");
            }
        }
        self.0.replace(patterns)
    }

    /// Whether every program matches, so that the name is not needed.
    #[must_use]
    pub fn all(&self) -> bool {
        self.0.as_bytes().is_empty()
    }

    /// Whether the shim acts in a program of this name.
    #[must_use]
    pub fn contains(&self, name: &[u8]) -> bool {
        self.all()
            || self
                .0
                .as_bytes()
                .split(|&byte| byte == b',')
                .any(|pattern| matches(pattern, name))
    }
}

/// Whether `name` matches `pattern`: `*` matches any characters, and `?` one (as in glob(7)).
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut pattern, mut name) = (pattern, name);
    // After a `*`: the rest of the pattern, and the part of the name that it was last tried at.
    let mut star = None;
    loop {
        match (pattern.split_first(), name.split_first()) {
            (Some((b'*', rest)), _) => {
                star = Some((rest, name));
                pattern = rest;
            }
            (Some((wanted, pattern_rest)), Some((found, name_rest)))
                if *wanted == b'?' || wanted == found =>
            {
                pattern = pattern_rest;
                name = name_rest;
            }
            (None, None) => return true,
            _ => {
                let Some((after, Some((_, later)))) =
                    star.map(|(after, tried)| (after, tried.split_first()))
                else {
                    return false;
                };
                star = Some((after, later));
                pattern = after;
                name = later;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::settings::Settings;
    use crate::settings::tests::with;

    #[test]
    fn matches_program_names() {
        for (pattern, name, expected) in [
            ("myd", "myd", true),
            ("myd", "mydd", false),
            ("myd", "my", false),
            ("worker*", "worker", true),
            ("worker*", "worker-7", true),
            ("*", "anything", true),
            ("*d", "sshd", true),
            ("*d", "sshdx", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("p?d", "pod", true),
            ("p?d", "pd", false),
            ("a,b?,c*", "b1", true),
            ("a,b?,c*", "b", false),
        ] {
            let programs = with("LIBREUSE_PROGRAMS", pattern).programs;
            assert_eq!(
                programs.contains(name.as_bytes()),
                expected,
                "{pattern} {name}"
            );
        }
        assert!(Settings::DEFAULT.programs.contains(b"anything"));
    }
}
