//! The running digest of all handshake messages (RFC 5246 §7.4.9, RFC 6347 §4.2.6).

use hedgerow_core::{CryptoProvider, SHA256_LEN, Sha256, Writer};
use hedgerow_record::{
    HANDSHAKE_HEADER_LEN, HandshakeType, Protocol, encode_handshake_header,
    encode_tls_handshake_header,
};

use crate::message::Message;

/// The digest of the messages so far, each as if it had never been fragmented.
pub(crate) struct Transcript<P: CryptoProvider> {
    digest: P::Sha256,
    protocol: Protocol,
}

impl<P: CryptoProvider> Transcript<P> {
    /// Starts before the first message that counts: in DTLS the ClientHello that the server goes on
    /// with.
    pub(crate) fn new(provider: &P, protocol: Protocol) -> Self {
        Self {
            digest: provider.sha256(),
            protocol,
        }
    }

    /// Takes in a message.
    pub(crate) fn add(&mut self, msg_type: HandshakeType, message_seq: u16, body: &[u8]) {
        let mut header = [0; HANDSHAKE_HEADER_LEN];
        let mut writer = Writer::new(&mut header);
        let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
        // A body is bounded by the buffers, so the header always encodes.
        let encoded = match self.protocol {
            // MUST (RFC 6347 §4.2.6): message_seq and the fragment fields count, as if the message
            // were whole.
            Protocol::Dtls => {
                encode_handshake_header(msg_type, length, message_seq, 0, length, &mut writer)
            }
            Protocol::Tls => encode_tls_handshake_header(msg_type, length, &mut writer),
        };
        debug_assert!(encoded.is_ok());
        self.digest.update(writer.written());
        self.digest.update(body);
    }

    /// Takes in a message that was received.
    pub(crate) fn add_message(&mut self, message: &Message<'_>) {
        self.add(message.msg_type, message.message_seq, message.body);
    }

    /// Returns the digest of the messages so far.
    pub(crate) fn hash(&self) -> [u8; SHA256_LEN] {
        self.digest.clone().finish()
    }
}
