//! The direction that this end receives: what has arrived, and how much more may.

use crate::ring::Ring;
use crate::storage::Buffer;
use crate::{Ack, Data, Ranges, Read, ResetReason};

/// The receiving half of a stream. `read <= arrived <= limit` holds.
#[derive(Debug)]
pub(crate) struct ReceiveHalf<B> {
    ring: Ring<B>,
    /// The application has read what lies before it.
    read: u32,
    /// All bytes before it have arrived.
    arrived: u32,
    /// What has arrived beyond.
    beyond: Ranges,
    /// The other end was told that it may send what lies before it.
    limit: u32,
    /// Where the direction ends, once that is known.
    end: Option<u32>,
    /// Whether the application was told of the end.
    is_end_read: bool,
}

/// What bytes were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// The next ones, or the end.
    Next,
    /// Some that lie behind a gap.
    OutOfOrder,
    /// Nothing that wasn't there.
    Duplicate,
    /// One gap more than is kept: dropped.
    TooManyGaps,
}

impl<B: Buffer> ReceiveHalf<B> {
    pub(crate) fn new(capacity: u16) -> Self {
        let ring = Ring::new(capacity);
        let limit = u32::from(ring.capacity());
        Self {
            ring,
            read: 0,
            arrived: 0,
            beyond: Ranges::new(),
            limit,
            end: None,
            is_end_read: false,
        }
    }

    /// Takes bytes in.
    pub(crate) fn handle_data(&mut self, data: &Data<'_>) -> Result<Arrival, ResetReason> {
        let (start, end) = (data.offset, data.end());
        if end > self.limit {
            return Err(ResetReason::FlowControl);
        }
        let highest = self.beyond.as_slice().last();
        let highest = highest.map_or(self.arrived, |range| range.end);
        let contradicts = match self.end {
            Some(known) => end > known || (data.fin && end != known),
            None => data.fin && end < highest,
        };
        if contradicts {
            return Err(ResetReason::FinalSize);
        }
        if !self.agrees_with(data) {
            return Err(ResetReason::Inconsistent);
        }
        let fresh = start.max(self.arrived);
        let is_new_end = data.fin && self.end.is_none();
        let is_new = is_new_end || self.beyond.first_missing(fresh, end).is_some();
        if start > self.arrived && !self.beyond.insert(start, end) {
            return Ok(Arrival::TooManyGaps);
        }
        if data.fin {
            self.end = Some(end);
        }
        if fresh < end {
            let skipped = usize::try_from(fresh.saturating_sub(start)).unwrap_or(usize::MAX);
            self.ring
                .put(fresh, data.bytes.get(skipped..).unwrap_or_default());
        }
        if start > self.arrived {
            return Ok(match is_new {
                true => Arrival::OutOfOrder,
                false => Arrival::Duplicate,
            });
        }
        self.arrived = self.arrived.max(end);
        while let Some(next) = self.beyond.as_slice().first()
            && next.start <= self.arrived
        {
            self.arrived = self.arrived.max(next.end);
            self.beyond.remove_before(self.arrived);
        }
        Ok(match is_new {
            true => Arrival::Next,
            false => Arrival::Duplicate,
        })
    }

    /// Moves the next bytes into `out`.
    pub(crate) fn read(&mut self, out: &mut [u8]) -> Read {
        let waiting = usize::try_from(self.waiting()).unwrap_or(usize::MAX);
        let len = waiting.min(out.len());
        if len == 0 {
            let is_at_end = self.end == Some(self.read);
            self.is_end_read |= is_at_end;
            return match is_at_end {
                true => Read::End,
                false => Read::Blocked,
            };
        }
        if let Some(out) = out.get_mut(..len) {
            self.ring.get(self.read, out);
        }
        let len_read = u32::try_from(len).unwrap_or(u32::MAX);
        self.read = self.read.saturating_add(len_read);
        if self.read == self.arrived && self.beyond.is_empty() {
            self.ring.release();
        }
        Read::Bytes(len)
    }

