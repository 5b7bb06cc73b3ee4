//! A handshake message whose turn has come, from whichever framing.

use hedgerow_record::HandshakeType;

/// A whole message whose turn has come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Message<'a> {
    pub(crate) msg_type: HandshakeType,
    /// The message's number in its sender's handshake; always 0 in TLS, which has none.
    pub(crate) message_seq: u16,
    pub(crate) body: &'a [u8],
}
