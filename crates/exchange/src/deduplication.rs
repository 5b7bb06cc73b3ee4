//! Which messages of the peer were seen, and what each was answered with, RFC 7252 §4.5.

use core::time::Duration;

use hedgerow_coap::MessageId;
use hedgerow_core::Instant;

use crate::storage::{Map, MessageBuffer, Queue, Storage};

/// The peer's message IDs that are in use.
///
/// Entries leave in the order in which they came, one queue per lifetime, so expiry costs a
/// constant per entry and nothing is ever searched.
pub(crate) struct Deduplication<S: Storage> {
    answers: S::Map<Answer<S::Message>>,
    confirmable: S::Queue<Expiry>,
    non_confirmable: S::Queue<Expiry>,
    stored_bytes: usize,
}

impl<S: Storage> Default for Deduplication<S> {
    fn default() -> Self {
        Self {
            answers: S::Map::default(),
            confirmable: S::Queue::default(),
            non_confirmable: S::Queue::default(),
            stored_bytes: 0,
        }
    }
}

/// What a duplicate of a message is answered with.
#[derive(Debug)]
pub(crate) enum Answer<M> {
    /// Nothing: no answer has been given yet, or none is due to a Non-confirmable message.
    Nothing,
    /// An empty Acknowledgement.
    Acknowledgement,
    /// The message stored, byte for byte.
    Message(M),
    /// The message stored, which answers a Non-confirmable message and so is sent once.
    Once(M),
}

/// When the ID of a message may be used again.
#[derive(Clone, Copy, Debug)]
struct Expiry {
    message_id: MessageId,
    at: Instant,
}

/// How much may be remembered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DeduplicationLimits {
    pub(crate) max_entries: usize,
    pub(crate) max_bytes: usize,
    /// What the answers still to come may take, in bytes.
    pub(crate) reserved_bytes: usize,
}

impl<S: Storage> Deduplication<S> {
    /// Forgets the messages whose lifetime has ended.
    pub(crate) fn expire(&mut self, now: Instant) {
        let Self {
            answers,
            confirmable,
            non_confirmable,
            stored_bytes,
        } = self;
        for queue in [confirmable, non_confirmable] {
            while let Some(expiry) = queue.front().copied()
                && expiry.at <= now
            {
                queue.pop_front();
                if let Some(answer) = answers.remove(expiry.message_id.0) {
                    *stored_bytes = stored_bytes.saturating_sub(answer.len());
                }
            }
        }
    }

    /// Returns what the message was answered with, if it was seen.
    pub(crate) fn answer(&self, message_id: MessageId) -> Option<&Answer<S::Message>> {
        self.answers.get(message_id.0)
    }

    /// Says whether one more message can be remembered. Nothing live is evicted for it.
    pub(crate) fn has_room(&self, limits: DeduplicationLimits) -> bool {
        let bytes = self.stored_bytes.saturating_add(limits.reserved_bytes);
        !self.answers.is_full()
            && self.answers.len() < limits.max_entries
            && bytes <= limits.max_bytes
    }

    /// Remembers a message that wasn't seen before; it says whether there was room.
    pub(crate) fn remember(
        &mut self,
        message_id: MessageId,
        is_confirmable: bool,
        expires: Instant,
        answer: Answer<S::Message>,
    ) -> bool {
        if self.answers.is_full() {
            return false;
        }
        let queue = match is_confirmable {
            true => &mut self.confirmable,
            false => &mut self.non_confirmable,
        };
        let expiry = Expiry {
            message_id,
            at: expires,
        };
        queue.push_back(expiry) && self.answers.insert(message_id.0, answer)
    }

    /// Says what a message was answered with; it says whether the message is still remembered.
    pub(crate) fn set_answer(&mut self, message_id: MessageId, answer: Answer<S::Message>) -> bool {
        let Some(entry) = self.answers.get_mut(message_id.0) else {
            return false;
        };
        let old = core::mem::replace(entry, answer);
        self.stored_bytes = self
            .stored_bytes
            .saturating_sub(old.len())
            .saturating_add(entry.len());
        true
    }

