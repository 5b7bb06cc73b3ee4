//! Messages on their way from tunnels to the task that has the socket of all UDP carriers.
//!
//! There are 1,024 places for all. Where they are taken, the tunnel that has most gives up its oldest message, so that one
//! that has few loses none; and each tunnel has its turn, so that nobody's messages wait for all of another's.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hedgerow_endpoint::UdpCarrierId;
use tokio::sync::Notify;

/// Where messages go in.
#[derive(Clone)]
pub(super) struct OutgoingSender(Arc<Queue>);

/// Where they come out.
pub(super) struct OutgoingReceiver(Arc<Queue>);

/// Whether a message finds a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    Free,
    /// Another tunnel's message has given up its own.
    Made,
    /// There is none for this tunnel, or nobody who would send it.
    None,
}

#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    changed: Notify,
}

#[derive(Default)]
struct Waiting {
    /// Those of each tunnel that has some, the oldest first.
    of: BTreeMap<UdpCarrierId, VecDeque<Box<[u8]>>>,
    /// Those tunnels, in the order of their turns.
    turns: VecDeque<UdpCarrierId>,
    messages: usize,
    is_closed: bool,
}

/// Makes both ends of a queue.
pub(super) fn outgoing_queue() -> (OutgoingSender, OutgoingReceiver) {
    let queue = Arc::new(Queue::default());
    (OutgoingSender(Arc::clone(&queue)), OutgoingReceiver(queue))
}

impl OutgoingSender {
    /// Has a tunnel's message wait for its turn.
    pub(super) fn send(&self, id: UdpCarrierId, message: Box<[u8]>) -> Room {
        let room = self.0.lock().push(id, message);
        self.0.changed.notify_one();
        room
    }
}

impl OutgoingReceiver {
    /// Waits for the next message. Cancelling loses nothing.
    pub(super) async fn next(&mut self) -> (UdpCarrierId, Box<[u8]>) {
        loop {
            if let Some(next) = self.0.lock().pop() {
                return next;
            }
            self.0.changed.notified().await;
        }
    }
}

impl Drop for OutgoingReceiver {
    fn drop(&mut self) {
        *self.0.lock() = Waiting {
            is_closed: true,
            ..Waiting::default()
        };
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn push(&mut self, id: UdpCarrierId, message: Box<[u8]>) -> Room {
        let room = match self.is_closed {
            true => Room::None,
            false => self.make_room(id),
        };
        if room == Room::None {
            return room;
        }
        let own = self.of.entry(id).or_default();
        if own.is_empty() {
            self.turns.push_back(id);
        }
        own.push_back(message);
        self.messages = self.messages.saturating_add(1);
        room
    }

    /// Takes out the oldest message of the tunnel whose turn it is.
    fn pop(&mut self) -> Option<(UdpCarrierId, Box<[u8]>)> {
        let id = self.turns.pop_front()?;
        let message = self.take_oldest(id)?;
        if self.of.contains_key(&id) {
            self.turns.push_back(id);
        }
        Some((id, message))
    }

    /// Finds a place for a message of a tunnel's. Of several that have most, the one gives up a message whose turn comes first.
    fn make_room(&mut self, id: UdpCarrierId) -> Room {
        if self.messages < MAX_WAITING {
            return Room::Free;
        }
        let most = self.of.values().map(VecDeque::len).max();
        let most = most.unwrap_or_default();
        if most <= self.held_by(id) {
            return Room::None;
        }
        let mut turns = self.turns.iter().copied();
        let greediest = turns.find(|other| self.held_by(*other) == most);
        match greediest.and_then(|other| self.take_oldest(other)) {
            // It had another one, and so keeps its turn.
            Some(_) if most > 1 => Room::Made,
            Some(_) => {
                self.turns.retain(|other| Some(*other) != greediest);
                Room::Made
            }
            None => Room::None,
        }
    }

    fn held_by(&self, id: UdpCarrierId) -> usize {
        self.of.get(&id).map_or(0, VecDeque::len)
    }

    fn take_oldest(&mut self, id: UdpCarrierId) -> Option<Box<[u8]>> {
        let own = self.of.get_mut(&id)?;
        let oldest = own.pop_front()?;
        if own.is_empty() {
            self.of.remove(&id);
        }
        self.messages = self.messages.saturating_sub(1);
        Some(oldest)
    }
}

/// Messages of all tunnels that wait to be sent.
const MAX_WAITING: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    fn push(waiting: &mut Waiting, tunnel: u32, text: u16) -> Room {
        waiting.push(UdpCarrierId(tunnel), text.to_be_bytes().into())
    }

