//! The direction that this end sends: what is kept, in flight, lost, and next to go.

use hedgerow_core::Instant;

use crate::config::MIN_RECEIVE_BUFFER;
use crate::ring::Ring;
use crate::storage::Buffer;
use crate::{Ack, Error, Ranges, ResetReason};

/// The sending half of a stream. Positions count bytes, and the end as one more.
///
/// `acknowledged <= resend_from <= lost_before <= sent` holds, and `sent` is at most one, for the end,
/// beyond `written`.
#[derive(Debug)]
pub(crate) struct SendHalf<B> {
    ring: Ring<B>,
    /// All before it was acknowledged.
    acknowledged: u32,
    /// Bytes that count as lost lie before it. Of those, the ones before `resend_from` were sent again.
    lost_before: u32,
    resend_from: u32,
    /// What was ever sent lies before it.
    sent: u32,
    /// What the application wrote lies before it.
    written: u32,
    is_finished: bool,
    /// What was acknowledged beyond `acknowledged`.
    blocks: Ranges,
    /// Bytes before it may be sent.
    limit: u32,
    /// A position whose acknowledgement is a measurement, and when what it ends was sent.
    timed: Option<(u32, Instant)>,
    /// Acknowledgements in a row that brought a new block and nothing else.
    duplicates: u8,
    /// A loss of what was sent before it has had its effect on the congestion window.
    recovery_until: u32,
}

/// What is next to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Chunk {
    pub(crate) offset: u32,
    pub(crate) len: u32,
    pub(crate) fin: bool,
    /// Whether it was sent before.
    pub(crate) is_resent: bool,
    /// Whether less goes than was asked for, because the limit lies there.
    pub(crate) is_cut: bool,
}

impl Chunk {
    /// Returns the positions that it takes.
    pub(crate) fn positions(&self) -> u32 {
        self.len.saturating_add(u32::from(self.fin))
    }
}

/// What an acknowledgement did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Acknowledged {
    /// Positions acknowledged in order, now.
    pub(crate) positions: u32,
    /// When what was measured had been sent.
    pub(crate) measured: Option<Instant>,
    /// Whether something counts as lost now, so that the congestion window is to be halved.
    pub(crate) is_loss: bool,
}

impl<B: Buffer> SendHalf<B> {
    pub(crate) fn new(capacity: u16) -> Self {
        Self {
            ring: Ring::new(capacity),
            acknowledged: 0,
            lost_before: 0,
            resend_from: 0,
            sent: 0,
            written: 0,
            is_finished: false,
            blocks: Ranges::new(),
            limit: u32::from(MIN_RECEIVE_BUFFER),
            timed: None,
            duplicates: 0,
            recovery_until: 0,
        }
    }

