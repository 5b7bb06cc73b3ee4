//! Handshake messages that come in parts or ahead of their turn (RFC 6347 §4.2.3).

use hedgerow_core::DropReason;
use hedgerow_record::{HandshakeFragment, HandshakeType};

/// How many messages are held at once: the next one and those behind it in a flight.
const MAX_HELD: usize = 4;

/// How many gaps a message's parts may leave before further parts have to wait for a
/// retransmission.
const MAX_RANGES: usize = 8;

/// Holds parts of messages in a caller's buffer until they are whole and their turn has come.
///
/// Messages are told apart by `message_seq` alone, and nothing beyond the buffer is ever promised
/// to a peer that has proved nothing.
#[derive(Debug, Default)]
pub(crate) struct Reassembly {
    held: [Option<Held>; MAX_HELD],
    used: usize,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    msg_type: HandshakeType,
    message_seq: u16,
    start: usize,
    len: usize,
    ranges: Ranges,
}

impl Reassembly {
    /// Keeps a part of a message whose number is `next` or a little above.
    ///
    /// # Errors
    ///
    /// [`DropReason::ReassemblyFull`] if the message doesn't fit beside what is held,
    /// [`DropReason::Malformed`] if it contradicts an earlier part of the same message,
    /// [`DropReason::UnexpectedMessage`] if it is too far ahead.
    pub(crate) fn keep(
        &mut self,
        next: u16,
        part: &HandshakeFragment<'_>,
        buffer: &mut [u8],
    ) -> Result<(), DropReason> {
        let ahead = usize::from(part.message_seq.wrapping_sub(next));
        if ahead >= MAX_HELD {
            return Err(DropReason::UnexpectedMessage);
        }
        let len = usize::try_from(part.length).map_err(|_| DropReason::ReassemblyFull)?;
        let known = self
            .held
            .iter()
            .flatten()
            .position(|held| held.message_seq == part.message_seq);
        if known.is_none() {
            let start = self.used;
            let end = start.saturating_add(len);
            if end > buffer.len() {
                return Err(DropReason::ReassemblyFull);
            }
            let free = self
                .held
                .iter_mut()
                .find(|held| held.is_none())
                .ok_or(DropReason::ReassemblyFull)?;
            *free = Some(Held {
                msg_type: part.msg_type,
                message_seq: part.message_seq,
                start,
                len,
                ranges: Ranges::default(),
            });
            self.used = end;
        }
        let held = self
            .held
            .iter_mut()
            .flatten()
            .find(|held| held.message_seq == part.message_seq)
            .ok_or(DropReason::ReassemblyFull)?;
        if held.msg_type != part.msg_type || held.len != len {
            return Err(DropReason::Malformed);
        }
        let offset = usize::try_from(part.fragment_offset).map_err(|_| DropReason::Malformed)?;
        let end = offset.saturating_add(part.fragment.len());
        if !held.ranges.insert(offset, end) {
            return Err(DropReason::ReassemblyFull);
        }
        let place = buffer
            .get_mut(held.start..)
            .and_then(|message| message.get_mut(offset..end))
            .ok_or(DropReason::Malformed)?;
        place.copy_from_slice(part.fragment);
        Ok(())
    }

    /// Returns the message numbered `next` if it is whole: its type and where `buffer` has it.
    pub(crate) fn whole(&self, next: u16) -> Option<(HandshakeType, core::ops::Range<usize>)> {
        let held = self
            .held
            .iter()
            .flatten()
            .find(|held| held.message_seq == next)?;
        held.ranges.covers(held.len).then(|| {
            (
                held.msg_type,
                held.start..held.start.saturating_add(held.len),
            )
        })
    }

