//! IPv4 and IPv6 addresses with their ports, out of the bytes of a `sockaddr`. Pure and safe.

use core::fmt::{self, Write};
use core::net::{IpAddr, SocketAddr, SocketAddrV6};

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
    V6 {
        octets: [u8; 16],
        /// Which interface a link-local address is of, by its number; 0 is none.
        scope: u32,
    },
}

/// The size of the largest address that is decoded, a `sockaddr_in6` (include/uapi/linux/in6.h).
pub const LONGEST: usize = 28;

const AF_UNSPEC: u16 = 0;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

/// How much of an address of this family is read, in bytes: a program may say that there is more
/// than it has.
#[must_use]
pub const fn length_of(family: [u8; 2]) -> usize {
    match u16::from_ne_bytes(family) {
        AF_INET | AF_UNSPEC => 8,
        AF_INET6 => LONGEST,
        _ => 2,
    }
}

impl Endpoint {
    /// Reads the bytes of a `sockaddr_in` or `sockaddr_in6`; `None` if they are neither, or too
    /// few.
    ///
    /// `AF_UNSPEC` is read as IPv4, as Linux does for the wildcard address (`__inet_bind` in
    /// `net/ipv4/af_inet.c`).
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (family, rest) = bytes.split_first_chunk::<2>()?;
        let (port, rest) = rest.split_first_chunk::<2>()?;
        let address = match u16::from_ne_bytes(*family) {
            AF_INET | AF_UNSPEC => Address::V4(*rest.first_chunk::<4>()?),
            AF_INET6 => {
                // The flow label stands between port and address.
                let (_, rest) = rest.split_first_chunk::<4>()?;
                let (bytes, rest) = rest.split_first_chunk::<16>()?;
                Address::V6 {
                    octets: *bytes,
                    // Linux takes addresses without it, as of RFC 2133.
                    scope: rest
                        .first_chunk::<4>()
                        .map_or(0, |bytes| u32::from_ne_bytes(*bytes)),
                }
            }
            _ => return None,
        };
        Some(Self {
            address,
            port: u16::from_be_bytes(*port),
        })
    }

    /// The interface whose link this address is of, if it is of one: a `bind` to it binds the
    /// socket to that interface (`inet6_bind` in `net/ipv6/af_inet6.c`).
    pub(crate) fn link(self) -> Option<u32> {
        match self.address {
            Address::V6 {
                octets: [0xfe, 0x80..=0xbf, ..],
                scope: scope @ 1..,
            } => Some(scope),
            _ => None,
        }
    }

    /// The bytes of its `sockaddr_in` or `sockaddr_in6`, and how many of them there are.
    #[must_use]
    pub fn encode(self) -> ([u8; LONGEST], usize) {
        let mut bytes = [0; LONGEST];
        put(&mut bytes, 2, self.port.to_be_bytes());
        match self.address {
            Address::V4(address) => {
                put(&mut bytes, 0, AF_INET.to_ne_bytes());
                put(&mut bytes, 4, address);
                (bytes, 16)
            }
            Address::V6 { octets, scope } => {
                put(&mut bytes, 0, AF_INET6.to_ne_bytes());
                put(&mut bytes, 8, octets);
                put(&mut bytes, 24, scope.to_ne_bytes());
                (bytes, LONGEST)
            }
        }
    }

    /// The address of the port's guard, which no program binds (see `guard.rs`).
    pub(crate) fn guard(self) -> Self {
        self.reserved(0)
    }

    /// The address at which it is tried whether a wildcard address is in use.
    pub(crate) fn beside_guard(self) -> Self {
        self.reserved(1)
    }

    /// Whether it is one of these two, of either family.
    pub(crate) fn is_reserved(self) -> bool {
        self == self.guard() || self == self.beside_guard()
    }

    /// Of the same family, and of the loopback network or the block for discarding (RFC 6666).
    // In one place of the library, not in six.
    #[inline(never)]
    fn reserved(self, number: u8) -> Self {
        let last = 66_u8.saturating_add(number);
        let address = if self.is_v4() {
            Address::V4([127, 76, 73, last])
        } else {
            Address::V6 {
                octets: [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 76, 73, 0, last],
                scope: 0,
            }
        };
        Self { address, ..self }
    }

    /// Whether it is an IPv4 address, or is mapped to one.
    pub(crate) fn is_v4(self) -> bool {
        self.address.as_v4().is_some()
    }

    /// Whether a socket that is bound to `other`, to IPv6 alone if not `other_dual_stack`, keeps
    /// every other socket from being bound here (`ipv6_rcv_saddr_equal` in
    /// `net/ipv4/inet_connection_sock.c`). `dual_stack` is whether the socket that is to be bound
    /// here takes IPv4 as well; false for either where it is not known.
    pub(crate) fn surely_conflicts_with(
        self,
        dual_stack: bool,
        other: Self,
        other_dual_stack: bool,
    ) -> bool {
        const ANY: [u8; 4] = [0; 4];
        if self.port != other.port {
            return false;
        }
        match (self.address.as_v4(), other.address.as_v4()) {
            (Some(ours), Some(theirs)) => ours == theirs || ours == ANY || theirs == ANY,
            (Some(_), None) => other.address.is_any() && other_dual_stack,
            (None, Some(_)) => self.address.is_any() && dual_stack,
            (None, None) => {
                self.address.is_any()
                    || other.address.is_any()
                    || self.address.octets() == other.address.octets()
            }
        }
    }
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Self {
        Self {
            address: match address.ip() {
                IpAddr::V4(address) => Address::V4(address.octets()),
                IpAddr::V6(address) => Address::V6 {
                    octets: address.octets(),
                    scope: 0,
                },
            },
            port: address.port(),
        }
    }
}

