//! The flight under way: its messages, their records and its timer (RFC 6347 §4.2.4).

use hedgerow_core::{Aead, ChannelError, CryptoProvider, EncodeError, Instant, Misuse, Writer};
use hedgerow_record::{
    Alert, ContentType, DTLS_1_2, DtlsSealer, EpochNumber, HANDSHAKE_HEADER_LEN, HandshakeType,
    RECORD_HEADER_LEN, RecordNumber, encode_handshake_header, encode_record,
};

use crate::Settings;
use crate::flight_timer::{Due, FlightTimer};
use crate::transcript::Transcript;

/// What a flight consists of. It stands in the buffer as kind(1), for a message msg_type(1)
/// message_seq(2) length(2) body.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Item {
    ChangeCipherSpec,
    Message {
        epoch: EpochNumber,
        msg_type: HandshakeType,
        message_seq: u16,
    },
}

const CHANGE_CIPHER_SPEC: u8 = 0;
const PLAIN_MESSAGE: u8 = 1;
const PROTECTED_MESSAGE: u8 = 2;

/// Room for the longest message that this crate protects: a Finished.
const MAX_PROTECTED_MESSAGE_LEN: usize = HANDSHAKE_HEADER_LEN + 12;

/// The body of ChangeCipherSpec (RFC 5246 §7.1).
pub(crate) const CHANGE_CIPHER_SPEC_BODY: [u8; 1] = [1];

/// Sends a flight, and sends it again until it is answered.
pub(crate) struct Outgoing<B, A> {
    buffer: B,
    len: usize,
    cursor: usize,
    body_cursor: usize,
    next_plain_number: u64,
    next_message_seq: u16,
    sealer: Option<DtlsSealer<A>>,
    has_changed_cipher_spec: bool,
    alert: Option<Alert>,
    timer: FlightTimer,
    max_datagram_len: usize,
}

impl<B: AsRef<[u8]> + AsMut<[u8]>, A: Aead> Outgoing<B, A> {
    /// Starts with nothing to send; the first record of epoch 0 gets `next_plain_number`, the first
    /// message `next_message_seq`.
    pub(crate) fn new(
        settings: &Settings,
        buffer: B,
        next_plain_number: u64,
        next_message_seq: u16,
        now: Instant,
    ) -> Self {
        Self {
            buffer,
            len: 0,
            cursor: 0,
            body_cursor: 0,
            next_plain_number,
            next_message_seq,
            sealer: None,
            has_changed_cipher_spec: false,
            alert: None,
            timer: FlightTimer::new(settings.timers, now),
            max_datagram_len: settings.max_datagram_len(),
        }
    }

    /// Forgets the flight before, which has been answered, and stops its timer.
    pub(crate) fn start_flight(&mut self) {
        self.len = 0;
        self.cursor = 0;
        self.body_cursor = 0;
        self.timer.restart();
    }

    /// Takes the next number of this end's messages.
    pub(crate) const fn take_message_seq(&mut self) -> u16 {
        let message_seq = self.next_message_seq;
        self.next_message_seq = message_seq.saturating_add(1);
        message_seq
    }

