//! What must hold for every input of the parsers in the rules.
//!
//! Each check compares with a model that is as plain as can be, and shares nothing with the code
//! that it checks.

use libreuse_rules::endpoint::Endpoint;
use libreuse_rules::settings::{Complaint, LOG_FILE_ROOM, Linger, SETTINGS, Settings};
use log::LevelFilter;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::{env, fs, io};

/// Runs a check on the files named on the command line.
///
/// # Errors
///
/// A file cannot be read.
pub fn replay(check: fn(&[u8])) -> io::Result<()> {
    for path in env::args_os().skip(1) {
        check(&fs::read(path)?);
    }
    Ok(())
}

/// Takes a whole environment, as `/proc/PID/environ` has it, into the settings, one variable after
/// the other.
///
/// A value that the model accepts is taken and does what the model says; any other is complained of
/// in one short printable line, and leaves the settings as they were.
///
/// # Panics
///
/// That does not hold.
pub fn settings(input: &[u8]) {
    let mut settings = Settings::DEFAULT;
    let mut model = Model::default();
    for entry in input.split(|&byte| byte == 0) {
        let mut halves = entry.splitn(2, |&byte| byte == b'=');
        let (name, value) = (
            halves.next().unwrap_or_default(),
            halves.next().unwrap_or_default(),
        );
        let accepted = model.set(name, value);
        match settings.set(name, value) {
            Ok(()) => assert!(accepted, "taken: {}", entry.escape_ascii()),
            Err(complaint) => {
                assert!(!accepted, "refused: {complaint}");
                is_a_short_line(&complaint, name, value);
            }
        }
        model.compare(&settings);
    }
}

/// Takes a list of ports, and asks for each port there is.
///
/// # Panics
///
/// The answer is not the model's.
pub fn ports(input: &[u8]) {
    let mut settings = Settings::DEFAULT;
    let taken = settings.set(b"LIBREUSE_PORTS", input).is_ok();
    let model = model_of_ports(input);
    assert_eq!(taken, model.is_some(), "{}", input.escape_ascii());
    assert_eq!(settings.ports.all(), !taken);
    // Miri takes a second for some thousands.
    for port in (0..=u16::MAX).step_by(if cfg!(miri) { 509 } else { 1 }) {
        let expected = model.as_ref().is_none_or(|ranges| {
            ranges
                .iter()
                .any(|&(low, high)| (low..=high).contains(&port))
        });
        assert_eq!(settings.ports.contains(port), expected, "{port}");
    }
}

/// Takes a list of program names, and asks for the name that follows it after a slash, which no
/// name can hold.
///
/// # Panics
///
/// The answer is not the model's.
pub fn programs(input: &[u8]) {
    let mut halves = input.splitn(2, |&byte| byte == b'/');
    let (patterns, name) = (
        halves.next().unwrap_or_default(),
        halves.next().unwrap_or_default(),
    );
    let mut settings = Settings::DEFAULT;
    let taken = settings.set(b"LIBREUSE_PROGRAMS", patterns).is_ok();
    let model = model_of_programs(patterns);
    assert_eq!(taken, model.is_some(), "{}", patterns.escape_ascii());
    assert_eq!(settings.programs.all(), !taken);
    let expected = model.is_none_or(|patterns| patterns.iter().any(|pattern| fits(pattern, name)));
    assert_eq!(settings.programs.contains(name), expected);
}

/// Decodes a `sockaddr`.
///
/// # Panics
///
/// It is not what the standard library makes of the same bytes.
pub fn endpoint(input: &[u8]) {
    let decoded = Endpoint::decode(input);
    let expected = model_of_an_endpoint(input);
    assert_eq!(decoded.is_some(), expected.is_some());
    if let (Some(decoded), Some(expected)) = (decoded, expected) {
        assert_eq!(decoded.port, expected.port());
        let text = decoded.to_string();
        assert_eq!(text, expected.to_string());
        assert!(text.is_ascii() && text.len() <= "[%4294967295]:65535".len() + 39);
        // Whatever is written stands for the same address.
        assert_eq!(text.parse(), Ok(expected));
    }
}

/// What the settings are to be.
struct Model {
    reuse_address: bool,
    linger: Linger,
    wait_ms: u32,
    wait_for_listeners: bool,
    reuse_port: bool,
    ports: Option<Vec<(u16, u16)>>,
    programs: Option<Vec<Vec<u8>>>,
    log: LevelFilter,
    log_file: Vec<u8>,
}

