//! The settings: one table, from which come the parser, every error message, the options of the
//! command and the README's table.
//!
//! Values are bytes, since an environment need not be UTF-8.

mod ports;
mod programs;
mod text;
mod value;

use core::fmt::{self, Write};
use log::LevelFilter;
pub use ports::Ports;
pub use programs::Programs;
pub use text::Text;
use value::{OFF, milliseconds, switch, word};

/// What every variable's name begins with; a name that has it and is not in [`SETTINGS`] is a
/// mistake worth telling.
pub const PREFIX: &[u8] = b"LIBREUSE_";

/// One variable: what the manual says of it, and how its value is read.
#[derive(Clone, Copy)]
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
    /// What of the settings it is.
    key: Key,
}

/// The variables, in the order of the table.
#[derive(Clone, Copy)]
enum Key {
    ReuseAddress,
    Linger,
    Wait,
    ReusePort,
    Ports,
    Programs,
    Log,
    LogFile,
}

/// What is wrong with a value, beyond its not being one of those that are accepted; may be empty.
type Fault = &'static str;

/// Says no more than which values are accepted.
const UNKNOWN: Fault = "";
const EMPTY_ENTRY: Fault = "an entry is empty";

/// Every variable there is, in the order in which the manual lists them.
pub static SETTINGS: [Setting; TABLE.len()] = TABLE;

/// What it takes to read a variable. The loader adjusts every pointer of a table when it starts a
/// program, so that the library has this one, without the manual's words and without pointers.
#[derive(Clone, Copy)]
pub struct Variable {
    /// Its full name.
    pub name: Text<24>,
    accepts: Text<80>,
    key: Key,
}

/// The variables of [`SETTINGS`].
pub static VARIABLES: [Variable; TABLE.len()] = {
    let mut variables = [TABLE[0].variable(); TABLE.len()];
    let mut index = 0;
    while index < TABLE.len() {
        variables[index] = TABLE[index].variable();
        index += 1;
    }
    variables
};

impl Setting {
    const fn variable(&self) -> Variable {
        Variable {
            name: Text::of(self.name),
            accepts: Text::of(self.accepts),
            key: self.key,
        }
    }
}

