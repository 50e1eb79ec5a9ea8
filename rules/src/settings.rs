//! The settings: one table, from which come the parser, every error message and the README's table.
//!
//! A file module of both the shim and the command, so it uses `core` and `log` alone, allocates nothing and has no
//! panic path. Values are bytes, since an environment need not be UTF-8.

use core::fmt::{self, Write};
use log::LevelFilter;

/// What every variable's name begins with; a name that has it and is not in [`SETTINGS`] is a mistake worth telling.
pub const PREFIX: &[u8] = b"LIBREUSE_";

/// One variable: what the manual says of it, and how its value is read.
pub struct Setting {
    /// The variable's full name.
    pub name: &'static str,
    /// The values as the README's table shows them.
    pub values: &'static str,
    /// What holds when the variable is absent or wrong, as the README's table shows it.
    pub default: &'static str,
    /// One line on what it does.
    pub effect: &'static str,
    /// The values as an error message names them.
    accepts: &'static str,
    /// Reads a value into the settings, and leaves them as they were when it can't.
    parse: fn(&mut Settings, &[u8]) -> Result<(), Fault>,
}

/// What is wrong with a value, beyond its not being one of those that are accepted; may be empty.
type Fault = &'static str;

/// Says no more than which values are accepted.
const UNKNOWN: Fault = "";
const EMPTY_ENTRY: Fault = "an entry is empty";

/// Every variable there is, in the order in which the manual lists them.
pub static SETTINGS: [Setting; 8] = [
    Setting {
        name: "LIBREUSE_REUSEADDR",
        values: "`on` `off`",
        default: "`on`",
        effect: "let `bind` succeed over what an earlier run left behind",
        accepts: "on or off",
        parse: |settings, value| {
            settings.reuse_address = switch(value)?;
            Ok(())
        },
    },
    Setting {
        name: "LIBREUSE_LINGER",
        values: "`off` `graceful` `zero`",
        default: "`off`",
        effect: "how TCP connections are closed: as always, without TIME_WAIT, or by a reset that loses data",
        accepts: "off, graceful or zero",
        parse: |settings, value| {
            settings.linger = match value {
                b"off" => Linger::Off,
                b"graceful" => Linger::Graceful,
                b"zero" => Linger::Zero,
                _ => return Err(UNKNOWN),
            };
            Ok(())
        },
    },
    Setting {
        name: "LIBREUSE_WAIT",
        values: "duration: `0`, `500ms`, `60s`, `2m`",
        default: "`0`",
        effect: "how long `bind` may wait for an address that is still in use",
        accepts: "a duration such as 0, 500ms, 60s or 2m",
        parse: |settings, value| {
            settings.wait_ms = milliseconds(value)?;
            Ok(())
        },
    },
    Setting {
        name: "LIBREUSE_REUSEPORT",
        values: "`on` `off`",
        default: "`off`",
        effect: "set SO_REUSEPORT as well: several live copies share the port",
        accepts: "on or off",
        parse: |settings, value| {
            settings.reuse_port = switch(value)?;
            Ok(())
        },
    },
    Setting {
        name: "LIBREUSE_PORTS",
        values: "`49200,8000-8100`",
        default: "all",
        effect: "the local ports it acts on",
        accepts: "ports and ranges such as 49200,8000-8100, from 1 to 65535",
        parse: |settings, value| settings.ports.replace(value),
    },
    Setting {
        name: "LIBREUSE_PROGRAMS",
        values: "`myd,worker*`",
        default: "all",
        effect: "the programs it acts in, by file name; `*` and `?` stand for any characters and for one",
        accepts: "program names such as myd,worker*, without directories",
        parse: |settings, value| {
            for pattern in value.split(|&byte| byte == b',') {
                if pattern.is_empty() {
                    return Err(EMPTY_ENTRY);
                }
                if pattern.contains(&b'/') {
                    return Err("a program's name holds no slash");
                }
            }
            settings.programs.replace(value)
        },
    },
    Setting {
        name: "LIBREUSE_LOG",
        values: "`off` `error` `warn` `info` `debug` `trace`",
        default: "`warn`",
        effect: "what it reports",
        accepts: "off, error, warn, info, debug or trace",
        parse: |settings, value| {
            settings.log = match value {
                b"off" => LevelFilter::Off,
                b"error" => LevelFilter::Error,
                b"warn" => LevelFilter::Warn,
                b"info" => LevelFilter::Info,
                b"debug" => LevelFilter::Debug,
                b"trace" => LevelFilter::Trace,
                _ => return Err(UNKNOWN),
            };
            Ok(())
        },
    },
    Setting {
        name: "LIBREUSE_LOG_FILE",
        values: "absolute path, `%p` is the pid",
        default: "stderr",
        effect: "where it reports to",
        accepts: "an absolute path, in which %p stands for the pid and %% for a percent sign",
        parse: |settings, value| {
            if value.first() != Some(&b'/') {
                return Err("not an absolute path");
            }
            let mut rest = value.iter();
            while let Some(byte) = rest.next() {
                if *byte == b'%' && !matches!(rest.next(), Some(b'p' | b'%')) {
                    return Err("% is followed by neither p nor %");
                }
            }
            settings.log_file.replace(value)
        },
    },
];

