//! Which streams this end has opened so far.

use crate::stream_id::MAX_INCARNATION;
use crate::{Role, StreamId};

/// The incarnation of this end, and the counters used under it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OwnStreams {
    incarnation: u16,
    /// The next counter; `None` once all are used.
    next_counter: Option<u16>,
}

impl OwnStreams {
    /// Begins with the first counter. Of `incarnation` the low 15 bits count.
    pub(crate) const fn new(incarnation: u16) -> Self {
        Self {
            incarnation: incarnation & MAX_INCARNATION,
            next_counter: Some(0),
        }
    }

    /// Returns the ID of the stream to be opened next, if there is one now: under the next incarnation from the
    /// upper half of the counters on, unless the other end is still to hear of a stream of this one. Its OPEN
    /// would be one of an earlier incarnation then.
    pub(crate) fn next_id(&mut self, role: Role, is_one_unheard: bool) -> Option<StreamId> {
        let is_late = self.next_counter.is_none_or(|next| next >= LATE_COUNTER);
        if is_late && !is_one_unheard {
            *self = Self::new(successor(self.incarnation));
        }
        let counter = self.next_counter?;
        Some(StreamId::new(role, self.incarnation, counter))
    }

    /// Notes that a stream was opened under the ID.
    pub(crate) fn note_opened(&mut self) {
        self.next_counter = self.next_counter.and_then(|next| next.checked_add(1));
    }
}

/// Returns the incarnation that follows one whose counters are used: one that the other end can't take for a
/// restart's, whose incarnation is drawn.
pub(crate) const fn successor(incarnation: u16) -> u16 {
    incarnation.wrapping_add(1) & MAX_INCARNATION
}

/// The first counter of the upper half.
const LATE_COUNTER: u16 = 0x8000;

#[cfg(test)]
mod tests {
    use core::convert::Infallible;
    use core::time::Duration;

    use hedgerow_core::{Env, Instant};

    use super::*;
    use crate::{Config, Error, Event, FixedLeg, Offer, Read, ResetReason};

    type End = FixedLeg<4, 512>;

    /// Draws zeros: nothing here is about chance.
    struct Zeros;

    impl rand_core::TryRng for Zeros {
        type Error = Infallible;

        fn try_next_u32(&mut self) -> Result<u32, Infallible> {
            Ok(0)
        }

        fn try_next_u64(&mut self) -> Result<u64, Infallible> {
            Ok(0)
        }

        fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
            bytes.fill(0);
            Ok(())
        }
    }

    impl rand_core::TryCryptoRng for Zeros {}

    struct Pair {
        device: End,
        gateway: End,
        rng: Zeros,
        now: Instant,
    }

    impl Pair {
        /// The device is at this counter of its last incarnation but one.
        fn at(counter: u16) -> Self {
            let mut rng = Zeros;
            let mut env = Env::new(Instant::ZERO, &mut rng);
            let mut end = |role| End::new(role, Config::default(), &mut env).unwrap();
            let (mut device, gateway) = (end(Role::Device), end(Role::Gateway));
            device.own_streams = at(MAX_INCARNATION, Some(counter));
            Self {
                device,
                gateway,
                rng,
                now: Instant::ZERO,
            }
        }

        fn open(&mut self) -> Result<StreamId, Error> {
            self.device.open(self.now, &Offer::default())
        }

        /// Passes on what each end has to say, late acknowledgements too.
        fn exchange(&mut self) {
            for _ in 0..2 {
                let (device, gateway) = (&mut self.device, &mut self.gateway);
                let mut env = Env::new(self.now, &mut self.rng);
                while pass(device, gateway, &mut env) | pass(gateway, device, &mut env) {}
                self.now = self.now + Config::default().acknowledge_after;
                device.handle_timeout(self.now);
                gateway.handle_timeout(self.now);
            }
        }
    }

    fn pass(from: &mut End, to: &mut End, env: &mut Env<'_>) -> bool {
        let (mut out, mut is_any) = ([0; 1_024], false);
        while let Some(len) = from.poll_transmit(env, &mut out).unwrap() {
            to.handle_segment(env.now, &out[..len]);
            is_any = true;
        }
        is_any
    }

    fn at(incarnation: u16, next_counter: Option<u16>) -> OwnStreams {
        OwnStreams {
            incarnation,
            next_counter,
        }
    }

    fn carry(from: &mut End, stream: StreamId) {
        assert_eq!(from.write(stream, b"still"), Ok(5));
    }

    fn assert_carried(to: &mut End, stream: StreamId) {
        let mut bytes = [0; 8];
        assert_eq!(to.read(stream, &mut bytes), Ok(Read::Bytes(5)));
    }

    #[test]
    fn upper_half_of_the_counters_is_left_for_the_next_incarnation_and_no_stream_ends() {
        let mut pair = Pair::at(LATE_COUNTER - 1);
        let first = pair.open().unwrap();
        // The gateway hasn't heard of the first one.
        let second = pair.open().unwrap();
        let id = |incarnation, counter| StreamId::new(Role::Device, incarnation, counter);
        assert_eq!(first, id(MAX_INCARNATION, LATE_COUNTER - 1));
        assert_eq!(second, id(MAX_INCARNATION, LATE_COUNTER));
        let other = pair.gateway.open(pair.now, &Offer::default()).unwrap();
        pair.exchange();
        let third = pair.open().unwrap();
        assert_eq!(third, id(0, 0));
        pair.exchange();
        for stream in [first, second, third] {
            carry(&mut pair.device, stream);
        }
        carry(&mut pair.gateway, other);
        pair.exchange();
        for stream in [first, second, third] {
            assert_carried(&mut pair.gateway, stream);
        }
        assert_carried(&mut pair.device, other);
        for end in [&mut pair.device, &mut pair.gateway] {
            while let Some(event) = end.poll_event() {
                assert!(!matches!(event, Event::Reset { .. }), "{event:?}");
            }
        }
    }

    #[test]
    fn used_up_counters_refuse_until_the_other_end_has_heard_of_each_stream() {
        let mut pair = Pair::at(0);
        let unheard = pair.open().unwrap();
        pair.device.own_streams = at(MAX_INCARNATION, Some(u16::MAX));
        let last = pair.open().unwrap();
        assert_eq!(last.counter(), u16::MAX);
        for _ in 0..2 {
            assert_eq!(pair.open(), Err(Error::StreamIdsExhausted));
        }
        pair.exchange();
        let next = pair.open().unwrap();
        assert_eq!((next.incarnation(), next.counter()), (0, 0));
        pair.exchange();
        for stream in [unheard, last, next] {
            assert_eq!(pair.gateway.poll_event(), Some(Event::Opened(stream)));
        }
    }

    /// The other end answers nothing: a stream that it never heard of ends in time, and is in nobody's way then.
    #[test]
    fn stream_that_is_never_heard_of_does_not_stand_in_the_way_for_ever() {
        let mut pair = Pair::at(0);
        let unheard = pair.open().unwrap();
        pair.device.own_streams = at(MAX_INCARNATION, None);
        let mut out = [0; 1_024];
        let reset = loop {
            assert_eq!(pair.open(), Err(Error::StreamIdsExhausted));
            let mut env = Env::new(pair.now, &mut pair.rng);
            while pair
                .device
                .poll_transmit(&mut env, &mut out)
                .unwrap()
                .is_some()
            {}
            pair.now = pair.device.poll_timeout().unwrap();
            assert!(pair.now < Instant::ZERO + Duration::from_secs(600));
            pair.device.handle_timeout(pair.now);
            if let Some(event) = pair.device.poll_event() {
                break event;
            }
        };
        let is_timeout = matches!(
            reset,
            Event::Reset { stream, reason: ResetReason::Timeout, .. } if stream == unheard
        );
        assert!(is_timeout, "{reset:?}");
        assert!(pair.open().is_ok());
    }
}
