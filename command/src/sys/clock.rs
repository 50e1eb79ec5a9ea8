//! What time it is: the local time of day (localtime_r(3)), and since the machine started
//! (clock_gettime(2)).

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
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: it outlives the call. Every kernel since 2.6.39 has this clock.
    unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut time) };
    u64::try_from(time.tv_sec).unwrap_or(0)
}
