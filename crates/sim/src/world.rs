//! The clock, the nodes and the order in which things happen.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::time::Duration;

use hedgerow_core::{CryptoProvider, Env, Instant};

use crate::ledger::Ledgered as _;
use crate::network::Network;
use crate::{
    Account, Address, Conditions, Direction, Error, Fate, Ledger, Node, NonceLedger, Outbox,
    TestRng, Trace, Tracing,
};

/// A node's number in its world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(usize);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node {}", self.0)
    }
}

/// What one run may take before it is given up with an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Arrivals, timeouts and rebindings.
    pub events: u64,
    /// Virtual time since the run began.
    pub time: Duration,
}

impl Default for Limits {
    /// A million events and 30 days: a CoAP request with MAX_RETRANSMIT at 15 may wait for more
    /// than two days.
    fn default() -> Self {
        Self {
            events: 1_000_000,
            time: Duration::from_secs(30 * 24 * 60 * 60),
        }
    }
}

/// Nodes and the network between them, in virtual time.
///
/// Everything follows from the seed and from what the test does. Of two things at the same time,
/// arrivals come before timeouts, arrivals in the order in which they were sent, timeouts in the
/// order in which the nodes were added.
///
/// The test owns the nodes' type: it may be an enum, or `Box<dyn Node>`.
#[derive(Debug)]
pub struct World<N> {
    seed: u64,
    now: Instant,
    limits: Limits,
    nodes: Vec<Place<N>>,
    routes: BTreeMap<Address, NodeId>,
    network: Network,
    outbox: Outbox,
    ledger: Ledger,
    /// Whether anybody has a provider that writes into the ledger.
    is_ledger_in_use: bool,
}

