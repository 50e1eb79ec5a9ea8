//! What is sent and what is understood, byte for byte.

use super::*;
use std::prelude::rust_2024::*;
use std::vec;

const OURS: [u8; 16] = [127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// A socket as the kernel reports it: family, state, port, address, interface, attributes.
fn socket(
    family: u8,
    state: u8,
    port: u16,
    host: &[u8],
    interface: u32,
    attributes: &[u8],
) -> Vec<u8> {
    let mut socket = vec![0; SOCKET];
    socket[0] = family;
    socket[1] = state;
    socket[4..6].copy_from_slice(&port.to_be_bytes());
    socket[8..8 + host.len()].copy_from_slice(host);
    socket[40..44].copy_from_slice(&interface.to_ne_bytes());
    socket.extend_from_slice(attributes);
    message(SOCK_DIAG_BY_FAMILY, &socket)
}

fn listener(family: u8, port: u16, host: &[u8], interface: u32, attributes: &[u8]) -> Vec<u8> {
    socket(family, LISTEN, port, host, interface, attributes)
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

fn wanted(address: &str) -> BindAddress {
    BindAddress {
        address: Endpoint::from(address.parse::<SocketAddr>().expect("an address")),
        dual_stack: false,
        interface: Some(0),
        listeners_only: false,
    }
}

fn is_held(wanted: &BindAddress, messages: &[u8]) -> bool {
    Messages::of(messages)
        .any(|message| matches!(message, Message::Socket(socket) if wanted.is_held_by(&socket)))
}

#[test]
fn finds_the_socket_that_is_in_the_way() {
    let ours = wanted("127.0.0.1:80");
    let on = |interface| BindAddress { interface, ..ours };
    let shutdown = attribute(8, 0);
    let v6only = |value| [shutdown.clone(), attribute(INET_DIAG_SKV6ONLY, value)].concat();
    let at = |interface| listener(AF_INET, 80, &OURS[..4], interface, &shutdown);
    for (wanted, messages, expected) in [
        (ours, vec![], false),
        (ours, message(NLMSG_DONE, &[0; 4]), false),
        (ours, at(0), true),
        (ours, listener(AF_INET, 80, &[0; 4], 0, &[]), true),
        (ours, listener(AF_INET, 81, &OURS[..4], 0, &[]), false),
        (ours, socket(AF_INET, BOUND, 80, &OURS[..4], 0, &[]), true),
        (ours, socket(AF_INET, CLOSE, 80, &OURS[..4], 0, &[]), true),
        // ESTABLISHED, TIME_WAIT
        (ours, socket(AF_INET, 1, 80, &OURS[..4], 0, &[]), false),
        (ours, socket(AF_INET, 6, 80, &OURS[..4], 0, &[]), false),
        (ours, listener(AF_INET6, 80, &[0; 16], 0, &v6only(0)), true),
        (ours, listener(AF_INET6, 80, &[0; 16], 0, &v6only(1)), false),
        // Nothing is known of it, so nothing is concluded.
        (ours, listener(AF_INET6, 80, &[0; 16], 0, &shutdown), false),
        (
            ours,
            [
                listener(AF_INET, 80, &[127, 0, 0, 2], 0, &shutdown),
                listener(AF_INET, 80, &[0; 4], 0, &shutdown),
            ]
            .concat(),
            true,
        ),
        // Interfaces: none meets all.
        (ours, at(2), true),
        (on(Some(2)), at(0), true),
        (on(Some(2)), at(2), true),
        (on(Some(2)), at(3), false),
        (on(None), at(0), true),
        (on(None), at(2), false),
    ] {
        assert_eq!(
            is_held(&wanted, &messages),
            expected,
            "{wanted:?} {messages:?}"
        );
    }
}

#[test]
fn tells_the_links_of_two_interfaces_apart() {
    let local: [u8; 16] = core::array::from_fn(|byte| match byte {
        0 => 0xfe,
        1 => 0x80,
        15 => 1,
        _ => 0,
    });
    let mut bytes = [
        &10_u16.to_ne_bytes()[..],
        &80_u16.to_be_bytes(),
        &[0; 4],
        &local,
    ]
    .concat();
    bytes.extend_from_slice(&2_u32.to_ne_bytes());
    let ours = BindAddress {
        address: Endpoint::decode(&bytes).expect("an address"),
        dual_stack: true,
        // Before the bind it is bound to none.
        interface: Some(0),
        listeners_only: false,
    };
    for (interface, expected) in [(2, true), (3, false)] {
        let theirs = listener(AF_INET6, 80, &local, interface, &[]);
        assert_eq!(is_held(&ours, &theirs), expected, "{interface}");
    }
}

#[test]
fn reads_what_the_kernel_reports() {
    let mut bytes = socket(AF_INET, 6, 80, &[127, 0, 0, 1], 7, &[]);
    bytes[HEADER + 2] = 3;
    bytes[HEADER + 6..HEADER + 8].copy_from_slice(&1234_u16.to_be_bytes());
    bytes[HEADER + 24..HEADER + 28].copy_from_slice(&[127, 0, 0, 2]);
    bytes[HEADER + 44..HEADER + 52].copy_from_slice(&[9; 8]);
    for (place, number) in [(52, 59_976_u32), (64, 1000), (68, 4242)] {
        bytes[HEADER + place..HEADER + place + 4].copy_from_slice(&number.to_ne_bytes());
    }
    let Some(Message::Socket(socket)) = Messages::of(&bytes).next() else {
        std::panic!("a socket");
    };
    assert_eq!(socket.local().to_string(), "127.0.0.1:80");
    assert_eq!(socket.peer().to_string(), "127.0.0.2:1234");
    assert_eq!(
        (socket.state, socket.timer, socket.expires_ms),
        (6, 3, 59_976)
    );
    assert_eq!(
        (socket.uid, socket.inode, socket.interface()),
        (1000, 4242, 7)
    );
    assert_eq!(
        (socket.cookie(), socket.v6only, socket.is_v6()),
        ([9; 8], None, false)
    );

    let request = Request::destroy(&socket, true).encode();
    assert_eq!(
        request[4..8],
        [21_u16.to_ne_bytes(), 5_u16.to_ne_bytes()].concat()
    );
    assert_eq!(request[24..], bytes[HEADER + 4..HEADER + 52]);
}

#[test]
fn tells_an_end_from_an_error() {
    for (kind, code, expected) in [
        (NLMSG_DONE, 0, 0),
        (NLMSG_DONE, -22, 22),
        (NLMSG_ERROR, 0, 0),
        (NLMSG_ERROR, -2, 2),
        (NLMSG_ERROR, i32::MIN, i32::MAX),
    ] {
        let bytes = message(kind, &i32::to_ne_bytes(code));
        let messages: Vec<_> = Messages::of(&bytes).collect();
        assert_eq!(messages, [Message::End(expected)], "{kind} {code}");
    }
}

#[test]
fn bears_answers_that_are_cut_off_or_nonsense() {
    let ours = wanted("127.0.0.1:80");
    let whole = listener(AF_INET6, 80, &[0; 16], 0, &attribute(INET_DIAG_SKV6ONLY, 0));
    for length in 0..whole.len() {
        assert!(!is_held(&ours, &whole[..length]), "{length}");
        let mut messages = Messages::of(&whole[..length]);
        assert_eq!(messages.next(), None);
        assert_eq!(messages.rest().len(), length);
    }
    for byte in 0..=u8::MAX {
        assert!(!is_held(&ours, &[byte; 1024]), "{byte}");
    }
    // An attribute that claims to be of no length.
    let endless = listener(AF_INET6, 80, &[0; 16], 0, &[0; 64]);
    assert!(!is_held(&ours, &endless));
    assert_eq!(Messages::of(&endless).count(), 1);
}

#[test]
fn asks_for_the_sockets_on_a_port() {
    let request = wanted("127.0.0.1:4660").request();
    assert_eq!(request[..4], 76_u32.to_ne_bytes());
    assert_eq!(
        request[4..8],
        [18_u16.to_ne_bytes(), 0x301_u16.to_ne_bytes()].concat()
    );
    assert_eq!(request[20..22], [0x12, 0x34]);
    assert_eq!(request[68..72], 0x2400_u32.to_ne_bytes());
    let udp = Request::dump(AF_INET6, 0x2400)
        .on_port(4660)
        .of_udp()
        .encode();
    assert_eq!(udp[..4], 72_u32.to_ne_bytes());
    assert_eq!(
        udp[4..8],
        [20_u16.to_ne_bytes(), 0x301_u16.to_ne_bytes()].concat()
    );
    assert_eq!(udp[16..18], [AF_INET6, UDP]);
    assert_eq!(udp[20..24], 0x2400_u32.to_ne_bytes());
    assert_eq!(udp[24..26], [0x12, 0x34]);
}
