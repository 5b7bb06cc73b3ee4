//! The peer's flight: messages in their order, each once (RFC 6347 §4.2.2, §4.2.3).

use hedgerow_core::{DropReason, Reader};
use hedgerow_record::{AlertDescription, EpochNumber, HandshakeFragment, HandshakeType};

use crate::key_schedule::ConnectionEnd;
use crate::message::Message;
use crate::reassembly::Reassembly;

/// Receives handshake messages in the order of their numbers.
pub(crate) struct DtlsIncoming<B> {
    buffer: B,
    reassembly: Reassembly,
    next_message_seq: u16,
    end: ConnectionEnd,
    /// What the message before the next one was, if there was one.
    last: Option<HandshakeType>,
    epoch: EpochNumber,
}

/// What one record of handshake messages came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Taken {
    /// Whether a message's turn came.
    pub(crate) advanced: bool,
    /// Whether the last message of the peer's flight before came again.
    pub(crate) flight_again: bool,
    /// Why something in the record was dropped.
    pub(crate) dropped: Option<DropReason>,
}

impl<B: AsRef<[u8]> + AsMut<[u8]>> DtlsIncoming<B> {
    /// Starts at `end` with the message `next_message_seq`. A server's acceptor has handled the
    /// ClientHello before it.
    pub(crate) fn new(buffer: B, next_message_seq: u16, end: ConnectionEnd) -> Self {
        Self {
            buffer,
            reassembly: Reassembly::default(),
            next_message_seq,
            end,
            last: match end {
                ConnectionEnd::Client => None,
                ConnectionEnd::Server => Some(HandshakeType::ClientHello),
            },
            epoch: EpochNumber(0),
        }
    }

    /// Starts in the epoch of a Finished: only that is still to come.
    pub(crate) fn expecting_finished(mut self) -> Self {
        self.epoch = EpochNumber(1);
        self
    }

    /// Changes the epoch in which further messages are taken.
    ///
    /// What was held back came in the epoch before: a Finished that arrived in clear must not
    /// become one that counts.
    fn change_epoch(&mut self, epoch: EpochNumber) {
        if self.epoch != epoch {
            self.reassembly.clear();
            self.epoch = epoch;
        }
    }

    pub(crate) fn into_buffer(self) -> B {
        self.buffer
    }

