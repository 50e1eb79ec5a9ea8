//! calls

/// A TCP state, as far as the rules tell them apart.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum State {
    /// Neither listening nor connected.
    Close,
    /// Waiting for connections.
    Listen,
    /// SYN sent and not answered yet.
    Connecting,
    /// This side may be the one to close first.
    Connected,
    /// The peer closed first.
    PeerClosed,
}
