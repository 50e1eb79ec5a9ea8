//! Waits until ports can be bound, or until something listens on them: before a service is started,
//! or in a container that starts before another one.

use super::{exit, options};
use crate::net::sysctl;
use crate::output::progress::Progress;
use crate::output::{self, paragraph};
use crate::port::bindable::Bind;
use crate::port::explain::free::is;
use crate::port::listeners::{listeners_named, wait_for_listeners};
use crate::port::port_list::{self as ports, PortList, PortSet, spelled};
use crate::port::wait::{Denied, End, Meanwhile, Wish, wait};
use anyhow::{Result, bail};
use std::net::IpAddr;
use std::time::Instant;

/// Wait until a port can be bound, or until something listens on it
#[derive(Debug, clap::Args)]
#[command(
    after_help = "A port counts as free when a bind without socket options succeeds. Fits \
                  ExecStartPre= and init containers.\nExamples:\n  \
                  reuseaddr wait --timeout 90s 8080 && ./server\n  \
                  ./server & reuseaddr wait --listening 8080 && ./tests"
)]
pub(crate) struct Arguments {
    /// Ports: 49200, 8000-8100, or several with commas
    #[arg(required = true, value_name = "PORT")]
    ports: Vec<PortList>,

    /// Give up after this long: 500ms, 30s, 2m (default: never)
    #[arg(long, value_name = "TIME")]
    timeout: Option<options::Span>,

    /// Wait for this address, not for all addresses
    #[arg(long, value_name = "ADDRESS", value_parser = options::address)]
    address: Option<IpAddr>,

    /// Wait until a bind with SO_REUSEADDR succeeds, as most servers and `reuseaddr run` bind
    #[arg(long)]
    reuse: bool,

    /// Wait until something listens on every PORT; with --address, on that address or on all
    #[arg(short, long, conflicts_with = "reuse")]
    listening: bool,

    #[command(flatten)]
    network: options::Network,
}

/// Answers `reuseaddr wait`.
pub(crate) fn run(arguments: &Arguments) -> Result<u8> {
    arguments.network.enter()?;
    let ports = ports::tcp(&arguments.ports)?;
    let start = Instant::now();
    let deadline = arguments
        .timeout
        .and_then(|options::Span(time)| start.checked_add(time));
    if arguments.listening {
        return listening(arguments, &ports, deadline);
    }
    let wish = Wish {
        ports: &ports,
        bind: Bind {
            address: arguments.address,
            reuse: arguments.reuse,
        },
        denied: Denied::GivesUp,
    };
    let mut progress = Progress::begin();
    let end = wait(wish, deadline, |text| {
        progress.show(|| format!("Waiting for {text}"));
        Meanwhile::Nothing
    })?;
    drop(progress);
    let way = if arguments.reuse {
        "a bind with SO_REUSEADDR"
    } else {
        "a plain bind"
    };
    match end {
        End::Free => {
            let text = format!("{} free: {way} succeeds.", is(&PortSet::of_tcp(&ports)));
            output::print(&paragraph("", "", &text))?;
            Ok(exit::YES)
        }
        End::TimeIsUp(text) => {
            output::error(&format!(
                "after {} {way} still fails: {text}",
                output::seconds(arguments.timeout.unwrap_or_default().0)
            ));
            Ok(exit::NO)
        }
        End::Denied(port) => bail!(
            "port {port} may be bound by root only, or with CAP_NET_BIND_SERVICE, as all below {}; \
             waiting does not help",
            sysctl::lowest_unprivileged()
        ),
    }
}

/// Waits until something listens on all of them.
fn listening(arguments: &Arguments, ports: &[u16], deadline: Option<Instant>) -> Result<u8> {
    let address = arguments.address;
    let mut progress = Progress::begin();
    let silent = wait_for_listeners(ports, address, deadline, |silent| {
        progress.show(|| format!("Waiting for a listener on port {}", spelled(silent)));
    })?;
    drop(progress);
    if silent.is_empty() {
        let text: String = listeners_named(ports, address)?
            .into_iter()
            .map(|(port, who)| paragraph("", "", &format!("Port {port}: {who} listens.")))
            .collect();
        output::print(&text)?;
        return Ok(exit::YES);
    }
    output::error(&format!(
        "after {} nothing listens on port {}{}",
        output::seconds(arguments.timeout.unwrap_or_default().0),
        spelled(&silent),
        address.map_or(String::new(), |address| format!(" at {address}"))
    ));
    Ok(exit::NO)
}