    /// Adds a message to the flight and to the transcript.
    pub(crate) fn push_message<P: CryptoProvider>(
        &mut self,
        transcript: &mut Transcript<P>,
        epoch: EpochNumber,
        msg_type: HandshakeType,
        body: impl FnOnce(&mut Writer<'_>) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        let message_seq = self.take_message_seq();
        let kind = match epoch {
            EpochNumber(0) => PLAIN_MESSAGE,
            _ => PROTECTED_MESSAGE,
        };
        let start = self.len;
        let mut writer = Writer::new(self.buffer.as_mut().get_mut(start..).unwrap_or_default());
        writer.u8(kind)?;
        writer.u8(msg_type.into())?;
        writer.u16(message_seq)?;
        let body_at = writer.len().saturating_add(2);
        writer.nested16(body)?;
        let end = writer.len();
        self.len = start.saturating_add(end);
        let body = self
            .buffer
            .as_ref()
            .get(start.saturating_add(body_at)..self.len)
            .unwrap_or_default();
        transcript.add(msg_type, message_seq, body);
        Ok(())
    }

    /// Adds ChangeCipherSpec to the flight.
    pub(crate) fn push_change_cipher_spec(&mut self) -> Result<(), EncodeError> {
        let mut writer = Writer::new(self.buffer.as_mut().get_mut(self.len..).unwrap_or_default());
        writer.u8(CHANGE_CIPHER_SPEC)?;
        self.has_changed_cipher_spec = true;
        self.len = self.len.saturating_add(1);
        Ok(())
    }

    /// Sets what protects the records of epoch 1.
    pub(crate) fn set_sealer(&mut self, sealer: DtlsSealer<A>) {
        self.sealer = Some(sealer);
    }

    /// Sets an alert to be sent instead of anything else, and ends the flight.
    pub(crate) fn set_alert(&mut self, alert: Alert) {
        self.start_flight();
        self.timer.stop();
        self.alert = Some(alert);
    }

    /// Sends the whole flight again because the peer has sent its own again, unless it was sent a
    /// moment ago.
    pub(crate) fn answer_duplicate(&mut self, now: Instant) {
        if self.len > 0 && self.cursor >= self.len && self.timer.may_answer_duplicate(now) {
            self.cursor = 0;
            self.body_cursor = 0;
            self.timer.answering_duplicate();
        }
    }

    /// Stops sending the flight again: its answer has begun to arrive. The deadline stays.
    pub(crate) fn stop_retransmission(&mut self) {
        self.timer.stop();
    }

    pub(crate) fn timer(&self) -> &FlightTimer {
        &self.timer
    }

    /// Does what the timer says at `now`.
    pub(crate) fn handle_timeout(&mut self, now: Instant) -> Due {
        let due = self.timer.handle_timeout(now);
        if due == Due::Retransmit {
            self.cursor = 0;
            self.body_cursor = 0;
        }
        due
    }

    /// Hands over what protects the records of epoch 1, for the session to go on with.
    pub(crate) const fn take_sealer(&mut self) -> Option<DtlsSealer<A>> {
        self.sealer.take()
    }

    /// Gives back the next number of epoch 0 and the buffer.
    pub(crate) fn into_parts(self) -> (u64, B) {
        (self.next_plain_number, self.buffer)
    }

    /// Writes the next datagram of the flight, as many records as fit.
    pub(crate) fn poll_transmit(
        &mut self,
        now: Instant,
        out: &mut [u8],
    ) -> Result<Option<usize>, ChannelError> {
        if let Some(alert) = self.alert {
            let len = self.write_alert(alert, out)?;
            self.alert = None;
            return Ok(Some(len));
        }
        if self.cursor >= self.len {
            return Ok(None);
        }
        let limit = out.len().min(self.max_datagram_len);
        let available = out.len();
        let mut datagram = Writer::new(out.get_mut(..limit).unwrap_or_default());
        while self.cursor < self.len && self.write_next_record(&mut datagram)? {}
        if datagram.is_empty() {
            return Err(Misuse::BufferTooSmall {
                needed: crate::settings::MIN_DATAGRAM_LEN,
                available,
            }
            .into());
        }
        if self.cursor >= self.len {
            self.timer.flight_sent(now);
        }
        Ok(Some(datagram.len()))
    }

    /// Writes the next record, or returns `false` if it has to wait for the next datagram.
    fn write_next_record(&mut self, datagram: &mut Writer<'_>) -> Result<bool, ChannelError> {
        let flight = self.buffer.as_ref().get(..self.len).unwrap_or_default();
        let Some((item, body, next)) = decode_item(flight, self.cursor) else {
            self.cursor = self.len;
            return Ok(false);
        };
        match item {
            Item::ChangeCipherSpec => {
                if datagram.remaining() < RECORD_HEADER_LEN.saturating_add(1) {
                    return Ok(false);
                }
                let number = next_plain_number(&mut self.next_plain_number)?;
                encode_plain(
                    ContentType::ChangeCipherSpec,
                    number,
                    &CHANGE_CIPHER_SPEC_BODY,
                    datagram,
                )?;
            }
            Item::Message {
                epoch: EpochNumber(0),
                msg_type,
                message_seq,
            } => {
                let headers = RECORD_HEADER_LEN.saturating_add(HANDSHAKE_HEADER_LEN);
                let rest = body.get(self.body_cursor..).unwrap_or_default();
                let room = datagram.remaining().saturating_sub(headers);
                let fits = datagram.remaining() >= headers && room >= rest.len();
                // A message is split only where it is longer than a whole datagram.
                if !fits && (!datagram.is_empty() || room == 0) {
                    return Ok(false);
                }
                let part = rest.get(..rest.len().min(room)).unwrap_or_default();
                let number = next_plain_number(&mut self.next_plain_number)?;
                encode_message_part(
                    number,
                    msg_type,
                    message_seq,
                    body,
                    part,
                    self.body_cursor,
                    datagram,
                )?;
                if part.len() < rest.len() {
                    self.body_cursor = self.body_cursor.saturating_add(part.len());
                    return Ok(true);
                }
            }
            Item::Message {
                msg_type,
                message_seq,
                ..
            } => {
                let Some(sealer) = self.sealer.as_mut() else {
                    return Err(Misuse::NotEstablished.into());
                };
                let mut message = [0; MAX_PROTECTED_MESSAGE_LEN];
                let mut writer = Writer::new(&mut message);
                encode_whole_message(msg_type, message_seq, body, &mut writer)?;
                let plaintext = writer.into_written();
                let needed = plaintext.len().saturating_add(sealer.overhead());
                if datagram.remaining() < needed {
                    return Ok(false);
                }
                let room = datagram.reserve(needed).map_err(too_small)?;
                sealer.seal(ContentType::Handshake, plaintext, room)?;
            }
        }
        self.cursor = next;
        self.body_cursor = 0;
        Ok(true)
    }

    fn write_alert(&mut self, alert: Alert, out: &mut [u8]) -> Result<usize, ChannelError> {
        match &mut self.sealer {
            // RFC 5246 §7.1: what follows this end's ChangeCipherSpec is protected, and no more.
            Some(sealer) if self.has_changed_cipher_spec => {
                sealer.seal(ContentType::Alert, &alert.encode(), out)
            }
            _ => {
                let mut writer = Writer::new(out);
                let number = next_plain_number(&mut self.next_plain_number)?;
                encode_plain(ContentType::Alert, number, &alert.encode(), &mut writer)?;
                Ok(writer.len())
            }
        }
    }
}

/// Reads the item at `at` and returns it with its body and where the next one begins.
fn decode_item(flight: &[u8], at: usize) -> Option<(Item, &[u8], usize)> {
    let mut reader = hedgerow_core::Reader::new(flight.get(at..)?);
    let epoch = match reader.u8().ok()? {
        CHANGE_CIPHER_SPEC => {
            return Some((Item::ChangeCipherSpec, &[], at.saturating_add(1)));
        }
        PLAIN_MESSAGE => EpochNumber(0),
        _ => EpochNumber(1),
    };
    let msg_type = HandshakeType::from(reader.u8().ok()?);
    let message_seq = reader.u16().ok()?;
    let body = reader.vector16().ok()?;
    let next = flight.len().saturating_sub(reader.len());
    let item = Item::Message {
        epoch,
        msg_type,
        message_seq,
    };
    Some((item, body, next))
}

/// Takes the next record number of epoch 0.
pub(crate) fn next_plain_number(next: &mut u64) -> Result<RecordNumber, ChannelError> {
    let number = RecordNumber::new(EpochNumber(0), *next)
        .ok_or(hedgerow_core::Limit::SequenceNumbersExhausted)?;
    *next = next.saturating_add(1);
    Ok(number)
}

/// Encodes a record of epoch 0 whose length was checked before.
pub(crate) fn encode_plain(
    content_type: ContentType,
    number: RecordNumber,
    fragment: &[u8],
    datagram: &mut Writer<'_>,
) -> Result<(), ChannelError> {
    let available = datagram.remaining();
    let needed = RECORD_HEADER_LEN.saturating_add(fragment.len());
    encode_record(content_type, DTLS_1_2, number, fragment, datagram)
        .map_err(|_| Misuse::BufferTooSmall { needed, available }.into())
}

/// Encodes a message with its header, unfragmented.
pub(crate) fn encode_whole_message(
    msg_type: HandshakeType,
    message_seq: u16,
    body: &[u8],
    out: &mut Writer<'_>,
) -> Result<(), ChannelError> {
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    encode_handshake_header(msg_type, length, message_seq, 0, length, out)
        .and_then(|()| out.bytes(body))
        .map_err(too_small)
}

fn encode_message_part(
    number: RecordNumber,
    msg_type: HandshakeType,
    message_seq: u16,
    body: &[u8],
    part: &[u8],
    offset: usize,
    datagram: &mut Writer<'_>,
) -> Result<(), ChannelError> {
    let number_of = |len: usize| u32::try_from(len).unwrap_or(u32::MAX);
    let fragment_len = HANDSHAKE_HEADER_LEN.saturating_add(part.len());
    (|| {
        let mut record =
            Writer::new(datagram.reserve(RECORD_HEADER_LEN.saturating_add(fragment_len))?);
        record.u8(ContentType::Handshake.into())?;
        record.u16(DTLS_1_2.0)?;
        record.bytes(&number.to_be_bytes())?;
        record.u16(u16::try_from(fragment_len).unwrap_or(u16::MAX))?;
        encode_handshake_header(
            msg_type,
            number_of(body.len()),
            message_seq,
            number_of(offset),
            number_of(part.len()),
            &mut record,
        )?;
        record.bytes(part)
    })()
    .map_err(too_small)
}

/// The fields of a hello are made here and fit; what can fail is the room for them.
pub(crate) fn not_encodable(error: hedgerow_record::Error) -> EncodeError {
    match error {
        hedgerow_record::Error::Encode(error) => error,
        _ => EncodeError::TooLong { len: 0, max: 0 },
    }
}

/// A caller's buffer was too small for what is written.
pub(crate) fn too_small(error: EncodeError) -> ChannelError {
    let (needed, available) = match error {
        EncodeError::BufferTooSmall { needed, available } => (needed, available),
        EncodeError::TooLong { len, max } => (len, max),
        _ => (0, 0),
    };
    Misuse::BufferTooSmall { needed, available }.into()
}
