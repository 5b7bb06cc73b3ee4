//! Segments that go.

use core::borrow::Borrow;

use hedgerow_core::{Env, Instant};

use crate::leg::backed_off;
use crate::segment::{HEADER_LEN, OFFSET_LEN};
use crate::storage::{Buffer, Storage, Table as _};
use crate::stream::{Acknowledgement, Opening, Phase, Ping, Stream};
use crate::{
    Ack, Body, Config, Data, Error, Leg, MAX_RANGES, MIN_SEGMENT_LEN, Parts, Recovery, Segment,
};

/// What a stream may put into a segment now.
#[derive(Clone, Copy)]
struct Allowance {
    /// The longest segment, in bytes.
    len: usize,
    /// Positions in flight on all streams.
    in_flight: u32,
    /// The congestion window.
    window: u32,
}

impl<S: Storage, C: Borrow<Config>> Leg<S, C> {
    /// Writes the next segment to the front of `out`, to be sealed as one record of the hop session, and
    /// returns its length. It is no longer than [`Config::max_segment_len`].
    ///
    /// # Errors
    ///
    /// [`Error::SegmentTooShort`] if `out` is shorter than [`MIN_SEGMENT_LEN`].
    pub fn poll_transmit(
        &mut self,
        env: &mut Env<'_>,
        out: &mut [u8],
    ) -> Result<Option<usize>, Error> {
        let len = out.len().min(self.max_segment_len);
        if len < MIN_SEGMENT_LEN {
            let min = MIN_SEGMENT_LEN;
            return Err(Error::SegmentTooShort { len, min });
        }
        if let Some((stream, reason)) = self.resets.pop_front() {
            let body = Body::Reset(reason);
            return Ok(Segment { stream, body }.encode(out).ok());
        }
        if matches!(self.config.borrow().recovery, Recovery::Constrained { .. }) {
            let [first, ..] = env.rng.next_u32().to_be_bytes();
            self.jitter = first;
        }
        self.restart_if_idle(env.now);
        let allowance = Allowance {
            len,
            in_flight: self.in_flight(),
            window: self.congestion.window(),
        };
        let base = self.timeout();
        let max_timeout = self.config.borrow().max_timeout;
        let count = self.len();
        for step in 0..count {
            let index = self.turn.wrapping_add(step).checked_rem(count).unwrap_or(0);
            let Some(stream) = self.streams.as_mut_slice().get_mut(index) else {
                continue;
            };
            let wait = |tries| backed_off(base, tries, max_timeout);
            if let Phase::Resetting { reason, at, tries } = stream.phase {
                if at > env.now {
                    continue;
                }
                stream.phase = Phase::Resetting {
                    reason,
                    at: env.now.saturating_add(wait(tries)),
                    tries: tries.saturating_add(1),
                };
                let body = Body::Reset(reason);
                let segment = Segment {
                    stream: stream.id,
                    body,
                };
                return Ok(segment.encode(out).ok());
            }
            let was_outstanding = stream.send.is_outstanding();
            if let Some((len, has_positions)) = write_segment(stream, allowance, env.now, out) {
                // MUST (RFC 6298 §5.1): the timer runs from the first segment on.
                let is_first = has_positions && !was_outstanding;
                if is_first || (stream.timer.is_none() && stream.awaits_something()) {
                    stream.timer = Some(env.now.saturating_add(wait(stream.tries)));
                }
                if has_positions {
                    stream.probes = 0;
                    self.last_sent = Some(env.now);
                }
                self.turn = index.wrapping_add(1);
                return Ok(Some(len));
            }
            // With a closed window nothing is in flight that would start the timer.
            if stream.is_open() && stream.timer.is_none() && stream.send.is_blocked_by_limit() {
                stream.timer = Some(env.now.saturating_add(wait(stream.probes)));
                stream.probes = stream.probes.saturating_add(1);
            }
        }
        Ok(None)
    }