impl Default for Model {
    fn default() -> Self {
        Self {
            reuse_address: true,
            linger: Linger::Off,
            wait_ms: 0,
            wait_for_listeners: false,
            reuse_port: false,
            ports: None,
            programs: None,
            log: LevelFilter::Warn,
            log_file: Vec::new(),
        }
    }
}

impl Model {
    /// Takes a variable, if it is to be taken.
    fn set(&mut self, name: &[u8], value: &[u8]) -> bool {
        fn take<T>(place: &mut T, value: Option<T>) -> bool {
            value.map(|value| *place = value).is_some()
        }
        let on_or_off = || match value {
            b"on" => Some(true),
            b"off" => Some(false),
            _ => None,
        };
        match name {
            b"LIBREUSE_REUSEADDR" => take(&mut self.reuse_address, on_or_off()),
            b"LIBREUSE_LINGER" => {
                let linger = match value {
                    b"off" => Some(Linger::Off),
                    b"graceful" => Some(Linger::Graceful),
                    b"zero" => Some(Linger::Zero),
                    _ => None,
                };
                take(&mut self.linger, linger)
            }
            b"LIBREUSE_WAIT" => {
                let duration = value.strip_suffix(b",listeners");
                let listeners = duration.is_some();
                let taken = take(
                    &mut self.wait_ms,
                    model_of_a_duration(duration.unwrap_or(value)),
                );
                self.wait_for_listeners = if taken {
                    listeners
                } else {
                    self.wait_for_listeners
                };
                taken
            }
            b"LIBREUSE_REUSEPORT" => take(&mut self.reuse_port, on_or_off()),
            b"LIBREUSE_PORTS" => take(&mut self.ports, model_of_ports(value).map(Some)),
            b"LIBREUSE_PROGRAMS" => take(&mut self.programs, model_of_programs(value).map(Some)),
            b"LIBREUSE_LOG" => {
                let text = std::str::from_utf8(value).unwrap_or_default();
                // `log` reads them in any case, the shim in lower case alone.
                let level = text.parse().ok().filter(|_| text == text.to_lowercase());
                take(&mut self.log, level)
            }
            b"LIBREUSE_LOG_FILE" => take(&mut self.log_file, model_of_a_path(value)),
            _ => false,
        }
    }

    fn compare(&self, settings: &Settings) {
        assert_eq!(settings.reuse_address, self.reuse_address);
        assert_eq!(settings.linger, self.linger);
        assert_eq!(settings.wait_ms, self.wait_ms);
        assert_eq!(settings.wait_for_listeners, self.wait_for_listeners);
        assert_eq!(settings.reuse_port, self.reuse_port);
        assert_eq!(settings.log, self.log);
        assert_eq!(settings.log_file.as_bytes(), self.log_file);
        assert_eq!(settings.ports.all(), self.ports.is_none());
        // The ends of each range; the target `ports` asks for all of them.
        for &(low, high) in self.ports.iter().flatten() {
            for port in [low - 1, low, high, high.saturating_add(1)] {
                let ranges = self.ports.as_deref().unwrap_or_default();
                let expected = ranges
                    .iter()
                    .any(|&(low, high)| low <= port && port <= high);
                assert_eq!(settings.ports.contains(port), expected, "{port}");
            }
        }
        assert_eq!(settings.programs.all(), self.programs.is_none());
        for pattern in self.programs.iter().flatten() {
            // Each pattern fits itself: a wildcard stands for any sign, so for its own as well.
            assert!(settings.programs.contains(pattern));
        }
    }
}

/// A complaint is one line that any terminal can take, names what it is about, and does not grow
/// with it.
fn is_a_short_line(complaint: &Complaint<'_>, name: &[u8], value: &[u8]) {
    let text = complaint.to_string();
    let plain = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
    assert!(text.bytes().all(plain), "{text:?}");
    // Twice 64 bytes as \xNN with their dots, all the names, and the words between.
    assert!(text.len() < 2 * (64 * 4 + 3) + 256, "{}", text.len());
    for part in [name, value] {
        if part.len() <= 64 && part.iter().all(|&byte| plain(byte)) {
            assert!(
                text.contains(std::str::from_utf8(part).expect("ASCII")),
                "{text}"
            );
        }
    }
    match SETTINGS
        .iter()
        .find(|setting| setting.name.as_bytes() == name)
    {
        Some(setting) => assert!(text.starts_with(&format!("{}=", setting.name)), "{text}"),
        None => assert!(text.contains("no such variable"), "{text}"),
    }
}

