//! Inner messages: their header, sealing with a counter, opening with a window.

use hedgerow_core::{Aead, ChannelError, DropReason, EncodeError, Limit, Misuse, Reader, Writer};

use crate::number::{NumberedKey, number_len, read_number, write_number};
use crate::replay_window::ReplayWindow;
use crate::suite::{MAX_MESSAGES, Suite};

/// The longest plaintext of an inner message, in bytes.
pub const MAX_PLAINTEXT_LEN: usize = 1 << 14;

/// Length of a [`SessionId`], in bytes.
pub const SESSION_ID_LEN: usize = 8;

/// Names an inner session; it follows from the handshake's transcript and keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SessionId(pub [u8; SESSION_ID_LEN]);

/// Which side of the inner handshake an end was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Sent the first hello.
    Initiator,
    /// Answered it.
    Responder,
}

impl Role {
    pub(crate) const fn other(self) -> Self {
        match self {
            Self::Initiator => Self::Responder,
            Self::Responder => Self::Initiator,
        }
    }

    const fn code(self) -> u8 {
        match self {
            Self::Initiator => 0x01,
            Self::Responder => 0x02,
        }
    }
}

/// What an inner message carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Data,
    Alert,
    Confirmation,
}

/// What stands before the ciphertext.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) kind: Kind,
    pub(crate) sequence_number: u64,
}

impl Header {
    pub(crate) fn encoded_len(self) -> usize {
        number_len(self.sequence_number).saturating_add(1)
    }

    /// `None` for what isn't a protected inner message.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let first = reader.u8().ok()?;
        let kind = match first & !NUMBER_LEN {
            DATA => Kind::Data,
            ALERT => Kind::Alert,
            CONFIRMATION => Kind::Confirmation,
            _ => return None,
        };
        let sequence_number = read_number(&mut reader, usize::from(first & NUMBER_LEN))?;
        Some(Self {
            kind,
            sequence_number,
        })
    }

    fn first(self) -> u8 {
        let kind = match self.kind {
            Kind::Data => DATA,
            Kind::Alert => ALERT,
            Kind::Confirmation => CONFIRMATION,
        };
        kind | u8::try_from(number_len(self.sequence_number)).unwrap_or(NUMBER_LEN)
    }

    fn encode(self, out: &mut Writer<'_>) -> Result<(), EncodeError> {
        out.u8(self.first())?;
        write_number(self.sequence_number, out)
    }

    /// Session ID, sender, first octet, sequence number, length of the plaintext.
    fn additional_data(
        self,
        session: SessionId,
        sender: Role,
        len: usize,
    ) -> Option<[u8; ADDITIONAL_DATA_LEN]> {
        let mut bytes = [0; ADDITIONAL_DATA_LEN];
        let mut out = Writer::new(&mut bytes);
        out.bytes(&session.0).ok()?;
        out.bytes(&[sender.code(), self.first()]).ok()?;
        out.u48(self.sequence_number).ok()?;
        out.u16(u16::try_from(len).ok()?).ok()?;
        Some(bytes)
    }
}

/// One direction's key, its counter, and what it belongs to.
pub(crate) struct Sealer<A> {
    key: NumberedKey<A>,
    session: SessionId,
    sender: Role,
    next: u64,
}

impl<A: Aead> Sealer<A> {
    pub(crate) const fn new(
        key: NumberedKey<A>,
        session: SessionId,
        sender: Role,
        next: u64,
    ) -> Self {
        Self {
            key,
            session,
            sender,
            next,
        }
    }

    pub(crate) const fn sealed(&self) -> u64 {
        self.next
    }

    pub(crate) fn overhead(&self) -> usize {
        number_len(self.next)
            .saturating_add(1)
            .saturating_add(self.key.tag_len())
    }

    /// Seals `plaintext` at the front of `out` and spends a number. What can fail fails before.
    pub(crate) fn seal(
        &mut self,
        kind: Kind,
        plaintext: &[u8],
        out: &mut [u8],
    ) -> Result<usize, ChannelError> {
        // One number beyond the limit is left for the alert that says goodbye.
        if self.next > MAX_MESSAGES || (self.next == MAX_MESSAGES && kind != Kind::Alert) {
            return Err(Limit::KeyUsedUp { max: MAX_MESSAGES }.into());
        }
        let len = plaintext.len();
        if len > MAX_PLAINTEXT_LEN {
            let max = MAX_PLAINTEXT_LEN;
            return Err(Limit::PlaintextTooLong { len, max }.into());
        }
        let header = Header {
            kind,
            sequence_number: self.next,
        };
        let available = out.len();
        let needed = len.saturating_add(self.overhead());
        let too_small = Misuse::BufferTooSmall { needed, available };
        let out = out.get_mut(..needed).ok_or(too_small)?;
        let mut front = Writer::new(out);
        let written = header
            .encode(&mut front)
            .and_then(|()| front.bytes(plaintext));
        written.map_err(|_| too_small)?;
        let (in_out, tag) = out
            .get_mut(header.encoded_len()..)
            .and_then(|sealed| sealed.split_at_mut_checked(len))
            .ok_or(too_small)?;
        let additional_data = header
            .additional_data(self.session, self.sender, len)
            .ok_or(too_small)?;
        // The number is spent whatever comes of it, so that it never seals twice.
        self.next = self.next.saturating_add(1);
        self.key
            .seal(header.sequence_number, &additional_data, in_out, tag)
            .map_err(|_| Misuse::NotOffered)?;
        Ok(needed)
    }
}

