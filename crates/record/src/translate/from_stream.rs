//! From the stream to datagrams.

use hedgerow_core::DropReason;

use super::form::{
    Class, EXPLICIT_NONCE_LEN, NOTICE_LEN, PROTECTED_EPOCH, StreamHeader, TranslateForm,
};
use super::notice::TranslateNotice;
use super::to_stream::check_number;
use crate::{
    ContentType, DTLS_1_2, EpochNumber, Error, ProtocolVersion, RECORD_HEADER_LEN, RecordNumber,
};

/// Puts the datagrams of a stream together again: one buffer for one datagram, a counter for
/// records in clear, and nothing for each protected record.
///
/// It needs no allocator: the datagram under way lies in the caller's buffer.
#[derive(Clone, Debug)]
pub struct StreamToDatagrams {
    form: TranslateForm,
    /// The number of the next record in clear, in the short form.
    next_clear: u64,
    state: State,
    /// Where the datagram ends whose records are whole.
    len: usize,
    /// How long the datagram would be, with the records that have no room.
    whole_len: usize,
    /// Whether a record was read of the datagram under way.
    is_begun: bool,
}

/// What a stream brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FromStream {
    /// A whole datagram of so many bytes stands in the buffer.
    Datagram(usize),
    /// A record that no datagram gets, or a whole datagram without room.
    Dropped {
        /// Why.
        reason: DropReason,
        /// Its length as a datagram has it, in bytes.
        len: usize,
    },
    /// The gateway's word. A gateway that reads one treats it as a broken framing.
    Notice(TranslateNotice),
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// So many bytes of a header have come.
    ExpectHeader {
        header: [u8; RECORD_HEADER_LEN],
        got: usize,
    },
    /// The fragment has `left` more bytes; the record begins at `len`.
    ExpectFragment { header: StreamHeader, left: usize },
    /// The datagram has no room for it.
    SkipFragment { has_more: bool, left: usize },
    ExpectNotice {
        notice: [u8; NOTICE_LEN],
        got: usize,
    },
    /// The datagram's last record was read.
    Ended,
    /// The same, and the datagram had no room.
    EndedWithoutRoom,
}

impl StreamToDatagrams {
    /// Begins at the first record of a stream.
    pub const fn new(form: TranslateForm) -> Self {
        Self {
            form,
            next_clear: 0,
            state: EXPECT_HEADER,
            len: 0,
            whole_len: 0,
            is_begun: false,
        }
    }

    /// Reads from `bytes` into `datagram`, which is the same buffer in every call, until there is
    /// something to tell, and returns how many bytes were read. `None`: all were.
    ///
    /// After anything else it is to be called again with the rest, also if that is empty. A datagram
    /// in the buffer is the caller's until then.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownClass`], [`Error::RecordTooLong`], [`Error::MisplacedNotice`]: the stream can't
    /// be followed any further.
    pub fn read(
        &mut self,
        bytes: &[u8],
        datagram: &mut [u8],
    ) -> Result<(usize, Option<FromStream>), Error> {
        let mut rest = bytes;
        loop {
            let read = bytes.len().saturating_sub(rest.len());
            match self.state {
                State::ExpectHeader { mut header, got } => {
                    let room = header.get_mut(got..self.form.header_len());
                    let taken = fill(room.unwrap_or_default(), &mut rest);
                    let got = got.saturating_add(taken);
                    if got < self.form.header_len() {
                        self.state = State::ExpectHeader { header, got };
                        return Ok((bytes.len(), None));
                    }
                    self.state = self.begin(header, datagram.len())?;
                }
                State::ExpectNotice { mut notice, got } => {
                    let taken = fill(notice.get_mut(got..).unwrap_or_default(), &mut rest);
                    let got = got.saturating_add(taken);
                    if got < NOTICE_LEN {
                        self.state = State::ExpectNotice { notice, got };
                        return Ok((bytes.len(), None));
                    }
                    self.state = EXPECT_HEADER;
                    let read = bytes.len().saturating_sub(rest.len());
                    let notice = TranslateNotice::decode(notice);
                    return Ok((read, Some(FromStream::Notice(notice))));
                }
                State::ExpectFragment { header, left } => {
                    let end = self.len.saturating_add(RECORD_HEADER_LEN);
                    let end = end.saturating_add(header.fragment_len);
                    let room = datagram.get_mut(end.saturating_sub(left)..end);
                    let taken = fill(room.unwrap_or_default(), &mut rest);
                    let left = left.saturating_sub(taken);
                    if left > 0 {
                        self.state = State::ExpectFragment { header, left };
                        return Ok((bytes.len(), None));
                    }
                    self.state = match header.has_more {
                        true => EXPECT_HEADER,
                        false => State::Ended,
                    };
                    let record = datagram.get_mut(self.len..end).unwrap_or_default();
                    match self.restore(header, record) {
                        Ok(()) => self.len = end,
                        Err(reason) => {
                            let read = bytes.len().saturating_sub(rest.len());
                            let len = record.len();
                            return Ok((read, Some(FromStream::Dropped { reason, len })));
                        }
                    }
                }
                State::SkipFragment { has_more, left } => {
                    let taken = left.min(rest.len());
                    rest = rest.get(taken..).unwrap_or_default();
                    let left = left.saturating_sub(taken);
                    if left > 0 {
                        self.state = State::SkipFragment { has_more, left };
                        return Ok((bytes.len(), None));
                    }
                    self.state = match has_more {
                        true => EXPECT_HEADER,
                        false => State::EndedWithoutRoom,
                    };
                }
                State::Ended => {
                    let len = self.len;
                    self.begin_datagram();
                    if len > 0 {
                        return Ok((read, Some(FromStream::Datagram(len))));
                    }
                }
                State::EndedWithoutRoom => {
                    let (reason, len) = (DropReason::TooLong, self.whole_len);
                    self.begin_datagram();
                    return Ok((read, Some(FromStream::Dropped { reason, len })));
                }
            }
        }
    }

