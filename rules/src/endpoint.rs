//! IPv4 and IPv6 addresses with their ports, out of the bytes of a `sockaddr`. Pure and safe.

use core::fmt::{self, Write};

/// Where a socket is, or is to be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Endpoint {
    address: Address,
    /// In host order; 0 is no port.
    pub port: u16,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Address {
    V4([u8; 4]),
    V6([u16; 8]),
}

/// The size of the largest address that is decoded, a `sockaddr_in6` (include/uapi/linux/in6.h).
pub const LONGEST: usize = 28;

const AF_UNSPEC: u16 = 0;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

impl Endpoint {
    /// Reads the bytes of a `sockaddr_in` or `sockaddr_in6`; `None` if they are neither, or too few.
    ///
    /// `AF_UNSPEC` is read as IPv4, as Linux does for the wildcard address (`__inet_bind` in `net/ipv4/af_inet.c`).
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (family, rest) = bytes.split_first_chunk::<2>()?;
        let (port, rest) = rest.split_first_chunk::<2>()?;
        let address = match u16::from_ne_bytes(*family) {
            AF_INET | AF_UNSPEC => Address::V4(*rest.first_chunk::<4>()?),
            AF_INET6 => {
                // The flow label stands between port and address.
                let (_, rest) = rest.split_first_chunk::<4>()?;
                let bytes = rest.first_chunk::<16>()?;
                let mut groups = [0; 8];
                for (group, pair) in groups.iter_mut().zip(bytes.chunks_exact(2)) {
                    if let Some(pair) = pair.first_chunk::<2>() {
                        *group = u16::from_be_bytes(*pair);
                    }
                }
                Address::V6(groups)
            }
            _ => return None,
        };
        Some(Self {
            address,
            port: u16::from_be_bytes(*port),
        })
    }
}

impl fmt::Display for Endpoint {
    /// `127.0.0.1:49200`, and `[::1]:49200` after RFC 5952 section 6.
    ///
    /// Not by way of `core::net`, whose `Display` holds an `unwrap`, nor of the integers', which holds a slice index:
    /// both would leave a panic path in the shim.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            Address::V4(bytes) => {
                for (position, byte) in bytes.into_iter().enumerate() {
                    f.write_str(if position == 0 { "" } else { "." })?;
                    Decimal(byte.into()).fmt(f)?;
                }
            }
            Address::V6(groups) => {
                f.write_char('[')?;
                write_v6(f, groups)?;
                f.write_char(']')?;
            }
        }
        f.write_char(':')?;
        Decimal(self.port.into()).fmt(f)
    }
}

/// Writes the groups in hexadecimal, the longest run of two or more zeroes as `::` (RFC 5952 section 4).
fn write_v6(f: &mut fmt::Formatter<'_>, groups: [u16; 8]) -> fmt::Result {
    let (mut start, mut length) = (0_usize, 1_usize);
    let mut run = 0_usize;
    for (position, group) in groups.into_iter().enumerate() {
        run = if group == 0 { run.saturating_add(1) } else { 0 };
        if run > length {
            length = run;
            start = position.saturating_add(1).saturating_sub(run);
        }
    }
    let shortened = if length > 1 {
        start..start.saturating_add(length)
    } else {
        0..0
    };

    let mut separate = false;
    for (position, group) in groups.into_iter().enumerate() {
        if shortened.contains(&position) {
            if position == shortened.start {
                f.write_str("::")?;
            }
            separate = false;
            continue;
        }
        if separate {
            f.write_char(':')?;
        }
        separate = true;
        let mut leading = true;
        for shift in [12, 8, 4, 0] {
            let digit = u32::from(group >> shift & 15);
            leading &= digit == 0 && shift != 0;
            if !leading {
                f.write_char(char::from_digit(digit, 16).unwrap_or('?'))?;
            }
        }
    }
    Ok(())
}

/// A number in decimal, without the panic path that the integers' own `Display` has.
pub struct Decimal(pub u32);

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = [0; 10];
        let mut rest = self.0;
        for digit in digits.iter_mut().rev() {
            *digit = rest % 10;
            rest /= 10;
        }
        let leading = digits
            .iter()
            .take(9)
            .take_while(|&&digit| digit == 0)
            .count();
        for digit in digits.into_iter().skip(leading) {
            f.write_char(char::from_digit(digit, 10).unwrap_or('?'))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv6Addr;
    use std::prelude::rust_2024::*;
    use std::vec;

    fn v4(family: u16) -> Vec<u8> {
        [
            &family.to_ne_bytes()[..],
            &49200_u16.to_be_bytes(),
            &[127, 0, 0, 1],
        ]
        .concat()
    }

    fn v6(address: &str) -> Vec<u8> {
        let address: Ipv6Addr = address.parse().expect("an address");
        [
            &AF_INET6.to_ne_bytes()[..],
            &8080_u16.to_be_bytes(),
            &[9; 4],
            &address.octets(),
            &[7; 4],
        ]
        .concat()
    }

    #[test]
    fn decodes_and_writes_addresses() {
        for (bytes, expected) in [
            (v4(AF_INET), "127.0.0.1:49200"),
            (v4(AF_UNSPEC), "127.0.0.1:49200"),
            (v6("::"), "[::]:8080"),
            (v6("::1"), "[::1]:8080"),
            (v6("1::"), "[1::]:8080"),
            (v6("2001:db8::1:0:0:1"), "[2001:db8::1:0:0:1]:8080"),
            (v6("1:0:0:2:0:0:0:3"), "[1:0:0:2::3]:8080"),
            (v6("1:0:2:0:3:0:4:0"), "[1:0:2:0:3:0:4:0]:8080"),
            (
                v6("ffff:fff0:ff00:f000:1000:100:10:1"),
                "[ffff:fff0:ff00:f000:1000:100:10:1]:8080",
            ),
        ] {
            assert_eq!(
                Endpoint::decode(&bytes).expect("an endpoint").to_string(),
                expected
            );
        }
    }

    #[test]
    fn decodes_nothing_else() {
        for bytes in [
            vec![],
            vec![2],
            v4(AF_INET)[..7].to_vec(),
            v6("::1")[..23].to_vec(),
            v4(1),
            v4(AF_INET6),
        ] {
            assert_eq!(Endpoint::decode(&bytes), None, "{bytes:?}");
        }
    }

    #[test]
    fn writes_numbers() {
        for number in [0, 1, 9, 10, 101, 49200, u32::MAX] {
            assert_eq!(Decimal(number).to_string(), number.to_string());
        }
    }
}
