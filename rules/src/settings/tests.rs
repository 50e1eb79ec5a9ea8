use super::*;
use std::prelude::rust_2024::*;
use std::{format, vec};

pub(super) fn with(name: &str, value: &str) -> Settings {
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
        for (suffix, listeners) in [("", false), (",listeners", true)] {
            let settings = with("LIBREUSE_WAIT", &format!("{value}{suffix}"));
            assert_eq!(settings.wait_ms, expected, "{value}{suffix}");
            assert_eq!(settings.wait_for_listeners, listeners, "{value}{suffix}");
        }
    }
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
            "LIBREUSE_WAIT=60: no unit; expected a duration such as 0, 500ms, 60s or 2m, or \
             60s,listeners",
        ),
        (
            "LIBREUSE_WAIT",
            b"-1s",
            "LIBREUSE_WAIT=-1s: expected a duration such as 0, 500ms, 60s or 2m, or 60s,listeners",
        ),
        (
            "LIBREUSE_WAIT",
            b"s",
            "LIBREUSE_WAIT=s: expected a duration such as 0, 500ms, 60s or 2m, or 60s,listeners",
        ),
        (
            "LIBREUSE_WAIT",
            b"71583m",
            "LIBREUSE_WAIT=71583m: longer than 49 days; expected a duration such as 0, 500ms, 60s \
             or 2m, or 60s,listeners",
        ),
        (
            "LIBREUSE_WAIT",
            b"4294967296ms",
            "LIBREUSE_WAIT=4294967296ms: too large a number; expected a duration such as 0, 500ms, \
             60s or 2m, or 60s,listeners",
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
            "LIBREUSE_PORTS=0: no listener has port 0; \
             expected ports and ranges such as 49200,8000-8100, from 1 to 65535",
        ),
        (
            "LIBREUSE_PORTS",
            b"1-2-3",
            "LIBREUSE_PORTS=1-2-3: expected ports and ranges such as 49200,8000-8100, from 1 to \
             65535",
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
            "LIBREUSE_LINGR=off: no such variable; expected LIBREUSE_REUSEADDR, LIBREUSE_LINGER, \
             LIBREUSE_WAIT, LIBREUSE_REUSEPORT, LIBREUSE_PORTS, LIBREUSE_PROGRAMS, LIBREUSE_LOG, \
             LIBREUSE_LOG_FILE",
        ),
    ] {
        assert_eq!(complaint(name, value), expected);
    }
}

#[test]
fn refuses_values_that_it_cannot_keep() {
    let long = [b"/".as_slice(), &[b'x'; LOG_FILE_ROOM]].concat();
    assert!(complaint("LIBREUSE_LOG_FILE", &long).contains("too long"));
    let long = [b'x'; programs::ROOM + 1];
    assert!(complaint("LIBREUSE_PROGRAMS", &long).contains("too long"));
}

#[test]
fn the_readme_has_the_table() {
    let readme = include_str!("../../../README.md");
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
