//! Parses ports on the command line: numbers and ranges as the library reads them in
//! `LIBREUSE_PORTS`, and the other ways in which people write a port.

use anyhow::{Result, bail};
use libreuse_rules::settings::{Ports, Settings};
use rustix::system::uname;
use std::fs;
use std::net::IpAddr;
use std::result::Result as StdResult;
use std::str::FromStr;

const VARIABLE: &str = "LIBREUSE_PORTS";
const SERVICES: &str = "/etc/services";

/// `49200`, `8000-8100`, `:8080`, `localhost:8080`, `8080/tcp`, `53/udp`, `http`,
/// `http://localhost:8080/`, or several of them with commas.
#[derive(Clone, Debug)]
pub(crate) struct PortList(PortSet);

/// Ports of both protocols, each in order.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct PortSet {
    pub(crate) tcp: Vec<u16>,
    pub(crate) udp: Vec<u16>,
}

impl PortSet {
    pub(crate) fn of_tcp(ports: &[u16]) -> Self {
        Self {
            tcp: ports.to_vec(),
            udp: Vec::new(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.tcp.is_empty() && self.udp.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.tcp.len() + self.udp.len()
    }

    /// Formats them for the command line: `80,8000-8100,53/udp`.
    pub(crate) fn spelled(&self) -> String {
        let udp = spelled(&self.udp);
        let udp = udp.split(',').filter(|ports| !ports.is_empty());
        let mut words: Vec<String> = udp.map(|ports| format!("{ports}/udp")).collect();
        if !self.tcp.is_empty() {
            words.insert(0, spelled(&self.tcp));
        }
        words.join(",")
    }
}

impl FromStr for PortList {
    type Err = String;

    fn from_str(list: &str) -> StdResult<Self, String> {
        let (mut tcp, mut udp) = (Vec::new(), Vec::new());
        for text in list.split(',') {
            match of_udp(text) {
                Some(text) => udp.push(item(&text, "udp")?),
                None => tcp.push(item(text, "tcp")?),
            }
        }
        let read = |items: &[String]| {
            if items.is_empty() {
                Ok(Vec::new())
            } else {
                read(&items.join(","))
            }
        };
        Ok(Self(PortSet {
            tcp: read(&tcp)?,
            udp: read(&udp)?,
        }))
    }
}

/// The ports of a list as the library reads it.
fn read(list: &str) -> StdResult<Vec<u16>, String> {
    let mut settings = Settings::DEFAULT;
    settings
        .set(VARIABLE.as_bytes(), list.as_bytes())
        .map_err(|complaint| {
            let complaint = complaint.to_string();
            // clap has already named the value.
            complaint
                .split_once(": ")
                .map_or(complaint.clone(), |(_, why)| {
                    format!("{why}, or services that {SERVICES} names")
                })
        })?;
    Ok(listed(&settings.ports))
}

/// An entry without what says that it is of UDP: `53/udp`, `udp/53`, `udp:53`,
/// `udp://localhost:53`.
fn of_udp(text: &str) -> Option<String> {
    if let Some((port, protocol)) = text.rsplit_once('/') {
        if protocol.eq_ignore_ascii_case("udp") {
            return Some(port.to_owned());
        }
    }
    let (protocol, port) = text.split_once([':', '/'])?;
    let is_udp = protocol.eq_ignore_ascii_case("udp");
    (is_udp && !port.to_ascii_lowercase().ends_with("/tcp")).then(|| {
        let of_url = port.strip_prefix("//");
        of_url.map_or_else(
            || port.to_owned(),
            |rest| rest.split('/').next().unwrap_or_default().to_owned(),
        )
    })
}

/// One entry of a list as the library has it: a number or a range.
fn item(text: &str, protocol: &str) -> StdResult<String, String> {
    if let Some((scheme, rest)) = text.split_once("://") {
        return of_url(scheme, rest);
    }
    let text = match text.split_once([':', '/']) {
        Some((word, port)) if word.eq_ignore_ascii_case("tcp") => port,
        _ => text,
    };
    let text = match text.rsplit_once('/') {
        None | Some((_, "")) => text,
        Some((port, protocol)) if protocol.eq_ignore_ascii_case("tcp") => port,
        // A path is no port of any protocol: the reader of the list says what is expected.
        Some((port, _)) if port.is_empty() || port.contains([':', '/']) => {
            return Ok(text.to_owned());
        }
        Some((_, protocol)) => {
            return Err(format!(
                "{protocol} has no ports that are known here; expected one such as 8080/tcp or \
                 8080/udp"
            ));
        }
    };
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    let is_address = bare.parse::<IpAddr>().is_ok();
    let text = match text.rsplit_once(':') {
        // `::1:631`, as netstat prints it, is an address too.
        Some((host, port)) if is_here(host) && (!is_address || is_number(port)) => port,
        _ if is_address => {
            return Err("an address without a port; expected one such as localhost:8080".into());
        }
        None => text,
        Some((host, port)) if is_number(host) && is_number(port) => {
            return Err(
                "a colon between two ports; expected 80,8080 for both, 8000-8100 for a \
                        range"
                    .into(),
            );
        }
        Some((host, _)) => {
            return Err(format!(
                "{host} is not an address of this machine, whose ports alone can be seen; expected \
                 one such as localhost:8080"
            ));
        }
    };
    Ok(if is_number(text) {
        text.to_owned()
    } else {
        service(text, protocol).map_or_else(|| text.to_owned(), |port| port.to_string())
    })
}

/// Whether it is a number or a range, empty ones included.
fn is_number(text: &str) -> bool {
    text.bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'-')
}

/// The port of a URL, or else that of its scheme.
fn of_url(scheme: &str, rest: &str) -> StdResult<String, String> {
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host_and_port = authority.rsplit('@').next().unwrap_or_default();
    // The colons of an IPv6 address stand in brackets.
    let has_port = host_and_port
        .rsplit_once(':')
        .is_some_and(|(_, port)| !port.is_empty() && !port.contains(']'));
    if has_port {
        return item(host_and_port, "tcp");
    }
    let host = host_and_port.trim_end_matches(':');
    let named = match scheme.to_lowercase().as_str() {
        "ws" => "http".to_owned(),
        "wss" => "https".to_owned(),
        "postgres" => "postgresql".to_owned(),
        scheme => scheme.to_owned(),
    };
    let port = service(&named, "tcp").ok_or_else(|| {
        format!(
            "{scheme}:// has no port that {SERVICES} names; expected one such as \
             {scheme}://localhost:8080"
        )
    })?;
    item(&format!("{host}:{port}"), "tcp")
}

/// Whether an address may be one of this machine, or a name for one. Which one does not matter: the
/// diagnosis is for all of them.
fn is_here(host: &str) -> bool {
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    // `fe80::1%eth0`, `localhost.`
    let bare = bare.split('%').next().unwrap_or_default();
    let name = bare.trim_end_matches('.');
    matches!(bare, "" | "*") || name.parse::<IpAddr>().is_ok() || is_our_name(name)
}

/// Whether this machine has this name, or /etc/hosts gives it to a loopback address (hosts(5)).
fn is_our_name(name: &str) -> bool {
    let own = uname();
    let is_it = |other: &str| other.eq_ignore_ascii_case(name);
    let is_loopback = |line: &str| {
        let mut words = line
            .split('#')
            .next()
            .unwrap_or_default()
            .split_whitespace();
        let address = words.next().and_then(|it| it.parse::<IpAddr>().ok());
        address.is_some_and(|it| it.is_loopback()) && words.any(is_it)
    };
    is_it("localhost")
        || own.nodename().to_str().is_ok_and(is_it)
        || fs::read_to_string("/etc/hosts").is_ok_and(|hosts| hosts.lines().any(is_loopback))
}

/// The port of a service (services(5)). From the file: the name service can't be asked by a program
/// that is linked statically.
fn service(name: &str, protocol: &str) -> Option<u16> {
    fs::read_to_string(SERVICES).ok()?.lines().find_map(|line| {
        let mut words = line.split('#').next()?.split_whitespace();
        let official = words.next()?;
        let port = words.next()?.strip_suffix(protocol)?.strip_suffix('/')?;
        let is_it = |other: &str| other.eq_ignore_ascii_case(name);
        (is_it(official) || words.any(is_it)).then(|| port.parse().ok())?
    })
}

/// Ports, or a program whose ports are meant.
#[derive(Clone, Debug)]
pub(crate) enum PortOrProgram {
    Ports(PortList),
    Program(String),
}

impl FromStr for PortOrProgram {
    type Err = String;

