//! The machine: all streams between one gateway and one device.

use core::borrow::Borrow;
use core::fmt;
use core::time::Duration;

use hedgerow_core::{Env, Instant};

use crate::congestion::Congestion;
use crate::own_streams::OwnStreams;
use crate::peer_streams::PeerStreams;
use crate::round_trip::RoundTrip;
use crate::segment::{HEADER_LEN, OFFSET_LEN};
use crate::storage::{Buffer as _, Storage, Table as _};
use crate::stream::{Ending, Opening, Phase, Ping, Stream};
use crate::{
    Ack, Config, Error, Event, MIN_RECEIVE_BUFFER, MIN_SEGMENT_LEN, Offer, Read, Recovery, ResetBy,
    ResetReason, Role, StreamId,
};

/// One end of a leg.
///
/// After any call the caller asks [`Self::poll_transmit`] until it returns `None`, [`Self::poll_event`]
/// likewise, and calls [`Self::handle_timeout`] no earlier than [`Self::poll_timeout`] says.
pub struct Leg<S: Storage, C = Config> {
    pub(crate) role: Role,
    pub(crate) config: C,
    pub(crate) own_streams: OwnStreams,
    pub(crate) peer_streams: PeerStreams,
    pub(crate) streams: S::Table<Stream<S::Buffer>>,
    /// RESETs for streams that aren't known.
    pub(crate) resets: heapless::Deque<(StreamId, ResetReason), MAX_RESETS>,
    pub(crate) round_trip: RoundTrip,
    pub(crate) congestion: Congestion,
    pub(crate) max_segment_len: usize,
    /// Of the constrained profile's timer: 0 to 255 stand for factors from 1 to 1.5.
    pub(crate) jitter: u8,
    /// Whose turn it is to send.
    pub(crate) turn: usize,
    /// When bytes were last sent.
    pub(crate) last_sent: Option<Instant>,
}

impl<S: Storage, C: Borrow<Config>> Leg<S, C> {
    /// Begins a leg, with an incarnation of its own.
    ///
    /// # Errors
    ///
    /// [`Error::SegmentTooShort`] and [`Error::ReceiveBufferTooSmall`] for a configuration below the least;
    /// the smaller of configuration and storage counts.
    pub fn new(role: Role, config: C, env: &mut Env<'_>) -> Result<Self, Error> {
        let chosen = config.borrow();
        let max_segment_len = checked_segment_len(chosen.max_segment_len)?;
        let most = u16::try_from(S::Buffer::CAPACITY).unwrap_or(u16::MAX);
        let len = chosen.receive_buffer.min(most);
        if len < MIN_RECEIVE_BUFFER {
            let min = MIN_RECEIVE_BUFFER;
            return Err(Error::ReceiveBufferTooSmall { len, min });
        }
        let [high, low, ..] = env.rng.next_u32().to_be_bytes();
        Ok(Self {
            role,
            own_streams: OwnStreams::new(u16::from_be_bytes([high, low])),
            peer_streams: PeerStreams::default(),
            streams: S::Table::default(),
            resets: heapless::Deque::new(),
            round_trip: RoundTrip::default(),
            congestion: new_congestion(chosen, max_segment_len),
            max_segment_len,
            jitter: 0,
            turn: 0,
            last_sent: None,
            config,
        })
    }

    /// Opens a stream. Its first bytes, written before the next [`Self::poll_transmit`], go with the OPEN.
    ///
    /// # Errors
    ///
    /// [`Error::TooManyStreams`]; [`Error::StreamIdsExhausted`], which passes: there are new IDs as soon as
    /// every stream that this end opened has been heard of, or has ended.
    pub fn open(&mut self, now: Instant, offer: &Offer<'_>) -> Result<StreamId, Error> {
        let (role, streams) = (self.role, self.streams.as_slice());
        let is_unheard = |stream: &Stream<S::Buffer>| {
            stream.id.is_opened_by(role) && stream.is_open() && stream.opening != Opening::Heard
        };
        let id = self
            .own_streams
            .next_id(role, streams.iter().any(is_unheard))
            .ok_or(Error::StreamIdsExhausted)?;
        if !self.make_room() {
            return Err(Error::TooManyStreams);
        }
        let stream = Stream::new(id, offer, Opening::Due, self.config.borrow(), now);
        if !self.streams.push(stream) {
            return Err(Error::TooManyStreams);
        }
        self.own_streams.note_opened();
        Ok(id)
    }

