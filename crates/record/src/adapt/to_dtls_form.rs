//! From TLS's records to the form `dtls`.

use super::message::{Current, MAX_FORM_FRAGMENT_LEN, Messages, Numbering};
use super::pending::{Input, Mapped, Output, Pending};
use crate::{
    ContentType, DTLS_1_2, Error, MAX_CIPHERTEXT_LEN, MAX_PLAINTEXT_LEN, TLS_HANDSHAKE_HEADER_LEN,
    TLS_RECORD_HEADER_LEN,
};

/// Maps one direction of a TLS connection to DTLS's headers: a record's of 13 bytes, and in clear a
/// handshake message's of 12.
///
/// It keeps no more than a header, and changes nothing but headers.
#[derive(Clone, Debug)]
pub struct TlsToDtlsForm {
    numbering: Numbering,
    messages: Messages,
    state: State,
    /// A handshake header that has not come whole.
    header: [u8; TLS_HANDSHAKE_HEADER_LEN],
    header_len: usize,
    pending: Pending,
}

#[derive(Clone, Copy, Debug)]
enum State {
    ExpectRecord {
        header: [u8; TLS_RECORD_HEADER_LEN],
        got: usize,
    },
    /// So many bytes go as they are.
    Copy { left: usize },
    /// The one byte of a ChangeCipherSpec.
    ExpectChangeCipherSpec,
    /// A handshake record in clear has `left` more bytes, which begin with a header or a fragment.
    Handshake { left: usize },
    /// Of which `fragment` go as they are.
    Fragment { fragment: usize, left: usize },
    /// For good: a record behind one that was left out would else be taken for the next one.
    Broken(Error),
}

impl TlsToDtlsForm {
    /// Begins at the first byte of a direction.
    pub const fn new() -> Self {
        Self {
            numbering: Numbering::FIRST,
            messages: Messages::NONE,
            state: EXPECT_RECORD,
            header: [0; TLS_HANDSHAKE_HEADER_LEN],
            header_len: 0,
            pending: Pending::EMPTY,
        }
    }

    /// Maps bytes until all are read or `out` is full. Call it again with the rest and room; with no
    /// bytes it writes what was left for want of room.
    ///
    /// # Errors
    ///
    /// [`Error::NotTls`], [`Error::RecordTooLong`], [`Error::EmptyHandshakeRecord`],
    /// [`Error::NotChangeCipherSpec`], [`Error::MessageCutOff`], [`Error::OutOfNumbers`]: the stream can't
    /// be followed any further, and every later call says so again.
    pub fn map(&mut self, bytes: &[u8], out: &mut [u8]) -> Result<Mapped, Error> {
        let mut input = Input { rest: bytes };
        let mut output = Output::new(out);
        if let Err(error) = self.follow(&mut input, &mut output) {
            self.state = State::Broken(error);
            self.pending = Pending::EMPTY;
            return Err(error);
        }
        Ok(Mapped {
            read: bytes.len().saturating_sub(input.rest.len()),
            written: output.written,
        })
    }

    fn follow(&mut self, input: &mut Input<'_>, out: &mut Output<'_>) -> Result<(), Error> {
        while self.pending.flush(out) && self.step(input, out)? {}
        Ok(())
    }

