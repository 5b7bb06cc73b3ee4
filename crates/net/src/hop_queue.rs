//! What happens to hops, on its way from a node's task to whoever listens.
//!
//! It is bounded whatever peers do and however slowly somebody listens: of a session that began and ended in
//! between nothing is told, and messages have 1,024 places, of which whoever has most gives up its oldest.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hedgerow_core::{DropReason, Peer};
use tokio::sync::Notify;

use crate::{HopEvent, HopId};

/// Where events go in. There is one for each listener.
pub(crate) struct HopReporter(Arc<HopQueue>);

/// Where they come out.
pub(crate) struct HopListener(Arc<HopQueue>);

struct HopQueue {
    inner: Mutex<Inner>,
    changed: Notify,
}

#[derive(Default)]
struct Inner {
    events: VecDeque<Queued>,
    /// Messages of each peer, and of all.
    by_peer: HashMap<Peer, usize>,
    messages: usize,
    is_closed: bool,
}

struct Queued {
    event: HopEvent,
    /// Whose share of the places it takes, if it is a message.
    peer: Option<Peer>,
}

/// Whether a message finds a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Room {
    Free,
    /// Another message has given up its own.
    Made,
    None,
}

/// Makes both ends of a queue.
pub(crate) fn hop_queue() -> (HopReporter, HopListener) {
    let queue = Arc::new(HopQueue {
        inner: Mutex::default(),
        changed: Notify::new(),
    });
    (HopReporter(Arc::clone(&queue)), HopListener(queue))
}

impl HopReporter {
    /// Tells that there is a session, or that none came about.
    pub(crate) fn tell(&self, event: HopEvent) {
        self.with(|inner| {
            // Once is enough for an address.
            if !matches!(event, HopEvent::Failed { .. }) || !inner.holds(&event) {
                inner.events.push_back(Queued { event, peer: None });
            }
        });
    }

    /// Tells that a session is over, to whoever has heard of it.
    pub(crate) fn end(&self, hop: HopId) {
        self.with(|inner| {
            let is_begin = |event: &HopEvent| matches!(event, HopEvent::Established { .. });
            let mut events = inner.events.iter().map(|queued| &queued.event);
            let is_unheard = events.any(|event| is_begin(event) && event.hop() == Some(hop));
            if !is_unheard {
                let event = HopEvent::Ended { hop };
                inner.events.push_back(Queued { event, peer: None });
                return;
            }
            let (of_it, others) = std::mem::take(&mut inner.events)
                .into_iter()
                .partition(|queued| queued.event.hop() == Some(hop));
            inner.events = others;
            let of_it: VecDeque<Queued> = of_it;
            for peer in of_it.into_iter().filter_map(|queued| queued.peer) {
                inner.release(peer);
            }
        });
    }

    /// Tells of a message, and why one was dropped if one was: this one, or another that made room for it.
    pub(crate) fn message(&self, peer: Peer, event: HopEvent) -> Option<DropReason> {
        let room = self.with(|inner| {
            let room = inner.make_room(peer);
            if room != Room::None {
                let count = inner.by_peer.entry(peer).or_default();
                *count = count.saturating_add(1);
                inner.messages = inner.messages.saturating_add(1);
                let peer = Some(peer);
                inner.events.push_back(Queued { event, peer });
            }
            room
        });
        match room {
            Some(Room::Free) => None,
            Some(Room::Made | Room::None) => Some(DropReason::HopQueueFull),
            None => Some(DropReason::NotAcceptable),
        }
    }

    /// Changes the queue; `None` once nobody listens, who needs no word.
    fn with<R>(&self, change: impl FnOnce(&mut Inner) -> R) -> Option<R> {
        let mut inner = self.0.lock();
        let changed = (!inner.is_closed).then(|| change(&mut inner));
        drop(inner);
        self.0.changed.notify_one();
        changed
    }
}

impl Drop for HopReporter {
    fn drop(&mut self) {
        self.0.lock().is_closed = true;
        self.0.changed.notify_one();
    }
}

impl HopListener {
    /// Waits for the next event; `None` once there will be none. Cancelling loses nothing.
    pub(crate) async fn next(&mut self) -> Option<HopEvent> {
        loop {
            {
                let mut inner = self.0.lock();
                if let Some(Queued { event, peer }) = inner.events.pop_front() {
                    if let Some(peer) = peer {
                        inner.release(peer);
                    }
                    return Some(event);
                }
                if inner.is_closed {
                    return None;
                }
            }
            self.0.changed.notified().await;
        }
    }
}

impl Drop for HopListener {
    fn drop(&mut self) {
        let mut inner = self.0.lock();
        *inner = Inner {
            is_closed: true,
            ..Inner::default()
        };
    }
}

impl HopQueue {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn holds(&self, event: &HopEvent) -> bool {
        self.events.iter().any(|queued| queued.event == *event)
    }