    fn rest(waiting: &mut Waiting) -> Vec<(u32, u16)> {
        let mut all = Vec::new();
        while let Some((UdpCarrierId(tunnel), text)) = waiting.pop() {
            let text = text
                .iter()
                .fold(0, |text, byte| text << 8 | u16::from(*byte));
            all.push((tunnel, text));
        }
        all
    }

    #[test]
    fn tunnels_have_their_turns_and_each_its_order() {
        let mut waiting = Waiting::default();
        for text in 0..3 {
            assert_eq!(push(&mut waiting, 1, text), Room::Free);
        }
        push(&mut waiting, 2, 7);
        push(&mut waiting, 3, 8);
        assert_eq!(rest(&mut waiting), [(1, 0), (2, 7), (3, 8), (1, 1), (1, 2)]);
        assert!(waiting.of.is_empty() && waiting.turns.is_empty());
        assert_eq!(waiting.messages, 0);
    }

    #[test]
    fn greediest_tunnel_gives_up_its_oldest_and_nobody_else_loses_any() {
        let mut waiting = Waiting::default();
        push(&mut waiting, 2, 1);
        for text in 0..1_023 {
            assert_eq!(push(&mut waiting, 1, text), Room::Free);
        }
        assert_eq!(push(&mut waiting, 1, 1_023), Room::None);
        // Up to half for each of two.
        for text in 2..=512 {
            assert_eq!(push(&mut waiting, 2, text), Room::Made, "{text}");
        }
        assert_eq!(push(&mut waiting, 2, 513), Room::None);
        assert_eq!(push(&mut waiting, 1, 1_024), Room::None);
        assert_eq!(push(&mut waiting, 3, 0), Room::Made);
        assert_eq!(waiting.messages, MAX_WAITING);
        let all = rest(&mut waiting);
        let of = |tunnel| {
            let its = all.iter().filter(move |(other, _)| *other == tunnel);
            its.map(|(_, text)| *text).collect::<Vec<_>>()
        };
        // Tunnel 2 was to have the next turn of the two that had most.
        assert_eq!(of(2), (2..=512).collect::<Vec<_>>());
        assert_eq!(of(1), (511..1_023).collect::<Vec<_>>());
        assert_eq!(of(3), [0]);
    }

    /// More tunnels than places: the turn of one that has nothing left is over.
    #[test]
    fn as_many_tunnels_as_places_have_one_message_each() {
        let mut waiting = Waiting::default();
        for tunnel in 0..1_024 {
            assert_eq!(push(&mut waiting, tunnel, 0), Room::Free);
        }
        assert_eq!(push(&mut waiting, 1_024, 0), Room::Made);
        assert_eq!(push(&mut waiting, 1_024, 1), Room::None);
        let all = rest(&mut waiting);
        assert_eq!(all.len(), MAX_WAITING);
        assert_eq!((all[0], all[1_023]), ((1, 0), (1_024, 0)));
        assert!(waiting.of.is_empty());
    }

    #[tokio::test]
    async fn message_wakes_who_waits_and_none_is_taken_by_nobody() {
        let (sender, mut receiver) = outgoing_queue();
        let id = UdpCarrierId(1);
        let (next, room) = tokio::join!(receiver.next(), async {
            tokio::task::yield_now().await;
            sender.send(id, b"a"[..].into())
        });
        assert_eq!((next, room), ((id, b"a"[..].into()), Room::Free));
        drop(receiver);
        assert_eq!(sender.send(id, b"b"[..].into()), Room::None);
    }
}
