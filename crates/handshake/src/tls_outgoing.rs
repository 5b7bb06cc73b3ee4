//! The flight under way in a stream: its records, each sent once (RFC 5246 §6.2.1).

use hedgerow_core::{Aead, ChannelError, CryptoProvider, EncodeError, Misuse, Writer};
use hedgerow_record::{
    Alert, ContentType, HandshakeType, Protocol, TLS_1_2, TLS_HANDSHAKE_HEADER_LEN,
    TLS_RECORD_HEADER_LEN, TlsOpener, TlsSealer, encode_tls_handshake_header, encode_tls_record,
};

use crate::connection_ids::ConnectionIds;
use crate::flight_buffer::{CHANGE_CIPHER_SPEC_BODY, FlightBuffer, Item};
use crate::outgoing::{ConnectionKeys, Outgoing, too_small};
use crate::record_limits::RecordLimits;
use crate::settings::MIN_DATAGRAM_LEN;
use crate::transcript::Transcript;

/// Room for the longest message that this crate protects: a Finished.
const MAX_PROTECTED_MESSAGE_LEN: usize = TLS_HANDSHAKE_HEADER_LEN + 12;

/// Sends flights, each once.
pub(crate) struct TlsOutgoing<B, A> {
    flight: FlightBuffer<B>,
    cursor: usize,
    /// Whether ChangeCipherSpec was written out: from then on this end's records are protected.
    has_sent_change_cipher_spec: bool,
    body_cursor: usize,
    sealer: Option<TlsSealer<A>>,
    alert: Option<Alert>,
    limits: RecordLimits,
}

