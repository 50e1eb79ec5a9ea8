//! The scheduling policy of a thread (sched(7)), and threads that may not be had.

use anyhow::{Context, Result, anyhow};
use std::ffi::c_int;
use std::thread;

/// What is said where a thread can't be started, as where a control group has a limit (pids.max).
pub(crate) const NO_THREAD: &str = "no thread can be started (pids.max or RLIMIT_NPROC)";

/// Does something in a thread of its own, which may go into a namespace by itself.
pub(crate) fn in_thread<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| {
        let thread = thread::Builder::new()
            .spawn_scoped(scope, work)
            .context(NO_THREAD)?;
        thread
            .join()
            .unwrap_or_else(|_| Err(anyhow!("the thread panicked")))
    })
}

/// Does something short that other threads wait for, on a busy processor too: no ordinary thread
/// preempts this one meanwhile (`SCHED_FIFO`). Without permission it is done as it is, by a thread
/// that may have to wait for its turn in the middle.
pub(crate) fn without_preemption<T>(work: impl FnOnce() -> T) -> T {
    let _until_done = Unpreempted::begin();
    work()
}

/// Puts the thread's policy back when it is dropped.
struct Unpreempted {
    before: Option<c_int>,
}

impl Unpreempted {
    fn begin() -> Self {
        /// The lowest of those before which an ordinary thread has to wait.
        const PRIORITY: c_int = 1;
        // SAFETY: it takes a number, and changes nothing.
        let before = unsafe { libc::syscall(libc::SYS_sched_getscheduler, THIS_THREAD) };
        let is_ordinary = |policy: &c_int| {
            let policy = policy & !libc::SCHED_RESET_ON_FORK;
            [libc::SCHED_OTHER, libc::SCHED_BATCH, libc::SCHED_IDLE].contains(&policy)
        };
        Self {
            before: c_int::try_from(before)
                .ok()
                .filter(is_ordinary)
                .filter(|policy| {
                    set(
                        libc::SCHED_FIFO | (policy & libc::SCHED_RESET_ON_FORK),
                        PRIORITY,
                    )
                }),
        }
    }
}

impl Drop for Unpreempted {
    fn drop(&mut self) {
        // An ordinary policy needs no permission, and the nice value is as it was.
        if let Some(before) = self.before {
            set(before, 0);
        }
    }
}

const THIS_THREAD: c_int = 0;

/// By the system call: musl has sched_setscheduler(3) refuse.
fn set(policy: c_int, priority: c_int) -> bool {
    // SAFETY: a structure is as long as the kernel reads, and only read.
    let result = unsafe {
        libc::syscall(
            libc::SYS_sched_setscheduler,
            THIS_THREAD,
            policy,
            &raw const priority,
        )
    };
    result == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// Its policy, and how nice it is (proc_pid_stat(5)).
    fn policy_and_nice() -> (String, String) {
        let text = fs::read_to_string("/proc/thread-self/stat").expect("proc is mounted");
        let (_, behind_name) = text.rsplit_once(')').expect("it has a name");
        let fields: Vec<&str> = behind_name.split_whitespace().collect();
        (fields[38].to_owned(), fields[16].to_owned())
    }

    #[test]
    fn lasts_as_long_as_the_work_and_leaves_how_nice_the_thread_is() {
        // SAFETY: it takes numbers alone.
        unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, 19) };
        let before = policy_and_nice();
        assert_eq!(before, ("0".into(), "19".into()));
        let is_allowed = set(libc::SCHED_FIFO, 1);
        if is_allowed {
            assert!(set(libc::SCHED_OTHER, 0));
        }
        let (policy, _) = without_preemption(policy_and_nice);
        assert_eq!(policy, if is_allowed { "1" } else { "0" });
        assert_eq!(policy_and_nice(), before);
    }

    #[test]
    fn leaves_a_thread_alone_that_has_another_policy_already() {
        if !set(libc::SCHED_RR, 5) {
            eprintln!("skipped: it takes CAP_SYS_NICE");
            return;
        }
        let (during, after) = (without_preemption(policy_and_nice).0, policy_and_nice().0);
        assert_eq!((during.as_str(), after.as_str()), ("2", "2"));
    }
}
