//! What the settings of the network say about ports (ip(7), /proc/sys/net).

use std::fs;
use std::ops::RangeInclusive;

/// The ports that the kernel hands out by itself: an outgoing connection may sit on any of them.
pub(crate) fn handed_out() -> RangeInclusive<u16> {
    let read = || {
        let text = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
        let mut ends = text.split_whitespace().map(str::parse::<u16>);
        Some(ends.next()?.ok()?..=ends.next()?.ok()?)
    };
    // What Linux starts with (ip(7)).
    read().unwrap_or(32768..=60999)
}

/// The lowest port that a program without privileges may bind.
pub(crate) fn lowest_unprivileged() -> u16 {
    fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start")
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(1024)
}
