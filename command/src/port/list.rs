//! Ports as they are given on the command line, read as the library reads `LIBREUSE_PORTS`.

use libreuse_rules::settings::{Ports, Settings};
use std::str::FromStr;

const VARIABLE: &str = "LIBREUSE_PORTS";

/// `49200`, `8000-8100`, or several of them with commas.
#[derive(Clone, Debug)]
pub(crate) struct PortList(Vec<u16>);

impl FromStr for PortList {
    type Err = String;

    fn from_str(list: &str) -> Result<Self, String> {
        let mut settings = Settings::DEFAULT;
        settings
            .set(VARIABLE.as_bytes(), list.as_bytes())
            .map_err(|complaint| {
                let complaint = complaint.to_string();
                // clap has already named the value.
                complaint
                    .split_once(": ")
                    .map_or(complaint.clone(), |(_, why)| why.to_owned())
            })?;
        Ok(Self(listed(&settings.ports)))
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
        let complaint = "http".parse::<PortList>().unwrap_err();
        assert_eq!(
            complaint,
            "expected ports and ranges such as 49200,8000-8100, from 1 to 65535"
        );
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
