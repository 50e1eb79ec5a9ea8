//! Ports as they are given on the command line: numbers and ranges as the library reads them in `LIBREUSE_PORTS`, and
//! the other ways in which people write a port.

use libreuse_rules::settings::{Ports, Settings};
use std::fs;
use std::net::IpAddr;
use std::str::FromStr;

const VARIABLE: &str = "LIBREUSE_PORTS";
const SERVICES: &str = "/etc/services";

/// `49200`, `8000-8100`, `:8080`, `localhost:8080`, `8080/tcp`, `http`, or several of them with commas.
#[derive(Clone, Debug)]
pub(crate) struct PortList(Vec<u16>);

impl FromStr for PortList {
    type Err = String;

    fn from_str(list: &str) -> Result<Self, String> {
        let items = list.split(',').map(item).collect::<Result<Vec<_>, _>>()?;
        let list = items.join(",");
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
        Ok(Self(listed(&settings.ports)))
    }
}

/// One entry of a list as the library has it: a number or a range.
fn item(text: &str) -> Result<String, String> {
    let text = match text.rsplit_once('/') {
        None | Some((_, "")) => text,
        Some((port, protocol)) if protocol.eq_ignore_ascii_case("tcp") => port,
        Some((_, protocol)) => {
            return Err(format!(
                "only TCP leaves anything behind, so {protocol} is not looked at; expected a port such as 8080/tcp"
            ));
        }
    };
    let text = match text.rsplit_once(':') {
        None => text,
        Some((host, port)) if is_here(host) => port,
        Some((host, _)) => {
            return Err(format!(
                "{host} is not an address of this machine, whose ports alone can be seen; expected one such as localhost:8080"
            ));
        }
    };
    let is_number = text
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'-');
    Ok(if is_number {
        text.to_owned()
    } else {
        service(text).map_or_else(|| text.to_owned(), |port| port.to_string())
    })
}

/// Whether an address may be one of this machine. Which one does not matter: a verdict is for all of them.
fn is_here(host: &str) -> bool {
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    matches!(bare, "" | "*" | "localhost") || bare.parse::<IpAddr>().is_ok()
}

/// The port of a service (services(5)). From the file: the name service can't be asked by a program that is linked
/// statically.
fn service(name: &str) -> Option<u16> {
    fs::read_to_string(SERVICES).ok()?.lines().find_map(|line| {
        let mut words = line.split('#').next()?.split_whitespace();
        let official = words.next()?;
        let port = words.next()?.strip_suffix("/tcp")?;
        (official == name || words.any(|alias| alias == name)).then(|| port.parse().ok())?
    })
}

/// What is looked at: ports, or those of a program.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    Ports(PortList),
    Program(String),
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
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
pub(crate) fn all(lists: &[PortList]) -> Vec<u16> {
    let mut ports: Vec<u16> = lists
        .iter()
        .flat_map(|PortList(ports)| ports)
        .copied()
        .collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

/// Every port that the library would act on.
pub(crate) fn listed(ports: &Ports) -> Vec<u16> {
    (1..=u16::MAX)
        .filter(|&port| ports.contains(port))
        .collect()
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
        assert_eq!(all(&lists), [7, 8, 9, 65535]);
    }

    #[test]
    fn says_what_is_wrong_once() {
        let complaint = "no-such-service".parse::<PortList>().unwrap_err();
        assert_eq!(
            complaint,
            "expected ports and ranges such as 49200,8000-8100, from 1 to 65535, or services that /etc/services names"
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
            ("*:8080", &[8080]),
            ("8080/tcp", &[8080]),
            ("localhost:8080/TCP", &[8080]),
            (":7-9,12/tcp", &[7, 8, 9, 12]),
        ] {
            assert_eq!(all(&[text.parse().unwrap()]), expected, "{text}");
        }
        for (text, expected) in [
            ("53/udp", "only TCP"),
            ("example.com:80", "not an address of this machine"),
            ("8080/", "expected ports"),
            (":", "empty"),
            ("9-8", "from high to low"),
        ] {
            let complaint = text.parse::<PortList>().unwrap_err();
            assert!(complaint.contains(expected), "{text}: {complaint}");
        }
    }

    #[test]
    fn a_name_that_is_no_service_is_a_program() {
        for (text, program) in [
            ("no-such-service", true),
            ("8080", false),
            ("8080/tcp", false),
        ] {
            let target = text.parse::<Target>().unwrap();
            assert_eq!(matches!(target, Target::Program(_)), program, "{text}");
        }
        for text in ["99999", "9-8", "a:b", "a/b", "a,b"] {
            assert!(text.parse::<Target>().is_err(), "{text}");
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
