//! The flight under way: its messages, their records and its timer (RFC 6347 §4.2.4).

use hedgerow_core::{Aead, ChannelError, CryptoProvider, EncodeError, Instant, Misuse, Writer};
use hedgerow_record::{
    Alert, ContentType, DTLS_1_2, DtlsOpener, DtlsSealer, EpochNumber, HANDSHAKE_HEADER_LEN,
    HandshakeType, Protocol, RECORD_HEADER_LEN, RecordNumber, encode_handshake_header,
    encode_record,
};

use crate::Settings;
use crate::connection_ids::ConnectionIds;
use crate::flight_buffer::{CHANGE_CIPHER_SPEC_BODY, FlightBuffer, Item};
use crate::flight_timer::{Due, FlightTimer};
use crate::outgoing::{ConnectionKeys, Outgoing, too_small};
use crate::record_limits::RecordLimits;
use crate::settings::MIN_DATAGRAM_LEN;
use crate::transcript::Transcript;

/// Room for the longest message that this crate protects: a Finished.
const MAX_PROTECTED_MESSAGE_LEN: usize = HANDSHAKE_HEADER_LEN + 12;

/// Lengths of datagrams to fall back to where longer ones get lost: what IPv6 carries everywhere and
/// what to think of where IPv4 gets in the way (RFC 7252 §4.6), 1,280 and 576 bytes less the headers of
/// IP and UDP; and the least.
const FALLBACK_LENS: [usize; 3] = [1_280 - 48, 576 - 28, MIN_DATAGRAM_LEN];

/// Returns the length to try in the place of a datagram of `len` bytes that was lost or refused, in
/// bytes: the next one of 1,232, 548 and [`MIN_DATAGRAM_LEN`], which is the least there is.
pub fn smaller_datagram_len(len: usize) -> usize {
    let smaller = FALLBACK_LENS.into_iter().find(|&other| other < len);
    smaller.unwrap_or(MIN_DATAGRAM_LEN)
}

/// How often a flight is sent before smaller datagrams are tried.
pub(crate) const TRIES_BEFORE_FALLBACK: u8 = 2;

/// Sends a flight, and sends it again until it is answered.
pub(crate) struct DtlsOutgoing<B, A> {
    flight: FlightBuffer<B>,
    cursor: usize,
    /// Whether ChangeCipherSpec was written out: from then on this end's records are protected.
    has_sent_change_cipher_spec: bool,
    body_cursor: usize,
    next_plain_number: u64,
    next_message_seq: u16,
    sealer: Option<DtlsSealer<A>>,
    alert: Option<Alert>,
    limits: RecordLimits,
    timer: FlightTimer,
    /// The longest datagram that may be sent: as configured, or as the path was told to carry.
    max_datagram_len: usize,
    /// What flights are packed into: less, where longer datagrams have got lost.
    datagram_len: usize,
    /// The longest datagram of this transmission of the flight.
    longest_sent: usize,
}

