//! What lies between the nodes: directions, a NAT, and the queue of what is under way.

use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, BinaryHeap};

use hedgerow_core::Instant;

use crate::account::bytes;
use crate::direction::Verdict;
use crate::node::Outgoing;
use crate::{Account, Address, Conditions, Direction, Fate, Trace, TraceEntry};

/// The network: it takes what is sent and gives it back when it arrives.
#[derive(Debug)]
pub(crate) struct Network {
    seed: u64,
    pub(crate) conditions: Conditions,
    directions: BTreeMap<(Address, Address), Direction>,
    nat: Nat,
    queue: BinaryHeap<Reverse<Queued>>,
    sequence: u64,
    pub(crate) trace: Trace,
}

impl Network {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            seed,
            conditions: Conditions::default(),
            directions: BTreeMap::new(),
            nat: Nat::default(),
            queue: BinaryHeap::new(),
            sequence: 0,
            trace: Trace::default(),
        }
    }

    pub(crate) fn direction(&mut self, from: Address, to: Address) -> &mut Direction {
        self.directions.entry((from, to)).or_default()
    }

    pub(crate) fn account(&self, from: Address, to: Address) -> Account {
        self.directions
            .get(&(from, to))
            .map(Direction::account)
            .unwrap_or_default()
    }

    pub(crate) fn total(&self) -> Account {
        let mut total = Account::default();
        for direction in self.directions.values() {
            total += direction.account();
        }
        total
    }

    pub(crate) fn rebind(&mut self, at: Instant, inside: Address, outside: Address) {
        self.enqueue(at, Event::Rebind { inside, outside });
    }

    /// Takes in what a node sent; buffers that the network is done with go to `spare`.
    pub(crate) fn send(&mut self, now: Instant, outgoing: Outgoing, spare: &mut Vec<Vec<u8>>) {
        let Outgoing {
            from,
            to,
            mut datagram,
        } = outgoing;
        let ends = (from, self.nat.inside(to));
        let seen_from = self.nat.outside(from);
        let verdict = self.directions.entry(ends).or_default().judge(
            self.seed,
            ends,
            now,
            &self.conditions,
            &mut datagram,
        );
        let transit = |is_duplicate, is_altered, datagram| Transit {
            ends,
            sent: now,
            from: seen_from,
            to,
            is_duplicate,
            is_altered,
            datagram,
        };
        match verdict {
            Verdict::Dropped { fate, is_altered } => {
                let lost = transit(false, is_altered, datagram);
                self.trace.push(&lost.datagram, || lost.entry(now, fate));
                spare.push(lost.datagram);
            }
            Verdict::Passed {
                original,
                copy,
                is_altered,
            } => {
                let copied = copy.map(|at| {
                    let mut bytes = spare.pop().unwrap_or_default();
                    bytes.clone_from(&datagram);
                    (at, transit(true, is_altered, bytes))
                });
                self.enqueue(
                    original,
                    Event::Arrival(transit(false, is_altered, datagram)),
                );
                if let Some((at, copy)) = copied {
                    self.enqueue(at, Event::Arrival(copy));
                }
            }
        }
    }

    /// Returns when the next thing happens, if anything is under way.
    pub(crate) fn next_at(&self) -> Option<Instant> {
        self.queue.peek().map(|Reverse(queued)| queued.at)
    }

    /// Takes out the next thing that happens. A rebinding is dealt with here.
    pub(crate) fn pop(&mut self) -> Option<Transit> {
        let Reverse(queued) = self.queue.pop()?;
        match queued.event {
            Event::Arrival(transit) => Some(transit),
            Event::Rebind { inside, outside } => {
                self.nat.rebind(inside, outside);
                None
            }
        }
    }

    /// Returns the address of the end that `to` stands for now, if a NAT hasn't forgotten it.
    pub(crate) fn route(&self, to: Address) -> Option<Address> {
        let inside = self.nat.inside(to);
        (self.nat.outside(inside) == to).then_some(inside)
    }

    /// Accounts for an arrival before the node may change its bytes.
    pub(crate) fn settle(&mut self, now: Instant, transit: &Transit, fate: Fate) {
        let account = &mut self.directions.entry(transit.ends).or_default().account;
        if fate == Fate::Delivered {
            account.delivered += 1;
            account.delivered_bytes += bytes(transit.datagram.len());
        } else {
            account.unroutable += 1;
        }
        self.trace
            .push(&transit.datagram, || transit.entry(now, fate));
    }

    fn enqueue(&mut self, at: Instant, event: Event) {
        let sequence = self.sequence;
        self.sequence += 1;
        self.queue.push(Reverse(Queued {
            at,
            sequence,
            event,
        }));
    }
}

/// A datagram, or a copy of it, under way.
#[derive(Debug)]
pub(crate) struct Transit {
    ends: (Address, Address),
    sent: Instant,
    pub(crate) from: Address,
    pub(crate) to: Address,
    is_duplicate: bool,
    is_altered: bool,
    pub(crate) datagram: Vec<u8>,
}

impl Transit {
    fn entry(&self, at: Instant, fate: Fate) -> TraceEntry {
        TraceEntry {
            sent: self.sent,
            at,
            from: self.from,
            to: self.to,
            len: self.datagram.len(),
            fate,
            is_duplicate: self.is_duplicate,
            is_altered: self.is_altered,
            datagram: Vec::new(),
        }
    }
}

#[derive(Debug)]
enum Event {
    Arrival(Transit),
    Rebind { inside: Address, outside: Address },
}

/// An event in the queue, which is ordered by time and then by the order of entering.
#[derive(Debug)]
struct Queued {
    at: Instant,
    sequence: u64,
    event: Event,
}

impl Ord for Queued {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.sequence).cmp(&(other.at, other.sequence))
    }
}

impl PartialOrd for Queued {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Queued {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Queued {}

/// Which address an end is seen under.
#[derive(Debug, Default)]
struct Nat {
    /// The one that is valid now, by the end's own address.
    outside: BTreeMap<Address, Address>,
    /// The end's own address, by every address that it was ever seen under.
    inside: BTreeMap<Address, Address>,
}

impl Nat {
    fn rebind(&mut self, inside: Address, outside: Address) {
        self.outside.insert(inside, outside);
        self.inside.insert(outside, inside);
    }

    fn outside(&self, inside: Address) -> Address {
        self.outside.get(&inside).copied().unwrap_or(inside)
    }

    fn inside(&self, outside: Address) -> Address {
        self.inside.get(&outside).copied().unwrap_or(outside)
    }
}
