//! What time it is: the local time of day (localtime_r(3)), and since the machine started
//! (clock_gettime(2)).

use rustix::time::{ClockId, clock_gettime};
use std::ptr;

/// The time of day here, `15:04:05`.
pub(crate) fn time_of_day() -> String {
    // SAFETY: the pointer may be null.
    let now = unsafe { libc::time(ptr::null_mut()) };
    // SAFETY: a tm is numbers, and a pointer to the zone's name that may be null: all zeroes are
    // one.
    let mut here: libc::tm = unsafe { std::mem::zeroed() };
    // SAFETY: both outlive the call, which writes to the second a tm.
    unsafe { libc::localtime_r(&raw const now, &raw mut here) };
    format!("{:02}:{:02}:{:02}", here.tm_hour, here.tm_min, here.tm_sec)
}

/// How long ago the machine started, in seconds: /proc/uptime without the three calls, and without
/// what a container may have in its place.
pub(crate) fn since_start() -> u64 {
    u64::try_from(clock_gettime(ClockId::Boottime).tv_sec).unwrap_or(0)
}