    /// Lends the configuration.
    pub fn config(&self) -> &Config {
        self.config.borrow()
    }

    /// Returns how often in a row the timer of an open stream expired with nothing heard between: the most
    /// of any. Every segment is heard, and what [`Self::hear`] was told of.
    pub fn silence(&self) -> u8 {
        let open = self.streams.as_slice().iter().filter(|one| one.is_open());
        open.map(|stream| stream.silence).max().unwrap_or(0)
    }

    /// Takes note that the other end was heard, in its hop session beside the leg.
    pub fn hear(&mut self) {
        for stream in self.streams.as_mut_slice() {
            stream.silence = 0;
        }
    }

    /// Lends what a stream was opened for.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownStream`].
    pub fn offer(&self, stream: StreamId) -> Result<Offer<'_>, Error> {
        let found = self.streams.as_slice().iter().find(|one| one.id == stream);
        found.map(Stream::offer).ok_or(Error::UnknownStream)
    }

    /// Takes bytes to be sent and returns how many there was room for. After less than all,
    /// [`Event::Writable`] tells when there is room again.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownStream`]; [`Error::Finished`] after [`Self::finish`]; [`Error::Exhausted`] after
    /// 2^32 - 2 bytes.
    pub fn write(&mut self, stream: StreamId, bytes: &[u8]) -> Result<usize, Error> {
        let stream = self.open_stream(stream)?;
        let len = stream.send.write(bytes)?;
        stream.news.wants_room |= len < bytes.len();
        Ok(len)
    }

    /// Moves the next bytes of a stream to the front of `out`.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownStream`], also after a reset: what wasn't read is gone.
    pub fn read(&mut self, stream: StreamId, out: &mut [u8]) -> Result<Read, Error> {
        let segment = self.segment_bytes();
        let found = self.streams.as_mut_slice().iter_mut();
        let stream = found
            .into_iter()
            .find(|one| one.id == stream)
            .filter(|one| matches!(one.phase, Phase::Open | Phase::Lingering(_)))
            .ok_or(Error::UnknownStream)?;
        let read = stream.receive.read(out);
        if stream.opening == Opening::Heard && stream.receive.is_window_worth_telling(segment) {
            stream.acknowledge_now();
        }
        stream.end_if_complete(self.config.borrow());
        Ok(read)
    }

    /// Returns how many bytes of those written wait to be sent or acknowledged.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownStream`].
    pub fn unacknowledged(&self, stream: StreamId) -> Result<usize, Error> {
        let mut streams = self.streams.as_slice().iter();
        let found = streams.find(|one| one.id == stream && one.is_open());
        let found = found.ok_or(Error::UnknownStream)?;
        Ok(found.send.unacknowledged())
    }

    /// Ends this end's direction in order, behind what was written.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownStream`].
    pub fn finish(&mut self, stream: StreamId) -> Result<(), Error> {
        self.open_stream(stream)?.send.finish();
        Ok(())
    }

    /// Gives a stream up. What wasn't read, sent or acknowledged is gone, and the other end is told.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownStream`].
    pub fn reset(
        &mut self,
        now: Instant,
        stream: StreamId,
        reason: ResetReason,
    ) -> Result<(), Error> {
        self.open_stream(stream)?.reset(reason, now);
        Ok(())
    }

    /// Asks the other end whether it still knows the stream. If nothing comes back, the stream ends with
    /// [`ResetReason::Timeout`].
    ///
    /// # Errors
    ///
    /// [`Error::UnknownStream`].
    pub fn ping(&mut self, stream: StreamId) -> Result<(), Error> {
        let stream = self.open_stream(stream)?;
        if stream.ping == Ping::None {
            stream.ping = Ping::Due;
        }
        Ok(())
    }

    /// Returns the next thing that happened, if there is one.
    pub fn poll_event(&mut self) -> Option<Event> {
        let streams = self.streams.as_mut_slice();
        let event = streams.iter_mut().find_map(|stream| {
            let (id, news) = (stream.id, &mut stream.news);
            if core::mem::take(&mut news.opened) {
                Some(Event::Opened(id))
            } else if core::mem::take(&mut news.readable) {
                Some(Event::Readable(id))
            } else if core::mem::take(&mut news.writable) {
                Some(Event::Writable(id))
            } else {
                news.ending.take().map(|ending| match ending {
                    Ending::Closed => Event::Closed(id),
                    Ending::Reset(reason, by) => Event::Reset {
                        stream: id,
                        reason,
                        by,
                    },
                })
            }
        });
        self.streams
            .retain(|stream| stream.phase != Phase::Ended || stream.news.ending.is_some());
        event
    }

    /// Returns when [`Self::handle_timeout`] is due, if ever.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let config = self.config.borrow();
        let streams = self.streams.as_slice().iter();
        streams
            .filter_map(|stream| stream.poll_timeout(config))
            .min()
    }

    /// Does what has become due: acknowledges, sends again, gives up, forgets.
    pub fn handle_timeout(&mut self, now: Instant) {
        let (base, segment) = (self.timeout(), self.segment_bytes());
        let in_flight = self.in_flight();
        let config = self.config.borrow();
        let (max_retransmit, max_timeout) = (config.max_retransmit, config.max_timeout);
        for stream in self.streams.as_mut_slice() {
            if stream.silent_at(config).is_some_and(|at| at <= now) {
                stream.ping = Ping::Due;
            }
            if stream.acknowledgement.at.is_some_and(|at| at <= now) {
                stream.acknowledgement.at = None;
                stream.acknowledge_now();
            }
            if stream.timer.is_none_or(|at| at > now) || !stream.is_open() {
                continue;
            }
            stream.tries = stream.tries.saturating_add(1);
            stream.silence = stream.silence.saturating_add(1);
            if stream.tries > max_retransmit {
                stream.fail(ResetReason::Timeout, ResetBy::Leg, now);
                continue;
            }
            // MUST (RFC 6298 §5.5): the timer doubles.
            let wait = backed_off(base, stream.tries, max_timeout);
            stream.timer = Some(now.saturating_add(wait));
            stream.is_forced = true;
            if stream.opening == Opening::Sent {
                stream.opening = Opening::Due;
            }
            if stream.send.is_outstanding() {
                stream.send.time_out();
                self.congestion
                    .timed_out(stream.tries == 1, in_flight, segment);
            } else if stream.opening == Opening::Heard {
                stream.ping = Ping::Due;
            }
        }
        for stream in self.streams.as_mut_slice() {
            let has_ended = match stream.phase {
                Phase::Lingering(until) => until <= now,
                Phase::Resetting { tries, at, .. } => tries > max_retransmit && at <= now,
                Phase::Open | Phase::Ended => false,
            };
            if has_ended {
                stream.phase = Phase::Ended;
            }
        }
        self.streams
            .retain(|stream| stream.phase != Phase::Ended || stream.news.ending.is_some());
    }

    /// Changes the longest segment: the path was found to carry more, or less.
    ///
    /// # Errors
    ///
    /// [`Error::SegmentTooShort`] below [`MIN_SEGMENT_LEN`].
    pub fn set_max_segment_len(&mut self, len: usize) -> Result<(), Error> {
        self.max_segment_len = checked_segment_len(len)?;
        Ok(())
    }

    /// Forgets what was measured, because the path is another one.
    pub fn handle_path_change(&mut self) {
        self.round_trip = RoundTrip::default();
        self.congestion = new_congestion(self.config.borrow(), self.max_segment_len);
    }

    /// Ends all streams as [`ResetReason::Timeout`], because the hop session is lost for good. Nothing is
    /// sent any more.
    pub fn handle_session_lost(&mut self, now: Instant) {
        for stream in self.streams.as_mut_slice() {
            if stream.is_open() {
                stream.fail(ResetReason::Timeout, ResetBy::Peer, now);
            } else if stream.phase != Phase::Ended {
                stream.phase = Phase::Ended;
            }
        }
        let is_told = |stream: &Stream<S::Buffer>| stream.news.ending.is_some();
        self.streams.retain(is_told);
        self.resets.clear();
    }

    /// Returns the number of streams in the table, whatever their phase.
    pub fn len(&self) -> usize {
        self.streams.as_slice().len()
    }

    /// Says whether there is no stream in the table.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Makes room for a stream, at the cost of one that has ended. It says whether there is some.
    pub(crate) fn make_room(&mut self) -> bool {
        let most = self.config.borrow().max_streams;
        let most = most.min(<S::Table<Stream<S::Buffer>>>::CAPACITY);
        if self.len() < most {
            return true;
        }
        let lingering = self.streams.as_slice().iter().filter_map(|stream| {
            match (stream.phase, stream.news.ending) {
                (Phase::Lingering(until), None) => Some((until, stream.id)),
                _ => None,
            }
        });
        let Some((_, oldest)) = lingering.min() else {
            return false;
        };
        self.streams.retain(|stream| stream.id != oldest);
        self.len() < most
    }

    /// Returns the positions in flight on all streams.
    pub(crate) fn in_flight(&self) -> u32 {
        let streams = self.streams.as_slice().iter();
        let in_flight = streams.map(|stream| stream.send.in_flight());
        in_flight.fold(0, u32::saturating_add)
    }

    /// Returns the bytes that a segment carries beside header, acknowledgement and offset.
    pub(crate) fn segment_bytes(&self) -> u32 {
        let overhead = HEADER_LEN + Ack::MIN_LEN + OFFSET_LEN;
        u32::try_from(self.max_segment_len.saturating_sub(overhead)).unwrap_or(u32::MAX)
    }

    /// Returns the timer before any back-off.
    pub(crate) fn timeout(&self) -> Duration {
        let config = self.config.borrow();
        let timeout = match config.recovery {
            Recovery::Measured {
                initial_timeout,
                min_timeout,
                ..
            } => {
                let measured = self.round_trip.timeout();
                measured.unwrap_or(initial_timeout).max(min_timeout)
            }
            Recovery::Constrained { timeout } => {
                let extra = (timeout / 512).saturating_mul(u32::from(self.jitter));
                timeout.saturating_add(extra)
            }
        };
        timeout.min(config.max_timeout)
    }

    fn open_stream(&mut self, stream: StreamId) -> Result<&mut Stream<S::Buffer>, Error> {
        let mut streams = self.streams.as_mut_slice().iter_mut();
        streams
            .find(|one| one.id == stream && one.is_open())
            .ok_or(Error::UnknownStream)
    }
}