    /// Returns when the next call of [`Self::expire`] is worth its while: late enough to find many
    /// entries.
    pub(crate) fn poll_timeout(&self, slack: Duration) -> Option<Instant> {
        let fronts = [self.confirmable.front(), self.non_confirmable.front()];
        let earliest = fronts.into_iter().flatten().map(|expiry| expiry.at).min();
        earliest.map(|at| at.saturating_add(slack))
    }

    /// Returns the length of all answers stored, in bytes.
    pub(crate) const fn stored_bytes(&self) -> usize {
        self.stored_bytes
    }

    /// Returns the number of messages remembered.
    pub(crate) fn len(&self) -> usize {
        self.answers.len()
    }
}

impl<M: MessageBuffer> Answer<M> {
    fn len(&self) -> usize {
        match self {
            Self::Nothing | Self::Acknowledgement => 0,
            Self::Message(message) | Self::Once(message) => message.as_slice().len(),
        }
    }
}

#[cfg(all(test, feature = "alloc"))]
mod tests {
    use super::*;
    use crate::storage::fixed::Fixed;
    use crate::storage::heap::Heap;

    const LIFETIME: Duration = Duration::from_secs(247);

    fn limits(max_entries: usize, max_bytes: usize) -> DeduplicationLimits {
        DeduplicationLimits {
            max_entries,
            max_bytes,
            reserved_bytes: 0,
        }
    }

    fn remember<S: Storage>(table: &mut Deduplication<S>, id: u16, expires: Instant) -> bool {
        table.remember(MessageId(id), true, expires, Answer::Nothing)
    }

    #[test]
    fn entries_are_forgotten_when_their_lifetime_ends_and_not_before() {
        let mut table = Deduplication::<Heap>::default();
        let end = Instant::ZERO + LIFETIME;
        assert!(remember(&mut table, 7, end));
        let message = MessageId(9);
        let non_end = Instant::ZERO + Duration::from_secs(145);
        assert!(table.remember(message, false, non_end, Answer::Nothing));
        table.expire(Instant::from_micros(non_end.as_micros() - 1));
        assert!(table.answer(message).is_some());
        table.expire(non_end);
        assert!(table.answer(message).is_none());
        assert!(table.answer(MessageId(7)).is_some());
        table.expire(end);
        assert_eq!(table.len(), 0);
    }

    #[test]
    fn stored_bytes_count_against_the_budget_until_they_expire() {
        let mut table = Deduplication::<Heap>::default();
        assert!(remember(&mut table, 1, Instant::ZERO + LIFETIME));
        let answer = Answer::Message(std::vec![0; 100]);
        assert!(table.set_answer(MessageId(1), answer));
        assert!(!table.has_room(limits(10, 99)));
        assert!(table.has_room(limits(10, 100)));
        assert!(!table.has_room(limits(1, 100)));
        table.expire(Instant::ZERO + LIFETIME);
        assert!(table.has_room(limits(1, 0)));
        assert!(!table.set_answer(MessageId(1), Answer::Acknowledgement));
    }

    #[test]
    fn table_holds_every_message_id_at_once() {
        let mut table = Deduplication::<Heap>::default();
        for id in 0..=u16::MAX {
            let micros = u64::from(id) * 1_000;
            assert!(remember(
                &mut table,
                id,
                Instant::from_micros(micros) + LIFETIME
            ));
        }
        assert_eq!(table.len(), 65_536);
        table.expire(Instant::from_micros(32_767_000) + LIFETIME);
        assert_eq!(table.len(), 32_768);
        assert!(table.answer(MessageId(32_767)).is_none());
        assert!(table.answer(MessageId(32_768)).is_some());
    }

    #[test]
    fn fixed_table_refuses_when_it_is_full() {
        let mut table = Deduplication::<Fixed<1, 2, 8, 1, 8>>::default();
        let end = Instant::ZERO + LIFETIME;
        assert!(remember(&mut table, 1, end));
        assert!(remember(&mut table, 2, end));
        assert!(!table.has_room(limits(100, 100)));
        assert!(!remember(&mut table, 3, end));
        table.expire(end);
        assert!(remember(&mut table, 3, end + LIFETIME));
    }
}
