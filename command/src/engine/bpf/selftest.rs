//! Tests whether the kernel does what its version promises, before anything is attached for
//! somebody.
//!
//! From Linux 5.12 to 6.0 the programs load, and SO_REUSEADDR is then refused each time that they
//! run; and distributions take parts of later kernels into earlier ones. So loading tells too
//! little. In a control group of its own a child listens on a port of the kernel's choice, and
//! binds it again.

use super::hierarchy::Hierarchy;
use super::instance::{self, Life};
use super::own::{self, OwnGroup};
use super::record;
use anyhow::{Context, Result, bail};
use log::debug;
use rustix::net::sockopt::{set_socket_reuseaddr, socket_reuseaddr};
use rustix::net::{AddressFamily, SocketType, bind, getsockname, listen, socket};
use std::fs;
use std::io::{Read, Write, stdin, stdout};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Command, Stdio};

/// The command line of the child.
pub(crate) const CHILD: &str = "self-test";

/// Tests the kernel, and fails unless it passes. That is known until everything is detached.
pub(crate) fn pass(hierarchy: &Hierarchy) -> Result<()> {
    let known = Path::new(record::FOLDER).join("tested");
    let kernel = rustix::system::uname();
    let question = format!(
        "{} {} {}\n",
        kernel.release().to_string_lossy(),
        kernel.version().to_string_lossy(),
        env!("CARGO_PKG_VERSION")
    );
    if fs::read_to_string(&known).is_ok_and(|answered| answered == question) {
        return Ok(());
    }
    run(hierarchy)?;
    debug!("the kernel passes the test");
    record::folder()?;
    fs::write(&known, question).with_context(|| format!("{} can't be written", known.display()))
}

fn run(hierarchy: &Hierarchy) -> Result<()> {
    let group = OwnGroup::make(hierarchy, "/", own::TEST, std::process::id())?;
    instance::attach(hierarchy, group.name(), Life::Passing, |_| true)?;
    let mut child = Command::new("/proc/self/exe")
        .args(["bpf", CHILD])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("the command can't start itself for a test of the kernel")?;
    let moved = group.take_in(child.id());
    let mut answer = String::new();
    // It waits for this line until it is where it is to be.
    let sent = child.stdin.take().map(|mut stdin| stdin.write_all(b"go\n"));
    let read = child
        .stdout
        .take()
        .map(|mut stdout| stdout.read_to_string(&mut answer));
    child.wait()?;
    moved?;
    debug!("the test says {answer:?} ({sent:?}, {read:?})");
    match answer.trim() {
        "1 1" => Ok(()),
        "0 0" | "1 0" | "0 1" => Err(instance::too_old(
            "its programs load, and their bpf_setsockopt fails",
        )),
        _ => bail!("the test of the kernel came to nothing: the child said {answer:?}"),
    }
}

/// Answers in the child: the option of a socket that listens, and of the next one that binds.
pub(crate) fn child() -> Result<u8> {
    // Somebody else may take the port between the two binds.
    const TRIES: usize = 5;
    let mut line = [0; 3];
    if stdin().read_exact(&mut line).is_err() {
        // Whoever asks has been killed, and nobody is to hear of that from here.
        return Ok(0);
    }
    for _ in 0..TRIES {
        let new = || socket(AddressFamily::INET, SocketType::STREAM, None);
        let first = new()?;
        set_socket_reuseaddr(&first, false)?;
        bind(&first, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        listen(&first, 1)?;
        let address = SocketAddr::try_from(getsockname(&first)?)?;
        let at_listen = socket_reuseaddr(&first)?;
        drop(first);
        let second = new()?;
        if bind(&second, &address).is_ok() {
            let at_bind = socket_reuseaddr(&second)?;
            let answer = format!("{} {}\n", u8::from(at_listen), u8::from(at_bind));
            // The same.
            let _ = stdout().write_all(answer.as_bytes());
            break;
        }
    }
    Ok(0)
}
