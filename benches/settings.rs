//! What the settings cost: reading them once at load, and looking a port or a program up in a hook.
//!
//! A look-up of a port looks through the ranges there are; `lookup` shows what that costs with 1,
//! 16 and 256.
//!
//! Without criterion, which takes longer to compile than all tests of the rules together: what is
//! measured here takes nanoseconds, and the fastest of some rounds is that without disturbance.

use libreuse_rules::settings::Settings;
use std::hint::black_box;
use std::time::{Duration, Instant};

const RANGES: [u16; 3] = [1, 16, 256];

/// So many ranges of a hundred ports each, spread over all of them.
fn ranges(number: u16) -> String {
    let step = 65_000 / number;
    let entry = |low: u16| format!("{low}-{}", low + 99);
    (0..number)
        .map(|position| entry(1 + position * step))
        .collect::<Vec<_>>()
        .join(",")
}

fn with(name: &str, value: &str) -> Settings {
    let mut settings = Settings::DEFAULT;
    take(&mut settings, name, value);
    settings
}

fn take(settings: &mut Settings, name: &str, value: &str) {
    if let Err(complaint) = settings.set(name.as_bytes(), value.as_bytes()) {
        panic!("{complaint}");
    }
}

/// Prints the nanoseconds that one call takes, in the fastest of some rounds.
fn measure(title: &str, mut call: impl FnMut()) {
    const ROUNDS: u32 = 40;
    const ROUND: Duration = Duration::from_millis(10);
    let mut time = |calls: u32| {
        let begun = Instant::now();
        (0..calls).for_each(|_| call());
        begun.elapsed()
    };
    let mut calls = 1;
    while time(calls) < ROUND {
        calls *= 2;
    }
    let fastest = (0..ROUNDS).map(|_| time(calls)).min().unwrap_or_default();
    let nanoseconds = fastest.as_secs_f64() * 1e9 / f64::from(calls);
    println!("{title:<28}{nanoseconds:>10.1} ns");
}

fn parse() {
    let each = |title: &str, name: &str, value: &str| {
        let mut settings = Settings::DEFAULT;
        measure(&format!("parse: {title}"), || {
            take(&mut settings, black_box(name), black_box(value));
        });
    };
    each("switch", "LIBREUSE_REUSEADDR", "off");
    each("duration", "LIBREUSE_WAIT", "60s");
    each("programs", "LIBREUSE_PROGRAMS", "myd,worker*");
    each("log file", "LIBREUSE_LOG_FILE", "/var/log/libreuse.%p");
    each("every port", "LIBREUSE_PORTS", "1-65535");
    for number in RANGES {
        each(
            &format!("ports, {number} ranges"),
            "LIBREUSE_PORTS",
            &ranges(number),
        );
    }
}

fn lookup() {
    for number in RANGES {
        let settings = with("LIBREUSE_PORTS", &ranges(number));
        // Ports all over the place, so that neither the cache nor the branch predictor knows the
        // next one.
        let mut port = 1_u16;
        measure(&format!("look up: port in {number} ranges"), || {
            port = port.wrapping_mul(28_629).wrapping_add(12_345);
            black_box(settings.ports.contains(black_box(port)));
        });
    }
    for (title, pattern) in [
        ("program by name", "myd"),
        ("program by pattern", "a*,b?,worker*"),
    ] {
        let settings = with("LIBREUSE_PROGRAMS", pattern);
        measure(&format!("look up: {title}"), || {
            black_box(settings.programs.contains(black_box(b"worker-17")));
        });
    }
}

fn main() {
    parse();
    lookup();
}