impl From<Endpoint> for SocketAddr {
    fn from(endpoint: Endpoint) -> Self {
        match endpoint.address {
            Address::V4(bytes) => Self::new(bytes.into(), endpoint.port),
            Address::V6 { octets, scope } => {
                SocketAddrV6::new(octets.into(), endpoint.port, 0, scope).into()
            }
        }
    }
}

impl Address {
    /// The IPv4 address that it is, or is mapped to (RFC 4291 section 2.5.5.2).
    fn as_v4(self) -> Option<[u8; 4]> {
        match self {
            Self::V4(bytes) => Some(bytes),
            Self::V6 {
                octets: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, last @ ..],
                ..
            } => Some(last),
            Self::V6 { .. } => None,
        }
    }

    fn octets(self) -> Option<[u8; 16]> {
        match self {
            Self::V4(_) => None,
            Self::V6 { octets, .. } => Some(octets),
        }
    }

    fn is_any(self) -> bool {
        match self {
            Self::V4(bytes) => bytes == [0; 4],
            Self::V6 { octets, .. } => octets == [0; 16],
        }
    }
}

/// Writes a field of one of the kernel's structures to its place, where there is room for it.
#[inline(always)]
pub(crate) fn put<const SIZE: usize>(bytes: &mut [u8], start: usize, field: [u8; SIZE]) {
    let place = bytes.get_mut(start..).and_then(<[u8]>::first_chunk_mut);
    if let Some(place) = place {
        *place = field;
    }
}

impl fmt::Display for Endpoint {
    /// `127.0.0.1:49200`; `[::1]:49200` after RFC 5952 section 6; `[::ffff:127.0.0.1]:49200` after
    /// its section 5; and `[fe80::1%2]:49200` after RFC 4007 section 11.
    ///
    /// Not by way of `core::net`, whose `Display` holds an `unwrap`, nor of the integers', which
    /// holds a slice index: both would leave a panic path in the shim.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            Address::V4(bytes) => write_v4(f, bytes)?,
            Address::V6 { octets, scope } => {
                f.write_char('[')?;
                if let Some(bytes) = self.address.as_v4() {
                    f.write_str("::ffff:")?;
                    write_v4(f, bytes)?;
                } else {
                    write_v6(f, octets)?;
                }
                if scope != 0 {
                    f.write_char('%')?;
                    Decimal(scope).fmt(f)?;
                }
                f.write_char(']')?;
            }
        }
        f.write_char(':')?;
        Decimal(self.port.into()).fmt(f)
    }
}

fn write_v4(f: &mut fmt::Formatter<'_>, bytes: [u8; 4]) -> fmt::Result {
    for (position, byte) in bytes.into_iter().enumerate() {
        f.write_str(if position == 0 { "" } else { "." })?;
        fmt::Display::fmt(&Decimal(byte.into()), f)?;
    }
    Ok(())
}

