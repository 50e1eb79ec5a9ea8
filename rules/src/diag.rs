//! What is asked of `sock_diag(7)`, and what it answers: whether a live listener has an address. Pure: who carries the bytes
//! to the kernel and back is not told here.

use crate::endpoint::Endpoint;

/// The size of a request.
pub const REQUEST: usize = 76;

/// As much as an answer need have room for: what is cut off is not missed but where a port has a dozen listeners.
pub const ANSWER: usize = 1024;

/// A netlink message's header (`struct nlmsghdr` in `include/uapi/linux/netlink.h`).
const HEADER: usize = 16;

/// `struct inet_diag_msg`, without its attributes (`include/uapi/linux/inet_diag.h`).
const SOCKET: usize = 72;

/// The older way to ask, which tells of IPv4 and of IPv6 in one answer.
const TCPDIAG_GETSOCK: u16 = 18;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_REQUEST_DUMP: u16 = 0x301;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const INET_DIAG_SKV6ONLY: u16 = 11;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const LISTEN: u8 = 10;

/// The request for all TCP listeners on a port: a netlink header and a `struct inet_diag_req`.
#[must_use]
pub fn listeners_on(port: u16) -> [u8; REQUEST] {
    let mut request = [0; REQUEST];
    let length = u32::try_from(REQUEST).unwrap_or(0).to_ne_bytes();
    let fields: [(usize, &[u8]); 5] = [
        (0, &length),
        (4, &TCPDIAG_GETSOCK.to_ne_bytes()),
        (6, &NLM_F_REQUEST_DUMP.to_ne_bytes()),
        // idiag_src_len and its like stay 0; idiag_sport is the first field of the id.
        (20, &port.to_be_bytes()),
        (68, &(1_u32 << LISTEN).to_ne_bytes()),
    ];
    for (start, bytes) in fields {
        for (place, byte) in request.iter_mut().skip(start).zip(bytes) {
            *place = *byte;
        }
    }
    request
}

/// What one answer says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Answer {
    /// A listener has the address.
    Found,
    /// It has none so far, and there is more to come.
    More,
    /// There is nothing more, or the kernel refuses.
    End,
}

/// Reads one answer. A listener that is not known for certain to be in the way of `address` counts for none.
#[must_use]
pub fn read(mut messages: &[u8], address: Endpoint) -> Answer {
    while let Some((length, kind)) = header(messages) {
        if matches!(kind, NLMSG_ERROR | NLMSG_DONE) || length < HEADER {
            return Answer::End;
        }
        let body = messages.get(HEADER..length);
        if matches!(kind, TCPDIAG_GETSOCK | SOCK_DIAG_BY_FAMILY)
            && body.is_some_and(|body| is_in_the_way(body, address))
        {
            return Answer::Found;
        }
        // Each message begins at a multiple of four.
        messages = messages
            .get(length.saturating_add(3) & !3..)
            .unwrap_or_default();
    }
    Answer::More
}

fn header(messages: &[u8]) -> Option<(usize, u16)> {
    let (length, rest) = messages.split_first_chunk::<4>()?;
    let (kind, _) = rest.split_first_chunk::<2>()?;
    let length = usize::try_from(u32::from_ne_bytes(*length)).ok()?;
    Some((length, u16::from_ne_bytes(*kind)))
}

/// Whether this socket is a listener for which no other can bind `address`.
fn is_in_the_way(socket: &[u8], address: Endpoint) -> bool {
    let Some((fields, attributes)) = socket.split_at_checked(SOCKET) else {
        return false;
    };
    let [family, state, _, _, rest @ ..] = fields else {
        return false;
    };
    let (Some(port), Some(host), Some(interface)) =
        (rest.first_chunk::<2>(), rest.get(4..20), rest.get(36..40))
    else {
        return false;
    };
    // One that is bound to an interface is in the way of some sockets alone.
    if *state != LISTEN || u16::from_be_bytes(*port) != address.port || interface != [0; 4] {
        return false;
    }
    let v6only = match *family {
        AF_INET6 => attribute(attributes, INET_DIAG_SKV6ONLY) != Some(0),
        _ => false,
    };
    let host = match (*family, host.first_chunk::<4>(), host.first_chunk::<16>()) {
        (AF_INET, Some(host), _) => Endpoint::v4(*host, address.port),
        (AF_INET6, _, Some(host)) => Endpoint::v6(*host, address.port),
        _ => return false,
    };
    address.surely_conflicts_with(host, v6only)
}

