//! The last flight of a handshake, which is sent again without its buffer (RFC 6347 §4.2.4).

use core::time::Duration;

use hedgerow_core::{Aead, ChannelError, DropReason, Instant, Misuse, Writer};
use hedgerow_record::{
    ContentType, DtlsSealer, HANDSHAKE_HEADER_LEN, HandshakeType, RECORD_HEADER_LEN,
};

use crate::SentTicket;
use crate::dtls_outgoing::{
    Fragmented, TRIES_BEFORE_FALLBACK, encode_plain, encode_whole_message, next_plain_number,
};
use crate::flight_buffer::CHANGE_CIPHER_SPEC_BODY;
use crate::key_schedule::VERIFY_DATA_LEN;
use crate::outgoing::too_small;
use crate::phase::LastFlight;
use crate::server_resumption::LAST_FLIGHT_LEN;
use crate::settings::MIN_DATAGRAM_LEN;

/// How long the final flight is kept for a peer that has not received it: twice the maximum
/// segment lifetime of 120 s (RFC 6347 §4.2.4, RFC 793).
const LIFETIME: Duration = Duration::from_secs(240);

/// The time in which at most one request for the flight counts: half of the timeout that RFC 6347
/// §4.2.4.1 begins with. A peer that asks with each of its records gets no more than that.
const REQUEST_PAUSE: Duration = Duration::from_millis(500);

/// ChangeCipherSpec and Finished, a server's NewSessionTicket before them: what it takes to send them
/// again. Their bytes differ each time, since every record has a number of its own.
#[derive(Clone, Copy)]
pub(crate) struct FinalFlight {
    verify_data: [u8; VERIFY_DATA_LEN],
    /// The number of the Finished; the ticket's is the one before.
    message_seq: u16,
    has_ticket: bool,
    /// The number of the peer's Finished, whose coming again asks for this flight.
    peer_message_seq: u16,
    made_at: Instant,
    /// In which of the times that a request has to itself, counted from `made_at`, the last one came.
    asked_in: u16,
    /// How often it was begun.
    transmissions: u8,
    /// What it is packed into, in bytes.
    datagram_len: u16,
    due: Due,
}

/// What is to be sent next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    Nothing,
    /// The ticket's body from here on. An idle session keeps this, so that a byte less counts.
    Ticket {
        offset: u8,
    },
    Finished,
}

impl FinalFlight {
    /// Makes the flight that answers the peer's Finished numbered `peer_message_seq`, to be sent.
    pub(crate) fn new(answer: &LastFlight, peer_message_seq: u16, now: Instant) -> Self {
        let mut flight = Self {
            verify_data: answer.verify_data,
            message_seq: answer.message_seq,
            has_ticket: answer.ticket.is_some(),
            peer_message_seq,
            made_at: now,
            asked_in: 0,
            transmissions: 0,
            datagram_len: u16::MAX,
            due: Due::Nothing,
        };
        flight.begin();
        flight
    }

    /// Says until when the flight is kept.
    pub(crate) fn until(&self) -> Instant {
        self.made_at + LIFETIME
    }

    /// Says whether there is something to send and `ticket` is what goes with it.
    pub(crate) fn is_due(&self, ticket: Option<&SentTicket>) -> bool {
        self.due != Due::Nothing && self.has_ticket == ticket.is_some()
    }

    /// Has the flight sent from its beginning: what has left before may be lost.
    fn begin(&mut self) {
        self.due = match self.has_ticket {
            true => Due::Ticket { offset: 0 },
            false => Due::Finished,
        };
        self.transmissions = self.transmissions.saturating_add(1);
    }

    /// Takes in the peer's Finished numbered `message_seq`, come again in a new record that has verified.
    pub(crate) fn handle_repeat(&mut self, message_seq: u16, now: Instant) -> DropReason {
        if message_seq != self.peer_message_seq || now >= self.until() {
            return DropReason::UnexpectedMessage;
        }
        let age = now.saturating_since(self.made_at).as_millis();
        let asked_in = u16::try_from(age / REQUEST_PAUSE.as_millis()).unwrap_or(u16::MAX);
        if asked_in == self.asked_in {
            return DropReason::RateLimited;
        }
        self.asked_in = asked_in;
        // RFC 6347 §4.1.1.1: what is lost repeatedly may be too long for the path. With all that it can
        // have the flight is shorter than any length to fall back to but the least.
        if self.transmissions >= TRIES_BEFORE_FALLBACK {
            self.limit(MIN_DATAGRAM_LEN);
        }
        // MUST (RFC 6347 §4.2.4): the peer sends its Finished again because this end's last
        // flight didn't arrive. The record is new and verified, so no replay asks for it.
        self.begin();
        DropReason::Duplicate
    }

