//! What the settings cost: reading them once at load, and looking a port or a program up in a hook.
//!
//! A look-up of a port looks through the ranges there are; `lookup` shows what that costs with 1,
//! 16 and 256.

use criterion::{BenchmarkId, Criterion};
use libreuse_rules::settings::Settings;
use std::hint::black_box;

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

fn parse(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("parse");
    let mut each = |title: &str, name: &str, value: &str| {
        let mut settings = Settings::DEFAULT;
        group.bench_function(title, |bencher| {
            bencher.iter(|| take(&mut settings, black_box(name), black_box(value)));
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
    group.finish();
}

fn lookup(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("lookup");
    for number in RANGES {
        let settings = with("LIBREUSE_PORTS", &ranges(number));
        // Ports all over the place, so that neither the cache nor the branch predictor knows the
        // next one.
        let mut port = 1_u16;
        group.bench_function(BenchmarkId::new("port", number), |bencher| {
            bencher.iter(|| {
                port = port.wrapping_mul(28_629).wrapping_add(12_345);
                settings.ports.contains(black_box(port))
            });
        });
    }
    for (title, pattern) in [
        ("program by name", "myd"),
        ("program by pattern", "a*,b?,worker*"),
    ] {
        let settings = with("LIBREUSE_PROGRAMS", pattern);
        group.bench_function(title, |bencher| {
            bencher.iter(|| settings.programs.contains(black_box(b"worker-17")));
        });
    }
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    parse(&mut criterion);
    lookup(&mut criterion);
    criterion.final_summary();
}
