//! What moves a node's datagrams: a socket, or a link to one peer.

use std::io;

use crate::RequestFailure;
use crate::link::{CarrierFailure, DatagramLink, LinkInput, LinkRefusal};
use crate::path::{Path, Remote};
use crate::socket::{NodeSocket, ReceiveBuffers, is_too_long};

/// The driver's way out. A socket reaches every address, a link one peer that is behind something
/// else.
pub(crate) enum Carrier {
    Socket(NodeSocket),
    Link(DatagramLink),
}

/// What was received.
pub(crate) enum Received {
    /// Datagrams stand in the buffers.
    Batch,
    /// One datagram of the peer behind a link.
    Linked(Vec<u8>),
    /// A datagram of so many bytes was longer than goes from the link's other end.
    Refused(usize),
}

/// Why nothing was received.
pub(crate) enum ReceiveError {
    /// The system's word, perhaps about an earlier datagram.
    Socket(io::Error),
    /// Nothing will come any more.
    Ended(CarrierFailure),
}

/// What became of a datagram, as far as this system knows.
pub(crate) enum Sent {
    /// It left.
    Away,
    /// It was lost like one on its way.
    Lost(SendError),
    /// It is longer than goes at once, and the layers above are to know.
    TooLong(SendError),
}

/// Why a datagram didn't leave, for the log.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    #[error(transparent)]
    Socket(#[from] io::Error),
    #[error(transparent)]
    Link(#[from] LinkRefusal),
}

impl Carrier {
    /// Says whether something can be sent there.
    pub(crate) fn check(&self, remote: Remote) -> Result<(), RequestFailure> {
        match (self, remote) {
            (Self::Socket(socket), Remote::At(address)) if !socket.can_reach(address) => {
                Err(RequestFailure::UnusableAddress { address })
            }
            (Self::Link(link), Remote::Linked) => link.check().map_err(RequestFailure::Carrier),
            _ => Ok(()),
        }
    }

    /// Waits for datagrams, at least one. Cancelling loses none.
    pub(crate) async fn receive(
        &mut self,
        buffers: &mut ReceiveBuffers,
    ) -> Result<Received, ReceiveError> {
        match self {
            Self::Socket(socket) => match socket.receive(buffers).await {
                Ok(()) => Ok(Received::Batch),
                Err(error) => Err(ReceiveError::Socket(error)),
            },
            Self::Link(link) => match link.receive().await {
                Ok(LinkInput::Datagram(datagram)) => Ok(Received::Linked(datagram)),
                Ok(LinkInput::Refused(len)) => Ok(Received::Refused(len)),
                Err(failure) => Err(ReceiveError::Ended(failure)),
            },
        }
    }

    /// Sends a datagram. An error is the same as a datagram lost on its way: whatever an ICMP message
    /// says, anybody can have sent it. One thing is the system's own word, or the link's: that the
    /// datagram is longer than goes at once.
    pub(crate) async fn send(&self, path: &Path, datagram: &[u8]) -> Sent {
        match self {
            Self::Socket(socket) => match socket.send(path, datagram).await {
                Ok(()) => Sent::Away,
                // quinn-udp has IP not fragment it.
                Err(error) if is_too_long(&error) => Sent::TooLong(error.into()),
                Err(error) => Sent::Lost(error.into()),
            },
            Self::Link(link) => match link.send(datagram) {
                Ok(()) => Sent::Away,
                Err(refusal @ LinkRefusal::TooLong { .. }) => Sent::TooLong(refusal.into()),
                Err(refusal) => Sent::Lost(refusal.into()),
            },
        }
    }
}
