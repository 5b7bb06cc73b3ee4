//! Two ends of a leg in a simulated network, with applications that send, receive and remember.
#![allow(dead_code, unreachable_pub)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use hedgerow_core::{DropReason, Env, Instant};
use hedgerow_leg::{
    Config, Event, HeapLeg, Leg, Offer, Read, Received, ResetBy, ResetReason, Role, Storage,
    StreamId,
};
use hedgerow_sim::{Address, Conditions, Limits, Node, NodeId, Outbox, SealsNothing, World};

pub const GATEWAY: Address = Address::new(1, 20_000);
pub const DEVICE: Address = Address::new(2, 20_000);

/// An application: what it sends on which stream, and what came.
#[derive(Default)]
pub struct App {
    /// On streams that the other end opens, this is sent, and the end.
    pub reply: Vec<u8>,
    /// Whether streams that the other end opens aren't ended by this one.
    pub is_one_way: bool,
    pub sending: BTreeMap<StreamId, Sending>,
    pub received: BTreeMap<StreamId, Vec<u8>>,
    /// Streams whose orderly end was read.
    pub ended: BTreeSet<StreamId>,
    pub ended_at: BTreeMap<StreamId, Instant>,
    pub closed: BTreeSet<StreamId>,
    pub reset: BTreeMap<StreamId, (ResetReason, ResetBy)>,
    pub opened: Vec<StreamId>,
    pub drops: BTreeMap<&'static str, usize>,
    /// Reads so many bytes at a time and then waits; reads all at once if it is `None`.
    pub slow: Option<(usize, Duration)>,
    next_read: Option<Instant>,
    /// Reads nothing of these.
    pub unread: BTreeSet<StreamId>,
    /// The most bytes that waited to be read at once.
    pub most_waiting: usize,
}

#[derive(Default)]
pub struct Sending {
    pub bytes: Vec<u8>,
    pub written: usize,
    pub finish: bool,
    pub is_finished: bool,
}

impl Sending {
    pub fn all(bytes: Vec<u8>) -> Self {
        Self {
            bytes,
            finish: true,
            ..Self::default()
        }
    }
}

/// One end in the network.
pub struct End<S: Storage> {
    pub leg: Leg<S, Config>,
    pub app: App,
    own: Address,
    peer: Address,
    /// Stands for the hop session: datagrams of an older one than the newest seen aren't taken.
    pub session: Option<u8>,
    pub longest: usize,
}

impl<S: Storage> End<S> {
    pub fn new(role: Role, config: Config, env: &mut Env<'_>) -> Self {
        let (own, peer) = match role {
            Role::Gateway => (GATEWAY, DEVICE),
            Role::Device => (DEVICE, GATEWAY),
        };
        Self {
            leg: Leg::new(role, config, env).unwrap(),
            app: App::default(),
            own,
            peer,
            session: None,
            longest: 0,
        }
    }

    pub fn open(&mut self, now: Instant, bytes: Vec<u8>) -> StreamId {
        let stream = self.leg.open(now, &Offer::default()).unwrap();
        self.app.sending.insert(stream, Sending::all(bytes));
        stream
    }

    /// Does what there is to do and sends what there is to send.
    pub fn drive(&mut self, env: &mut Env<'_>, out: &mut Outbox) {
        self.events(env.now);
        self.write();
        self.read(env.now);
        self.events(env.now);
        let mut segment = [0; 2048];
        let max = self.leg.poll_transmit(env, &mut segment);
        let mut next = max.unwrap();
        let mut count = 0;
        while let Some(len) = next {
            self.longest = self.longest.max(len);
            let session = self.session.as_slice();
            out.send(self.own, self.peer, &[session, &segment[..len]].concat());
            count += 1;
            assert!(count < 10_000, "sends without end");
            next = self.leg.poll_transmit(env, &mut segment).unwrap();
        }
    }

    fn events(&mut self, now: Instant) {
        while let Some(event) = self.leg.poll_event() {
            match event {
                Event::Opened(stream) => {
                    assert!(!self.app.opened.contains(&stream), "opened twice");
                    self.app.opened.push(stream);
                    let mut reply = Sending::all(self.app.reply.clone());
                    reply.finish = !self.app.is_one_way;
                    self.app.sending.insert(stream, reply);
                }
                Event::Closed(stream) => {
                    assert!(self.app.ended.contains(&stream), "closed, and not ended");
                    assert!(self.app.closed.insert(stream));
                }
                Event::Reset { stream, reason, by } => {
                    let before = self.app.reset.insert(stream, (reason, by));
                    assert_eq!(before, None, "reset twice");
                }
                Event::Readable(stream) => {
                    assert!(!self.app.ended.contains(&stream), "readable after the end");
                    let _ = now;
                }
                _ => {}
            }
        }
    }

    fn write(&mut self) {
        for (stream, sending) in &mut self.app.sending {
            let rest = &sending.bytes[sending.written..];
            if let Ok(len) = self.leg.write(*stream, rest) {
                sending.written += len;
                if sending.written == sending.bytes.len() && sending.finish && !sending.is_finished
                {
                    self.leg.finish(*stream).unwrap();
                    sending.is_finished = true;
                }
            }
        }
    }