    /// Packs what is still to be sent into datagrams of at most `len` bytes, or of the least where that is
    /// more.
    pub(crate) fn limit(&mut self, len: usize) {
        let len = u16::try_from(len.max(MIN_DATAGRAM_LEN)).unwrap_or(u16::MAX);
        self.datagram_len = self.datagram_len.min(len);
    }

    /// The path carries no datagram above `len` bytes. A flight that may have left in a longer one is there
    /// to be sent anew, in the shortest ones, so that this happens once.
    pub(crate) fn handle_refusal(&mut self, len: usize) {
        let longest = LAST_FLIGHT_LEN.min(usize::from(self.datagram_len));
        if self.has_ticket && len.max(MIN_DATAGRAM_LEN) < longest {
            self.limit(MIN_DATAGRAM_LEN);
            self.begin();
        }
    }

    /// Writes the next datagram.
    ///
    /// # Errors
    ///
    /// [`Misuse::BufferTooSmall`] if not even one record fits, and those of sealing.
    pub(crate) fn write_datagram<A: Aead>(
        &mut self,
        ticket: Option<&SentTicket>,
        next_number: &mut u64,
        sealer: &mut DtlsSealer<A>,
        out: &mut [u8],
    ) -> Result<usize, ChannelError> {
        let available = out.len();
        let limit = available.min(usize::from(self.datagram_len));
        let mut datagram = Writer::new(out.get_mut(..limit).unwrap_or_default());
        while let (Due::Ticket { offset }, Some(ticket)) = (self.due, ticket) {
            let message = Fragmented {
                msg_type: HandshakeType::NewSessionTicket,
                message_seq: self.message_seq.saturating_sub(1),
                body: ticket.body(),
                // What a peer takes in a protected record, which with a connection ID is a byte less
                // than in clear.
                max_fragment_len: sealer.max_plaintext_len(),
            };
            let written = message.write_part(usize::from(offset), next_number, &mut datagram)?;
            self.due = match written {
                None => break,
                Some(end) if end >= ticket.body().len() => Due::Finished,
                Some(end) => Due::Ticket {
                    offset: u8::try_from(end).unwrap_or(u8::MAX),
                },
            };
        }
        let finished_len = FINISHED_LEN.saturating_add(sealer.overhead());
        let needed = CHANGE_CIPHER_SPEC_LEN.saturating_add(finished_len);
        if self.due == Due::Finished && datagram.remaining() >= needed {
            self.write_finished(next_number, sealer, finished_len, &mut datagram)?;
            self.due = Due::Nothing;
        }
        if datagram.is_empty() {
            let needed = MIN_DATAGRAM_LEN;
            return Err(Misuse::BufferTooSmall { needed, available }.into());
        }
        Ok(datagram.len())
    }

    /// Writes ChangeCipherSpec and Finished, for which there is room: whoever gets one of them gets both.
    fn write_finished<A: Aead>(
        &self,
        next_number: &mut u64,
        sealer: &mut DtlsSealer<A>,
        finished_len: usize,
        datagram: &mut Writer<'_>,
    ) -> Result<(), ChannelError> {
        let number = next_plain_number(next_number)?;
        encode_plain(
            ContentType::ChangeCipherSpec,
            number,
            &CHANGE_CIPHER_SPEC_BODY,
            datagram,
        )?;
        let mut message = [0; FINISHED_LEN];
        let mut writer = Writer::new(&mut message);
        encode_whole_message(
            HandshakeType::Finished,
            self.message_seq,
            &self.verify_data,
            &mut writer,
        )?;
        let room = datagram.reserve(finished_len).map_err(too_small)?;
        sealer.seal(ContentType::Handshake, writer.written(), room)?;
        Ok(())
    }
}

const FINISHED_LEN: usize = HANDSHAKE_HEADER_LEN + VERIFY_DATA_LEN;

const CHANGE_CIPHER_SPEC_LEN: usize = RECORD_HEADER_LEN + CHANGE_CIPHER_SPEC_BODY.len();

const _: () = assert!(SentTicket::MAX_LEN <= 255);

// There is no length between the two to fall back to.
const _: () = assert!(LAST_FLIGHT_LEN <= 548);
