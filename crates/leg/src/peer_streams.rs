//! Which streams the other end has opened so far.

use crate::StreamId;
use crate::own_streams::successor;

/// The incarnations of the other end, and the counters used under the newest.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PeerStreams {
    current: Option<Incarnation>,
    earlier: Option<u16>,
}

#[derive(Clone, Copy, Debug)]
struct Incarnation {
    number: u16,
    /// The highest counter used; `None` before the first.
    highest: Option<u16>,
    /// Bit n: the counter n below the highest was used.
    used: u64,
}

/// What an OPEN means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opening {
    /// A new stream.
    New,
    /// A new stream of an end whose counters were used.
    Renewed,
    /// A new stream of an end that has started anew.
    Restarted,
    /// A stream that was opened once, or of an earlier incarnation.
    Old,
}

impl PeerStreams {
    pub(crate) fn judge(&self, stream: StreamId) -> Opening {
        let Some(current) = self.current else {
            return Opening::New;
        };
        if current.number != stream.incarnation() {
            let number = stream.incarnation();
            return if self.earlier == Some(number) {
                Opening::Old
            } else if number == successor(current.number) {
                Opening::Renewed
            } else {
                Opening::Restarted
            };
        }
        let is_used = current.highest.is_some_and(|highest| {
            highest.checked_sub(stream.counter()).is_some_and(|below| {
                current
                    .used
                    .checked_shr(u32::from(below))
                    .is_none_or(|used| used & 1 != 0)
            })
        });
        match is_used {
            true => Opening::Old,
            false => Opening::New,
        }
    }

    /// Notes the incarnation of a stream that isn't old.
    pub(crate) fn note_incarnation(&mut self, stream: StreamId) {
        let number = stream.incarnation();
        if let Some(current) = self.current {
            if current.number == number {
                return;
            }
            self.earlier = Some(current.number);
        }
        self.current = Some(Incarnation {
            number,
            highest: None,
            used: 0,
        });
    }

    /// Notes that a stream of the current incarnation was opened.
    pub(crate) fn note_opened(&mut self, stream: StreamId) {
        self.note_incarnation(stream);
        let (Some(current), counter) = (&mut self.current, stream.counter()) else {
            return;
        };
        match current.highest {
            Some(highest) if counter <= highest => {
                let below = u32::from(highest.saturating_sub(counter));
                current.used |= 1_u64.checked_shl(below).unwrap_or(0);
            }
            highest => {
                let by = highest.map_or(64, |highest| u32::from(counter.saturating_sub(highest)));
                current.used = current.used.checked_shl(by).unwrap_or(0) | 1;
                current.highest = Some(counter);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Role;

    fn id(incarnation: u16, counter: u16) -> StreamId {
        StreamId::new(Role::Device, incarnation, counter)
    }

    #[test]
    fn counter_opens_one_stream_in_any_order_within_64() {
        let mut streams = PeerStreams::default();
        for counter in [0, 5, 3, 1, 70] {
            assert_eq!(streams.judge(id(1, counter)), Opening::New, "{counter}");
            streams.note_opened(id(1, counter));
            assert_eq!(streams.judge(id(1, counter)), Opening::Old, "{counter}");
        }
        // 7 lies within the 64 counters up to 70 and wasn't used; 6 lies below them.
        assert_eq!(streams.judge(id(1, 7)), Opening::New);
        assert_eq!(streams.judge(id(1, 6)), Opening::Old);
        assert_eq!(streams.judge(id(1, 71)), Opening::New);
        assert_eq!(streams.judge(id(1, u16::MAX)), Opening::New);
    }

    #[test]
    fn incarnations_follow_each_other_and_the_last_one_stays_dead() {
        let mut streams = PeerStreams::default();
        streams.note_opened(id(1, 9));
        assert_eq!(streams.judge(id(7, 0)), Opening::Restarted);
        streams.note_incarnation(id(7, 0));
        assert_eq!(streams.judge(id(7, 0)), Opening::New);
        streams.note_opened(id(7, 0));
        assert_eq!(streams.judge(id(1, 10)), Opening::Old);
        assert_eq!(streams.judge(id(2, 0)), Opening::Restarted);
        assert_eq!(streams.judge(id(6, 0)), Opening::Restarted);
    }

    #[test]
    fn next_number_is_a_renewal_and_the_one_before_is_dead_then_too() {
        for (number, next) in [(1, 2), (0x7fff, 0)] {
            let mut streams = PeerStreams::default();
            streams.note_opened(id(number, u16::MAX));
            assert_eq!(streams.judge(id(next, 0)), Opening::Renewed);
            streams.note_incarnation(id(next, 0));
            assert_eq!(streams.judge(id(next, 0)), Opening::New);
            assert_eq!(streams.judge(id(number, 9)), Opening::Old);
        }
    }
}