/// Writes the groups in hexadecimal, the longest run of two or more zeroes as `::` (RFC 5952
/// section 4).
fn write_v6(f: &mut fmt::Formatter<'_>, octets: [u8; 16]) -> fmt::Result {
    let groups = || {
        let pairs = octets.chunks_exact(2).filter_map(<[u8]>::first_chunk);
        pairs.map(|&pair| u16::from_be_bytes(pair)).enumerate()
    };
    let (mut start, mut length) = (0_usize, 1_usize);
    let mut run = 0_usize;
    for (position, group) in groups() {
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
    for (position, group) in groups() {
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

/// The port of a socket's address, of which these are the first bytes; `None` if it is neither IPv4
/// nor IPv6.
#[must_use]
#[inline(always)]
pub fn port([first, second, high, low]: [u8; 4]) -> Option<u16> {
    let family = u16::from_ne_bytes([first, second]);
    matches!(family, AF_INET | AF_INET6).then(|| u16::from_be_bytes([high, low]))
}

/// A number in decimal, without the panic path that the integers' own `Display` has.
#[derive(Clone, Copy)]
pub struct Decimal(pub u32);

impl Decimal {
    /// Its digits, in ASCII.
    pub fn digits(self) -> impl Iterator<Item = u8> {
        let mut digits = [0; 10];
        let mut rest = self.0;
        for digit in digits.iter_mut().rev() {
            *digit = b'0'.wrapping_add((rest % 10).to_le_bytes()[0]);
            rest /= 10;
        }
        let last = digits.len().saturating_sub(1);
        digits
            .into_iter()
            .enumerate()
            .skip_while(move |&(place, digit)| digit == b'0' && place < last)
            .map(|(_, digit)| digit)
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.digits()
            .try_for_each(|digit| f.write_char(char::from(digit)))
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
            &[0; 4],
        ]
        .concat()
    }

    /// The same of the interface with this number.
    fn scoped(address: &str, scope: u32) -> Vec<u8> {
        let mut bytes = v6(address);
        bytes[24..].copy_from_slice(&scope.to_ne_bytes());
        bytes
    }

    #[test]
    fn decodes_and_writes_addresses() {
        for (bytes, expected) in [
            (v4(AF_INET), "127.0.0.1:49200"),
            (v4(AF_UNSPEC), "127.0.0.1:49200"),
            (v6("::"), "[::]:8080"),
            (v6("::ffff:127.0.0.1"), "[::ffff:127.0.0.1]:8080"),
            (v6("::fffe:7f00:1"), "[::fffe:7f00:1]:8080"),
            (scoped("fe80::1", 2), "[fe80::1%2]:8080"),
            (v6("fe80::1")[..24].to_vec(), "[fe80::1]:8080"),
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

    /// Measured of the kernel by `tests/spec/wait.rs`; here is what may be concluded from addresses
    /// alone.
    #[test]
    fn knows_what_is_surely_in_the_way() {
        for (ours, dual_stack, theirs, their_dual_stack, expected) in [
            ("127.0.0.1", false, "127.0.0.1", false, true),
            ("127.0.0.1", false, "127.0.0.2", false, false),
            ("127.0.0.1", false, "0.0.0.0", false, true),
            ("0.0.0.0", false, "127.0.0.1", false, true),
            ("127.0.0.1", false, "::", true, true),
            ("127.0.0.1", false, "::", false, false),
            ("127.0.0.1", false, "::1", false, false),
            ("0.0.0.0", false, "::1", true, false),
            ("127.0.0.1", false, "::ffff:127.0.0.1", true, true),
            ("::ffff:127.0.0.1", true, "127.0.0.1", false, true),
            ("::ffff:127.0.0.1", true, "127.0.0.2", false, false),
            ("::", false, "::1", true, true),
            ("::1", true, "::", false, true),
            ("::1", true, "::1", false, true),
            ("::1", true, "::2", true, false),
            ("::", true, "127.0.0.1", false, true),
            ("::", false, "127.0.0.1", false, false),
            ("::1", true, "127.0.0.1", false, false),
            ("fe80::1", true, "fe80::1", true, true),
            ("fe80::1", true, "fe80::2", true, false),
        ] {
            let endpoint = |address: &str| {
                let address: IpAddr = address.parse().expect("an address");
                Endpoint::from(SocketAddr::new(address, 80))
            };
            let (ours, theirs) = (endpoint(ours), endpoint(theirs));
            assert_eq!(
                ours.surely_conflicts_with(dual_stack, theirs, their_dual_stack),
                expected,
                "{ours} {dual_stack} {theirs} {their_dual_stack}"
            );
            let elsewhere = Endpoint { port: 81, ..theirs };
            assert!(!ours.surely_conflicts_with(dual_stack, elsewhere, their_dual_stack));
        }
    }

    #[test]
    fn knows_the_interface_of_a_link_local_address() {
        for (bytes, expected) in [
            (scoped("fe80::1", 2), Some(2)),
            (scoped("febf::1", 2), Some(2)),
            (v6("fe80::1"), None),
            // Linux does not look at it there.
            (scoped("::1", 2), None),
            (scoped("fec0::1", 2), None),
            (v4(AF_INET), None),
        ] {
            let endpoint = Endpoint::decode(&bytes).expect("an endpoint");
            assert_eq!(endpoint.link(), expected, "{endpoint}");
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
