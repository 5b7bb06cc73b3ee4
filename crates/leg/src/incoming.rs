//! Segments that arrive.

use core::borrow::Borrow;

use hedgerow_core::{DropReason, Instant};

use crate::leg::backed_off;
use crate::peer_streams::Opening as Judged;
use crate::receive::Arrival;
use crate::storage::{Buffer, Storage, Table as _};
use crate::stream::{Opening, Phase, Ping, Stream};
use crate::{
    Body, Config, Data, Leg, Offer, Open, Parts, Received, ResetBy, ResetReason, Segment, StreamId,
};

impl<S: Storage, C: Borrow<Config>> Leg<S, C> {
    /// Takes in one segment, the plaintext of one record of the hop session.
    pub fn handle_segment(&mut self, now: Instant, bytes: &[u8]) -> Received {
        let Ok(segment) = Segment::decode(bytes) else {
            return Received::Dropped(DropReason::Malformed);
        };
        let streams = self.streams.as_slice();
        let index = streams.iter().position(|one| one.id == segment.stream);
        self.hear();
        let unknown = segment.unknown_at(self.role);
        let dropped = match (segment.body, index) {
            (Body::Reset(reason), index) => self.handle_reset(segment.stream, reason, index, now),
            (Body::Parts(parts), Some(index)) => self.handle_parts(index, &parts, now),
            (Body::Parts(parts), None) => self.handle_first(segment.stream, &parts, unknown, now),
        };
        match dropped {
            None => Received::Handled(segment.stream),
            Some(reason) => Received::Dropped(reason),
        }
    }

    fn handle_reset(
        &mut self,
        id: StreamId,
        reason: ResetReason,
        index: Option<usize>,
        now: Instant,
    ) -> Option<DropReason> {
        let is_answer = reason == ResetReason::Acknowledged;
        if !is_answer {
            self.answer(id, ResetReason::Acknowledged);
        }
        let stream = index.and_then(|index| self.streams.as_mut_slice().get_mut(index));
        let Some(stream) = stream else {
            return Some(DropReason::Unmatched);
        };
        match stream.phase {
            Phase::Open if !is_answer => {
                stream.fail(reason, ResetBy::Peer, now);
                None
            }
            Phase::Resetting { .. } => {
                stream.phase = Phase::Ended;
                self.streams
                    .retain(|one| one.id != id || one.news.ending.is_some());
                None
            }
            Phase::Open | Phase::Lingering(_) | Phase::Ended => Some(DropReason::Unmatched),
        }
    }

    /// Takes in a segment of a stream that isn't in the table.
    fn handle_first(
        &mut self,
        id: StreamId,
        parts: &Parts<'_>,
        unknown: Option<ResetReason>,
        now: Instant,
    ) -> Option<DropReason> {
        if let (Some(open), true) = (&parts.open, id.opener() != self.role) {
            return self.handle_open(id, open, parts, now);
        }
        if let Some(reason) = unknown {
            self.answer(id, reason);
        }
        Some(DropReason::UnknownStream)
    }

    fn handle_open(
        &mut self,
        id: StreamId,
        open: &Open<'_>,
        parts: &Parts<'_>,
        now: Instant,
    ) -> Option<DropReason> {
        match self.peer_streams.judge(id) {
            Judged::Old => {
                self.answer(id, ResetReason::UnknownStream);
                return Some(DropReason::Duplicate);
            }
            Judged::Restarted => {
                self.peer_streams.note_incarnation(id);
                for stream in self.streams.as_mut_slice() {
                    if stream.is_open() {
                        stream.fail(ResetReason::UnknownStream, ResetBy::Peer, now);
                    }
                }
                self.streams
                    .retain(|stream| stream.phase == Phase::Ended || stream.news.ending.is_some());
            }
            // The streams that there are go on.
            Judged::Renewed => self.peer_streams.note_incarnation(id),
            Judged::New => {}
        }
        let config = self.config.borrow();
        let incoming = self.streams.as_slice().iter().filter(|stream| {
            stream.id.opener() != self.role && !matches!(stream.phase, Phase::Lingering(_))
        });
        let has_share = incoming.count() < config.max_incoming;
        let offer = Offer {
            port: open.port,
            name: open.name,
            address: open.address,
        };
        let mut stream = Stream::new(id, &offer, Opening::Heard, config, now);
        stream.news.opened = true;
        stream.send.raise_limit(u32::from(open.window));
        if !has_share || !self.make_room() || !self.streams.push(stream) {
            self.answer(id, ResetReason::Limit);
            return Some(DropReason::StreamTableFull);
        }
        self.peer_streams.note_opened(id);
        let index = self.len().saturating_sub(1);
        self.handle_parts(index, parts, now)
    }

