//! Time for `LIBREUSE_WAIT`: not the wall clock's, and not a cancellation point.

use crate::errno;
use crate::signals::{Handlers, Wait};
use core::ffi::c_int;
use core::ptr;
use libreuse_rules::calls::Sleep;

/// The time since some fixed point in the past, in milliseconds; `None` if it can't be had, as in a
/// sandbox that refuses the system call: programs ask without one, by way of the vDSO.
pub(crate) fn now_ms() -> Option<u64> {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // Not by way of libc's function, which libfaketime replaces: the pause below would be until
    // that day. SAFETY: the kernel writes one timespec, which outlives the call.
    let result =
        unsafe { libc::syscall(libc::SYS_clock_gettime, libc::CLOCK_MONOTONIC, &raw mut now) };
    if result != 0 {
        return None;
    }
    let milliseconds = u64::try_from(now.tv_nsec / 1_000_000).ok()?;
    let seconds = u64::try_from(now.tv_sec).ok()?;
    Some(seconds.saturating_mul(1_000).saturating_add(milliseconds))
}

/// Sleeps until `moment`, a time as `now_ms` has it. Signal handlers run meanwhile. They do not
/// shorten it, but for those of signals that ask the program to end.
pub(crate) fn sleep_until(wait: &Wait, moment: u64) -> Sleep {
    // Where other handlers may interrupt a sleep as well, it is looked so often.
    const SLICE_MS: u64 = 10;
    loop {
        let now = now_ms();
        let (until, result) = match (wait.handlers, now) {
            (Handlers::Alone, Some(now)) => (moment, wait.sleep_for(moment.saturating_sub(now))),
            (Handlers::Among, Some(now)) => {
                let until = moment.min(now.saturating_add(SLICE_MS));
                (until, sleep(until))
            }
            _ => (moment, sleep(moment)),
        };
        let asked_to_end = match wait.handlers {
            Handlers::None => false,
            Handlers::Alone => result == Err(libc::EINTR),
            Handlers::Among => wait.is_asked_to_end(),
        };
        match result {
            _ if asked_to_end => return Sleep::AskedToEnd,
            Ok(()) if until >= moment => return Sleep::Over,
            Ok(()) | Err(libc::EINTR) => {}
            Err(_) => return Sleep::Failed,
        }
    }
}

/// Sleeps once; the error number if it did not last.
fn sleep(moment: u64) -> Result<(), c_int> {
    let (seconds, milliseconds) = in_seconds(moment);
    let until = libc::timespec {
        tv_sec: libc::time_t::try_from(seconds).unwrap_or(libc::time_t::MAX),
        // Below 1 000 000 000, so it fits.
        #[allow(clippy::unnecessary_fallible_conversions)] // Of 32 bits on some processors.
        tv_nsec: libc::c_long::try_from(milliseconds.saturating_mul(1_000_000)).unwrap_or(0),
    };
    // Not by way of libc's function, which is a cancellation point, and bind is none. SAFETY: the
    // kernel reads one timespec, which outlives the call, and writes nothing for an absolute time
    // (clock_nanosleep(2)).
    let result = unsafe {
        libc::syscall(
            libc::SYS_clock_nanosleep,
            libc::CLOCK_MONOTONIC,
            libc::TIMER_ABSTIME,
            &raw const until,
            ptr::null_mut::<libc::timespec>(),
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(errno::get())
    }
}

/// Sleeps for a tenth of a millisecond or so. Signals are blocked.
pub(crate) fn pause() {
    // The kernel adds 50 microseconds to most sleeps (PR_SET_TIMERSLACK).
    let moment = libc::timespec {
        tv_sec: 0,
        tv_nsec: 50_000,
    };
    // SAFETY: the kernel reads one timespec, which outlives the call.
    unsafe {
        libc::syscall(
            libc::SYS_clock_nanosleep,
            libc::CLOCK_MONOTONIC,
            0,
            &raw const moment,
            ptr::null_mut::<libc::timespec>(),
        )
    };
}

/// Whole seconds, and the milliseconds beyond them.
///
/// By halves, since a processor of 32 bits divides no 64: what stands in for it there is a function
/// of Rust's, which on 32-bit ARM would bring Rust's unwinder along.
fn in_seconds(moment: u64) -> (u64, u32) {
    // 2^32 milliseconds.
    const SECONDS: u64 = 4_294_967;
    const MILLISECONDS: u32 = 296;
    let [high, low] = [moment >> 32, moment & u64::from(u32::MAX)]
        .map(|half| u32::try_from(half).unwrap_or(u32::MAX));
    // The high half counts 49 days each.
    let rest = high
        .saturating_mul(MILLISECONDS)
        .saturating_add(low % 1_000);
    let seconds = u64::from(high)
        .saturating_mul(SECONDS)
        .saturating_add(u64::from(low / 1_000))
        .saturating_add(u64::from(rest / 1_000));
    (seconds, rest % 1_000)
}