    /// Takes as many of `bytes` as there is room for.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<usize, Error> {
        if self.is_finished {
            return Err(Error::Finished);
        }
        let left = MAX_BYTES.saturating_sub(self.written);
        if left == 0 && !bytes.is_empty() {
            return Err(Error::Exhausted);
        }
        let kept = self.written.saturating_sub(self.acknowledged);
        let room = u32::from(self.ring.capacity())
            .saturating_sub(kept)
            .min(left);
        let len = usize::try_from(room).unwrap_or(usize::MAX).min(bytes.len());
        let taken = bytes.get(..len).unwrap_or_default();
        if !taken.is_empty() {
            self.ring.put(self.written, taken);
            self.written = self.written.saturating_add(position(len));
        }
        Ok(len)
    }

    /// Ends the direction behind what was written.
    pub(crate) fn finish(&mut self) {
        self.is_finished = true;
    }

    /// Lets bytes before `limit` be sent.
    pub(crate) fn raise_limit(&mut self, limit: u32) {
        self.limit = self.limit.max(limit);
    }

    /// Says whether everything and the end were acknowledged.
    pub(crate) fn is_complete(&self) -> bool {
        self.is_finished && self.acknowledged > self.written
    }

    /// Returns how many bytes were written that aren't acknowledged.
    pub(crate) fn unacknowledged(&self) -> usize {
        let left = self.written.saturating_sub(self.acknowledged);
        usize::try_from(left).unwrap_or(usize::MAX)
    }

    /// Says whether something was sent that isn't acknowledged.
    pub(crate) fn is_outstanding(&self) -> bool {
        self.acknowledged < self.sent
    }

    /// Returns how many positions are in flight: neither acknowledged nor lost.
    pub(crate) fn in_flight(&self) -> u32 {
        let missing = |start: u32, end: u32| {
            end.saturating_sub(start)
                .saturating_sub(self.blocks.covered(start, end))
        };
        let resent = missing(self.acknowledged, self.resend_from);
        resent.saturating_add(missing(self.lost_before, self.sent))
    }

    /// Says whether nothing goes because the other end's window is closed.
    pub(crate) fn is_blocked_by_limit(&self) -> bool {
        self.sent < self.written && self.sent >= self.limit
    }

    /// Returns what is next to be sent, in at most `max` bytes.
    pub(crate) fn next(&self, max: u32) -> Option<Chunk> {
        let lost = self
            .blocks
            .first_missing(self.resend_from, self.lost_before);
        let (start, end, is_resent) = match lost {
            Some(lost) => (lost.start, lost.end.min(self.written), true),
            None => (self.sent, self.written.min(self.limit), false),
        };
        let len = end.saturating_sub(start).min(max);
        let fin = self.is_finished && start.checked_add(len) == Some(self.written);
        if len == 0 && !fin {
            return None;
        }
        let behind = start.saturating_add(len);
        Some(Chunk {
            offset: start,
            len,
            fin,
            is_resent,
            is_cut: !is_resent && len < max && behind < self.written,
        })
    }

    /// Fills `out` with a chunk's bytes.
    pub(crate) fn bytes(&self, chunk: &Chunk, out: &mut [u8]) {
        self.ring.get(chunk.offset, out);
    }

    /// Notes that a chunk was sent.
    pub(crate) fn note_sent(&mut self, chunk: &Chunk, now: Instant) {
        let end = chunk.offset.saturating_add(chunk.positions());
        if chunk.is_resent {
            self.resend_from = end.min(self.lost_before);
            // MUST (RFC 6298 §3): what was sent twice measures nothing.
            self.timed = None;
        } else if self.timed.is_none() {
            self.timed = Some((end, now));
        }
        self.sent = self.sent.max(end);
    }

    /// Takes an acknowledgement in.
    pub(crate) fn handle_ack(
        &mut self,
        ack: &Ack,
        segment: u32,
    ) -> Result<Acknowledged, ResetReason> {
        let highest = ack.blocks.as_slice().last().map_or(0, |block| block.end);
        if ack.cumulative.max(highest) > self.sent {
            return Err(ResetReason::BadAcknowledgement);
        }
        // The limit only grows (docs/specs/leg.md, ACK).
        let limit = ack.cumulative.saturating_add(u32::from(ack.window));
        self.raise_limit(limit);
        let mut outcome = Acknowledged::default();
        let covered = self.blocks.covered(0, u32::MAX);
        for block in ack.blocks.as_slice() {
            // Without room for it, the block is sent again: a loss of bandwidth only.
            self.blocks
                .insert(block.start.max(self.acknowledged), block.end);
        }
        let is_new_block = self.blocks.covered(0, u32::MAX) > covered;
        if ack.cumulative > self.acknowledged {
            outcome.positions = ack.cumulative.saturating_sub(self.acknowledged);
            self.acknowledged = ack.cumulative;
            self.lost_before = self.lost_before.max(ack.cumulative);
            self.resend_from = self.resend_from.max(ack.cumulative);
            self.blocks.remove_before(ack.cumulative);
            self.duplicates = 0;
            if let Some((end, at)) = self.timed
                && end <= ack.cumulative
            {
                outcome.measured = Some(at);
                self.timed = None;
            }
            if self.acknowledged >= self.written {
                self.ring.release();
            }
        } else if is_new_block {
            self.duplicates = self.duplicates.saturating_add(1);
        }
        outcome.is_loss = self.find_losses(segment);
        Ok(outcome)
    }

    /// Lets everything that isn't acknowledged count as lost (RFC 6298 §5.4). What was acknowledged out
    /// of order is forgotten: the other end may have (RFC 2018).
    pub(crate) fn time_out(&mut self) {
        self.blocks.clear();
        self.lost_before = self.sent;
        self.resend_from = self.acknowledged;
        self.recovery_until = self.sent;
        self.timed = None;
        self.duplicates = 0;
    }

    /// Forgets all bytes.
    pub(crate) fn clear(&mut self) {
        *self = Self::new(self.ring.capacity());
    }

    /// Looks for losses as RFC 6675 does: more than two segments' worth were acknowledged above, or three
    /// acknowledgements in a row had a new block alone. It says whether the congestion window is to be halved for them.
    fn find_losses(&mut self, segment: u32) -> bool {
        let mut above = 0_u32;
        let mut lost = 0;
        for block in self.blocks.as_slice().iter().rev() {
            above = above.saturating_add(block.end.saturating_sub(block.start));
            if above > segment.saturating_mul(2) {
                lost = block.start;
                break;
            }
        }
        if self.duplicates >= DUPLICATES {
            let first = self.blocks.as_slice().first();
            lost = lost.max(first.map_or(0, |block| block.start));
        }
        if lost <= self.lost_before {
            return false;
        }
        self.lost_before = lost;
        let is_first = self.acknowledged >= self.recovery_until;
        if is_first {
            self.recovery_until = self.sent;
        }
        is_first
    }
}