    /// Takes in a segment of the stream at `index`.
    fn handle_parts(
        &mut self,
        index: usize,
        parts: &Parts<'_>,
        now: Instant,
    ) -> Option<DropReason> {
        let (base, segment, in_flight) = (self.timeout(), self.segment_bytes(), self.in_flight());
        let config = self.config.borrow();
        let stream = self.streams.as_mut_slice().get_mut(index)?;
        if !matches!(stream.phase, Phase::Open | Phase::Lingering(_)) {
            return Some(DropReason::AfterClose);
        }
        if parts.open.is_some() && stream.id.opener() == self.role {
            return Some(DropReason::UnexpectedMessage);
        }
        stream.last_heard = now;
        if let Phase::Lingering(until) = &mut stream.phase {
            *until = now.saturating_add(config.linger);
        }
        let was_opening = stream.opening != Opening::Heard;
        stream.opening = Opening::Heard;
        let is_answer = stream.ping == Ping::Sent && !stream.send.is_outstanding();
        let mut is_progress = was_opening || is_answer;
        if let Some(ack) = &parts.ack {
            let outcome = match stream.send.handle_ack(ack, segment) {
                Ok(outcome) => outcome,
                Err(reason) => {
                    stream.fail(reason, ResetBy::Leg, now);
                    return None;
                }
            };
            if let Some(at) = outcome.measured {
                self.round_trip.sample(now.saturating_since(at));
            }
            if outcome.positions > 0 {
                is_progress = true;
                let positions = outcome.positions;
                self.congestion.acknowledged(positions, in_flight, segment);
                stream.news.writable |= core::mem::take(&mut stream.news.wants_room);
            }
            if outcome.is_loss {
                let round_trip = self.round_trip.smoothed().unwrap_or(base);
                self.congestion.lost(now, in_flight, segment, round_trip);
            }
            stream.ping = match stream.ping {
                Ping::Sent => Ping::None,
                other => other,
            };
        }
        if is_progress {
            // RFC 6298 §5.2 and §5.3; that any progress ends the back-off is RFC 9002's idea.
            stream.tries = 0;
            stream.timer = stream
                .awaits_something()
                .then(|| now.saturating_add(backed_off(base, 0, config.max_timeout)));
        }
        let arrival = parts.data.map(|data| handle_data(stream, &data));
        let mut dropped = None;
        match arrival {
            None => {}
            Some(Err(reason)) => {
                stream.fail(reason, ResetBy::Leg, now);
                return None;
            }
            Some(Ok(Arrival::Next)) => {
                let acknowledgement = &mut stream.acknowledgement;
                acknowledgement.segments = acknowledgement.segments.saturating_add(1);
                if acknowledgement.segments >= 2 || parts.data.is_some_and(|data| data.fin) {
                    acknowledgement.is_due = true;
                } else if acknowledgement.at.is_none() {
                    acknowledgement.at = Some(now.saturating_add(config.acknowledge_after));
                }
            }
            Some(Ok(arrival)) => {
                stream.acknowledge_now();
                dropped = match arrival {
                    Arrival::Duplicate => Some(DropReason::Duplicate),
                    Arrival::TooManyGaps => Some(DropReason::ReassemblyFull),
                    Arrival::Next | Arrival::OutOfOrder => None,
                };
            }
        }
        if parts.ping {
            stream.acknowledge_now();
        } else if parts.open.is_some() && stream.acknowledgement.at.is_none() {
            // Until it hears something, the opener sends its OPEN again.
            stream.acknowledgement.at = Some(now.saturating_add(config.acknowledge_after));
        }
        stream.end_if_complete(config);
        dropped
    }

    /// Keeps a RESET to be sent for a stream, if there is room: the other end repeats itself.
    fn answer(&mut self, id: StreamId, reason: ResetReason) {
        if !self.resets.iter().any(|(one, _)| *one == id) {
            let _ = self.resets.push_back((id, reason));
        }
    }
}

fn handle_data<B: Buffer>(stream: &mut Stream<B>, data: &Data<'_>) -> Result<Arrival, ResetReason> {
    let before = (stream.receive.waiting(), stream.receive.has_end());
    let arrival = stream.receive.handle_data(data)?;
    stream.news.readable |= before != (stream.receive.waiting(), stream.receive.has_end());
    Ok(arrival)
}
