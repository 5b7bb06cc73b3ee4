//! From the form `dtls` to TLS's records.

use super::message::{Current, Messages, Numbering};
use super::pending::{Input, Mapped, Output, Pending};
use super::to_dtls_form::check_len;
use crate::{
    ContentType, DTLS_1_2, Error, HANDSHAKE_HEADER_LEN, RECORD_HEADER_LEN, RecordNumber, TLS_1_2,
    TLS_HANDSHAKE_HEADER_LEN,
};

/// Maps one direction of a TLS connection back from DTLS's headers. What isn't the next record, or the
/// next fragment, breaks the framing.
#[derive(Clone, Debug)]
pub struct DtlsFormToTls {
    numbering: Numbering,
    messages: Messages,
    state: State,
    pending: Pending,
}

#[derive(Clone, Copy, Debug)]
enum State {
    ExpectRecord {
        header: [u8; RECORD_HEADER_LEN],
        got: usize,
    },
    /// So many bytes go as they are.
    Copy { left: usize },
    /// The one byte of a ChangeCipherSpec.
    ExpectChangeCipherSpec,
    /// A handshake record in clear has `left` more bytes, this header among them.
    ExpectFragment {
        header: [u8; HANDSHAKE_HEADER_LEN],
        got: usize,
        left: usize,
    },
    /// Behind a header `fragment` bytes go as they are, and `left` come after them.
    Fragment { fragment: usize, left: usize },
    /// For good: a record behind one that was left out would else be taken for the next one.
    Broken(Error),
}

impl DtlsFormToTls {
    /// Begins at the first byte of a direction.
    pub const fn new() -> Self {
        Self {
            numbering: Numbering::FIRST,
            messages: Messages::NONE,
            state: EXPECT_RECORD,
            pending: Pending::EMPTY,
        }
    }

    /// Maps bytes until all are read or `out` is full. Call it again with the rest and room; with no
    /// bytes it writes what was left for want of room.
    ///
    /// # Errors
    ///
    /// [`Error::NotDtls`], [`Error::RecordTooLong`], [`Error::EmptyHandshakeRecord`],
    /// [`Error::NotChangeCipherSpec`], [`Error::MessageCutOff`], [`Error::NotNextRecord`],
    /// [`Error::NotNextFragment`], [`Error::OutOfNumbers`]: the stream can't be followed any further,
    /// and every later call says so again.
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
                self.put_record_header(ContentType::ChangeCipherSpec, 1);
                self.pending.push(&[byte]);
                self.numbering.change_cipher_spec();
                self.state = EXPECT_RECORD;
            }
            State::ExpectFragment { header, got, left } => {
                if !input.fill_header(header, got) {
                    return Ok(false);
                }
                let (header, left) = (*header, left.saturating_sub(HANDSHAKE_HEADER_LEN));
                let fragment = self.begin_fragment(header, left)?;
                let left = left.saturating_sub(fragment);
                self.state = State::Fragment { fragment, left };
            }
            State::Fragment { fragment, left } => {
                if !out.pass(input, fragment) {
                    return Ok(false);
                }
                self.state = match *left {
                    0 => EXPECT_RECORD,
                    left => expect_fragment(left)?,
                };
            }
        }
        Ok(true)
    }

    fn begin_record(&mut self, header: [u8; RECORD_HEADER_LEN]) -> Result<State, Error> {
        let [code, v0, v1, n0, n1, n2, n3, n4, n5, n6, n7, l0, l1] = header;
        let version = u16::from_be_bytes([v0, v1]);
        if version != DTLS_1_2.0 {
            return Err(Error::NotDtls { version });
        }
        let number = RecordNumber::from_be_bytes([n0, n1, n2, n3, n4, n5, n6, n7]);
        if number != self.numbering.take()? {
            return Err(Error::NotNextRecord);
        }
        let len = usize::from(u16::from_be_bytes([l0, l1]));
        let is_protected = self.numbering.is_protected();
        check_len(len, is_protected)?;
        let content_type = ContentType::from(code);
        match content_type {
            ContentType::Handshake if !is_protected && len == 0 => Err(Error::EmptyHandshakeRecord),
            ContentType::Handshake if !is_protected => expect_fragment(len),
            ContentType::ChangeCipherSpec if !is_protected => {
                if len != 1 {
                    return Err(Error::NotChangeCipherSpec);
                }
                if self.messages.current.is_some() {
                    return Err(Error::MessageCutOff);
                }
                Ok(State::ExpectChangeCipherSpec)
            }
            _ => {
                self.put_record_header(content_type, len);
                Ok(State::Copy { left: len })
            }
        }
    }

    /// Puts the headers of a fragment that has to be within `left` bytes, and returns its length.
    fn begin_fragment(
        &mut self,
        header: [u8; HANDSHAKE_HEADER_LEN],
        left: usize,
    ) -> Result<usize, Error> {
        let [code, a, b, c, s0, s1, o0, o1, o2, f0, f1, f2] = header;
        let begun = Current::from_header([code, a, b, c]);
        let offset = u32::from_be_bytes([0, o0, o1, o2]);
        let fragment_len = u32::from_be_bytes([0, f0, f1, f2]);
        let message = self.messages.current.unwrap_or(begun);
        let is_next = u16::from_be_bytes([s0, s1]) == self.messages.message_seq()?
            && (begun.code, begun.length) == (message.code, message.length)
            && offset == message.offset
            && fragment_len <= message.left()
            && (fragment_len > 0 || message.length == 0);
        let fragment = usize::try_from(fragment_len).unwrap_or(usize::MAX);
        if !is_next || fragment > left {
            return Err(Error::NotNextFragment);
        }
        match offset {
            0 => {
                let len = fragment.saturating_add(TLS_HANDSHAKE_HEADER_LEN);
                self.put_record_header(ContentType::Handshake, len);
                self.pending.push(&message.header());
            }
            _ => self.put_record_header(ContentType::Handshake, fragment),
        }
        self.messages.advance(message, fragment_len);
        Ok(fragment)
    }

    fn put_record_header(&mut self, content_type: ContentType, len: usize) {
        self.pending.push(&[content_type.into()]);
        self.pending.push(&TLS_1_2.0.to_be_bytes());
        // At most what was checked, since a header of 12 bytes becomes one of 4.
        let len = u16::try_from(len).unwrap_or(u16::MAX);
        self.pending.push(&len.to_be_bytes());
    }
}

impl Default for DtlsFormToTls {
    fn default() -> Self {
        Self::new()
    }
}

/// A record has to have room for the header of a fragment.
const fn expect_fragment(left: usize) -> Result<State, Error> {
    if left < HANDSHAKE_HEADER_LEN {
        return Err(Error::NotNextFragment);
    }
    Ok(State::ExpectFragment {
        header: [0; HANDSHAKE_HEADER_LEN],
        got: 0,
        left,
    })
}

const EXPECT_RECORD: State = State::ExpectRecord {
    header: [0; RECORD_HEADER_LEN],
    got: 0,
};