    /// Returns how many bytes wait to be read.
    pub(crate) const fn waiting(&self) -> u32 {
        self.arrived.saturating_sub(self.read)
    }

    /// Says whether everything up to the orderly end was read, and the end itself.
    pub(crate) const fn is_end_read(&self) -> bool {
        self.is_end_read
    }

    /// Says whether everything up to the orderly end has arrived.
    pub(crate) fn has_end(&self) -> bool {
        self.end == Some(self.arrived)
    }

    /// Returns how much the other end may send beyond what has arrived, once it is told so.
    pub(crate) fn window(&self) -> u16 {
        let waiting = u16::try_from(self.waiting()).unwrap_or(u16::MAX);
        self.ring.capacity().saturating_sub(waiting)
    }

    /// Says whether the other end should hear of the window: it grew by half a buffer, or by a segment
    /// where it knows of less than one.
    pub(crate) fn is_window_worth_telling(&self, segment: u32) -> bool {
        let known = self.limit.saturating_sub(self.arrived);
        let grown = u32::from(self.window()).saturating_sub(known);
        let half = u32::from(self.ring.capacity() / 2);
        let enough = match known < segment {
            true => half.min(segment),
            false => half,
        };
        self.end.is_none() && grown >= enough.max(1)
    }

    /// Returns the acknowledgement to be sent now, with so many blocks at most.
    pub(crate) fn acknowledge(&mut self, max_blocks: usize) -> Ack {
        let window = self.window();
        self.limit = self
            .limit
            .max(self.arrived.saturating_add(u32::from(window)));
        let mut blocks = Ranges::new();
        for range in self.beyond.as_slice().iter().take(max_blocks) {
            blocks.insert(range.start, range.end);
        }
        Ack {
            cumulative: self.arrived.saturating_add(u32::from(self.has_end())),
            window,
            blocks,
        }
    }

    /// Returns how many blocks an acknowledgement could have.
    pub(crate) fn blocks(&self) -> usize {
        self.beyond.as_slice().len()
    }

    /// Forgets all bytes.
    pub(crate) fn clear(&mut self) {
        *self = Self::new(self.ring.capacity());
    }