    /// Takes one step and says whether there may be another one.
    fn step(&mut self, input: &mut Input<'_>, out: &mut Output<'_>) -> Result<bool, Error> {
        match &mut self.state {
            State::Broken(error) => return Err(*error),
            State::ExpectRecord { header, got } => {
                if !input.fill_header(header, got) {
                    return Ok(false);
                }
                let header = *header;
                self.state = self.begin_record(header)?;
            }
            State::Copy { left } => {
                if !out.pass(input, left) {
                    return Ok(false);
                }
                self.state = EXPECT_RECORD;
            }
            State::ExpectChangeCipherSpec => {
                let Some(byte) = input.change_cipher_spec()? else {
                    return Ok(false);
                };
                self.put_record_header(ContentType::ChangeCipherSpec, 1)?;
                self.pending.push(&[byte]);
                self.numbering.change_cipher_spec();
                self.state = EXPECT_RECORD;
            }
            State::Handshake { left: 0 } => self.state = EXPECT_RECORD,
            &mut State::Handshake { left } => match self.messages.current {
                Some(message) => {
                    let most = usize::try_from(message.left()).unwrap_or(usize::MAX);
                    let fragment = left.min(most).min(MAX_FORM_FRAGMENT_LEN);
                    self.put_fragment_header(message, fragment)?;
                    let left = left.saturating_sub(fragment);
                    self.state = State::Fragment { fragment, left };
                }
                None => {
                    let room = self.header.get_mut(self.header_len..).unwrap_or_default();
                    let room_len = room.len().min(left);
                    let taken = input.fill(room.get_mut(..room_len).unwrap_or_default());
                    self.header_len = self.header_len.saturating_add(taken);
                    let left = left.saturating_sub(taken);
                    self.state = State::Handshake { left };
                    if self.header_len == TLS_HANDSHAKE_HEADER_LEN {
                        self.header_len = 0;
                        let message = Current::from_header(self.header);
                        match message.length {
                            0 => self.put_fragment_header(message, 0)?,
                            _ => self.messages.current = Some(message),
                        }
                    } else if left > 0 {
                        return Ok(false);
                    }
                }
            },
            State::Fragment { fragment, left } => {
                if !out.pass(input, fragment) {
                    return Ok(false);
                }
                let left = *left;
                self.state = State::Handshake { left };
            }
        }
        Ok(true)
    }

    fn begin_record(&mut self, header: [u8; TLS_RECORD_HEADER_LEN]) -> Result<State, Error> {
        let [code, major, minor, l0, l1] = header;
        if major != TLS_MAJOR {
            return Err(Error::NotTls {
                version: u16::from_be_bytes([major, minor]),
            });
        }
        let len = usize::from(u16::from_be_bytes([l0, l1]));
        let is_protected = self.numbering.is_protected();
        check_len(len, is_protected)?;
        let content_type = ContentType::from(code);
        match content_type {
            ContentType::Handshake if !is_protected && len == 0 => Err(Error::EmptyHandshakeRecord),
            ContentType::Handshake if !is_protected => Ok(State::Handshake { left: len }),
            ContentType::ChangeCipherSpec if !is_protected => {
                if len != 1 {
                    return Err(Error::NotChangeCipherSpec);
                }
                if self.header_len > 0 || self.messages.current.is_some() {
                    return Err(Error::MessageCutOff);
                }
                Ok(State::ExpectChangeCipherSpec)
            }
            _ => {
                self.put_record_header(content_type, len)?;
                Ok(State::Copy { left: len })
            }
        }
    }

    fn put_fragment_header(&mut self, message: Current, fragment: usize) -> Result<(), Error> {
        let message_seq = self.messages.message_seq()?.to_be_bytes();
        self.put_record_header(
            ContentType::Handshake,
            fragment.saturating_add(crate::HANDSHAKE_HEADER_LEN),
        )?;
        // A fragment has at most 1,024 bytes.
        let fragment_len = u32::try_from(fragment).unwrap_or(u32::MAX);
        let [_, o0, o1, o2] = message.offset.to_be_bytes();
        let [_, f0, f1, f2] = fragment_len.to_be_bytes();
        self.pending.push(&message.header());
        self.pending.push(&message_seq);
        self.pending.push(&[o0, o1, o2, f0, f1, f2]);
        self.messages.advance(message, fragment_len);
        Ok(())
    }

    fn put_record_header(&mut self, content_type: ContentType, len: usize) -> Result<(), Error> {
        let number = self.numbering.take()?;
        self.pending.push(&[content_type.into()]);
        self.pending.push(&DTLS_1_2.0.to_be_bytes());
        self.pending.push(&number.to_be_bytes());
        // It was checked to be at most 18,432.
        let len = u16::try_from(len).unwrap_or(u16::MAX);
        self.pending.push(&len.to_be_bytes());
        Ok(())
    }
}

impl Default for TlsToDtlsForm {
    fn default() -> Self {
        Self::new()
    }
}

pub(super) const fn check_len(len: usize, is_protected: bool) -> Result<(), Error> {
    let max = match is_protected {
        true => MAX_CIPHERTEXT_LEN,
        false => MAX_PLAINTEXT_LEN,
    };
    match len > max {
        true => Err(Error::RecordTooLong { len, max }),
        false => Ok(()),
    }
}

const EXPECT_RECORD: State = State::ExpectRecord {
    header: [0; TLS_RECORD_HEADER_LEN],
    got: 0,
};

const TLS_MAJOR: u8 = 3;
