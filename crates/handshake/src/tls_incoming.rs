//! The peer's messages out of a stream of records (RFC 5246 §6.2.1): one may span several records,
//! and one record may carry several.

use hedgerow_record::{AlertDescription, TLS_HANDSHAKE_HEADER_LEN, TlsHandshakeMessage};

use crate::message::Message;

/// Puts handshake messages together.
pub(crate) struct TlsIncoming<B> {
    buffer: B,
    len: usize,
}

impl<B: AsRef<[u8]> + AsMut<[u8]>> TlsIncoming<B> {
    pub(crate) const fn new(buffer: B) -> Self {
        Self { buffer, len: 0 }
    }

    /// Says whether no message has begun.
    pub(crate) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn into_buffer(self) -> B {
        self.buffer
    }

    /// Takes the messages of a record and gives `handle` each that is whole; it returns whether
    /// another one may follow in the same record.
    pub(crate) fn handle_record(
        &mut self,
        mut fragment: &[u8],
        mut handle: impl FnMut(&Message<'_>) -> Result<bool, AlertDescription>,
    ) -> Result<(), AlertDescription> {
        let mut may_follow = true;
        while !fragment.is_empty() {
            // What comes behind a Finished, or before a change of keys that is due, has no place.
            if !may_follow {
                return Err(AlertDescription::UNEXPECTED_MESSAGE);
            }
            if self.is_empty()
                && let Some((message, rest)) = TlsHandshakeMessage::decode(fragment)
            {
                may_follow = handle(&turn(&message))?;
                fragment = rest;
                continue;
            }
            fragment = self.keep(fragment)?;
            let kept = self.buffer.as_ref().get(..self.len).unwrap_or_default();
            if let Some((message, _)) = TlsHandshakeMessage::decode(kept) {
                may_follow = handle(&turn(&message))?;
                self.len = 0;
            }
        }
        Ok(())
    }

    /// Keeps as much of `fragment` as belongs to the message under way, and returns the rest.
    fn keep<'a>(&mut self, fragment: &'a [u8]) -> Result<&'a [u8], AlertDescription> {
        let buffer = self.buffer.as_mut();
        let kept = buffer.get(..self.len).unwrap_or_default();
        let wanted = TlsHandshakeMessage::peek_len(kept).unwrap_or(TLS_HANDSHAKE_HEADER_LEN);
        let (part, rest) = fragment
            .split_at_checked(wanted.saturating_sub(self.len))
            .unwrap_or((fragment, &[]));
        let end = self.len.saturating_add(part.len());
        // A message that this end has no room for is refused as soon as its length is known.
        if wanted > buffer.len() {
            return Err(AlertDescription::ILLEGAL_PARAMETER);
        }
        buffer
            .get_mut(self.len..end)
            .ok_or(AlertDescription::INTERNAL_ERROR)?
            .copy_from_slice(part);
        self.len = end;
        Ok(rest)
    }
}

const fn turn<'a>(message: &TlsHandshakeMessage<'a>) -> Message<'a> {
    Message {
        msg_type: message.msg_type,
        message_seq: 0,
        body: message.body,
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use hedgerow_record::HandshakeType;
    use proptest::prelude::*;

    use super::*;

    type Taken = Vec<(HandshakeType, Vec<u8>)>;

    fn take(
        incoming: &mut TlsIncoming<[u8; 64]>,
        fragment: &[u8],
    ) -> Result<Taken, AlertDescription> {
        let mut taken = Vec::new();
        incoming.handle_record(fragment, |message| {
            taken.push((message.msg_type, message.body.to_vec()));
            Ok(message.msg_type != HandshakeType::Finished)
        })?;
        Ok(taken)
    }

    #[test]
    fn nothing_follows_a_finished_in_its_record() {
        let mut incoming = TlsIncoming::new([0; 64]);
        let outcome = take(&mut incoming, &[20, 0, 0, 1, 7, 14]);
        assert_eq!(outcome, Err(AlertDescription::UNEXPECTED_MESSAGE));
    }

    #[test]
    fn message_without_room_is_refused_once_its_length_is_known() {
        for len in [61_u8, 255] {
            let mut incoming = TlsIncoming::new([0; 64]);
            assert_eq!(take(&mut incoming, &[11, 0, 0]), Ok(Taken::new()));
            assert_eq!(take(&mut incoming, &[len]), Ok(Taken::new()));
            let outcome = take(&mut incoming, &[1]);
            assert_eq!(outcome, Err(AlertDescription::ILLEGAL_PARAMETER));
        }
        let mut incoming = TlsIncoming::new([0; 64]);
        assert_eq!(take(&mut incoming, &[11, 0, 0, 60]), Ok(Taken::new()));
        let taken = take(&mut incoming, &[5; 60]).unwrap();
        assert_eq!(taken, [(HandshakeType::Certificate, [5; 60].to_vec())]);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// RFC 5246 §6.2.1: records and messages have nothing to do with each other.
        #[test]
        fn messages_come_out_whole_however_records_cut_them(
            bodies in proptest::collection::vec(
                (1..20_u8, proptest::collection::vec(any::<u8>(), 0..40)), 1..6),
            cuts in proptest::collection::vec(1..30_usize, 1..40),
        ) {
            let mut stream = Vec::new();
            let mut expected = Taken::new();
            for (code, body) in bodies {
                stream.extend([code, 0, 0, u8::try_from(body.len()).unwrap()]);
                stream.extend(&body);
                expected.push((HandshakeType::from(code), body));
            }
            let mut incoming = TlsIncoming::new([0; 64]);
            let mut taken = Taken::new();
            let mut rest: &[u8] = &stream;
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (record, behind) = rest.split_at((*cut).min(rest.len()));
                taken.extend(take(&mut incoming, record).unwrap());
                rest = behind;
            }
            prop_assert_eq!(taken, expected);
            prop_assert!(incoming.is_empty());
        }
    }
}