/// Everything that the variables say, read once when the library is loaded.
pub struct Settings {
    /// Whether the rules around `SO_REUSEADDR` hold.
    pub reuse_address: bool,
    /// How TCP connections are closed.
    pub linger: Linger,
    /// How long `bind` may wait, in milliseconds; 0 is not at all.
    pub wait_ms: u32,
    /// Whether `SO_REUSEPORT` is set as well.
    pub reuse_port: bool,
    /// The local ports that the shim acts on.
    pub ports: Ports,
    /// The programs that the shim acts in.
    pub programs: Programs,
    /// What is reported.
    pub log: LevelFilter,
    /// Where it is reported to; empty is stderr.
    pub log_file: Text<LOG_FILE_ROOM>,
}

/// How TCP connections are closed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Linger {
    /// As without the shim.
    Off,
    /// Everything is delivered, and no `TIME_WAIT` stays (`TCP_LINGER2 = -1`).
    Graceful,
    /// A reset at once; what was not sent yet is lost (`SO_LINGER {1, 0}`).
    Zero,
}

/// The longest `LIBREUSE_LOG_FILE`, in bytes. Hooks build the path on the stack, and some threads have 16 KiB of it.
pub const LOG_FILE_ROOM: usize = 512;
const PROGRAMS_ROOM: usize = 1024;

impl Settings {
    /// What holds when no variable is set.
    pub const DEFAULT: Self = Self {
        reuse_address: true,
        linger: Linger::Off,
        wait_ms: 0,
        reuse_port: false,
        ports: Ports::ALL,
        programs: Programs(Text::EMPTY),
        log: LevelFilter::Warn,
        log_file: Text::EMPTY,
    };

    /// Takes the value of the variable `name` into the settings.
    ///
    /// # Errors
    ///
    /// A complaint that names variable, value and what is accepted, when there is no such variable or no such value;
    /// the settings are then as they were.
    pub fn set<'a>(&mut self, name: &'a [u8], value: &'a [u8]) -> Result<(), Complaint<'a>> {
        let complain = |setting, fault| Complaint {
            name,
            value,
            setting,
            fault,
        };
        let Some(setting) = SETTINGS
            .iter()
            .find(|setting| setting.name.as_bytes() == name)
        else {
            return Err(complain(None, "no such variable"));
        };
        (setting.parse)(self, value).map_err(|fault| complain(Some(setting), fault))
    }
}

/// Why a variable was not taken, as one line without its end.
pub struct Complaint<'a> {
    name: &'a [u8],
    value: &'a [u8],
    setting: Option<&'static Setting>,
    fault: Fault,
}