    /// Compares bytes with those that are still in the buffer.
    fn agrees_with(&self, data: &Data<'_>) -> bool {
        let unread = self.read..self.arrived;
        let ranges = core::iter::once(&unread).chain(self.beyond.as_slice());
        ranges.into_iter().all(|range| {
            let (start, end) = (range.start.max(data.offset), range.end.min(data.end()));
            let index = |position: u32| {
                usize::try_from(position.saturating_sub(data.offset)).unwrap_or(usize::MAX)
            };
            start >= end
                || data
                    .bytes
                    .get(index(start)..index(end))
                    .is_some_and(|bytes| self.ring.holds(start, bytes))
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::storage::FixedBuffer;

    type Half = ReceiveHalf<FixedBuffer<512>>;

    fn put(half: &mut Half, offset: u32, bytes: &[u8], fin: bool) -> Result<Arrival, ResetReason> {
        half.handle_data(&Data { offset, bytes, fin })
    }

    #[test]
    fn bytes_are_read_in_order_whatever_order_they_come_in() {
        let mut half = Half::new(512);
        assert_eq!(put(&mut half, 3, b"def", true), Ok(Arrival::OutOfOrder));
        let ack = half.acknowledge(4);
        assert_eq!(ack.cumulative, 0);
        assert_eq!(ack.blocks.as_slice().first(), Some(&(3..6)));
        let mut out = [0; 8];
        assert_eq!(half.read(&mut out), Read::Blocked);
        assert_eq!(put(&mut half, 0, b"abcd", false), Ok(Arrival::Next));
        assert_eq!(half.acknowledge(4).cumulative, 7, "the end counts");
        assert_eq!(put(&mut half, 0, b"abcd", false), Ok(Arrival::Duplicate));
        assert_eq!(half.read(&mut out[..4]), Read::Bytes(4));
        assert_eq!(half.read(&mut out[4..]), Read::Bytes(2));
        assert_eq!(&out[..6], b"abcdef");
        assert_eq!(half.read(&mut out), Read::End);
    }

    #[test]
    fn faults_are_told_apart() {
        use ResetReason::{FinalSize, FlowControl, Inconsistent};
        let mut half = Half::new(512);
        assert_eq!(put(&mut half, 500, &[0; 13], false), Err(FlowControl));
        assert_eq!(put(&mut half, 10, b"klm", false), Ok(Arrival::OutOfOrder));
        assert_eq!(put(&mut half, 12, b"", true), Err(FinalSize));
        assert_eq!(put(&mut half, 0, b"0123456789KL", false), Err(Inconsistent));
        assert_eq!(put(&mut half, 13, b"", true), Ok(Arrival::OutOfOrder));
        assert_eq!(put(&mut half, 13, b"n", false), Err(FinalSize));
        assert_eq!(put(&mut half, 14, b"", true), Err(FinalSize));
        assert_eq!(put(&mut half, 12, b"", true), Err(FinalSize));
        assert!(
            !half.has_end() && !half.is_end_read(),
            "none of it has ended"
        );
        assert_eq!(put(&mut half, 0, b"0123456789", false), Ok(Arrival::Next));
        assert!(half.has_end() && !half.is_end_read());
        assert_eq!(put(&mut half, 5, b"5", false), Ok(Arrival::Duplicate));
        assert_eq!(put(&mut half, 5, b"6", false), Err(Inconsistent));
    }

    #[test]
    fn fifth_gap_is_dropped_and_the_limit_moves_with_reading() {
        let mut half = Half::new(512);
        for offset in [10, 20, 30, 40] {
            assert_eq!(put(&mut half, offset, b"x", false), Ok(Arrival::OutOfOrder));
        }
        assert_eq!(put(&mut half, 50, b"x", true), Ok(Arrival::TooManyGaps));
        assert_eq!(half.blocks(), 4);
        assert_eq!(half.acknowledge(2).blocks.as_slice(), [10..11, 20..21]);

        let mut half = Half::new(512);
        assert_eq!(put(&mut half, 0, &[1; 512], false), Ok(Arrival::Next));
        assert_eq!(half.acknowledge(4).window, 0);
        assert_eq!(
            put(&mut half, 512, &[1], false),
            Err(ResetReason::FlowControl)
        );
        let mut out = [0; 50];
        half.read(&mut out);
        assert!(!half.is_window_worth_telling(100));
        half.read(&mut out);
        assert!(half.is_window_worth_telling(100));
        assert_eq!(half.acknowledge(4).window, 100);
        assert!(!half.is_window_worth_telling(100));
        assert_eq!(put(&mut half, 512, &[1; 100], false), Ok(Arrival::Next));
    }

    proptest! {
        /// Whatever comes, in pieces of one truth, what is read is a prefix of that truth.
        #[test]
        fn what_is_read_is_a_prefix_of_what_was_sent(
            pieces in proptest::collection::vec((0_u32..300, 0_usize..60, 0_usize..40), 1..80),
        ) {
            let truth: std::vec::Vec<u8> = (0..300_u32).map(|n| u8::try_from(n * 7 % 251).unwrap()).collect();
            let mut half = ReceiveHalf::<FixedBuffer<64>>::new(64);
            let mut all = std::vec::Vec::new();
            for (offset, len, read) in pieces {
                let start = usize::try_from(offset).unwrap();
                let end = (start + len).min(truth.len());
                let data = Data { offset, bytes: &truth[start..end], fin: end == truth.len() };
                match half.handle_data(&data) {
                    Ok(_) => {}
                    Err(reason) => prop_assert_eq!(reason, ResetReason::FlowControl),
                }
                let mut out = [0; 40];
                if let Read::Bytes(len) = half.read(&mut out[..read]) {
                    all.extend_from_slice(&out[..len]);
                }
                half.acknowledge(4);
                prop_assert!(truth.starts_with(&all));
                prop_assert!(!half.is_end_read() || all.len() == truth.len());
            }
        }
    }
}