/// The value of an attribute of one byte.
fn attribute(mut attributes: &[u8], wanted: u16) -> Option<u8> {
    loop {
        let (length, rest) = attributes.split_first_chunk::<2>()?;
        let (kind, value) = rest.split_first_chunk::<2>()?;
        let length = usize::from(u16::from_ne_bytes(*length));
        if u16::from_ne_bytes(*kind) == wanted && length > 4 {
            return value.first().copied();
        }
        // An attribute is no shorter than its own header.
        attributes = attributes.get(length.max(4).saturating_add(3) & !3..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::prelude::rust_2024::*;
    use std::vec;

    /// A listener as the kernel tells of it: family, port, address, interface, attributes.
    fn listener(family: u8, port: u16, host: &[u8], interface: u32, attributes: &[u8]) -> Vec<u8> {
        let mut socket = vec![0; SOCKET];
        socket[0] = family;
        socket[1] = LISTEN;
        socket[4..6].copy_from_slice(&port.to_be_bytes());
        socket[8..8 + host.len()].copy_from_slice(host);
        socket[40..44].copy_from_slice(&interface.to_ne_bytes());
        socket.extend_from_slice(attributes);
        message(TCPDIAG_GETSOCK, &socket)
    }

    fn message(kind: u16, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(HEADER + body.len()).expect("short");
        let mut message = [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), &[0; 10]].concat();
        message.extend_from_slice(body);
        message.resize(message.len().next_multiple_of(4), 0);
        message
    }

    fn attribute(kind: u16, value: u8) -> Vec<u8> {
        [
            &5_u16.to_ne_bytes()[..],
            &kind.to_ne_bytes(),
            &[value, 0, 0, 0],
        ]
        .concat()
    }

    #[test]
    fn finds_the_listener_that_is_in_the_way() {
        let ours = Endpoint::v4([127, 0, 0, 1], 80);
        let shutdown = attribute(8, 0);
        let v6only = |value| [shutdown.clone(), attribute(INET_DIAG_SKV6ONLY, value)].concat();
        let done = message(NLMSG_DONE, &[0; 4]);
        for (messages, expected) in [
            (vec![], Answer::More),
            (done.clone(), Answer::End),
            (message(NLMSG_ERROR, &[0; 20]), Answer::End),
            (
                listener(AF_INET, 80, &[127, 0, 0, 1], 0, &shutdown),
                Answer::Found,
            ),
            (listener(AF_INET, 80, &[0; 4], 0, &[]), Answer::Found),
            (listener(AF_INET, 81, &[127, 0, 0, 1], 0, &[]), Answer::More),
            (listener(AF_INET, 80, &[127, 0, 0, 1], 2, &[]), Answer::More),
            (
                listener(AF_INET6, 80, &[0; 16], 0, &v6only(0)),
                Answer::Found,
            ),
            (
                listener(AF_INET6, 80, &[0; 16], 0, &v6only(1)),
                Answer::More,
            ),
            // Nothing is known of it, so nothing is concluded.
            (listener(AF_INET6, 80, &[0; 16], 0, &shutdown), Answer::More),
            (
                [
                    listener(AF_INET, 80, &[127, 0, 0, 2], 0, &shutdown),
                    done.clone(),
                ]
                .concat(),
                Answer::End,
            ),
            (
                [
                    listener(AF_INET, 80, &[127, 0, 0, 2], 0, &shutdown),
                    listener(AF_INET, 80, &[0; 4], 0, &shutdown),
                ]
                .concat(),
                Answer::Found,
            ),
        ] {
            assert_eq!(read(&messages, ours), expected, "{messages:?}");
        }
    }

    #[test]
    fn bears_answers_that_are_cut_off_or_nonsense() {
        let ours = Endpoint::v4([127, 0, 0, 1], 80);
        let whole = listener(AF_INET6, 80, &[0; 16], 0, &attribute(INET_DIAG_SKV6ONLY, 0));
        for length in 0..whole.len() {
            assert_ne!(read(&whole[..length], ours), Answer::Found, "{length}");
        }
        for byte in 0..=u8::MAX {
            assert_ne!(read(&[byte; ANSWER], ours), Answer::Found, "{byte}");
        }
        // An attribute that claims to be of no length.
        let endless = listener(AF_INET6, 80, &[0; 16], 0, &[0; 64]);
        assert_eq!(read(&endless, ours), Answer::More);
    }

    #[test]
    fn asks_for_the_listeners_on_a_port() {
        let request = listeners_on(0x1234);
        assert_eq!(request[..4], 76_u32.to_ne_bytes());
        assert_eq!(request[20..22], [0x12, 0x34]);
        assert_eq!(request[68..72], 0x400_u32.to_ne_bytes());
    }
}