fn position(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

/// Bytes of a direction: its end needs a position, too.
const MAX_BYTES: u32 = u32::MAX - 1;
/// Segments that arrive behind a gap until it counts as lost (RFC 9002's threshold).
const DUPLICATES: u8 = 3;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::FixedBuffer;

    type Half = SendHalf<FixedBuffer<1024>>;

    fn ack(cumulative: u32, window: u16, blocks: &[(u32, u32)]) -> Ack {
        let mut ranges = Ranges::new();
        for (start, end) in blocks {
            assert!(ranges.insert(*start, *end));
        }
        Ack {
            cumulative,
            window,
            blocks: ranges,
        }
    }

    /// Sends everything that may go, in chunks of 100, and returns the offsets.
    fn flush(half: &mut Half) -> std::vec::Vec<u32> {
        let mut offsets = std::vec::Vec::new();
        while let Some(chunk) = half.next(100) {
            half.note_sent(&chunk, Instant::ZERO);
            offsets.push(chunk.offset);
        }
        offsets
    }

    fn half_with(len: usize) -> Half {
        let mut half = Half::new(1024);
        assert_eq!(half.write(&[7; 2000][..len]), Ok(len));
        half
    }

    #[test]
    fn limit_holds_bytes_back_and_only_grows() {
        let mut half = half_with(1024);
        assert_eq!(half.write(b"more"), Ok(0));
        assert_eq!(flush(&mut half), [0, 100, 200, 300, 400, 500]);
        assert!(half.is_blocked_by_limit());
        half.handle_ack(&ack(100, 600, &[]), 100).unwrap();
        assert_eq!(flush(&mut half), [512, 612]);
        half.handle_ack(&ack(100, 0, &[]), 100).unwrap();
        half.handle_ack(&ack(100, 700, &[]), 100).unwrap();
        assert_eq!(flush(&mut half), [700]);
    }

    #[test]
    fn three_segments_behind_a_gap_or_two_and_a_byte_make_it_lost() {
        let mut half = half_with(500);
        flush(&mut half);
        assert_eq!(half.in_flight(), 500);
        for (end, lost) in [(200, false), (250, false), (301, true)] {
            let outcome = half.handle_ack(&ack(0, 1024, &[(100, end)]), 1000).unwrap();
            assert_eq!(outcome.is_loss, lost, "{end}");
        }
        assert_eq!(half.in_flight(), 500 - 100 - 201);
        assert_eq!(flush(&mut half), [0], "the gap alone is sent again");
        let outcome = half.handle_ack(&ack(0, 1024, &[(100, 500)]), 1000);
        assert_eq!(outcome, Ok(Acknowledged::default()), "and counts once");
        assert_eq!(flush(&mut half), [0; 0]);

        let mut half = half_with(500);
        flush(&mut half);
        let outcome = half.handle_ack(&ack(0, 1024, &[(100, 300)]), 100).unwrap();
        assert!(!outcome.is_loss);
        let outcome = half.handle_ack(&ack(0, 1024, &[(100, 301)]), 100).unwrap();
        assert!(outcome.is_loss);
    }

    #[test]
    fn timeout_forgets_blocks_and_sends_all_again() {
        let mut half = half_with(300);
        half.finish();
        assert_eq!(flush(&mut half), [0, 100, 200]);
        half.handle_ack(&ack(0, 1024, &[(100, 200)]), 100).unwrap();
        half.time_out();
        assert_eq!(half.in_flight(), 0);
        assert_eq!(flush(&mut half), [0, 100, 200]);
        assert_eq!(half.in_flight(), 301);
        assert!(!half.is_complete());
        let outcome = half.handle_ack(&ack(301, 0, &[]), 100).unwrap();
        assert_eq!((outcome.positions, outcome.measured), (301, None));
        assert!(half.is_complete() && !half.is_outstanding());
    }

    /// RFC 6298 §3: Karn's algorithm.
    #[test]
    fn only_what_was_sent_once_is_measured() {
        let mut half = half_with(200);
        flush(&mut half);
        let outcome = half.handle_ack(&ack(100, 1024, &[]), 100).unwrap();
        assert_eq!(outcome.measured, Some(Instant::ZERO));
        half.time_out();
        assert_eq!(flush(&mut half), [100]);
        let outcome = half.handle_ack(&ack(200, 1024, &[]), 100).unwrap();
        assert_eq!(outcome.measured, None);

        // Nor after a fast retransmission.
        let mut half = half_with(500);
        flush(&mut half);
        half.handle_ack(&ack(0, 1024, &[(100, 500)]), 100).unwrap();
        assert_eq!(flush(&mut half), [0]);
        let outcome = half.handle_ack(&ack(500, 1024, &[]), 100).unwrap();
        assert_eq!(outcome.measured, None);
    }

    #[test]
    fn acknowledgement_of_what_was_not_sent_is_a_fault() {
        let mut half = half_with(300);
        let chunk = half.next(100).unwrap();
        half.note_sent(&chunk, Instant::ZERO);
        for forged in [ack(101, 0, &[]), ack(0, 0, &[(50, 101)])] {
            let outcome = half.handle_ack(&forged, 100);
            assert_eq!(outcome, Err(ResetReason::BadAcknowledgement));
        }
        assert!(half.handle_ack(&ack(50, 0, &[(60, 100)]), 100).is_ok());
        assert!(half.handle_ack(&ack(20, 0, &[]), 100).is_ok(), "an old one");
    }

    #[test]
    fn end_without_bytes_goes_alone() {
        let mut half = half_with(0);
        assert_eq!(half.next(100), None);
        half.finish();
        assert_eq!(half.write(b"x"), Err(Error::Finished));
        let chunk = half.next(100).unwrap();
        assert_eq!((chunk.offset, chunk.len, chunk.fin), (0, 0, true));
        half.note_sent(&chunk, Instant::ZERO);
        assert_eq!(half.next(100), None);
        half.handle_ack(&ack(1, 0, &[]), 100).unwrap();
        assert!(half.is_complete());
    }
}