    /// Frees the room of the message numbered `message_seq`.
    pub(crate) fn release(&mut self, message_seq: u16, buffer: &mut [u8]) {
        let freed = self
            .held
            .iter_mut()
            .find(|held| held.is_some_and(|held| held.message_seq == message_seq))
            .and_then(Option::take);
        let Some(freed) = freed else {
            return;
        };
        let end = freed.start.saturating_add(freed.len);
        if end <= self.used && self.used <= buffer.len() {
            buffer.copy_within(end..self.used, freed.start);
        }
        self.used = self.used.saturating_sub(freed.len);
        for held in self.held.iter_mut().flatten() {
            if held.start > freed.start {
                held.start = held.start.saturating_sub(freed.len);
            }
        }
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

/// Disjoint, sorted ranges of bytes that were received.
#[derive(Clone, Copy, Debug, Default)]
struct Ranges {
    ranges: [(usize, usize); MAX_RANGES],
    count: usize,
}

impl Ranges {
    /// Adds `start..end`; `false`, and nothing changes, if there would be too many ranges.
    fn insert(&mut self, start: usize, end: usize) -> bool {
        let mut merged = Self::default();
        let mut new = (start, end);
        let mut placed = false;
        for &(from, to) in self.ranges.iter().take(self.count) {
            if to < new.0 {
                if !merged.push((from, to)) {
                    return false;
                }
            } else if from > new.1 {
                if !placed {
                    placed = true;
                    if !merged.push(new) {
                        return false;
                    }
                }
                if !merged.push((from, to)) {
                    return false;
                }
            } else {
                new = (new.0.min(from), new.1.max(to));
            }
        }
        if !placed && !merged.push(new) {
            return false;
        }
        *self = merged;
        true
    }

    fn push(&mut self, range: (usize, usize)) -> bool {
        let Some(place) = self.ranges.get_mut(self.count) else {
            return false;
        };
        *place = range;
        self.count = self.count.saturating_add(1);
        true
    }

    /// Says whether all of `0..len` was received.
    fn covers(&self, len: usize) -> bool {
        self.count == 1 && self.ranges.first() == Some(&(0, len))
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    fn part(message_seq: u16, length: u32, offset: u32, fragment: &[u8]) -> HandshakeFragment<'_> {
        HandshakeFragment {
            msg_type: HandshakeType::ServerHello,
            length,
            message_seq,
            fragment_offset: offset,
            fragment,
        }
    }

    #[test]
    fn parts_in_any_order_and_overlapping_make_the_message() {
        let mut buffer = [0; 16];
        let mut reassembly = Reassembly::default();
        for (offset, bytes) in [(6, b"gh".as_slice()), (0, b"abc"), (2, b"cdefg")] {
            assert_eq!(reassembly.whole(1), None);
            reassembly
                .keep(1, &part(1, 8, offset, bytes), &mut buffer)
                .unwrap();
        }
        let (msg_type, range) = reassembly.whole(1).unwrap();
        assert_eq!(msg_type, HandshakeType::ServerHello);
        assert_eq!(&buffer[range], b"abcdefgh");
    }

    #[test]
    fn empty_message_ahead_of_its_turn_is_held() {
        let mut buffer = [0; 4];
        let mut reassembly = Reassembly::default();
        reassembly
            .keep(1, &part(2, 0, 0, b""), &mut buffer)
            .unwrap();
        assert_eq!(reassembly.whole(1), None);
        assert!(reassembly.whole(2).is_some());
    }

    #[test]
    fn released_room_is_used_again_and_others_keep_their_bytes() {
        let mut buffer = [0; 8];
        let mut reassembly = Reassembly::default();
        reassembly
            .keep(0, &part(1, 4, 0, b"late"), &mut buffer)
            .unwrap();
        reassembly
            .keep(0, &part(0, 4, 0, b"soon"), &mut buffer)
            .unwrap();
        assert_eq!(
            reassembly.keep(0, &part(2, 1, 0, b"x"), &mut buffer),
            Err(DropReason::ReassemblyFull)
        );
        reassembly.release(1, &mut buffer);
        let (_, range) = reassembly.whole(0).unwrap();
        assert_eq!(&buffer[range], b"soon");
        assert!(
            reassembly
                .keep(0, &part(2, 4, 0, b"more"), &mut buffer)
                .is_ok()
        );
    }

    #[test]
    fn contradiction_overflow_and_distance_are_refused() {
        let mut buffer = [0; 16];
        let mut reassembly = Reassembly::default();
        reassembly
            .keep(0, &part(0, 8, 0, b"ab"), &mut buffer)
            .unwrap();
        assert_eq!(
            reassembly.keep(0, &part(0, 9, 2, b"cd"), &mut buffer),
            Err(DropReason::Malformed)
        );
        assert_eq!(
            reassembly.keep(0, &part(1, 0xff_ffff, 0, b"x"), &mut buffer),
            Err(DropReason::ReassemblyFull)
        );
        assert_eq!(
            reassembly.keep(0, &part(4, 1, 0, b"x"), &mut buffer),
            Err(DropReason::UnexpectedMessage)
        );
        assert_eq!(
            reassembly.keep(1, &part(0, 1, 0, b"x"), &mut buffer),
            Err(DropReason::UnexpectedMessage)
        );
    }

    #[test]
    fn more_gaps_than_are_kept_wait_for_a_retransmission() {
        let mut buffer = [0; 64];
        let mut reassembly = Reassembly::default();
        for gap in 0..8 {
            reassembly
                .keep(0, &part(0, 64, gap * 2, b"x"), &mut buffer)
                .unwrap();
        }
        assert_eq!(
            reassembly.keep(0, &part(0, 64, 20, b"x"), &mut buffer),
            Err(DropReason::ReassemblyFull)
        );
        reassembly
            .keep(0, &part(0, 64, 0, &[b'y'; 64]), &mut buffer)
            .unwrap();
        assert!(reassembly.whole(0).is_some());
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_is_whole_is_what_was_sent(
            message in proptest::collection::vec(any::<u8>(), 1..40),
            cuts in proptest::collection::vec((0_usize..40, 0_usize..40), 0..30),
        ) {
            let mut buffer = [0; 48];
            let mut reassembly = Reassembly::default();
            let mut covered: Vec<bool> = message.iter().map(|_| false).collect();
            let total = u32::try_from(message.len()).unwrap();
            for (start, len) in cuts {
                let start = start.min(message.len());
                let end = (start + len).min(message.len());
                let offset = u32::try_from(start).unwrap();
                if reassembly.keep(5, &part(5, total, offset, &message[start..end]), &mut buffer).is_ok() {
                    covered[start..end].fill(true);
                }
                let whole = reassembly.whole(5);
                prop_assert_eq!(whole.is_some(), covered.iter().all(|&byte| byte));
                if let Some((_, range)) = whole {
                    prop_assert_eq!(&buffer[range], message.as_slice());
                }
            }
        }
    }
}