impl<N: Node> World<N> {
    /// Makes an empty world at [`Instant::ZERO`], with a calm network.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            now: Instant::ZERO,
            limits: Limits::default(),
            nodes: Vec::new(),
            routes: BTreeMap::new(),
            network: Network::new(seed),
            outbox: Outbox::default(),
            ledger: Ledger::new(seed),
            is_ledger_in_use: false,
        }
    }

    /// Wraps the provider of a node, which a panic is to call `name`: within this world no pair of key
    /// and nonce seals twice, over retransmission, resumption, a change of address, new keys and a
    /// restart.
    pub fn provider<P: CryptoProvider>(
        &mut self,
        provider: P,
        name: &'static str,
    ) -> NonceLedger<P> {
        self.is_ledger_in_use = true;
        NonceLedger::new(provider, &self.ledger, name)
    }

    /// Lends the ledger that every seal in this world stands in.
    pub const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Returns the seed.
    pub const fn seed(&self) -> u64 {
        self.seed
    }

    /// Returns the virtual time.
    pub const fn now(&self) -> Instant {
        self.now
    }

    /// Sets the bounds of each run from now on.
    pub const fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Sets how much is written down from now on; nothing is by default.
    pub const fn set_tracing(&mut self, tracing: Tracing) {
        self.network.trace.set_tracing(tracing);
    }

    /// Lends what was written down.
    pub const fn trace(&self) -> &Trace {
        &self.network.trace
    }

    /// Adds a node that is reached at `addresses`. An address that another node had moves to it.
    ///
    /// # Panics
    ///
    /// If the node seals and [`Self::provider`] was never asked: then it seals beside the ledger.
    pub fn add(&mut self, node: N, addresses: &[Address]) -> NodeId {
        assert!(
            self.is_ledger_in_use || !N::Provider::SEALS,
            "seed {}: a node that seals, and no provider of this world's ledger",
            self.seed
        );
        let id = NodeId(self.nodes.len());
        self.routes
            .extend(addresses.iter().map(|&address| (address, id)));
        let stream = u64::try_from(id.0).unwrap_or(u64::MAX);
        self.nodes.push(Place {
            timeout: node.poll_timeout(),
            stuck: 0,
            rng: TestRng::stream(self.seed, stream),
            node,
        });
        id
    }

    /// Lends a node to look at.
    ///
    /// # Panics
    ///
    /// If `id` comes from another world.
    pub fn node(&self, id: NodeId) -> &N {
        &self.place(id).node
    }

    /// Calls into a node from outside: starts it, asks it for something, takes its result.
    ///
    /// What it sends leaves when `call` returns, and its timeout is asked for again.
    ///
    /// # Panics
    ///
    /// If `id` comes from another world.
    pub fn act<R>(
        &mut self,
        id: NodeId,
        call: impl FnOnce(&mut N, &mut Env<'_>, &mut Outbox) -> R,
    ) -> R {
        let now = self.now;
        #[expect(
            clippy::indexing_slicing,
            reason = "the world never forgets a node that it gave a number to"
        )]
        let place = &mut self.nodes[id.0];
        let mut env = Env::new(now, &mut place.rng);
        let result = call(&mut place.node, &mut env, &mut self.outbox);
        place.timeout = place.node.poll_timeout();
        let (sent, spare) = self.outbox.drain();
        for outgoing in sent {
            self.network.send(now, outgoing, spare);
        }
        result
    }

    /// Sends a datagram that no node sends: an attacker's, or a recorded one.
    pub fn send(&mut self, from: Address, to: Address, datagram: &[u8]) {
        self.outbox.send(from, to, datagram);
        let (sent, spare) = self.outbox.drain();
        for outgoing in sent {
            self.network.send(self.now, outgoing, spare);
        }
    }

    /// Sets the conditions of every direction that has none of its own.
    pub fn set_conditions(&mut self, conditions: Conditions) {
        self.network.conditions = conditions;
    }

    /// Sets the conditions of both directions between two addresses.
    pub fn link(&mut self, a: Address, b: Address, conditions: Conditions) {
        self.direction(a, b).set_conditions(conditions.clone());
        self.direction(b, a).set_conditions(conditions);
    }

    /// Lends the way from one address to another, to plant faults on.
    pub fn direction(&mut self, from: Address, to: Address) -> &mut Direction {
        self.network.direction(from, to)
    }

    /// Cuts both directions between two addresses: nothing sent within `times` arrives.
    pub fn partition(&mut self, a: Address, b: Address, times: Range<Instant>) {
        self.direction(a, b).partition(times.clone());
        self.direction(b, a).partition(times);
    }

    /// Lets a NAT give the node at `inside` a new address at `at`, or now if that has passed.
    ///
    /// From then on what it sends is seen to come from `outside`, what is sent to `outside` reaches
    /// it, and what arrives for an earlier address, `inside` included, is unroutable. Conditions
    /// and accounts stay with the direction of `inside`.
    pub fn rebind(&mut self, at: Instant, inside: Address, outside: Address) {
        self.network.rebind(at.max(self.now), inside, outside);
    }

    /// Returns the counts of one direction.
    pub fn account(&self, from: Address, to: Address) -> Account {
        self.network.account(from, to)
    }

    /// Returns the counts of all directions added up.
    pub fn total(&self) -> Account {
        self.network.total()
    }

    /// Runs until nothing is under way and no timeout is set.
    ///
    /// # Errors
    ///
    /// [`Error::EventLimit`], [`Error::TimeLimit`] or [`Error::TimeoutStuck`] where the world
    /// doesn't come to rest.
    pub fn run_until_idle(&mut self) -> Result<(), Error> {
        let deadline = self.now.saturating_add(self.limits.time);
        self.run(Deadline::Fails(deadline), |_| false).map(|_| ())
    }

    /// Runs until `done`, which is asked first and then after every event.
    ///
    /// # Errors
    ///
    /// [`Error::Idle`] if nothing is left to happen before that; otherwise as
    /// [`Self::run_until_idle`].
    pub fn run_until(&mut self, done: impl FnMut(&Self) -> bool) -> Result<(), Error> {
        let deadline = self.now.saturating_add(self.limits.time);
        match self.run(Deadline::Fails(deadline), done)? {
            Ending::Done => Ok(()),
            Ending::Idle => Err(Error::Idle {
                seed: self.seed,
                now: self.now,
            }),
        }
    }

    /// Runs everything that happens within `duration`, at its end included, and moves the clock to
    /// its end. [`Limits::time`] doesn't apply.
    ///
    /// # Errors
    ///
    /// [`Error::EventLimit`] or [`Error::TimeoutStuck`]; the clock then stays at the last event.
    pub fn run_for(&mut self, duration: Duration) -> Result<(), Error> {
        let end = self.now.saturating_add(duration);
        self.run(Deadline::Ends(end), |_| false)?;
        self.now = end;
        Ok(())
    }

    fn run(
        &mut self,
        deadline: Deadline,
        mut done: impl FnMut(&Self) -> bool,
    ) -> Result<Ending, Error> {
        let mut events = 0;
        while !done(self) {
            let Some((at, next)) = self.next() else {
                return Ok(Ending::Idle);
            };
            match deadline {
                Deadline::Ends(end) if at > end => return Ok(Ending::Idle),
                Deadline::Fails(end) if at > end => {
                    return Err(Error::TimeLimit {
                        seed: self.seed,
                        now: self.now,
                        next: at,
                    });
                }
                Deadline::Ends(_) | Deadline::Fails(_) => {}
            }
            if events == self.limits.events {
                return Err(Error::EventLimit {
                    seed: self.seed,
                    events,
                    now: self.now,
                });
            }
            events += 1;
            self.now = at;
            match next {
                Next::Network => self.arrive(),
                Next::Timeout(id) => self.time_out(id)?,
            }
        }
        Ok(Ending::Done)
    }

    /// Finds what happens next. A linear search is quicker than a heap for the handful of nodes
    /// that a world has, and needs no care when a node changes its mind.
    fn next(&self) -> Option<(Instant, Next)> {
        let timeout = self
            .nodes
            .iter()
            .enumerate()
            .filter_map(|(n, place)| Some((place.timeout?.max(self.now), NodeId(n))))
            .min();
        match (self.network.next_at(), timeout) {
            (Some(at), Some((due, id))) if due < at => Some((due, Next::Timeout(id))),
            (Some(at), _) => Some((at, Next::Network)),
            (None, Some((due, id))) => Some((due, Next::Timeout(id))),
            (None, None) => None,
        }
    }

    fn arrive(&mut self) {
        let Some(mut transit) = self.network.pop() else {
            return;
        };
        let reached = self
            .network
            .route(transit.to)
            .and_then(|to| Some((to, *self.routes.get(&to)?)));
        let Some((to, id)) = reached else {
            self.network.settle(self.now, &transit, Fate::Unroutable);
            self.outbox.recycle(transit.datagram);
            return;
        };
        self.network.settle(self.now, &transit, Fate::Delivered);
        let from = transit.from;
        let mut datagram = std::mem::take(&mut transit.datagram);
        self.act(id, |node, env, out| {
            node.handle_datagram(env, from, to, &mut datagram, out);
        });
        self.outbox.recycle(datagram);
    }

    fn time_out(&mut self, id: NodeId) -> Result<(), Error> {
        self.act(id, |node, env, out| node.handle_timeout(env, out));
        let now = self.now;
        let Some(place) = self.nodes.get_mut(id.0) else {
            return Ok(());
        };
        if place.timeout.is_none_or(|due| due > now) {
            place.stuck = 0;
            return Ok(());
        }
        place.stuck += 1;
        if place.stuck < MAX_TIMEOUTS_AT_ONCE {
            return Ok(());
        }
        Err(Error::TimeoutStuck {
            seed: self.seed,
            node: id,
            now,
        })
    }

    fn place(&self, id: NodeId) -> &Place<N> {
        #[expect(
            clippy::indexing_slicing,
            reason = "the world never forgets a node that it gave a number to"
        )]
        &self.nodes[id.0]
    }
}

/// A node with what the world keeps for it.
#[derive(Debug)]
struct Place<N> {
    node: N,
    rng: TestRng,
    /// What the node's `poll_timeout` said after its last call.
    timeout: Option<Instant>,
    /// How many timeouts in a row left the next one due at once.
    stuck: u32,
}

enum Next {
    Network,
    Timeout(NodeId),
}

enum Ending {
    Done,
    Idle,
}

#[derive(Clone, Copy)]
enum Deadline {
    /// Time is up, in order.
    Ends(Instant),
    /// Time is up, and the run has failed.
    Fails(Instant),
}

/// A node may handle one of several timers per call; no node has this many that are due at once.
const MAX_TIMEOUTS_AT_ONCE: u32 = 10_000;
