//! The engine `trace`: for programs that a library can't be loaded into.
//!
//! A process of its own, the tracer, has the kernel stop the program at its system calls
//! (ptrace(2)) from its start until it listens, and does about `bind` and `listen` what the library
//! would do. Then it ends, and the program runs on as if there had been none: nothing of it is in
//! the program, and the program has no other process, number, parent, descriptor or signal than it
//! would have.
//!
//! * `double_fork` makes the tracer, and `tracer` is what it does at each stop.
//! * `interception` runs the rules. What they ask of the kernel about the program's sockets is in
//!   `socket`, or in `remote_call` where descriptors can't be copied; `wait_timer` is how long they
//!   wait.
//! * `detach` says when to detach; `exempt` from whom earlier, and who is never traced.
//! * `ptrace` are the calls that trace, `arch` is what differs between processors, and `log` writes
//!   what is reported.

mod arch;
mod detach;
mod double_fork;
pub(crate) mod exempt;
mod interception;
pub(crate) mod log;
mod ptrace;
mod remote_call;
mod socket;
mod tracer;
mod wait_timer;

pub(crate) use arch::MACHINES;
pub(crate) use detach::DetachPolicy;

use crate::net::sysctl;
use crate::process::{info, status::status};
use double_fork::Handshake;
use exempt::Preloaded;
use libreuse_rules::settings::Settings;
use std::io;

/// Why nothing can be traced here, as far as that can be known beforehand.
pub(crate) fn forbidden() -> Option<String> {
    if let Some(tracer) = info::tracer("self") {
        return (!info::is_our_tracer(tracer)).then(|| {
            format!("process {tracer} traces this already, and a program has one tracer at a time")
        });
    }
    let scope = sysctl::read("kernel.yama.ptrace_scope")?;
    match scope.as_str() {
        "3" => Some("kernel.yama.ptrace_scope is 3: nobody may trace".into()),
        "2" if !exempt::may_trace_the_privileged() => {
            Some("kernel.yama.ptrace_scope is 2, and you do not have CAP_SYS_PTRACE".into())
        }
        _ => None,
    }
}

/// The tracer of another `run` that has started this one: it follows what this process becomes as
/// well.
pub(crate) fn traced_by_run() -> Option<i32> {
    info::tracer("self").filter(|&tracer| info::is_our_tracer(tracer))
}

/// Why a program could not be traced, after [`begin`] has failed.
pub(crate) fn explain(error: &io::Error, program: &str) -> String {
    if lacks_room(error) {
        format!(
            "there is no room for the tracer of {program}, which is a process with a thread: \
             {error}. The limits are pids.max of the control group (TasksMax= of a unit), \
             RLIMIT_NPROC and RLIMIT_AS"
        )
    } else if is_forbidden_by_filter(error) {
        format!(
            "a seccomp filter forbids tracing {program} here: {error}. In a unit, add \
             SystemCallFilter=@debug"
        )
    } else {
        format!("the kernel forbids tracing {program} here: {error}")
    }
}

/// Whether [`begin`] has failed because there can be no further process or thread.
pub(crate) fn lacks_room(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::ENOMEM))
}

/// Whether a seccomp filter of this process's (proc(5)) is the reason why [`begin`] has failed. One
/// that ends the tracer leaves no error number.
pub(crate) fn is_forbidden_by_filter(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EPERM) | None)
        && status("self").is_some_and(|status| status.seccomp == Some(2))
}

/// Whether a tracer of this process would become its child, as every orphan does of process 1 and
/// of a subreaper (PR_SET_CHILD_SUBREAPER): it then stays as a zombie until the program asks for
/// it.
pub(crate) fn would_stay() -> bool {
    rustix::process::getpid().is_init()
        || rustix::process::child_subreaper().is_ok_and(|reaper| reaper.is_some())
}

/// Has this process traced, and whatever it becomes and starts, from its next exec on.
///
/// # Errors
///
/// The kernel's: this process is as it was.
pub(crate) fn begin(
    settings: Box<Settings>,
    policy: DetachPolicy,
    preloaded: Option<Preloaded>,
) -> io::Result<()> {
    let pid = rustix::process::getpid().as_raw_nonzero().get();
    let (ours, theirs) = Handshake::pair()?;
    double_fork::detached(|| {
        log::open_for(&settings);
        double_fork::drop_inherited(&theirs, log::descriptor());
        if let Err(error) = interception::check_threads() {
            // A number that is no process's.
            let _ = theirs.send(-error.raw_os_error().unwrap_or(libc::EAGAIN));
            return;
        }
        let tracer = rustix::process::getpid().as_raw_nonzero().get();
        if theirs.send(tracer).is_err() || theirs.receive().is_err() {
            return;
        }
        let result = ptrace::seize(pid);
        let code = result
            .err()
            .map_or(0, |error| error.raw_os_error().unwrap_or(libc::EPERM));
        if theirs.send(code).is_ok() && code == 0 {
            tracer::follow(pid, Box::leak(settings), policy, preloaded);
        }
    })?;
    // Another holder of this end would keep the tracer waiting.
    drop(theirs);
    let tracer = ours.receive()?;
    if tracer < 0 {
        return Err(io::Error::from_raw_os_error(-tracer));
    }
    double_fork::allow_ptrace(tracer);
    ours.send(0)?;
    match ours.receive()? {
        0 => Ok(()),
        code => Err(io::Error::from_raw_os_error(code)),
    }
}
