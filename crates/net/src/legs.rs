//! The streams of a node: how bytes go between their handles and the endpoint.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hedgerow_core::{Instant, Peer, PeerId, ServerCredentials};
use hedgerow_endpoint::{AssociationId, Error};
use hedgerow_leg::{Event, Name, Offer, Read, ResetBy, ResetReason, StreamId};
use tokio::sync::{mpsc, oneshot};
use tracing::debug;

use crate::clock::os_random;
use crate::driver::Driver;
use crate::leg_stream::{StreamKey, StreamState};
use crate::path::{Path, Remote};
use crate::statistics::count;
use crate::{
    Credentials, Handler, IncomingStream, LegStream, RequestFailure, StreamFailure, StreamOffer,
};

/// A stream that a handle wants to open.
pub(crate) struct QueuedStream {
    pub(crate) to: StreamTo,
    pub(crate) offer: StreamOffer,
    pub(crate) answer: oneshot::Sender<Result<LegStream, RequestFailure>>,
}

/// Where a stream is to lead.
pub(crate) enum StreamTo {
    /// To whom this end calls, or has called.
    Called {
        remote: Remote,
        credentials: Option<Arc<Credentials>>,
    },
    /// To a peer that has called this end.
    Caller(PeerId),
}

/// The streams that have a handle, or had one and haven't ended.
#[derive(Default)]
pub(crate) struct Streams {
    known: BTreeMap<StreamKey, Known>,
}

struct Known {
    state: Arc<StreamState>,
    /// Whether the leg knows that this end's direction ends.
    is_finished: bool,
    /// How long the other end has still, once nobody reads or writes here any more.
    patience: Option<Patience>,
}

/// How long a stream goes on that this end has left in order.
#[derive(Clone, Copy)]
struct Patience {
    until: Instant,
    /// However it takes what is left for it.
    latest: Instant,
    /// How many bytes were left for the other end when that was looked at last.
    left: usize,
}

impl Patience {
    fn new(now: Instant, span: Duration, left: usize) -> Self {
        Self {
            until: now.saturating_add(span),
            latest: now.saturating_add(span.saturating_mul(MOST_SPANS)),
            left,
        }
    }

    /// Says whether the time is not over, because the other end has taken bytes meanwhile: it has as long again then.
    fn renew(&mut self, now: Instant, span: Duration, left: usize) -> bool {
        let is_renewed = left < self.left && now < self.latest;
        if is_renewed {
            self.until = now.saturating_add(span).min(self.latest);
            self.left = left;
        }
        is_renewed
    }
}

impl Streams {
    pub(crate) fn len(&self) -> usize {
        self.known.len()
    }

    /// Returns when a stream that this end has left is given up.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let known = self.known.values();
        known.filter_map(|known| Some(known.patience?.until)).min()
    }

    fn add(&mut self, key: StreamKey) -> Arc<StreamState> {
        let state = Arc::new(StreamState::new(key));
        let known = Known {
            state: Arc::clone(&state),
            is_finished: false,
            patience: None,
        };
        self.known.insert(key, known);
        state
    }

    fn fail(&mut self, key: StreamKey, failure: StreamFailure) {
        if let Some(known) = self.known.remove(&key) {
            known.state.lock().fail(failure);
        }
    }

    /// Ends the streams of an association that is gone.
    pub(crate) fn end_association(&mut self, association: AssociationId, failure: RequestFailure) {
        let lowest = (association, StreamId::from_bits(0));
        let highest = (association, StreamId::from_bits(u32::MAX));
        let keys: Vec<_> = self
            .known
            .range(lowest..=highest)
            .map(|(key, _)| *key)
            .collect();
        for key in keys {
            self.fail(key, StreamFailure::Hop(failure));
        }
    }
}