impl fmt::Display for Complaint<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        escape(f, self.name)?;
        f.write_char('=')?;
        escape(f, self.value)?;
        f.write_str(": ")?;
        if !self.fault.is_empty() {
            f.write_str(self.fault)?;
            f.write_str("; ")?;
        }
        f.write_str("expected ")?;
        let Some(setting) = self.setting else {
            for (position, setting) in SETTINGS.iter().enumerate() {
                f.write_str(if position == 0 { "" } else { ", " })?;
                f.write_str(setting.name)?;
            }
            return Ok(());
        };
        f.write_str(setting.accepts)
    }
}

/// Writes what may be any bytes of any length so that it stays one short line.
fn escape(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    const LONGEST: usize = 64;
    for &byte in bytes.iter().take(LONGEST) {
        if byte == b' ' || byte.is_ascii_graphic() {
            f.write_char(char::from(byte))?;
        } else {
            f.write_str("\\x")?;
            for digit in [byte >> 4, byte & 15] {
                f.write_char(char::from_digit(u32::from(digit), 16).unwrap_or('?'))?;
            }
        }
    }
    f.write_str(if bytes.len() > LONGEST { "..." } else { "" })
}

fn switch(value: &[u8]) -> Result<bool, Fault> {
    match value {
        b"on" => Ok(true),
        b"off" => Ok(false),
        _ => Err(UNKNOWN),
    }
}