/// A message that has verified.
pub(crate) struct Opened<'d> {
    pub(crate) kind: Kind,
    pub(crate) plaintext: &'d mut [u8],
    pub(crate) newest: bool,
}

/// The other direction's key and its window.
pub(crate) struct Opener<A> {
    key: NumberedKey<A>,
    session: SessionId,
    sender: Role,
    suite: Suite,
    window: ReplayWindow,
    forgeries: u64,
}

impl<A: Aead> Opener<A> {
    pub(crate) fn new(key: NumberedKey<A>, session: SessionId, sender: Role, suite: Suite) -> Self {
        Self {
            key,
            session,
            sender,
            suite,
            window: ReplayWindow::default(),
            forgeries: 0,
        }
    }

    pub(crate) const fn forgeries(&self) -> u64 {
        self.forgeries
    }

    pub(crate) const fn suite(&self) -> Suite {
        self.suite
    }

    /// Verifies and decrypts in place.
    pub(crate) fn open<'d>(&mut self, message: &'d mut [u8]) -> Result<Opened<'d>, DropReason> {
        let header = Header::decode(message).ok_or(DropReason::Malformed)?;
        let sealed = message
            .get_mut(header.encoded_len()..)
            .ok_or(DropReason::Malformed)?;
        let len = sealed
            .len()
            .checked_sub(self.key.tag_len())
            .ok_or(DropReason::Malformed)?;
        if len > MAX_PLAINTEXT_LEN {
            return Err(DropReason::TooLong);
        }
        let additional_data = header
            .additional_data(self.session, self.sender, len)
            .ok_or(DropReason::Malformed)?;
        let (in_out, tag) = sealed
            .split_at_mut_checked(len)
            .ok_or(DropReason::Malformed)?;
        let key = &self.key;
        let number = header.sequence_number;
        let verified = self.window.verify(number, || {
            key.open(number, &additional_data, in_out, tag)
                .map_err(|_| DropReason::AuthenticationFailed)
        });
        if verified == Err(DropReason::AuthenticationFailed) {
            self.forgeries = self.forgeries.saturating_add(1);
        }
        Ok(Opened {
            kind: header.kind,
            newest: verified?,
            plaintext: in_out,
        })
    }
}

const NUMBER_LEN: u8 = 0x07;
const DATA: u8 = 0x80;
const ALERT: u8 = 0xa0;
const CONFIRMATION: u8 = 0xc0;

/// session(8) sender(1) first(1) sequence_number(6) length(2)
const ADDITIONAL_DATA_LEN: usize = SESSION_ID_LEN + 10;

#[cfg(test)]
mod tests {
    use hedgerow_core::{AeadAlgorithm, CryptoError};

    use super::*;

    /// Seals nothing.
    struct Toy;

    impl Aead for Toy {
        fn algorithm(&self) -> AeadAlgorithm {
            AeadAlgorithm::Aes128Ccm8
        }

        fn seal_in_place(
            &self,
            _: &[u8],
            _: &[u8],
            _: &mut [u8],
            _: &mut [u8],
        ) -> Result<(), CryptoError> {
            Ok(())
        }

        fn open_in_place(
            &self,
            _: &[u8],
            _: &[u8],
            _: &mut [u8],
            _: &[u8],
        ) -> Result<(), CryptoError> {
            Err(CryptoError::AuthenticationFailed)
        }
    }

    /// 2^23 messages, and a word of goodbye.
    #[test]
    fn key_seals_no_more_than_its_limit() {
        let key = NumberedKey::of(Toy);
        let session = SessionId([0; SESSION_ID_LEN]);
        let mut sealer = Sealer::new(key, session, Role::Initiator, MAX_MESSAGES - 1);
        let mut out = [0; 64];
        assert!(sealer.seal(Kind::Data, b"last", &mut out).is_ok());
        let refused = Err(Limit::KeyUsedUp { max: MAX_MESSAGES }.into());
        assert_eq!(sealer.seal(Kind::Data, b"more", &mut out), refused);
        assert_eq!(sealer.seal(Kind::Confirmation, b"", &mut out), refused);
        assert!(sealer.seal(Kind::Alert, b"\0", &mut out).is_ok());
        assert_eq!(sealer.seal(Kind::Alert, b"\0", &mut out), refused);
    }

    #[test]
    fn headers_are_read_as_written_and_in_no_other_form() {
        for kind in [Kind::Data, Kind::Alert, Kind::Confirmation] {
            for sequence_number in [0, 1, 0xff, 0x100, 0xffff, 0x1_0000, (1 << 48) - 1] {
                let header = Header {
                    kind,
                    sequence_number,
                };
                let mut out = [0; 16];
                let mut writer = Writer::new(&mut out);
                header.encode(&mut writer).unwrap();
                assert_eq!(writer.len(), header.encoded_len());
                assert_eq!(Header::decode(writer.written()), Some(header));
                let len = writer.len();
                assert_eq!(Header::decode(&out[..len - 1]), None);
            }
        }
        let malformed: [&[u8]; 8] = [
            &[],
            &[0x80],
            &[0x87, 1, 1, 1, 1, 1, 1, 1],
            &[0x82, 0, 1],
            &[0x82, 0, 0],
            &[0x89, 1],
            &[0xe1, 1],
            &[0x01, 1],
        ];
        for bytes in malformed {
            assert_eq!(Header::decode(bytes), None, "{bytes:02x?}");
        }
    }
}
