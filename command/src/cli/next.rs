//! Prints a free port.

use super::{exit, options};
use crate::net::sysctl;
use crate::output;
use crate::port::bindable::{Bind, Bindable};
use crate::port::port_list::{self, PortList};
use anyhow::Result;
use std::net::IpAddr;
use std::str::FromStr;

/// Print the first free port, counting up from FROM
#[derive(Debug, clap::Args)]
#[command(
    after_help = "A port is free if a bind without socket options succeeds. It is not reserved: \
                  another program may take it before yours does.\nExample: \
                  PORT=$(reuseaddr next 3000) npm start"
)]
pub(crate) struct Arguments {
    /// The first port to try; of a range or several, such as 8000-8100, only those are tried
    #[arg(value_name = "FROM", default_value = "8000")]
    from: Candidates,

    /// Bind this address, in place of all addresses
    #[arg(long, value_name = "ADDRESS", value_parser = options::address)]
    address: Option<IpAddr>,

    #[command(flatten)]
    network: options::Network,
}

/// The ports to try.
#[derive(Clone, Debug)]
struct Candidates {
    list: PortList,
    /// Whether none but these are meant, although it is a single port: 8000-8000 is a range.
    ends_there: bool,
}

impl FromStr for Candidates {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // Names have hyphens too: http-alt.
        let is_range = |(_, last): (&str, &str)| last.parse::<u16>().is_ok();
        Ok(Self {
            list: text.parse()?,
            ends_there: text.contains(',') || text.split_once('-').is_some_and(is_range),
        })
    }
}

/// Answers `reuseaddr next`.
pub(crate) fn run(arguments: &Arguments) -> Result<u8> {
    arguments.network.enter()?;
    let bind = Bind {
        address: arguments.address,
        reuse: false,
    };
    let Candidates { list, ends_there } = &arguments.from;
    let mut ports = port_list::tcp(std::slice::from_ref(list))?;
    if let ([from], false) = (ports.as_slice(), ends_there) {
        ports = (*from..=u16::MAX).collect();
    }
    let mut last = Bindable::Busy;
    for &port in &ports {
        last = bind.of(port);
        match last {
            Bindable::Free => {
                output::print(&format!("{port}\n"))?;
                return Ok(exit::YES);
            }
            // This host does not have the address (`EADDRNOTAVAIL`): no port will do.
            Bindable::NoAddress => break,
            Bindable::Busy | Bindable::Denied => {}
        }
    }
    output::error(&match (last, arguments.address) {
        (Bindable::NoAddress, Some(address)) => {
            format!("this machine does not have {address}; `ip address` shows those that it has")
        }
        (Bindable::Denied, _) => format!(
            "{}: those below {} take root or CAP_NET_BIND_SERVICE",
            none_of(&ports),
            sysctl::lowest_unprivileged()
        ),
        _ => none_of(&ports),
    });
    Ok(exit::NO)
}

/// Says that none of them will do.
fn none_of(ports: &[u16]) -> String {
    let spelled = port_list::spelled(ports);
    if ports.len() == 1 {
        format!("port {spelled} can't be bound")
    } else {
        format!("none of the ports {spelled} can be bound")
    }
}