/// Reads decimal digits, and nothing else.
fn decimal(digits: &[u8]) -> Result<u32, Fault> {
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

fn milliseconds(value: &[u8]) -> Result<u32, Fault> {
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

/// The local ports that the shim acts on: one bit each, so that a look-up costs one load however many ranges there
/// are, and no list can be too long.
pub struct Ports {
    all: bool,
    bits: [u64; 1024],
}

impl Ports {
    const ALL: Self = Self {
        all: true,
        bits: [0; 1024],
    };

    /// Whether this is every port, so that nobody need ask which one a socket has.
    #[must_use]
    pub fn all(&self) -> bool {
        self.all
    }

    /// Whether the shim acts on `port`.
    #[must_use]
    pub fn contains(&self, port: u16) -> bool {
        let word = self.bits.get(usize::from(port >> 6)).copied().unwrap_or(0);
        self.all || word >> (port & 63) & 1 == 1
    }

    fn replace(&mut self, list: &[u8]) -> Result<(), Fault> {
        // Two passes, so that a mistake at the end of the list leaves no half of it behind.
        for entry in list.split(|&byte| byte == b',') {
            port_range(entry)?;
        }
        self.all = false;
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

/// The programs that the shim acts in: patterns of names, or none for all of them.
pub struct Programs(Text<PROGRAMS_ROOM>);

impl Programs {
    fn replace(&mut self, patterns: &[u8]) -> Result<(), Fault> {
        self.0.replace(patterns)
    }

    /// Whether this is every program, so that nobody need ask for its name.
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

/// Whether `name` fits `pattern`, in which `*` stands for any characters and `?` for one.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut pattern, mut name) = (pattern, name);
    // After a `*`: what follows it, and where in the name that was last tried.
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

/// Bytes kept where they stay, since the program may overwrite its environment later.
pub struct Text<const ROOM: usize> {
    bytes: [u8; ROOM],
    length: usize,
}

impl<const ROOM: usize> Text<ROOM> {
    const EMPTY: Self = Self {
        bytes: [0; ROOM],
        length: 0,
    };

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    fn replace(&mut self, value: &[u8]) -> Result<(), Fault> {
        let room = self.bytes.get_mut(..value.len()).ok_or("too long")?;
        for (place, byte) in room.iter_mut().zip(value) {
            *place = *byte;
        }
        self.length = value.len();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::prelude::rust_2024::*;
    use std::{format, vec};

    fn with(name: &str, value: &str) -> Settings {
        let mut settings = Settings::DEFAULT;
        if let Err(complaint) = settings.set(name.as_bytes(), value.as_bytes()) {
            std::panic!("{complaint}");
        }
        settings
    }

    fn complaint(name: &str, value: &[u8]) -> String {
        let mut settings = Settings::DEFAULT;
        settings
            .set(name.as_bytes(), value)
            .expect_err("a complaint")
            .to_string()
    }

    #[test]
    fn reads_durations() {
        for (value, expected) in [
            ("0", 0),
            ("0s", 0),
            ("1ms", 1),
            ("500ms", 500),
            ("60s", 60_000),
            ("2m", 120_000),
            ("4294967295ms", u32::MAX),
            ("71582m", 4_294_920_000),
        ] {
            assert_eq!(with("LIBREUSE_WAIT", value).wait_ms, expected, "{value}");
        }
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

    #[test]
    fn complains_in_one_line() {
        let long = vec![b'x'; 1 << 20];
        for (name, value, expected) in [
            (
                "LIBREUSE_LINGER",
                &b"maybe"[..],
                "LIBREUSE_LINGER=maybe: expected off, graceful or zero",
            ),
            (
                "LIBREUSE_REUSEADDR",
                b"1",
                "LIBREUSE_REUSEADDR=1: expected on or off",
            ),
            (
                "LIBREUSE_REUSEADDR",
                b"",
                "LIBREUSE_REUSEADDR=: expected on or off",
            ),
            (
                "LIBREUSE_REUSEADDR",
                b"ON",
                "LIBREUSE_REUSEADDR=ON: expected on or off",
            ),
            (
                "LIBREUSE_REUSEPORT",
                b"yes",
                "LIBREUSE_REUSEPORT=yes: expected on or off",
            ),
            (
                "LIBREUSE_LOG",
                b"verbose",
                "LIBREUSE_LOG=verbose: expected off, error, warn, info, debug or trace",
            ),
            (
                "LIBREUSE_WAIT",
                b"60",
                "LIBREUSE_WAIT=60: no unit; expected a duration such as 0, 500ms, 60s or 2m",
            ),
            (
                "LIBREUSE_WAIT",
                b"-1s",
                "LIBREUSE_WAIT=-1s: expected a duration such as 0, 500ms, 60s or 2m",
            ),
            (
                "LIBREUSE_WAIT",
                b"s",
                "LIBREUSE_WAIT=s: expected a duration such as 0, 500ms, 60s or 2m",
            ),
            (
                "LIBREUSE_WAIT",
                b"71583m",
                "LIBREUSE_WAIT=71583m: longer than 49 days; expected a duration such as 0, 500ms, 60s or 2m",
            ),
            (
                "LIBREUSE_WAIT",
                b"4294967296ms",
                "LIBREUSE_WAIT=4294967296ms: too large a number; expected a duration such as 0, 500ms, 60s or 2m",
            ),
            (
                "LIBREUSE_PORTS",
                b"",
                "LIBREUSE_PORTS=: an entry is empty; \
                 expected ports and ranges such as 49200,8000-8100, from 1 to 65535",
            ),
            (
                "LIBREUSE_PORTS",
                b"8000,",
                "LIBREUSE_PORTS=8000,: an entry is empty; \
                 expected ports and ranges such as 49200,8000-8100, from 1 to 65535",
            ),
            (
                "LIBREUSE_PORTS",
                b"9000-8000",
                "LIBREUSE_PORTS=9000-8000: a range runs from high to low; \
                 expected ports and ranges such as 49200,8000-8100, from 1 to 65535",
            ),
            (
                "LIBREUSE_PORTS",
                b"65536",
                "LIBREUSE_PORTS=65536: there is no port above 65535; \
                 expected ports and ranges such as 49200,8000-8100, from 1 to 65535",
            ),
            (
                "LIBREUSE_PORTS",
                b"0",
                "LIBREUSE_PORTS=0: port 0 is never acted on; \
                 expected ports and ranges such as 49200,8000-8100, from 1 to 65535",
            ),
            (
                "LIBREUSE_PORTS",
                b"1-2-3",
                "LIBREUSE_PORTS=1-2-3: expected ports and ranges such as 49200,8000-8100, from 1 to 65535",
            ),
            (
                "LIBREUSE_PROGRAMS",
                b"/usr/bin/myd",
                "LIBREUSE_PROGRAMS=/usr/bin/myd: a program's name holds no slash; \
                 expected program names such as myd,worker*, without directories",
            ),
            (
                "LIBREUSE_PROGRAMS",
                b"",
                "LIBREUSE_PROGRAMS=: an entry is empty; \
                 expected program names such as myd,worker*, without directories",
            ),
            (
                "LIBREUSE_LOG_FILE",
                b"log.txt",
                "LIBREUSE_LOG_FILE=log.txt: not an absolute path; \
                 expected an absolute path, in which %p stands for the pid and %% for a percent sign",
            ),
            (
                "LIBREUSE_LOG_FILE",
                b"/log.%s%n",
                "LIBREUSE_LOG_FILE=/log.%s%n: % is followed by neither p nor %; \
                 expected an absolute path, in which %p stands for the pid and %% for a percent sign",
            ),
            (
                "LIBREUSE_LINGER",
                b"a\nb\xff",
                "LIBREUSE_LINGER=a\\x0ab\\xff: expected off, graceful or zero",
            ),
            (
                "LIBREUSE_LINGER",
                &long,
                "LIBREUSE_LINGER=xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx...: \
                 expected off, graceful or zero",
            ),
            (
                "LIBREUSE_LINGR",
                b"off",
                "LIBREUSE_LINGR=off: no such variable; expected LIBREUSE_REUSEADDR, LIBREUSE_LINGER, LIBREUSE_WAIT, \
                 LIBREUSE_REUSEPORT, LIBREUSE_PORTS, LIBREUSE_PROGRAMS, LIBREUSE_LOG, LIBREUSE_LOG_FILE",
            ),
        ] {
            assert_eq!(complaint(name, value), expected);
        }
    }

    #[test]
    fn refuses_values_that_it_cannot_keep() {
        let long = [b"/".as_slice(), &[b'x'; LOG_FILE_ROOM]].concat();
        assert!(complaint("LIBREUSE_LOG_FILE", &long).contains("too long"));
        let long = [b'x'; PROGRAMS_ROOM + 1];
        assert!(complaint("LIBREUSE_PROGRAMS", &long).contains("too long"));
    }

    #[test]
    fn the_readme_has_the_table() {
        let readme = include_str!("../../README.md");
        let rows: Vec<_> = readme
            .lines()
            .filter(|line| line.starts_with("| `LIBREUSE_"))
            .collect();
        let expected: Vec<_> = SETTINGS
            .iter()
            .map(|setting| {
                let Setting {
                    name,
                    values,
                    default,
                    effect,
                    ..
                } = setting;
                format!("| `{name}` | {values} | {default} | {effect} |")
            })
            .collect();
        assert_eq!(rows, expected);
    }

    #[test]
    fn the_table_is_well_formed() {
        for setting in &SETTINGS {
            assert!(
                setting.name.as_bytes().starts_with(PREFIX),
                "{}",
                setting.name
            );
            assert!(
                !setting.accepts.is_empty() && !setting.effect.is_empty(),
                "{}",
                setting.name
            );
            assert!(
                !setting.effect.ends_with('.') && setting.effect.len() < 100,
                "{}",
                setting.name
            );
        }
        let mut names: Vec<_> = SETTINGS.iter().map(|setting| setting.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), SETTINGS.len());
    }
}
