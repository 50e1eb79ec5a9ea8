//! The settings of the kernel (sysctl(8), /proc/sys), and what those of the network say about ports
//! (ip(7)).

use crate::sys::proc;
use std::cell::LazyCell;
use std::ops::RangeInclusive;

/// The [`ephemeral_ports`], read once somebody asks for them.
pub(crate) type EphemeralPorts = LazyCell<RangeInclusive<u16>>;

/// The ephemeral ports: those that the kernel gives to outgoing connections (ip(7)).
pub(crate) fn ephemeral_ports() -> RangeInclusive<u16> {
    let range = || {
        let text = read("net.ipv4.ip_local_port_range")?;
        let mut ends = text.split_whitespace().map(str::parse::<u16>);
        Some(ends.next()?.ok()?..=ends.next()?.ok()?)
    };
    // What Linux starts with (ip(7)).
    range().unwrap_or(32768..=60999)
}

/// The lowest port that a program without privileges may bind.
pub(crate) fn lowest_unprivileged() -> u16 {
    read("net.ipv4.ip_unprivileged_port_start")
        .and_then(|text| text.parse().ok())
        .unwrap_or(1024)
}

/// Whether a setting is on. What can't be read is off.
pub(crate) fn is_on(name: &str) -> bool {
    read(name).is_some_and(|text| text != "0")
}

/// The value of a setting, by the name that sysctl(8) has for it; `None` if this kernel has none or
/// does not show it.
pub(crate) fn read(name: &str) -> Option<String> {
    let text = proc::text(format!("/proc/sys/{}", name.replace('.', "/"))).ok()?;
    Some(text.trim().to_owned())
}