impl<S, H> Driver<S, H>
where
    S: ServerCredentials + Clone,
    H: Handler,
{
    /// Opens a stream for a handle.
    pub(crate) fn open_stream(&mut self, queued: QueuedStream) {
        let opened = self.try_open(&queued.to, &queued.offer);
        // Whoever has stopped waiting drops the handle, and gives the stream up by that.
        let _ = queued.answer.send(opened);
    }

    fn try_open(
        &mut self,
        to: &StreamTo,
        offer: &StreamOffer,
    ) -> Result<LegStream, RequestFailure> {
        let name = Name::new(offer.name.as_bytes()).map_err(|_| RequestFailure::ServiceName)?;
        let association = match to {
            StreamTo::Called {
                remote,
                credentials,
            } => {
                self.carrier.check(*remote)?;
                self.connect(Path::to(*remote), credentials.as_ref())?
            }
            StreamTo::Caller(peer) => {
                let newest = self.desk.newest_session_of_caller(*peer);
                newest.ok_or(RequestFailure::NoSession)?
            }
        };
        let offer = Offer {
            port: offer.port,
            name,
            address: offer.address,
        };
        let mut rng = os_random();
        let mut env = self.clock.env(&mut rng);
        let stream = self.endpoint.open_stream(&mut env, association, &offer);
        let stream = stream.map_err(|error| match (to, error) {
            // Whoever can reach the peer otherwise does.
            (
                StreamTo::Caller(_),
                Error::UnknownAssociation | Error::NoLegs | Error::TooManyLegs { .. },
            ) => RequestFailure::NoSession,
            (_, error) => error.into(),
        })?;
        debug!(?association, ?stream, "stream opened");
        let state = self.desk.streams.add((association, stream));
        Ok(LegStream::new(state, Arc::clone(&self.shared)))
    }

    /// Takes note of what happened to a stream.
    pub(crate) fn note_stream(&mut self, association: AssociationId, event: Event) {
        match event {
            Event::Opened(stream) => self.accept_stream(association, stream),
            Event::Readable(stream) | Event::Writable(stream) => {
                self.serve_stream((association, stream));
            }
            Event::Closed(stream) => {
                debug!(?stream, "stream closed");
                if let Some(known) = self.desk.streams.known.remove(&(association, stream)) {
                    let mut halves = known.state.lock();
                    halves.is_over = true;
                    halves.wake_reader();
                    halves.wake_writer();
                }
            }
            Event::Reset { stream, reason, by } => {
                debug!(?stream, %reason, ?by, "stream given up");
                count(&self.shared.counters.streams_reset);
                let failure = StreamFailure::Reset { reason, by };
                self.desk.streams.fail((association, stream), failure);
            }
            _ => {}
        }
    }

    /// Hands a stream out that the other end has opened, or gives it up where nobody takes it.
    fn accept_stream(&mut self, association: AssociationId, stream: StreamId) {
        let remote = self.desk.remote(association).and_then(Remote::address);
        let peer = self.desk.peer(association).unwrap_or(Peer::Anonymous);
        let (Some(remote), Ok(offer)) = (remote, self.endpoint.stream_offer(association, stream))
        else {
            return self.reset_stream((association, stream), ResetReason::Refused);
        };
        let offer = StreamOffer {
            // Each of its bytes is a printable character.
            name: String::from_utf8_lossy(offer.name.as_bytes()).into_owned(),
            port: offer.port,
            address: offer.address,
        };
        debug!(%remote, ?stream, name = offer.name, "stream accepted");
        count(&self.shared.counters.streams_accepted);
        let state = self.desk.streams.add((association, stream));
        let handle = LegStream::new(state, Arc::clone(&self.shared));
        let incoming = IncomingStream {
            stream: handle,
            peer,
            remote,
            offer,
        };
        if let Err(error) = self.incoming.try_send(incoming) {
            let incoming = match error {
                mpsc::error::TrySendError::Full(incoming)
                | mpsc::error::TrySendError::Closed(incoming) => incoming,
            };
            incoming.stream.reset(ResetReason::Limit);
            return;
        }
        self.serve_stream((association, stream));
    }

    /// Looks after the streams that their handles have noted, and gives up those without one.
    pub(crate) fn serve_streams(&mut self) {
        for key in self.shared.signals.take_streams() {
            if let Some(known) = self.desk.streams.known.get(&key) {
                known.state.take_note();
            }
            self.serve_stream(key);
        }
        let now = self.clock.now();
        let known = self.desk.streams.known.iter();
        let overdue: Vec<_> = known
            .filter(|(_, known)| known.patience.is_some_and(|given| given.until <= now))
            .map(|(key, _)| *key)
            .collect();
        for key in overdue {
            if self.renew_patience(key, now) {
                continue;
            }
            debug!(stream = ?key.1, "stream given up: the other end takes too long");
            if let Some(known) = self.desk.streams.known.get(&key) {
                let (reason, by) = (ResetReason::Timeout, ResetBy::Leg);
                // Whoever waits for the end in order gets to know.
                known.state.lock().fail(StreamFailure::Reset { reason, by });
            }
            self.reset_stream(key, ResetReason::Timeout);
        }
    }

    /// Says whether the other end of a stream goes on taking what is left for it, and gives it as long again then.
    /// That is in the leg as a whole where it isn't much: what the leg takes says nothing.
    fn renew_patience(&mut self, key: StreamKey, now: Instant) -> bool {
        let in_leg = self.endpoint.unacknowledged_in_stream(key.0, key.1);
        let Some(known) = self.desk.streams.known.get_mut(&key) else {
            return false;
        };
        let waiting = known.state.lock().outgoing.len();
        let left = in_leg.unwrap_or_default().saturating_add(waiting);
        let patience = known.patience.as_mut();
        patience.is_some_and(|patience| patience.renew(now, self.stream_patience, left))
    }

    /// Moves bytes between a stream's handle and the leg.
    fn serve_stream(&mut self, key: StreamKey) {
        let (association, stream) = key;
        let Some(known) = self.desk.streams.known.get_mut(&key) else {
            return;
        };
        let state = Arc::clone(&known.state);
        let mut halves = state.lock();
        let is_given_up = halves.is_dropped && !halves.is_finished;
        if let Some(reason) = halves
            .reset
            .or(is_given_up.then_some(ResetReason::Application))
        {
            drop(halves);
            return self.reset_stream(key, reason);
        }
        let had_room = halves.outgoing.len() < crate::leg_stream::CAPACITY;
        while let (front @ [_, ..], _) = halves.outgoing.as_slices() {
            match self.endpoint.write_stream(association, stream, front) {
                Ok(0) | Err(_) => break,
                Ok(len) => drop(halves.outgoing.drain(..len)),
            }
        }
        if !had_room && halves.outgoing.len() < crate::leg_stream::CAPACITY {
            halves.wake_writer();
        }
        if halves.is_finished && halves.outgoing.is_empty() && !known.is_finished {
            known.is_finished = self.endpoint.finish_stream(association, stream).is_ok();
        }
        let mut part = [0; READ_LEN];
        while !halves.has_end {
            let room = halves.room_to_read().min(READ_LEN);
            let out = part.get_mut(..room).unwrap_or_default();
            if out.is_empty() {
                break;
            }
            match self.endpoint.read_stream(association, stream, out) {
                Ok(Read::Bytes(len)) => {
                    if !halves.is_dropped && !halves.is_closing {
                        halves.incoming.extend(part.get(..len).unwrap_or_default());
                    }
                }
                Ok(Read::End) => halves.has_end = true,
                Ok(Read::Blocked) | Err(_) => break,
            }
        }
        if !halves.incoming.is_empty() || halves.has_end {
            halves.wake_reader();
        }
        // Also when the other end has ended: it may still not take what is left for it, and say for ever that
        // it is there.
        if known.patience.is_none() && (halves.is_dropped || halves.is_closing) {
            let in_leg = self.endpoint.unacknowledged_in_stream(association, stream);
            let waiting = halves.outgoing.len();
            let left = in_leg.unwrap_or_default().saturating_add(waiting);
            let now = self.clock.now();
            known.patience = Some(Patience::new(now, self.stream_patience, left));
        }
    }

    /// Gives a stream up.
    fn reset_stream(&mut self, key: StreamKey, reason: ResetReason) {
        let (association, stream) = key;
        let mut rng = os_random();
        let env = self.clock.env(&mut rng);
        // It may have ended by itself.
        let _ = self
            .endpoint
            .reset_stream(&env, association, stream, reason);
        self.desk.streams.known.remove(&key);
    }
}

/// Bytes that are read from a leg at a time.
const READ_LEN: usize = 2_048;

/// So many times its patience an end that has left a stream waits at most.
const MOST_SPANS: u32 = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_end_has_as_long_again_while_it_takes_something_and_not_for_ever() {
        let span = Duration::from_secs(30);
        let at = |spans: u32| Instant::ZERO.saturating_add(span.saturating_mul(spans));
        let mut patience = Patience::new(at(0), span, 1_000);
        for spans in 1..MOST_SPANS {
            assert_eq!(patience.until, at(spans));
            let left = 1_000 - usize::try_from(spans).unwrap();
            assert!(patience.renew(at(spans), span, left));
        }
        assert_eq!(patience.until, at(MOST_SPANS));
        assert!(!patience.renew(at(MOST_SPANS), span, 0));
        let mut patience = Patience::new(at(0), span, 1_000);
        assert!(patience.renew(at(1), span, 999));
        assert!(!patience.renew(at(2), span, 999));
    }
}