impl<P, B> Outgoing<P> for DtlsOutgoing<B, P::Aead>
where
    P: CryptoProvider,
    B: AsRef<[u8]> + AsMut<[u8]>,
{
    const PROTOCOL: Protocol = Protocol::Dtls;

    type Opener = DtlsOpener<P::Aead>;

    fn start_flight(&mut self) {
        self.forget_flight();
    }

    fn push_message(
        &mut self,
        transcript: &mut Transcript<P>,
        msg_type: HandshakeType,
        body: impl FnOnce(&mut Writer<'_>) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        let message_seq = Outgoing::<P>::take_message_seq(self);
        self.flight
            .push_message(transcript, msg_type, message_seq, body)
    }

    fn take_message_seq(&mut self) -> u16 {
        let message_seq = self.next_message_seq;
        self.next_message_seq = message_seq.saturating_add(1);
        message_seq
    }

    fn push_change_cipher_spec(&mut self) -> Result<(), EncodeError> {
        self.flight.push_change_cipher_spec()
    }

    fn set_keys(
        &mut self,
        keys: ConnectionKeys<P::Aead>,
        connection_ids: &ConnectionIds,
    ) -> Self::Opener {
        // MUST (RFC 9146 §3): once encryption is enabled, records carry the ID agreed on; the first
        // of them is the Finished.
        let keys = keys.limited(&self.limits);
        let sealer = DtlsSealer::new(keys.write, EpochNumber(1));
        self.sealer = Some(sealer.with_connection_id(connection_ids.write));
        DtlsOpener::new(keys.read, EpochNumber(1)).with_connection_id(connection_ids.read)
    }

    fn limit_records(&mut self, limits: RecordLimits) {
        self.limits = limits;
    }

    fn stop_retransmission(&mut self) {
        self.timer.stop();
    }
}

impl<B: AsRef<[u8]> + AsMut<[u8]>, A: Aead> DtlsOutgoing<B, A> {
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
            flight: FlightBuffer::new(buffer),
            cursor: 0,
            has_sent_change_cipher_spec: false,
            body_cursor: 0,
            next_plain_number,
            next_message_seq,
            sealer: None,
            alert: None,
            limits: RecordLimits::default(),
            timer: FlightTimer::new(settings.timers, now),
            max_datagram_len: settings.max_datagram_len(),
            datagram_len: settings.max_datagram_len(),
            longest_sent: 0,
        }
    }

    /// Forgets the flight before and stops its timer.
    fn forget_flight(&mut self) {
        self.flight.clear();
        self.cursor = 0;
        self.body_cursor = 0;
        self.longest_sent = 0;
        self.timer.restart();
    }

    /// Sets an alert to be sent instead of anything else, and ends the flight.
    pub(crate) fn set_alert(&mut self, alert: Alert) {
        self.forget_flight();
        self.timer.stop();
        self.alert = Some(alert);
    }

    /// Sends the whole flight again because the peer has sent its own again, unless it was sent a
    /// moment ago, or the peer's answer, which has begun to arrive, is what comes again.
    pub(crate) fn answer_duplicate(&mut self, now: Instant) {
        if self.flight.len() > 0
            && !self.timer.is_stopped()
            && self.cursor >= self.flight.len()
            && self.timer.may_answer_duplicate(now)
        {
            self.cursor = 0;
            self.body_cursor = 0;
            self.timer.answering_duplicate();
        }
    }

    /// Returns the longest fragment that a record of the peer may carry in clear, in bytes.
    pub(crate) fn max_clear_len(&self) -> usize {
        usize::from(self.limits.read_in_clear.as_u16())
    }

    pub(crate) fn timer(&self) -> &FlightTimer {
        &self.timer
    }

    /// Does what the timer says at `now`.
    pub(crate) fn handle_timeout(&mut self, now: Instant) -> Due {
        let due = self.timer.handle_timeout(now);
        if due == Due::Retransmit {
            self.fall_back();
            self.cursor = 0;
            self.body_cursor = 0;
        }
        due
    }

    /// Packs the flight into smaller datagrams once it was lost repeatedly: the path may drop what is
    /// long without a word (RFC 6347 §4.1.1.1).
    ///
    /// The messages keep their message_seq, and their records get new numbers.
    fn fall_back(&mut self) {
        if self.timer.transmissions() < TRIES_BEFORE_FALLBACK || self.is_client_hello() {
            return;
        }
        // A flight that was short anyhow wasn't lost for its length.
        if self.longest_sent > MIN_DATAGRAM_LEN {
            let smaller = smaller_datagram_len(self.longest_sent);
            self.datagram_len = self.datagram_len.min(smaller);
        }
    }

    /// Says whether the flight is a ClientHello, which stays whole: a server without state takes no
    /// other (RFC 6347 §4.2.1).
    fn is_client_hello(&self) -> bool {
        matches!(
            self.flight.item_at(0),
            Some((
                Item::Message {
                    msg_type: HandshakeType::ClientHello,
                    ..
                },
                _
            ))
        )
    }

    /// Says whether a ClientHello that is about to be sent again may have been lost for its length.
    pub(crate) fn has_lost_long_client_hello(&self) -> bool {
        let is_lost = self.timer.transmissions() >= TRIES_BEFORE_FALLBACK && self.cursor == 0;
        is_lost && self.has_longer_client_hello(MIN_DATAGRAM_LEN)
    }

    /// Says whether the flight is a ClientHello that was sent in more than `len` bytes, and more than the
    /// least.
    pub(crate) fn has_longer_client_hello(&self, len: usize) -> bool {
        self.is_client_hello() && self.longest_sent > len.max(MIN_DATAGRAM_LEN)
    }

    /// The next message is the handshake's first once more (RFC 6347 §4.2.2).
    pub(crate) const fn forget_numbers(&mut self) {
        self.next_message_seq = 0;
    }

    /// The path carries no datagram above `len` bytes; what is below the least is taken as the least.
    /// A flight that was packed into longer ones is sent again at once.
    ///
    /// Whoever says so proves nothing: it makes datagrams shorter, no shorter than the least, and a
    /// flight isn't repeated for it more often than for duplicates of the peer's.
    pub(crate) fn limit_datagrams(&mut self, len: usize) {
        let len = len.max(MIN_DATAGRAM_LEN);
        self.max_datagram_len = self.max_datagram_len.min(len);
        self.datagram_len = self.datagram_len.min(len);
        if self.longest_sent > len && !self.timer.is_stopped() && self.timer.may_repack() {
            self.cursor = 0;
            self.body_cursor = 0;
            self.timer.answering_duplicate();
        }
    }

    /// Returns what flights are packed into, in bytes.
    pub(crate) const fn datagram_len(&self) -> usize {
        self.datagram_len
    }

    /// Hands over what protects the records of epoch 1, for the session to go on with.
    pub(crate) const fn take_sealer(&mut self) -> Option<DtlsSealer<A>> {
        self.sealer.take()
    }

    /// Gives back the next number of epoch 0 and the buffer.
    pub(crate) fn into_parts(self) -> (u64, B) {
        (self.next_plain_number, self.flight.into_buffer())
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
        if self.cursor >= self.flight.len() {
            return Ok(None);
        }
        let longest = match self.is_client_hello() {
            true => self.max_datagram_len,
            false => self.datagram_len,
        };
        let limit = out.len().min(longest);
        let available = out.len();
        if self.cursor == 0 && self.body_cursor == 0 {
            self.longest_sent = 0;
        }
        let mut datagram = Writer::new(out.get_mut(..limit).unwrap_or_default());
        while self.cursor < self.flight.len() && self.write_next_record(&mut datagram)? {}
        if datagram.is_empty() {
            return Err(Misuse::BufferTooSmall {
                needed: MIN_DATAGRAM_LEN,
                available,
            }
            .into());
        }
        let len = datagram.len();
        self.longest_sent = self.longest_sent.max(len);
        if self.cursor >= self.flight.len() {
            self.timer.flight_sent(now);
        }
        Ok(Some(len))
    }

    /// Writes the next record, or returns `false` if it has to wait for the next datagram.
    fn write_next_record(&mut self, datagram: &mut Writer<'_>) -> Result<bool, ChannelError> {
        let Some((item, next)) = self.flight.item_at(self.cursor) else {
            self.cursor = self.flight.len();
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
                self.has_sent_change_cipher_spec = true;
            }
            Item::Message {
                is_protected: false,
                msg_type,
                message_seq,
                body,
            } => {
                let message = Fragmented {
                    msg_type,
                    message_seq,
                    body,
                    max_fragment_len: usize::from(self.limits.write.as_u16()),
                };
                let number = &mut self.next_plain_number;
                let Some(end) = message.write_part(self.body_cursor, number, datagram)? else {
                    return Ok(false);
                };
                if end < body.len() {
                    self.body_cursor = end;
                    return Ok(true);
                }
            }
            Item::Message {
                is_protected: true,
                msg_type,
                message_seq,
                body,
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
            Some(sealer) if self.has_sent_change_cipher_spec => {
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
        .map_err(|error| too_small(error).into())
}

/// A message in clear, which goes in several records where it has to.
pub(crate) struct Fragmented<'a> {
    pub(crate) msg_type: HandshakeType,
    pub(crate) message_seq: u16,
    pub(crate) body: &'a [u8],
    /// The longest fragment that one record may carry, the message's header included, in bytes.
    pub(crate) max_fragment_len: usize,
}

impl Fragmented<'_> {
    /// Writes a record with the part that begins at `offset` and returns where it ends, or `None` if it
    /// has to wait for the next datagram.
    pub(crate) fn write_part(
        &self,
        offset: usize,
        next_number: &mut u64,
        datagram: &mut Writer<'_>,
    ) -> Result<Option<usize>, ChannelError> {
        let headers = RECORD_HEADER_LEN.saturating_add(HANDSHAKE_HEADER_LEN);
        let rest = self.body.get(offset..).unwrap_or_default();
        let room = datagram.remaining().saturating_sub(headers);
        // MUST (RFC 6066 §4): no fragment is longer than agreed on, a message's header included.
        let longest = self.max_fragment_len.saturating_sub(HANDSHAKE_HEADER_LEN);
        let wanted = longest.min(rest.len());
        let fits = datagram.remaining() >= headers && room >= wanted;
        // Beyond that, a message is split only where it is longer than a whole datagram.
        if !fits && (!datagram.is_empty() || room == 0) {
            return Ok(None);
        }
        let part = rest.get(..wanted.min(room)).unwrap_or_default();
        let number = next_plain_number(next_number)?;
        self.encode_part(number, part, offset, datagram)
            .map_err(too_small)?;
        Ok(Some(offset.saturating_add(part.len())))
    }

    fn encode_part(
        &self,
        number: RecordNumber,
        part: &[u8],
        offset: usize,
        datagram: &mut Writer<'_>,
    ) -> Result<(), EncodeError> {
        let number_of = |len: usize| u32::try_from(len).unwrap_or(u32::MAX);
        let fragment_len = HANDSHAKE_HEADER_LEN.saturating_add(part.len());
        let mut record =
            Writer::new(datagram.reserve(RECORD_HEADER_LEN.saturating_add(fragment_len))?);
        record.u8(ContentType::Handshake.into())?;
        record.u16(DTLS_1_2.0)?;
        record.bytes(&number.to_be_bytes())?;
        record.u16(u16::try_from(fragment_len).unwrap_or(u16::MAX))?;
        encode_handshake_header(
            self.msg_type,
            number_of(self.body.len()),
            self.message_seq,
            number_of(offset),
            number_of(part.len()),
            &mut record,
        )?;
        record.bytes(part)
    }
}
