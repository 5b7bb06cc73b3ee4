//! What a role sends its messages through, whichever framing carries them.

use hedgerow_core::{Aead, CryptoProvider, EncodeError, Misuse, Writer};
use hedgerow_record::{HandshakeType, Protocol, TrafficKeys};

use crate::connection_ids::ConnectionIds;
use crate::record_limits::RecordLimits;
use crate::transcript::Transcript;

/// The way out of a handshake: DTLS's, which sends a flight until it is answered, or TLS's.
pub(crate) trait Outgoing<P: CryptoProvider> {
    /// Which protocol it is.
    const PROTOCOL: Protocol;

    /// What opens the peer's records under the new keys.
    type Opener;

    /// Forgets the flight before, which has been answered.
    fn start_flight(&mut self);

    /// Adds a message to the flight and to the transcript. Behind ChangeCipherSpec it is protected.
    fn push_message(
        &mut self,
        transcript: &mut Transcript<P>,
        msg_type: HandshakeType,
        body: impl FnOnce(&mut Writer<'_>) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError>;

    /// Takes the next number of this end's messages; always 0 where they have none.
    fn take_message_seq(&mut self) -> u16;

    /// Adds ChangeCipherSpec to the flight.
    fn push_change_cipher_spec(&mut self) -> Result<(), EncodeError>;

    /// The hellos have settled how long records may be: from here on those of the handshake, and under
    /// the keys that it makes.
    fn limit_records(&mut self, limits: RecordLimits);

    /// Takes the keys that this end seals with, and makes an opener of the others. Records carry
    /// `connection_ids` from there on.
    fn set_keys(
        &mut self,
        keys: ConnectionKeys<P::Aead>,
        connection_ids: &ConnectionIds,
    ) -> Self::Opener;

    /// The peer's answer to the flight has begun to arrive.
    fn stop_retransmission(&mut self);
}

/// What one end seals with and what it opens with.
pub(crate) struct ConnectionKeys<A> {
    pub(crate) write: TrafficKeys<A>,
    pub(crate) read: TrafficKeys<A>,
}

impl<A: Aead> ConnectionKeys<A> {
    /// Binds both directions to what was agreed on.
    pub(crate) fn limited(self, limits: &RecordLimits) -> Self {
        Self {
            write: self.write.with_limit(limits.write),
            read: self.read.with_limit(limits.read),
        }
    }
}

/// The fields of a hello are made here and fit; what can fail is the room for them.
pub(crate) fn not_encodable(error: hedgerow_record::Error) -> EncodeError {
    match error {
        hedgerow_record::Error::Encode(error) => error,
        _ => EncodeError::TooLong { len: 0, max: 0 },
    }
}

/// A caller's buffer was too small for what is written.
pub(crate) const fn too_small(error: EncodeError) -> Misuse {
    let (needed, available) = match error {
        EncodeError::BufferTooSmall { needed, available } => (needed, available),
        EncodeError::TooLong { len, max } => (len, max),
        _ => (0, 0),
    };
    Misuse::BufferTooSmall { needed, available }
}