/// A number as the standard library reads it, without the signs that it also takes.
fn number<T: std::str::FromStr>(digits: &[u8]) -> Option<T> {
    let text = std::str::from_utf8(digits).ok()?;
    (!text.starts_with('+')).then(|| text.parse().ok())?
}

fn model_of_a_duration(value: &[u8]) -> Option<u32> {
    if value == b"0" {
        return Some(0);
    }
    let unit = value
        .iter()
        .position(|byte| !byte.is_ascii_digit())
        .unwrap_or(value.len());
    let (digits, unit) = value.split_at(unit);
    let scale = match unit {
        b"ms" => 1_u128,
        b"s" => 1_000,
        b"m" => 60_000,
        _ => return None,
    };
    // Numbers too long for u128 are too long for u32 as well.
    u32::try_from(number::<u128>(digits)?.checked_mul(scale)?).ok()
}

fn model_of_ports(list: &[u8]) -> Option<Vec<(u16, u16)>> {
    let ranges: Vec<_> = list
        .split(|&byte| byte == b',')
        .map(|entry| {
            let ends: Vec<_> = entry
                .split(|&byte| byte == b'-')
                .map(number::<u16>)
                .collect();
            match *ends {
                [Some(port)] if port > 0 => Some((port, port)),
                [Some(low), Some(high)] if 0 < low && low <= high => Some((low, high)),
                _ => None,
            }
        })
        .collect::<Option<_>>()?;
    let follows = |ends: &&[(u16, u16)]| ends[0].1.checked_add(1) == Some(ends[1].0);
    let merged = ranges.windows(2).filter(follows).count();
    (ranges.len() - merged <= 512).then_some(ranges)
}

fn model_of_programs(list: &[u8]) -> Option<Vec<Vec<u8>>> {
    let patterns: Vec<_> = list
        .split(|&byte| byte == b',')
        .map(<[u8]>::to_vec)
        .collect();
    let good = |pattern: &Vec<u8>| !pattern.is_empty() && !pattern.contains(&b'/');
    (list.len() <= 1024 && patterns.iter().all(good)).then_some(patterns)
}

/// Whether a name fits a pattern: which beginnings of the name fit the beginnings of the pattern,
/// one after the other.
fn fits(pattern: &[u8], name: &[u8]) -> bool {
    let mut fitting = vec![false; name.len() + 1];
    fitting[0] = true;
    for &wanted in pattern {
        let before = fitting.clone();
        for length in 0..fitting.len() {
            fitting[length] = match wanted {
                b'*' => before[..=length].contains(&true),
                _ => {
                    length > 0
                        && before[length - 1]
                        && (wanted == b'?' || wanted == name[length - 1])
                }
            };
        }
    }
    fitting[name.len()]
}

fn model_of_a_path(value: &[u8]) -> Option<Vec<u8>> {
    let without_escapes: Vec<_> = {
        let mut rest = value;
        let mut bytes = Vec::new();
        while let Some((&byte, after)) = rest.split_first() {
            let escape = rest.starts_with(b"%p") || rest.starts_with(b"%%");
            rest = if escape { &rest[2..] } else { after };
            bytes.extend((!escape).then_some(byte));
        }
        bytes
    };
    let good =
        value.starts_with(b"/") && value.len() <= LOG_FILE_ROOM && !without_escapes.contains(&b'%');
    good.then(|| value.to_vec())
}

fn model_of_an_endpoint(bytes: &[u8]) -> Option<SocketAddr> {
    let family = u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?);
    let port = u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?);
    match family {
        // AF_UNSPEC, AF_INET
        0 | 2 => {
            let octets: [u8; 4] = bytes.get(4..8)?.try_into().ok()?;
            Some(SocketAddrV4::new(Ipv4Addr::from(octets), port).into())
        }
        // AF_INET6
        10 => {
            let octets: [u8; 16] = bytes.get(8..24)?.try_into().ok()?;
            let scope = bytes.get(24..28).and_then(|bytes| bytes.try_into().ok());
            let scope = scope.map_or(0, u32::from_ne_bytes);
            Some(SocketAddrV6::new(Ipv6Addr::from(octets), port, 0, scope).into())
        }
        _ => None,
    }
}