impl<P, B> Outgoing<P> for TlsOutgoing<B, P::Aead>
where
    P: CryptoProvider,
    B: AsRef<[u8]> + AsMut<[u8]>,
{
    const PROTOCOL: Protocol = Protocol::Tls;

    type Opener = TlsOpener<P::Aead>;

    fn start_flight(&mut self) {
        // A flight that isn't sent yet has not been answered either: what follows joins it.
        if self.cursor >= self.flight.len() {
            self.forget_flight();
        }
    }

    fn push_message(
        &mut self,
        transcript: &mut Transcript<P>,
        msg_type: HandshakeType,
        body: impl FnOnce(&mut Writer<'_>) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        self.flight.push_message(transcript, msg_type, 0, body)
    }

    fn take_message_seq(&mut self) -> u16 {
        0
    }

    fn push_change_cipher_spec(&mut self) -> Result<(), EncodeError> {
        self.flight.push_change_cipher_spec()
    }

    /// A stream needs no connection IDs, and none is ever agreed on.
    fn set_keys(&mut self, keys: ConnectionKeys<P::Aead>, _: &ConnectionIds) -> Self::Opener {
        let keys = keys.limited(&self.limits);
        self.sealer = Some(TlsSealer::new(keys.write));
        TlsOpener::new(keys.read)
    }

    fn limit_records(&mut self, limits: RecordLimits) {
        self.limits = limits;
    }

    fn stop_retransmission(&mut self) {}
}

impl<B: AsRef<[u8]> + AsMut<[u8]>, A: Aead> TlsOutgoing<B, A> {
    pub(crate) fn new(buffer: B) -> Self {
        Self {
            flight: FlightBuffer::new(buffer),
            cursor: 0,
            has_sent_change_cipher_spec: false,
            body_cursor: 0,
            sealer: None,
            alert: None,
            limits: RecordLimits::default(),
        }
    }

    const fn forget_flight(&mut self) {
        self.flight.clear();
        self.cursor = 0;
        self.body_cursor = 0;
    }

    /// Adds a message to the flight that the transcript has already.
    pub(crate) fn push_hashed(
        &mut self,
        msg_type: HandshakeType,
        body: &[u8],
    ) -> Result<(), EncodeError> {
        if self.cursor >= self.flight.len() {
            self.forget_flight();
        }
        self.flight
            .push(msg_type, 0, |out| out.bytes(body))
            .map(|_| ())
    }

    /// Sets an alert to be sent instead of anything else, and ends the flight.
    pub(crate) const fn set_alert(&mut self, alert: Alert) {
        self.forget_flight();
        self.alert = Some(alert);
    }

    /// Returns the longest fragment that a record of the peer may carry in clear, in bytes.
    pub(crate) fn max_clear_len(&self) -> usize {
        usize::from(self.limits.read_in_clear.as_u16())
    }

    /// Says whether everything that there is to send has been written.
    pub(crate) fn is_sent(&self) -> bool {
        self.alert.is_none() && self.cursor >= self.flight.len()
    }

    /// Hands over what protects the records, for the session to go on with, and the buffer; `None`
    /// while something isn't sent yet.
    pub(crate) fn into_parts(self) -> Option<(TlsSealer<A>, B)> {
        let is_sent = self.cursor >= self.flight.len();
        let sealer = self.sealer.filter(|_| is_sent)?;
        Some((sealer, self.flight.into_buffer()))
    }

    /// Writes the next records of the flight, as many as fit.
    pub(crate) fn poll_transmit(&mut self, out: &mut [u8]) -> Result<Option<usize>, ChannelError> {
        if let Some(alert) = self.alert {
            let len = self.write_alert(alert, out)?;
            self.alert = None;
            return Ok(Some(len));
        }
        if self.cursor >= self.flight.len() {
            return Ok(None);
        }
        let available = out.len();
        let mut writer = Writer::new(out);
        while self.cursor < self.flight.len() && self.write_next_record(&mut writer)? {}
        if writer.is_empty() {
            let needed = MIN_DATAGRAM_LEN;
            return Err(Misuse::BufferTooSmall { needed, available }.into());
        }
        Ok(Some(writer.len()))
    }

    /// Writes the next record, or returns `false` if there is no room for it.
    fn write_next_record(&mut self, out: &mut Writer<'_>) -> Result<bool, ChannelError> {
        let Some((item, next)) = self.flight.item_at(self.cursor) else {
            self.cursor = self.flight.len();
            return Ok(false);
        };
        match item {
            Item::ChangeCipherSpec => {
                let body = &CHANGE_CIPHER_SPEC_BODY;
                if out.remaining() < TLS_RECORD_HEADER_LEN.saturating_add(body.len()) {
                    return Ok(false);
                }
                encode_plain(ContentType::ChangeCipherSpec, body, out)?;
                self.has_sent_change_cipher_spec = true;
            }
            Item::Message {
                is_protected: false,
                msg_type,
                body,
                ..
            } => {
                let longest = usize::from(self.limits.write.as_u16());
                if !write_message_part(msg_type, body, &mut self.body_cursor, longest, out)? {
                    return Ok(false);
                }
                if self.body_cursor < TLS_HANDSHAKE_HEADER_LEN.saturating_add(body.len()) {
                    return Ok(true);
                }
            }
            Item::Message {
                is_protected: true,
                msg_type,
                body,
                ..
            } => {
                let sealer = self.sealer.as_mut().ok_or(Misuse::NotEstablished)?;
                if !seal_message(sealer, msg_type, body, out)? {
                    return Ok(false);
                }
            }
        }
        self.cursor = next;
        self.body_cursor = 0;
        Ok(true)
    }

    fn write_alert(&mut self, alert: Alert, out: &mut [u8]) -> Result<usize, ChannelError> {
        match &mut self.sealer {
            // RFC 5246 §7.1: what follows this end's ChangeCipherSpec is protected, and no more.
            Some(sealer) if self.has_sent_change_cipher_spec => {
                sealer.seal(ContentType::Alert, &alert.encode(), out)
            }
            _ => {
                let mut writer = Writer::new(out);
                encode_plain(ContentType::Alert, &alert.encode(), &mut writer)?;
                Ok(writer.len())
            }
        }
    }
}

/// Writes a record of at most `longest` bytes with as much of a message, its header included, as fits
/// behind `at`; `false` if there is no room for any.
fn write_message_part(
    msg_type: HandshakeType,
    body: &[u8],
    at: &mut usize,
    longest: usize,
    out: &mut Writer<'_>,
) -> Result<bool, ChannelError> {
    let mut header = [0; TLS_HANDSHAKE_HEADER_LEN];
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    encode_tls_handshake_header(msg_type, length, &mut Writer::new(&mut header))
        .map_err(too_small)?;
    let room = out
        .remaining()
        .saturating_sub(TLS_RECORD_HEADER_LEN)
        .min(longest);
    let header_rest = header.get(*at..).unwrap_or_default();
    let body_at = at.saturating_sub(TLS_HANDSHAKE_HEADER_LEN);
    let body_rest = body.get(body_at..).unwrap_or_default();
    // A header isn't cut: the few bytes saved aren't worth a peer that gets it wrong.
    if room == 0 || room < header_rest.len() {
        return Ok(false);
    }
    let part_len = room.saturating_sub(header_rest.len()).min(body_rest.len());
    let fragment_len = header_rest.len().saturating_add(part_len);
    (|| {
        out.u8(ContentType::Handshake.into())?;
        out.u16(TLS_1_2.0)?;
        out.u16(u16::try_from(fragment_len).unwrap_or(u16::MAX))?;
        out.bytes(header_rest)?;
        out.bytes(body_rest.get(..part_len).unwrap_or_default())
    })()
    .map_err(too_small)?;
    *at = at.saturating_add(fragment_len);
    Ok(true)
}

/// Seals a whole message into one record; `false` if there is no room for it.
pub(crate) fn seal_message<A: Aead>(
    sealer: &mut TlsSealer<A>,
    msg_type: HandshakeType,
    body: &[u8],
    out: &mut Writer<'_>,
) -> Result<bool, ChannelError> {
    let mut message = [0; MAX_PROTECTED_MESSAGE_LEN];
    let mut writer = Writer::new(&mut message);
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    encode_tls_handshake_header(msg_type, length, &mut writer)
        .and_then(|()| writer.bytes(body))
        .map_err(too_small)?;
    let plaintext = writer.into_written();
    let needed = plaintext.len().saturating_add(sealer.overhead());
    if out.remaining() < needed {
        return Ok(false);
    }
    let room = out.reserve(needed).map_err(too_small)?;
    sealer.seal(ContentType::Handshake, plaintext, room)?;
    Ok(true)
}

/// Encodes a record in clear.
pub(crate) fn encode_plain(
    content_type: ContentType,
    fragment: &[u8],
    out: &mut Writer<'_>,
) -> Result<(), ChannelError> {
    let available = out.remaining();
    let needed = TLS_RECORD_HEADER_LEN.saturating_add(fragment.len());
    encode_tls_record(content_type, TLS_1_2, fragment, out)
        .map_err(|_| Misuse::BufferTooSmall { needed, available }.into())
}