    /// After a pause nothing is known of the path any more (RFC 5681).
    fn restart_if_idle(&mut self, now: Instant) {
        let Recovery::Measured { initial_window, .. } = self.config.borrow().recovery else {
            return;
        };
        let pause = self.timeout();
        let is_idle = self
            .last_sent
            .is_some_and(|at| now.saturating_since(at) > pause);
        if is_idle && self.in_flight() == 0 {
            let segment = self.segment_bytes();
            self.congestion.idle(initial_window, segment);
        }
    }
}

/// Writes the next segment of a stream, if there is one: its length, and whether it takes positions.
fn write_segment<B: Buffer>(
    stream: &mut Stream<B>,
    allowance: Allowance,
    now: Instant,
    out: &mut [u8],
) -> Option<(usize, bool)> {
    if stream.phase == Phase::Ended {
        return None;
    }
    let has_ack = stream.opening == Opening::Heard;
    // Beside bytes, blocks are worth their room only in longer segments.
    let max_blocks = match allowance.len < LONG_SEGMENT {
        true => 1,
        false => MAX_RANGES,
    };
    let blocks = stream.receive.blocks().min(max_blocks);
    let mut room = allowance.len.saturating_sub(HEADER_LEN + OFFSET_LEN);
    if has_ack {
        let len = Ack::MIN_LEN.saturating_add(blocks.saturating_mul(Ack::BLOCK_LEN));
        room = room.saturating_sub(len);
    }
    let open_len = stream.open_part().map_or(0, |open| open.len());
    // OPEN goes with whatever begins the stream.
    let is_at_start = stream.send.next(1).is_some_and(|chunk| chunk.offset == 0);
    let room_for_bytes = match is_at_start {
        true => room.saturating_sub(open_len),
        false => room,
    };
    let max = u32::try_from(room_for_bytes).unwrap_or(u32::MAX);
    let chunk = stream.send.next(max).filter(|chunk| {
        let own = stream.send.in_flight();
        let after = allowance.in_flight.saturating_add(chunk.positions());
        let fits = after <= allowance.window || allowance.in_flight == 0 || stream.is_forced;
        fits && (!chunk.is_cut || own == 0)
    });
    let has_open = match stream.opening {
        Opening::Heard => false,
        Opening::Due => true,
        Opening::Sent => chunk.is_some() && is_at_start,
    };
    let is_pinged = stream.ping == Ping::Due;
    let is_ack_due = has_ack && stream.acknowledgement.is_due;
    if chunk.is_none() && !has_open && !is_pinged && !is_ack_due {
        return None;
    }

    let ack = has_ack.then(|| {
        let blocks = match chunk {
            Some(_) => max_blocks,
            None => MAX_RANGES,
        };
        stream.receive.acknowledge(blocks)
    });
    if let Some(chunk) = chunk {
        stream.send.note_sent(&chunk, now);
        stream.is_forced = false;
    }
    // More waits than may go: the acknowledgement that lets it go shouldn't be a late one.
    let is_last = chunk.is_some_and(|chunk| {
        let in_flight = allowance.in_flight.saturating_add(chunk.positions());
        stream
            .send
            .next(max)
            .is_some_and(|next| in_flight.saturating_add(next.positions()) > allowance.window)
            || stream.send.is_blocked_by_limit()
    });
    let parts = Parts {
        ack,
        open: stream.open_part().filter(|_| has_open),
        data: chunk.map(|chunk| Data {
            offset: chunk.offset,
            bytes: &[],
            fin: chunk.fin,
        }),
        ping: is_pinged || is_last,
    };
    let len = chunk.map_or(0, |chunk| chunk.len);
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    let written = parts.encode(stream.id, len, out, |room| {
        if let Some(chunk) = chunk {
            stream.send.bytes(&chunk, room);
        }
    });
    if has_open {
        stream.opening = Opening::Sent;
    }
    if is_pinged {
        stream.ping = Ping::Sent;
        stream.is_forced = false;
    }
    if has_ack {
        stream.acknowledgement = Acknowledgement::default();
    }
    Some((written.ok()?, chunk.is_some()))
}

/// Segments from this length on have room for blocks beside bytes, in bytes.
const LONG_SEGMENT: usize = 128;
