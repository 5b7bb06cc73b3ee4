//! The running digest of all handshake messages (RFC 5246 §7.4.9, RFC 6347 §4.2.6).

use hedgerow_core::{CryptoProvider, SHA256_LEN, Sha256, Writer};
use hedgerow_record::{HANDSHAKE_HEADER_LEN, HandshakeType, encode_handshake_header};

use crate::incoming::Message;

/// The digest of the messages so far, each as if it had never been fragmented.
pub(crate) struct Transcript<P: CryptoProvider>(P::Sha256);

impl<P: CryptoProvider> Transcript<P> {
    /// Starts before the first message that counts: the ClientHello that the server goes on with.
    pub(crate) fn new(provider: &P) -> Self {
        Self(provider.sha256())
    }

    /// Takes in a message.
    pub(crate) fn add(&mut self, msg_type: HandshakeType, message_seq: u16, body: &[u8]) {
        let mut header = [0; HANDSHAKE_HEADER_LEN];
        let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
        // MUST (RFC 6347 §4.2.6): message_seq and the fragment fields count, as if the message
        // were whole. A body is bounded by a record's length, so the header always encodes.
        let encoded = encode_handshake_header(
            msg_type,
            length,
            message_seq,
            0,
            length,
            &mut Writer::new(&mut header),
        );
        debug_assert!(encoded.is_ok());
        self.0.update(&header);
        self.0.update(body);
    }

    /// Takes in a message that was received.
    pub(crate) fn add_message(&mut self, message: &Message<'_>) {
        self.add(message.msg_type, message.message_seq, message.body);
    }

    /// Returns the digest of the messages so far.
    pub(crate) fn hash(&self) -> [u8; SHA256_LEN] {
        self.0.clone().finish()
    }
}