    /// Says whether the stream can end here: not within a record, nor within a datagram.
    pub const fn is_at_border(&self) -> bool {
        matches!(self.state, State::ExpectHeader { got: 0, .. }) && !self.is_begun
    }

    const fn begin_datagram(&mut self) {
        self.state = EXPECT_HEADER;
        self.len = 0;
        self.whole_len = 0;
        self.is_begun = false;
    }

    fn begin(&mut self, header: [u8; RECORD_HEADER_LEN], room: usize) -> Result<State, Error> {
        let header = StreamHeader::decode(self.form, header)?;
        let fragment_len = header.fragment_len;
        if header.class == Class::Notice {
            if self.is_begun {
                return Err(Error::MisplacedNotice { len: fragment_len });
            }
            return Ok(State::ExpectNotice {
                notice: [0; NOTICE_LEN],
                got: 0,
            });
        }
        self.is_begun = true;
        let had_room = self.whole_len <= room;
        let record_len = RECORD_HEADER_LEN.saturating_add(fragment_len);
        self.whole_len = self.whole_len.saturating_add(record_len);
        // Once a datagram is too long, a short record behind may not make one of the rest.
        if !had_room || self.whole_len > room {
            return Ok(State::SkipFragment {
                has_more: header.has_more,
                left: fragment_len,
            });
        }
        Ok(State::ExpectFragment {
            header,
            left: fragment_len,
        })
    }

    /// Writes the header of a record whose fragment stands in its place.
    fn restore(&mut self, header: StreamHeader, record: &mut [u8]) -> Result<(), DropReason> {
        let content_type = header.content_type;
        if content_type == ContentType::Tls12Cid {
            return Err(DropReason::ConnectionIdMismatch);
        }
        let (version, number) = match header.class {
            Class::Clear(version) => {
                let number = RecordNumber::new(EpochNumber(0), self.next_clear);
                self.next_clear = self.next_clear.saturating_add(1);
                (version, number.ok_or(DropReason::TooOld)?)
            }
            Class::Protected => (DTLS_1_2, number_in_nonce(record)?),
            Class::Numbered(version, number) => (version, number),
            Class::Notice => (ProtocolVersion(0), RecordNumber::default()),
        };
        check_number(content_type, version.0, number)?;
        let numbered = StreamHeader {
            class: Class::Numbered(version, number),
            has_more: false,
            ..header
        };
        let (bytes, _) = numbered.encode();
        if let Some(place) = record.first_chunk_mut() {
            *place = bytes;
        }
        Ok(())
    }
}

fn number_in_nonce(record: &[u8]) -> Result<RecordNumber, DropReason> {
    let fragment = record.get(RECORD_HEADER_LEN..).unwrap_or_default();
    let nonce = fragment.first_chunk::<EXPLICIT_NONCE_LEN>();
    let number = RecordNumber::from_be_bytes(*nonce.ok_or(DropReason::Malformed)?);
    // Any other epoch is no epoch of this association, but another way to build nonces.
    if number.epoch() != PROTECTED_EPOCH {
        return Err(DropReason::NonceNotRecordNumber);
    }
    Ok(number)
}

/// Moves as many bytes as there are and fit, and returns how many.
fn fill(room: &mut [u8], rest: &mut &[u8]) -> usize {
    let len = room.len().min(rest.len());
    let (now, later) = rest.split_at_checked(len).unwrap_or_default();
    for (to, from) in room.iter_mut().zip(now) {
        *to = *from;
    }
    *rest = later;
    len
}

const EXPECT_HEADER: State = State::ExpectHeader {
    header: [0; RECORD_HEADER_LEN],
    got: 0,
};
