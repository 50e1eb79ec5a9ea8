//! Carries the messages of sock_diag(7) to the kernel and back, by a netlink socket (netlink(7)).

use libreuse_rules::diag::{Message, Messages, Socket};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with,
};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The kernel makes no datagram larger than 32 KiB (`netlink_recvmsg` in
/// `net/netlink/af_netlink.c`).
const DATAGRAM: usize = 1 << 16;

/// A socket to the kernel, of our own network namespace.
pub(super) struct Netlink {
    socket: OwnedFd,
    buffer: Vec<u8>,
}

impl Netlink {
    pub(super) fn open() -> io::Result<Self> {
        let socket = socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            Some(netlink::SOCK_DIAG),
        )?;
        Ok(Self {
            socket,
            buffer: vec![0; DATAGRAM],
        })
    }

    /// Sends requests, whole, one after the other.
    pub(super) fn send(&self, requests: &[u8]) -> io::Result<()> {
        send(&self.socket, requests, SendFlags::empty())?;
        Ok(())
    }

    /// Hands on every message of the next datagram.
    pub(super) fn receive(&mut self, take: impl FnMut(Message)) -> io::Result<()> {
        self.receive_with(RecvFlags::empty(), take)
    }

    /// Hands on every message that is there already. The kernel has dealt with a request when
    /// `send` returns, and what it could not answer for want of room is lost.
    pub(super) fn receive_what_is_there(
        &mut self,
        mut take: impl FnMut(Message),
    ) -> io::Result<()> {
        loop {
            match self.receive_with(RecvFlags::DONTWAIT, &mut take) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {}
                result => result?,
            }
        }
    }

    fn receive_with(&mut self, flags: RecvFlags, take: impl FnMut(Message)) -> io::Result<()> {
        let (length, _) = loop {
            match recv(&self.socket, self.buffer.as_mut_slice(), flags) {
                Err(Errno::INTR) => {}
                result => break result?,
            }
        };
        Messages::of(&self.buffer[..length]).for_each(take);
        Ok(())
    }

    /// Hands on every socket that answers a request.
    ///
    /// # Errors
    ///
    /// `NotFound` if nobody in the kernel can answer for this family or protocol
    /// (`net/core/sock_diag.c`, `net/ipv4/inet_diag.c`).
    pub(super) fn ask(&mut self, request: &[u8], mut take: impl FnMut(Socket)) -> io::Result<()> {
        self.send(request)?;
        let mut end = None;
        while end.is_none() {
            self.receive(|message| match message {
                Message::Socket(socket) => take(socket),
                Message::End(error) => end = Some(error),
            })?;
        }
        match end {
            Some(error) if error != 0 => Err(io::Error::from_raw_os_error(error)),
            _ => Ok(()),
        }
    }
}

impl AsFd for Netlink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use libreuse_rules::diag::{FAMILIES, Request};
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    /// Reads the answer to the request up to its end.
    fn answer(request: Request) -> io::Result<()> {
        let (give, take) = mpsc::channel();
        thread::spawn(move || {
            let answer =
                Netlink::open().and_then(|mut netlink| netlink.ask(&request.encode(), |_| ()));
            give.send(answer)
        });
        take.recv_timeout(Duration::from_secs(30))
            .expect("an answer")
    }

    #[test]
    fn tells_a_refusal_from_an_empty_table() {
        let [v4, _] = FAMILIES;
        answer(Request::dump(v4, u32::MAX)).expect("a table");

        let no_family = answer(Request::dump(u8::MAX, u32::MAX)).expect_err("a refusal");
        assert_eq!(no_family.raw_os_error(), Some(libc::EINVAL));

        let of_no_protocol = Request::dump(v4, u32::MAX).of_protocol(u8::MAX);
        let no_protocol = answer(of_no_protocol).expect_err("a refusal");
        assert_eq!(no_protocol.raw_os_error(), Some(libc::ENOENT));
    }
}
