//! Copies of another process's descriptors (`pidfd_getfd(2)`), taken by an ordinary user.

use crate::Answers;
use crate::sockets::whether;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::{env, fs};
use support::program;

const NOBODY: u32 = 65_534;
const SCOPE: &str = "/proc/sys/kernel/yama/ptrace_scope";

/// Does something in a child of this process, and returns the word that it comes to.
fn in_a_child(action: impl FnOnce() -> String) -> String {
    let (mut ours, mut theirs) = UnixStream::pair().expect("a pair of sockets");
    // SAFETY: the child goes on in this function alone, and ends in it. Nobody else takes a lock
    // meanwhile: this is the only test of the program, and the thread that started it waits.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        drop(ours);
        let _ = theirs.write_all(action().as_bytes());
        // SAFETY: it ends the child here.
        unsafe { libc::_exit(0) };
    }
    assert!(pid > 0, "fork: {}", io::Error::last_os_error());
    drop(theirs);
    let mut answer = String::new();
    ours.read_to_string(&mut answer).expect("a word");
    wait_for_end(pid);
    answer
}

fn wait_for_end(pid: i32) {
    // SAFETY: no status is asked for; the child is ours.
    let ended = unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) };
    assert_eq!(ended, pid);
}

/// Becomes somebody without privileges, who may be traced all the same.
fn become_nobody() {
    // SAFETY: no groups, of which none is read.
    assert_eq!(unsafe { libc::setgroups(0, std::ptr::null()) }, 0);
    // SAFETY: three numbers.
    assert_eq!(unsafe { libc::setresgid(NOBODY, NOBODY, NOBODY) }, 0);
    // SAFETY: three numbers.
    assert_eq!(unsafe { libc::setresuid(NOBODY, NOBODY, NOBODY) }, 0);
    // A change of user makes a process undumpable.
    // SAFETY: numbers (prctl(2)).
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 1, 0, 0, 0) }, 0);
}

fn copy_of_stdin(pid: i32) -> io::Result<OwnedFd> {
    let made = |result: libc::c_long| {
        let fd = i32::try_from(result).expect("a descriptor");
        if fd < 0 {
            Err(io::Error::last_os_error())
        } else {
            // SAFETY: the kernel has just made it, for us alone.
            Ok(unsafe { OwnedFd::from_raw_fd(fd) })
        }
    };
    // SAFETY: two numbers (pidfd_open(2)).
    let process = made(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    // SAFETY: three numbers (pidfd_getfd(2)).
    made(unsafe { libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), 0, 0) })
}

/// A process to take from: it sleeps.
fn sleeper() -> std::process::Child {
    Command::new(program(&["sleep"]))
        .arg("60")
        .spawn()
        .expect("sleep runs")
}

fn of_a_child() -> String {
    in_a_child(|| {
        become_nobody();
        let mut child = sleeper();
        let pid = i32::try_from(child.id()).expect("a pid");
        let answer = whether(&copy_of_stdin(pid));
        let _ = child.kill();
        let _ = child.wait();
        answer
    })
}

fn of_a_sibling() -> String {
    in_a_child(|| {
        become_nobody();
        let mut sibling = sleeper();
        let pid = i32::try_from(sibling.id()).expect("a pid");
        let answer = in_a_child(|| whether(&copy_of_stdin(pid)));
        let _ = sibling.kill();
        let _ = sibling.wait();
        answer
    })
}

pub(crate) fn of_another_process(answers: &Answers) {
    if fs::read_to_string("/proc/self/setgroups").is_ok_and(|value| value.trim() == "deny") {
        println!("skipped: nobody can be somebody else in this user namespace");
        return;
    }
    answers.say("pidfd_getfd of a child", of_a_child());
    answers.say("pidfd_getfd of a sibling", of_a_sibling());
    let Ok(before) = fs::read_to_string(SCOPE) else {
        answers.say("kernel.yama.ptrace_scope", "not there");
        return;
    };
    answers.say("kernel.yama.ptrace_scope", before.trim());
    // It is the whole machine's: only of one that is thrown away.
    if env::var_os("LIBREUSE_TEST_MAY_SET_YAMA").is_none() {
        return;
    }
    for value in ["1", "2"] {
        fs::write(SCOPE, value).expect("we are root");
        answers.say(
            format!("pidfd_getfd of a child, ptrace_scope {value}"),
            of_a_child(),
        );
        answers.say(
            format!("pidfd_getfd of a sibling, ptrace_scope {value}"),
            of_a_sibling(),
        );
    }
    fs::write(SCOPE, before.trim()).expect("we are root");
}