    fn from_str(text: &str) -> StdResult<Self, String> {
        text.parse().map(Self::Ports).or_else(|complaint| {
            let is_name = text.contains(|letter: char| letter.is_alphabetic())
                && !text.contains([',', '/', ':']);
            if is_name {
                Ok(Self::Program(text.to_owned()))
            } else {
                Err(complaint)
            }
        })
    }
}

/// Every port of several lists, in order and once.
pub(crate) fn all(lists: &[PortList]) -> PortSet {
    let of = |ports: fn(&PortSet) -> &Vec<u16>| {
        let mut ports: Vec<u16> = lists
            .iter()
            .flat_map(|PortList(it)| ports(it))
            .copied()
            .collect();
        ports.sort_unstable();
        ports.dedup();
        ports
    };
    PortSet {
        tcp: of(|ports| &ports.tcp),
        udp: of(|ports| &ports.udp),
    }
}

/// Every port of several lists, for commands that know TCP alone.
pub(crate) fn tcp(lists: &[PortList]) -> Result<Vec<u16>> {
    let PortSet { tcp, udp } = all(lists);
    if let Some(first) = udp.first() {
        bail!("{first}/udp: only `status` and `free` know UDP ports; expected a TCP port");
    }
    Ok(tcp)
}

/// Every port that the library would act on.
pub(crate) fn listed(ports: &Ports) -> Vec<u16> {
    let mut ranges: Vec<_> = ports.ranges().collect();
    ranges.sort_unstable_by_key(|range| *range.start());
    let mut listed = Vec::new();
    for range in ranges {
        let last = listed.last().copied().unwrap_or(0);
        listed.extend(range.skip_while(|&port| port <= last));
    }
    listed
}

/// The ports as the command line takes them, runs of them as ranges.
pub(crate) fn spelled(ports: &[u16]) -> String {
    let runs = ports.chunk_by(|port, next| port.checked_add(1) == Some(*next));
    let words: Vec<String> = runs
        .filter_map(|run| match run {
            [] => None,
            [port] => Some(port.to_string()),
            [first, .., last] => Some(format!("{first}-{last}")),
        })
        .collect();
    words.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_lists() {
        let lists: Vec<PortList> = ["9,7-8", "8", "65535"]
            .iter()
            .map(|list| list.parse().unwrap())
            .collect();
        assert_eq!(tcp(&lists).unwrap(), [7, 8, 9, 65535]);
    }

    #[test]
    fn says_what_is_wrong_once() {
        let complaint = "no-such-service".parse::<PortList>().unwrap_err();
        assert_eq!(
            complaint,
            "expected ports and ranges such as 49200,8000-8100, from 1 to 65535, or services that \
             /etc/services names"
        );
    }

    #[test]
    fn takes_a_port_in_every_way_that_people_write_one() {
        for (text, expected) in [
            (":8080", &[8080][..]),
            ("localhost:8080", &[8080]),
            ("127.0.0.1:8080", &[8080]),
            ("[::1]:8080", &[8080]),
            (":::8080", &[8080]),
            ("::1:8080", &[8080]),
            ("*:8080", &[8080]),
            ("8080/tcp", &[8080]),
            ("tcp:8080", &[8080]),
            ("tcp/8080", &[8080]),
            ("LOCALHOST.:8080", &[8080]),
            ("[fe80::1%eth0]:8080", &[8080]),
            ("HTTP", &[80]),
            ("tcp://localhost:8080", &[8080]),
            ("localhost:8080/TCP", &[8080]),
            (":7-9,12/tcp", &[7, 8, 9, 12]),
            (
                "7-9,8,65535,8-11,1,65534-65535",
                &[1, 7, 8, 9, 10, 11, 65534, 65535],
            ),
            ("http://localhost:8080/", &[8080]),
            ("https://127.0.0.1:8443/a?b=c#d", &[8443]),
            ("http://[::1]:3000", &[3000]),
            ("http://[::1]/", &[80]),
            ("https://localhost", &[443]),
            ("ws://user:word@localhost:9000/socket", &[9000]),
        ] {
            assert_eq!(tcp(&[text.parse().unwrap()]).unwrap(), expected, "{text}");
        }
        for (text, expected) in [
            ("53/sctp", "sctp has no ports"),
            ("example.com:80", "not an address of this machine"),
            ("8080/", "expected ports"),
            ("/usr/bin/python3", "expected ports"),
            ("unix:/run/x", "expected ports"),
            ("localhost:80/a", "expected ports"),
            ("[::1]", "an address without a port"),
            ("::1", "an address without a port"),
            ("127.0.0.1", "an address without a port"),
            ("8080:80", "a colon between two ports"),
            ("http://example.com/", "not an address of this machine"),
            ("nosuch://localhost/", "has no port"),
            (":", "empty"),
            ("9-8", "from high to low"),
        ] {
            let complaint = text.parse::<PortList>().unwrap_err();
            assert!(complaint.contains(expected), "{text}: {complaint}");
        }
    }

    #[test]
    fn ports_of_udp_are_apart() {
        let ports = all(&[
            "53/udp,80".parse().unwrap(),
            "8000-8001/UDP".parse().unwrap(),
            "udp/9002,UDP:localhost:9003".parse().unwrap(),
            "udp://127.0.0.1:9004/".parse().unwrap(),
        ]);
        assert_eq!(
            (&ports.tcp[..], &ports.udp[..]),
            (&[80][..], &[53, 8000, 8001, 9002, 9003, 9004][..])
        );
        assert_eq!(ports.spelled(), "80,53/udp,8000-8001/udp,9002-9004/udp");
        for text in ["53/udp", "udp:53", "udp://localhost:53"] {
            assert!(tcp(&[text.parse().unwrap()]).is_err(), "{text}");
        }
        assert!("udp:".parse::<PortList>().is_err());
    }

    #[test]
    fn a_name_that_is_no_service_is_a_program() {
        for (text, program) in [
            ("no-such-service", true),
            ("8080", false),
            ("8080/tcp", false),
        ] {
            let target = text.parse::<PortOrProgram>().unwrap();
            assert_eq!(
                matches!(target, PortOrProgram::Program(_)),
                program,
                "{text}"
            );
        }
        for text in ["99999", "9-8", "a:b", "a/b", "a,b", "http://example.com"] {
            assert!(text.parse::<PortOrProgram>().is_err(), "{text}");
        }
    }

    #[test]
    fn ports_are_spelled_as_the_command_line_takes_them() {
        for (ports, expected) in [
            (&[8000][..], "8000"),
            (&[8000, 8001], "8000-8001"),
            (&[80, 443, 8000, 8001, 8002, 9000], "80,443,8000-8002,9000"),
            (&[65534, 65535], "65534-65535"),
        ] {
            assert_eq!(spelled(ports), expected);
        }
    }
}
