//! The light outer layer: datagrams beside the records of an outer session, authentic and not encrypted
//! a second time.

use core::fmt;

use hedgerow_core::{
    Aead, AeadAlgorithm, ChannelError, CryptoProvider, DropReason, Limit, Misuse, Reader, Secret,
    Writer,
};

use crate::hello::{is_initiator_hello, is_responder_hello};
use crate::number::{NumberedKey, number_len, read_number, write_number};
use crate::replay_window::ReplayWindow;
use crate::routing_header::RoutingHeader;
use crate::suite::{MAX_MESSAGES, REKEY_MESSAGES, Suite};

/// The exporter's label for the keys of a [`LightLayer`], without context.
pub const LIGHT_LAYER_LABEL: &[u8] = b"EXPORTER-hedgerow-itls-light";

/// How many bytes the exporter has to give for [`LIGHT_LAYER_LABEL`].
pub const LIGHT_LAYER_MATERIAL_LEN: usize = 2 * (KEY_LEN + IV_LEN);

/// Which side of the outer DTLS session this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OuterRole {
    /// It sent the ClientHello.
    Client,
    /// It answered it.
    Server,
}

/// One side of one hop: seals and opens the datagrams of all its light flows.
pub struct LightLayer<A> {
    own: NumberedKey<A>,
    next: u64,
    peers: NumberedKey<A>,
    window: ReplayWindow,
    forgeries: u64,
}

impl<A: Aead> LightLayer<A> {
    /// Makes the keys from what the outer session's exporter gave.
    ///
    /// # Errors
    ///
    /// [`Misuse::NotOffered`] if the provider lacks AES-128-CCM_8.
    pub fn new<P: CryptoProvider<Aead = A>>(
        provider: &P,
        material: &Secret<LIGHT_LAYER_MATERIAL_LEN>,
        role: OuterRole,
    ) -> Result<Self, Misuse> {
        let keys = || {
            let mut reader = Reader::new(material.expose());
            let client = reader.take(KEY_LEN).ok()?;
            let server = reader.take(KEY_LEN).ok()?;
            let client_iv = reader.take(IV_LEN).ok()?;
            let server_iv = reader.take(IV_LEN).ok()?;
            let key = |key, iv| NumberedKey::new(provider, ALGORITHM, key, iv).ok();
            Some((key(client, client_iv)?, key(server, server_iv)?))
        };
        let (client, server) = keys().ok_or(Misuse::NotOffered)?;
        let (own, peers) = match role {
            OuterRole::Client => (client, server),
            OuterRole::Server => (server, client),
        };
        Ok(Self {
            own,
            next: 0,
            peers,
            window: ReplayWindow::default(),
            forgeries: 0,
        })
    }

    /// Writes a datagram with an inner message of `flow` at the front of `out`, and returns its length.
    ///
    /// # Errors
    ///
    /// [`Misuse::NotEstablished`] for a hello, which travels in a record;
    /// [`Misuse::BufferTooSmall`], [`Limit::KeyUsedUp`].
    pub fn seal(
        &mut self,
        flow: u16,
        message: &[u8],
        out: &mut [u8],
    ) -> Result<usize, ChannelError> {
        if !is_protected(message) {
            return Err(Misuse::NotEstablished.into());
        }
        if self.next >= MAX_MESSAGES {
            return Err(Limit::KeyUsedUp { max: MAX_MESSAGES }.into());
        }
        let available = out.len();
        let needed = message.len().saturating_add(self.overhead(flow));
        let too_small = Misuse::BufferTooSmall { needed, available };
        let out = out.get_mut(..needed).ok_or(too_small)?;
        let (covered, tag) = needed
            .checked_sub(self.own.tag_len())
            .and_then(|len| out.split_at_mut_checked(len))
            .ok_or(too_small)?;
        let mut front = Writer::new(covered);
        let written = (|| {
            header(flow).encode(&mut front)?;
            front.u8(u8::try_from(number_len(self.next)).unwrap_or(u8::MAX))?;
            write_number(self.next, &mut front)?;
            front.bytes(message)
        })();
        written.map_err(|_| too_small)?;
        let number = self.next;
        self.next = self.next.saturating_add(1);
        self.own
            .seal(number, covered, &mut [], tag)
            .map_err(|_| Misuse::NotOffered)?;
        Ok(needed)
    }

    /// Verifies a datagram and returns its flow and its inner message, which is sealed for the far end.
    ///
    /// # Errors
    ///
    /// The reason why it is to be dropped; nothing changed then but a count. After 2^20 that didn't
    /// verify it is [`DropReason::AfterClose`] for all.
    pub fn open<'d>(&mut self, datagram: &'d mut [u8]) -> Result<(u16, &'d mut [u8]), DropReason> {
        if self.forgeries >= Suite::Aes128Ccm8.max_forgeries() {
            return Err(DropReason::AfterClose);
        }
        let covered_len = datagram
            .len()
            .checked_sub(self.peers.tag_len())
            .ok_or(DropReason::Malformed)?;
        let (covered, tag) = datagram
            .split_at_mut_checked(covered_len)
            .ok_or(DropReason::Malformed)?;
        let (header, rest) = RoutingHeader::decode(covered)?;
        let mut reader = Reader::new(rest);
        let number = reader
            .u8()
            .ok()
            .and_then(|len| read_number(&mut reader, len.into()))
            .ok_or(DropReason::Malformed)?;
        if header.is_control || !is_protected(reader.rest()) {
            return Err(DropReason::UnexpectedMessage);
        }
        let message_at = covered.len().saturating_sub(reader.len());
        let key = &self.peers;
        let verified = self.window.verify(number, || {
            key.open(number, covered, &mut [], tag)
                .map_err(|_| DropReason::AuthenticationFailed)
        });
        if verified == Err(DropReason::AuthenticationFailed) {
            self.forgeries = self.forgeries.saturating_add(1);
        }
        verified?;
        let message = covered.get_mut(message_at..).unwrap_or_default();
        Ok((header.flow, message))
    }

    /// Returns by how many bytes the next datagram of `flow` will be longer than its inner message.
    pub fn overhead(&self, flow: u16) -> usize {
        header(flow)
            .encoded_len()
            .saturating_add(1)
            .saturating_add(number_len(self.next))
            .saturating_add(self.own.tag_len())
    }

    /// Returns how many datagrams didn't verify.
    pub const fn forgeries(&self) -> u64 {
        self.forgeries
    }

    /// Says whether a new outer session should make new keys (RFC 9147 §4.5.3).
    pub const fn wants_new_keys(&self) -> bool {
        self.next >= REKEY_MESSAGES || self.forgeries >= Suite::Aes128Ccm8.rekey_forgeries()
    }
}

impl<A> fmt::Debug for LightLayer<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LightLayer(..)")
    }
}

const fn header(flow: u16) -> RoutingHeader {
    RoutingHeader {
        flow,
        is_control: false,
    }
}

fn is_protected(message: &[u8]) -> bool {
    !message.is_empty() && !is_initiator_hello(message) && !is_responder_hello(message)
}

const ALGORITHM: AeadAlgorithm = AeadAlgorithm::Aes128Ccm8;
const KEY_LEN: usize = 16;
const IV_LEN: usize = 12;