    /// Finds a place for a message of `peer`. Where all are taken, whoever has most gives up its oldest, so
    /// that nobody who has few loses any; of several who have as many, the one who has waited longest.
    fn make_room(&mut self, peer: Peer) -> Room {
        if self.messages < MAX_WAITING {
            return Room::Free;
        }
        let own = self.held_by(peer);
        let most = self.by_peer.values().copied().max().unwrap_or_default();
        if most <= own {
            return Room::None;
        }
        let has_most = |peer| self.held_by(peer) == most;
        let mut events = self.events.iter();
        let oldest = events.position(|queued| queued.peer.is_some_and(has_most));
        let gone = oldest.and_then(|place| self.events.remove(place));
        let Some(greediest) = gone.and_then(|queued| queued.peer) else {
            return Room::None;
        };
        self.release(greediest);
        Room::Made
    }

    /// How many messages of a peer wait.
    fn held_by(&self, peer: Peer) -> usize {
        self.by_peer.get(&peer).copied().unwrap_or_default()
    }

    /// Frees a message's place.
    fn release(&mut self, peer: Peer) {
        self.messages = self.messages.saturating_sub(1);
        if let Some(count) = self.by_peer.get_mut(&peer) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.by_peer.remove(&peer);
            }
        }
    }
}

/// Messages that wait to be fetched.
const MAX_WAITING: usize = 1_024;

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use hedgerow_core::PeerId;

    use super::*;

    const REMOTE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 5684);

    fn peer(number: u32) -> Peer {
        Peer::Psk(PeerId(number))
    }

    fn established(number: u32) -> HopEvent {
        HopEvent::Established {
            hop: hop(number),
            peer: peer(number),
            remote: REMOTE,
        }
    }

    fn hop(number: u32) -> HopId {
        HopId::new(number.into())
    }

    fn message(number: u32, text: u16) -> HopEvent {
        HopEvent::Message {
            hop: hop(number),
            message: text.to_be_bytes().to_vec(),
            is_light: false,
        }
    }

    async fn told(listener: &mut HopListener) -> Vec<HopEvent> {
        let mut events = Vec::new();
        while let Some(event) = listener.next().await {
            events.push(event);
        }
        events
    }

    #[tokio::test]
    async fn device_that_floods_takes_no_place_of_another() {
        let (reporter, mut listener) = hop_queue();
        let mut dropped = 0;
        let mut send = |number, text| {
            let reason = reporter.message(peer(number), message(number, text));
            assert!(matches!(reason, None | Some(DropReason::HopQueueFull)));
            dropped += usize::from(reason.is_some());
        };
        for text in 0..2_000 {
            send(1, text);
        }
        for text in 0..600 {
            send(2, text);
            send(1, 3_000);
        }
        send(3, 7);
        assert_eq!(dropped, 2_000 + 2 * 600 + 1 - 1_024);
        drop(reporter);
        let told = told(&mut listener).await;
        assert_eq!(told.len(), 1_024);
        let of = |number| {
            told.iter()
                .filter(move |event| event.hop() == Some(hop(number)))
        };
        // Whoever has little loses nothing, and two who have much have the same.
        assert!(of(3).eq([&message(3, 7)]));
        assert_eq!((of(1).count(), of(2).count()), (511, 512));
        assert!(
            of(2).eq((0..512)
                .map(|text| message(2, text))
                .collect::<Vec<_>>()
                .iter())
        );
        assert!(listener.0.lock().by_peer.is_empty());
        assert_eq!(listener.0.lock().messages, 0);
    }

    #[tokio::test]
    async fn of_a_session_that_came_and_went_unheard_nothing_is_told() {
        let (reporter, mut listener) = hop_queue();
        reporter.tell(established(0));
        assert_eq!(listener.next().await, Some(established(0)));
        for number in 1..5_000 {
            reporter.tell(established(number));
            reporter.message(peer(number), message(number, 1));
            reporter.end(hop(number));
        }
        reporter.tell(established(5_000));
        reporter.message(peer(0), message(0, 1));
        reporter.end(hop(0));
        for _ in 0..5_000 {
            reporter.tell(HopEvent::Failed { remote: REMOTE });
        }
        assert!(listener.0.lock().events.len() <= 4);
        drop(reporter);
        let expected = [
            established(5_000),
            message(0, 1),
            HopEvent::Ended { hop: hop(0) },
            HopEvent::Failed { remote: REMOTE },
        ];
        assert_eq!(told(&mut listener).await, expected);
        assert_eq!(listener.0.lock().messages, 0);
    }

    #[tokio::test]
    async fn nothing_is_kept_for_whoever_does_not_listen_any_more() {
        let (reporter, listener) = hop_queue();
        let queue = Arc::clone(&listener.0);
        reporter.tell(established(1));
        drop(listener);
        reporter.tell(established(2));
        let dropped = reporter.message(peer(2), message(2, 1));
        assert_eq!(dropped, Some(DropReason::NotAcceptable));
        assert!(queue.lock().events.is_empty());
    }

    #[tokio::test]
    async fn listener_waits_until_there_is_something() {
        let (reporter, mut listener) = hop_queue();
        let waiting = tokio::spawn(async move { (listener.next().await, listener.next().await) });
        tokio::task::yield_now().await;
        reporter.tell(established(1));
        tokio::task::yield_now().await;
        drop(reporter);
        assert_eq!(waiting.await.unwrap(), (Some(established(1)), None));
    }
}
