//! What is mapped and has not been written yet.

use crate::{Error, HANDSHAKE_HEADER_LEN, RECORD_HEADER_LEN};

/// How far a mapping went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapped {
    /// How many bytes of the input were read.
    pub read: usize,
    /// How many bytes of the output were written.
    pub written: usize,
}

/// The headers that go out next: at most a record's and a handshake message's.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    bytes: [u8; PENDING_LEN],
    len: usize,
    at: usize,
}

impl Pending {
    pub(super) const EMPTY: Self = Self {
        bytes: [0; PENDING_LEN],
        len: 0,
        at: 0,
    };

    /// Puts bytes behind those that wait. There is room for all headers of one record.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        let room = self.bytes.get_mut(self.len..).unwrap_or_default();
        for (to, from) in room.iter_mut().zip(bytes) {
            *to = *from;
            self.len = self.len.saturating_add(1);
        }
    }

    /// Writes what `out` has room for, and says whether that was all.
    pub(super) fn flush(&mut self, out: &mut Output<'_>) -> bool {
        let waiting = self.bytes.get(self.at..self.len).unwrap_or_default();
        self.at = self.at.saturating_add(out.copy(waiting));
        let is_empty = self.at == self.len;
        if is_empty {
            (self.at, self.len) = (0, 0);
        }
        is_empty
    }
}

/// The bytes of one call that have not been read yet.
pub(super) struct Input<'b> {
    pub(super) rest: &'b [u8],
}

impl Input<'_> {
    /// Moves bytes to where `room` isn't filled yet, and returns how many.
    pub(super) fn fill(&mut self, room: &mut [u8]) -> usize {
        let len = room.len().min(self.rest.len());
        let (taken, rest) = self.rest.split_at_checked(len).unwrap_or_default();
        for (to, from) in room.iter_mut().zip(taken) {
            *to = *from;
        }
        self.rest = rest;
        len
    }

    /// Moves bytes into a header that has `got` of its bytes, and says whether it is whole.
    pub(super) fn fill_header(&mut self, header: &mut [u8], got: &mut usize) -> bool {
        *got = got.saturating_add(self.fill(header.get_mut(*got..).unwrap_or_default()));
        *got >= header.len()
    }

    /// Reads the one byte of a ChangeCipherSpec (RFC 5246 §7.1); `None` if it hasn't come.
    pub(super) fn change_cipher_spec(&mut self) -> Result<Option<u8>, Error> {
        let mut byte = [0];
        match (self.fill(&mut byte), byte) {
            (0, _) => Ok(None),
            (_, [1]) => Ok(Some(1)),
            _ => Err(Error::NotChangeCipherSpec),
        }
    }
}

/// The room of one call that has not been written to yet.
pub(super) struct Output<'b> {
    bytes: &'b mut [u8],
    pub(super) written: usize,
}

impl<'b> Output<'b> {
    pub(super) const fn new(bytes: &'b mut [u8]) -> Self {
        Self { bytes, written: 0 }
    }

    fn copy(&mut self, from: &[u8]) -> usize {
        Input { rest: from }.fill_from(self)
    }

    fn room(&mut self, most: usize) -> &mut [u8] {
        let room = self.bytes.get_mut(self.written..).unwrap_or_default();
        let len = room.len().min(most);
        room.get_mut(..len).unwrap_or_default()
    }

    /// Moves up to `most` bytes of the input here, and returns how many.
    pub(super) fn take(&mut self, input: &mut Input<'_>, most: usize) -> usize {
        let len = input.fill(self.room(most));
        self.written = self.written.saturating_add(len);
        len
    }

    /// Moves the `left` bytes that go as they are, and says whether those were all.
    pub(super) fn pass(&mut self, input: &mut Input<'_>, left: &mut usize) -> bool {
        *left = left.saturating_sub(self.take(input, *left));
        *left == 0
    }
}

impl Input<'_> {
    fn fill_from(&mut self, out: &mut Output<'_>) -> usize {
        let most = self.rest.len();
        out.take(self, most)
    }
}

const PENDING_LEN: usize = RECORD_HEADER_LEN + HANDSHAKE_HEADER_LEN;