    /// Takes the messages of a record apart and gives `handle` those whose turn has come; it returns
    /// the epoch in which further ones are taken.
    pub(crate) fn handle_record(
        &mut self,
        epoch: EpochNumber,
        record: &[u8],
        mut handle: impl FnMut(&Message<'_>) -> Result<EpochNumber, AlertDescription>,
    ) -> Result<Taken, AlertDescription> {
        let mut taken = Taken::default();
        let mut reader = Reader::new(record);
        if reader.is_empty() {
            taken.dropped = Some(DropReason::Malformed);
        }
        while !reader.is_empty() {
            let Ok(part) = HandshakeFragment::decode(&mut reader) else {
                taken.dropped = Some(DropReason::Malformed);
                break;
            };
            if part.msg_type == HandshakeType::HelloRequest
                && (self.end == ConnectionEnd::Client || epoch == EpochNumber(0))
            {
                // RFC 5246 §7.4.1.1: ignored while a handshake is under way. Only servers send it; in
                // clear it may be anybody's, which ends no server's handshake either.
                taken.dropped = Some(DropReason::UnexpectedMessage);
                continue;
            }
            let behind = self.next_message_seq.wrapping_sub(part.message_seq);
            // MUST (RFC 6347 §4.2.2): what was handled before is not handled again.
            if part.message_seq < self.next_message_seq {
                // Only what is known to be that message asks for anything, and in its own epoch: an
                // attacker who guesses a number alone gets no flight for it. A ticket comes again
                // because this end's flight did.
                taken.flight_again |= behind == 1
                    && epoch == EpochNumber(0)
                    && self.last == Some(part.msg_type)
                    && part.msg_type != HandshakeType::NewSessionTicket;
                taken.dropped = Some(DropReason::Duplicate);
                continue;
            }
            if epoch != self.epoch {
                taken.dropped = Some(DropReason::UnexpectedEpoch);
                continue;
            }
            if let (0, Some(body)) = (behind, part.whole()) {
                let next_epoch = handle(&Message {
                    msg_type: part.msg_type,
                    message_seq: part.message_seq,
                    body,
                })?;
                self.reassembly
                    .release(part.message_seq, self.buffer.as_mut());
                taken.advanced = true;
                self.advance(part.msg_type, next_epoch);
            } else if behind != 0 && epoch != EpochNumber(0) {
                // Under keys there is only Finished, so that nothing comes ahead of its turn.
                taken.dropped = Some(DropReason::UnexpectedMessage);
            } else if let Err(reason) = self.keep(&part) {
                taken.dropped = Some(reason);
            }
            while let Some((msg_type, range)) = self.reassembly.whole(self.next_message_seq) {
                let message_seq = self.next_message_seq;
                let body = self.buffer.as_ref().get(range).unwrap_or_default();
                let next_epoch = handle(&Message {
                    msg_type,
                    message_seq,
                    body,
                })?;
                self.reassembly.release(message_seq, self.buffer.as_mut());
                taken.advanced = true;
                self.advance(msg_type, next_epoch);
            }
        }
        Ok(taken)
    }

    /// Goes on to the message behind the one that was handled.
    fn advance(&mut self, handled: HandshakeType, epoch: EpochNumber) {
        self.next_message_seq = self.next_message_seq.saturating_add(1);
        self.last = Some(handled);
        self.change_epoch(epoch);
    }

    /// Keeps a part until its message is whole and has its turn. The message whose turn it is
    /// makes room for itself: what lies there for later may be forged, and comes again if not.
    fn keep(&mut self, part: &HandshakeFragment<'_>) -> Result<(), DropReason> {
        let next = self.next_message_seq;
        let buffer = self.buffer.as_mut();
        match self.reassembly.keep(next, part, buffer) {
            Err(DropReason::ReassemblyFull) if part.message_seq == next => {
                self.reassembly.clear();
                self.reassembly.keep(next, part, buffer)
            }
            kept => kept,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::vec;
    use std::vec::Vec;

    use super::*;

    fn message(message_seq: u8, body: &[u8]) -> Vec<u8> {
        let len = u8::try_from(body.len()).unwrap();
        let mut bytes = vec![2, 0, 0, len, 0, message_seq, 0, 0, 0, 0, 0, len];
        bytes.extend(body);
        bytes
    }

    fn take(
        incoming: &mut DtlsIncoming<[u8; 64]>,
        epoch: u16,
        record: &[u8],
    ) -> (Taken, Vec<(u16, Vec<u8>)>) {
        let mut handled = Vec::new();
        let taken = incoming
            .handle_record(EpochNumber(epoch), record, |message| {
                handled.push((message.message_seq, message.body.to_vec()));
                let is_last = message.body.starts_with(b"last");
                Ok(EpochNumber(if is_last { 1 } else { epoch }))
            })
            .unwrap();
        (taken, handled)
    }

    #[test]
    fn messages_are_handled_in_order_and_once() {
        let mut incoming = DtlsIncoming::new([0; 64], 0, ConnectionEnd::Client);
        let (taken, handled) = take(&mut incoming, 0, &message(1, b"b"));
        assert!(!taken.advanced && handled.is_empty());
        let (_, handled) = take(&mut incoming, 0, &message(0, b"a"));
        assert_eq!(handled, [(0, b"a".to_vec()), (1, b"b".to_vec())]);
        let (taken, handled) = take(&mut incoming, 0, &message(1, b"b"));
        assert!(taken.flight_again && handled.is_empty());
        let (taken, _) = take(&mut incoming, 0, &message(0, b"a"));
        assert!(!taken.flight_again);
        assert_eq!(taken.dropped, Some(DropReason::Duplicate));
    }

    #[test]
    fn message_whose_turn_it_is_gets_the_room_of_later_ones() {
        let mut incoming = DtlsIncoming::new([0; 64], 0, ConnectionEnd::Client);
        let part = |seq: u8, length: u8, offset: u8, bytes: &[u8]| {
            let len = u8::try_from(bytes.len()).unwrap();
            let mut part = vec![2, 0, 0, length, 0, seq, 0, 0, offset, 0, 0, len];
            part.extend(bytes);
            part
        };
        take(&mut incoming, 0, &part(1, 60, 0, b"forged"));
        take(&mut incoming, 0, &part(0, 10, 0, b"first"));
        let (_, handled) = take(&mut incoming, 0, &part(0, 10, 5, b"rests"));
        assert_eq!(handled, [(0, b"firstrests".to_vec())]);
    }

    /// What is held for later, or stands behind in the same record, came in the epoch before.
    #[test]
    fn message_in_clear_does_not_count_once_the_epoch_has_ended() {
        let mut incoming = DtlsIncoming::new([0; 64], 0, ConnectionEnd::Client);
        take(&mut incoming, 0, &message(1, b"forged"));
        let record = [message(0, b"last"), message(1, b"forged")].concat();
        let (taken, handled) = take(&mut incoming, 0, &record);
        assert_eq!(handled, [(0, b"last".to_vec())]);
        assert_eq!(taken.dropped, Some(DropReason::UnexpectedEpoch));
        let (_, handled) = take(&mut incoming, 1, &message(1, b"sealed"));
        assert_eq!(handled, [(1, b"sealed".to_vec())]);
    }
}