impl<S: Storage, C> fmt::Debug for Leg<S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leg")
            .field("role", &self.role)
            .field("streams", &self.streams.as_slice().len())
            .finish_non_exhaustive()
    }
}

/// Doubles `base` for each try, up to `max`.
pub(crate) fn backed_off(base: Duration, tries: u8, max: Duration) -> Duration {
    let factor = 1_u32.checked_shl(u32::from(tries)).unwrap_or(u32::MAX);
    base.saturating_mul(factor).min(max)
}

pub(crate) fn new_congestion(config: &Config, max_segment_len: usize) -> Congestion {
    let overhead = HEADER_LEN + Ack::MIN_LEN + OFFSET_LEN;
    let segment = u32::try_from(max_segment_len.saturating_sub(overhead)).unwrap_or(u32::MAX);
    match config.recovery {
        Recovery::Measured { initial_window, .. } => Congestion::new(initial_window, segment),
        Recovery::Constrained { .. } => Congestion::one_segment(segment),
    }
}

fn checked_segment_len(len: usize) -> Result<usize, Error> {
    match len < MIN_SEGMENT_LEN {
        true => Err(Error::SegmentTooShort {
            len,
            min: MIN_SEGMENT_LEN,
        }),
        false => Ok(len),
    }
}

/// RESETs for streams that aren't known, waiting to be sent.
const MAX_RESETS: usize = 4;