    fn read(&mut self, now: Instant) {
        if self.app.next_read.is_some_and(|at| at > now) {
            return;
        }
        let streams: Vec<StreamId> = self.app.sending.keys().copied().collect();
        let mut out = vec![0; self.app.slow.map_or(4096, |(len, _)| len)];
        let mut has_read = false;
        for stream in streams {
            if self.app.unread.contains(&stream) || self.app.ended.contains(&stream) {
                continue;
            }
            while let Ok(read) = self.leg.read(stream, &mut out) {
                match read {
                    Read::Bytes(len) => {
                        let all = self.app.received.entry(stream).or_default();
                        all.extend_from_slice(&out[..len]);
                        has_read = true;
                    }
                    Read::Blocked => break,
                    Read::End => {
                        self.app.ended.insert(stream);
                        self.app.ended_at.insert(stream, now);
                        self.app.received.entry(stream).or_default();
                        break;
                    }
                }
                if self.app.slow.is_some() {
                    break;
                }
            }
        }
        self.app.next_read = match self.app.slow {
            Some((_, pause)) if has_read => Some(now + pause),
            _ => None,
        };
    }
}

impl<S: Storage> Node for End<S> {
    type Provider = SealsNothing;

    fn handle_datagram(
        &mut self,
        env: &mut Env<'_>,
        _from: Address,
        _to: Address,
        datagram: &mut [u8],
        out: &mut Outbox,
    ) {
        let mut datagram = &*datagram;
        if let (Some(session), Some((number, rest))) = (&mut self.session, datagram.split_first()) {
            if *number < *session {
                return;
            }
            (*session, datagram) = (*number, rest);
        }
        if let Received::Dropped(reason) = self.leg.handle_segment(env.now, datagram) {
            *self.app.drops.entry(reason.label()).or_default() += 1;
        }
        self.drive(env, out);
    }

    fn handle_timeout(&mut self, env: &mut Env<'_>, out: &mut Outbox) {
        self.leg.handle_timeout(env.now);
        self.drive(env, out);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        [self.leg.poll_timeout(), self.app.next_read]
            .into_iter()
            .flatten()
            .min()
    }
}

/// A gateway and a device.
pub struct Hop<S: Storage> {
    pub world: World<End<S>>,
    pub gateway: NodeId,
    pub device: NodeId,
}

pub type Heap = hedgerow_leg::Heap;

impl<S: Storage> Hop<S> {
    pub fn new(seed: u64, config: Config, conditions: Conditions) -> Self {
        let mut world = World::new(seed);
        world.set_limits(Limits {
            events: 5_000_000,
            ..Limits::default()
        });
        world.set_conditions(conditions);
        let mut rng = hedgerow_sim::TestRng::stream(seed, 99);
        let mut env = Env::new(Instant::ZERO, &mut rng);
        let gateway = End::new(Role::Gateway, config, &mut env);
        let device = End::new(Role::Device, config, &mut env);
        let gateway = world.add(gateway, &[GATEWAY]);
        let device = world.add(device, &[DEVICE]);
        Self {
            world,
            gateway,
            device,
        }
    }

    /// Opens a stream at one end; the bytes and the end are sent on it.
    pub fn open(&mut self, at: NodeId, bytes: &[u8]) -> StreamId {
        self.world.act(at, |end, env, out| {
            let stream = end.open(env.now, bytes.to_vec());
            end.drive(env, out);
            stream
        })
    }

    /// What the end at `at` received on a stream, whether it ended in order, and how it was reset.
    pub fn outcome(
        &self,
        at: NodeId,
        stream: StreamId,
    ) -> (&[u8], bool, Option<(ResetReason, ResetBy)>) {
        let app = &self.world.node(at).app;
        let received = app
            .received
            .get(&stream)
            .map_or([].as_slice(), Vec::as_slice);
        let ended = app.ended.contains(&stream);
        (received, ended, app.reset.get(&stream).copied())
    }

    /// Asserts that a stream carried these bytes to the end at `at`, and that it ended in order.
    pub fn assert_carried(&self, at: NodeId, stream: StreamId, bytes: &[u8]) {
        let (received, ended, reset) = self.outcome(at, stream);
        assert_eq!(reset, None, "{stream:?} at {at}");
        assert!(ended, "{stream:?} at {at} has no end");
        assert!(received == bytes, "{stream:?} at {at}: other bytes");
        let app = &self.world.node(at).app;
        assert!(
            app.closed.contains(&stream),
            "{stream:?} at {at} not closed"
        );
    }
}

/// Bytes in which every place is different from its neighbours.
pub fn body(len: usize, seed: u8) -> Vec<u8> {
    let mut state = u32::from(seed).wrapping_add(1);
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    (0..len).map(|_| next()).collect()
}

pub fn dropped(app: &App, reason: DropReason) -> usize {
    app.drops.get(reason.label()).copied().unwrap_or_default()
}

pub fn lossy(loss: f64) -> Conditions {
    Conditions {
        delay: Duration::from_millis(10)..=Duration::from_millis(60),
        loss,
        duplication: 0.1,
        reordering: 0.1,
        reordering_delay: Duration::from_millis(300),
        ..Conditions::default()
    }
}

pub type HeapHop = Hop<Heap>;
pub type Machine = HeapLeg<Config>;