const TABLE: [Setting; 8] = [
    Setting {
        name: "LIBREUSE_REUSEADDR",
        values: "`on` `off`",
        default: "`on`",
        effect: "let `bind` succeed over what an earlier run left behind",
        accepts: "on or off",
        key: Key::ReuseAddress,
    },
    Setting {
        name: "LIBREUSE_LINGER",
        values: "`off` `graceful` `zero`",
        default: "`off`",
        effect: "how TCP connections close: as always, mostly without TIME_WAIT, or by a reset \
                 that loses data",
        accepts: "off, graceful or zero",
        key: Key::Linger,
    },
    Setting {
        name: "LIBREUSE_WAIT",
        values: "duration: `0`, `500ms`, `60s`, `2m`; `60s,listeners`",
        default: "`0`",
        effect: "how long `bind` waits for what an earlier run left; with `,listeners` for a live \
                 listener too",
        accepts: "a duration such as 0, 500ms, 60s or 2m, or 60s,listeners",
        key: Key::Wait,
    },
    Setting {
        name: "LIBREUSE_REUSEPORT",
        values: "`on` `off`",
        default: "`off`",
        effect: "set SO_REUSEPORT as well: several live copies share the port",
        accepts: "on or off",
        key: Key::ReusePort,
    },
    Setting {
        name: "LIBREUSE_PORTS",
        values: "`49200,8000-8100`",
        default: "all",
        effect: "the local ports it acts on, up to 512 ranges",
        accepts: "ports and ranges such as 49200,8000-8100, from 1 to 65535",
        key: Key::Ports,
    },
    Setting {
        name: "LIBREUSE_PROGRAMS",
        values: "`myd,worker*`",
        default: "all",
        effect: "the programs it acts in, by file name; `*` and `?` stand for any characters and \
                 for one",
        accepts: "program names such as myd,worker*, without directories",
        key: Key::Programs,
    },
    Setting {
        name: "LIBREUSE_LOG",
        values: "`off` `error` `warn` `info` `debug` `trace`",
        default: "`warn`",
        effect: "what it reports",
        accepts: "off, error, warn, info, debug or trace",
        key: Key::Log,
    },
    Setting {
        name: "LIBREUSE_LOG_FILE",
        values: "absolute path, `%p` is the pid",
        default: "stderr",
        effect: "where it reports to",
        accepts: "an absolute path, in which %p stands for the pid and %% for a percent sign",
        key: Key::LogFile,
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
    /// Whether it waits for a live listener to go, too.
    pub wait_for_listeners: bool,
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

/// The longest `LIBREUSE_LOG_FILE`, in bytes. Hooks build the path on the stack, and some threads
/// have 16 KiB of it.
pub const LOG_FILE_ROOM: usize = 512;

impl Settings {
    /// What holds when no variable is set.
    pub const DEFAULT: Self = {
        let mut settings = Self::UNSET;
        settings.set_defaults();
        settings
    };

    /// Nothing but zeroes, so that a static which begins as this takes no room in the library's
    /// file. What it then needs first is [`set_defaults`](Self::set_defaults).
    pub const UNSET: Self = Self {
        reuse_address: false,
        linger: Linger::Off,
        wait_ms: 0,
        wait_for_listeners: false,
        reuse_port: false,
        ports: Ports::ALL,
        programs: Programs::ALL,
        log: LevelFilter::Off,
        log_file: Text::EMPTY,
    };

    /// Makes what is unset what holds when no variable is set.
    pub const fn set_defaults(&mut self) {
        self.reuse_address = true;
        self.log = LevelFilter::Warn;
    }

    /// Takes the value of the variable `name` into the settings.
    ///
    /// # Errors
    ///
    /// A complaint that names variable, value and what is accepted, when there is no such variable
    /// or no such value; the settings are then as they were.
    pub fn set<'a>(&mut self, name: &'a [u8], value: &'a [u8]) -> Result<(), Complaint<'a>> {
        let complain = |variable, fault| Complaint {
            name,
            value,
            variable,
            fault,
        };
        let Some(variable) = VARIABLES
            .iter()
            .find(|variable| variable.name.as_bytes() == name)
        else {
            return Err(complain(None, "no such variable"));
        };
        self.read(variable.key, value)
            .map_err(|fault| complain(Some(variable), fault))
    }

    /// Reads a value into the settings, and leaves them as they were when it can't.
    fn read(&mut self, key: Key, value: &[u8]) -> Result<(), Fault> {
        match key {
            Key::ReuseAddress => {
                self.reuse_address = switch(value)?;
            }
            Key::Linger => {
                const GRACEFUL: u64 = word(b"graceful");
                const ZERO: u64 = word(b"zero");
                self.linger = match word(value) {
                    OFF => Linger::Off,
                    GRACEFUL => Linger::Graceful,
                    ZERO => Linger::Zero,
                    _ => return Err(UNKNOWN),
                };
            }
            Key::Wait => {
                let (duration, listeners) = match value.strip_suffix(b",listeners") {
                    Some(duration) => (duration, true),
                    None => (value, false),
                };
                self.wait_ms = milliseconds(duration)?;
                self.wait_for_listeners = listeners;
            }
            Key::ReusePort => {
                self.reuse_port = switch(value)?;
            }
            Key::Ports => self.ports.replace(value)?,
            Key::Programs => self.programs.replace(value)?,
            Key::Log => {
                const ERROR: u64 = word(b"error");
                const WARN: u64 = word(b"warn");
                const INFO: u64 = word(b"info");
                const DEBUG: u64 = word(b"debug");
                const TRACE: u64 = word(b"trace");
                self.log = match word(value) {
                    OFF => LevelFilter::Off,
                    ERROR => LevelFilter::Error,
                    WARN => LevelFilter::Warn,
                    INFO => LevelFilter::Info,
                    DEBUG => LevelFilter::Debug,
                    TRACE => LevelFilter::Trace,
                    _ => return Err(UNKNOWN),
                };
            }
            Key::LogFile => {
                if value.first() != Some(&b'/') {
                    return Err("not an absolute path");
                }
                let mut rest = value.iter();
                while let Some(byte) = rest.next() {
                    if *byte == b'%' && !matches!(rest.next(), Some(b'p' | b'%')) {
                        return Err("% is followed by neither p nor %");
                    }
                }
                self.log_file.replace(value)?;
            }
        }
        Ok(())
    }
}

/// Why a variable was not taken, as one line without its end.
pub struct Complaint<'a> {
    name: &'a [u8],
    value: &'a [u8],
    variable: Option<&'static Variable>,
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
        let Some(variable) = self.variable else {
            for (position, variable) in VARIABLES.iter().enumerate() {
                f.write_str(if position == 0 { "" } else { ", " })?;
                variable.name.fmt(f)?;
            }
            return Ok(());
        };
        variable.accepts.fmt(f)
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

#[cfg(test)]
mod tests;
