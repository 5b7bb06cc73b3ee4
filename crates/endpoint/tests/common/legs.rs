//! Endpoints with legs in a simulated network: a gateway and a device that send bytes on streams.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use hedgerow_core::{ChannelError, DropReason, Env, Instant, Peer};
use hedgerow_crypto_soft::SoftCrypto;
use hedgerow_endpoint::{AssociationId, Config, Endpoint, Event, LegConfig};
use hedgerow_handshake::Settings;
use hedgerow_leg::{Offer, Read, ResetReason, Role, StreamId};
use hedgerow_record::CipherSuite;
use hedgerow_sim::{Address, Conditions, Node, NodeId, NonceLedger, Outbox, TestRng, World};

use super::{CLIENT, Driver, IDENTITY, Known, PSK, Place, SERVER, patient, shown};

pub type Provider = NonceLedger<SoftCrypto>;

/// One end: it sends `reply` on every stream that the other end opens, and the end behind it.
pub struct End {
    pub address: Address,
    pub endpoint: Driver<Provider>,
    pub reply: Vec<u8>,
    /// Bytes still to be written, and whether the end goes behind them.
    sending: BTreeMap<StreamId, (Vec<u8>, bool)>,
    streams: BTreeMap<StreamId, AssociationId>,
    pub received: BTreeMap<StreamId, Vec<u8>>,
    pub ended: BTreeSet<StreamId>,
    pub closed: BTreeSet<StreamId>,
    pub reset: BTreeMap<StreamId, ResetReason>,
    pub opened: Vec<(StreamId, Vec<u8>)>,
    pub established: Vec<(AssociationId, Peer)>,
    pub failed: Vec<ChannelError>,
    pub gone: Vec<AssociationId>,
    pub moved: u32,
    pub drops: Vec<DropReason>,
    pub requests: u32,
    /// The longest datagram that the system sends.
    pub sends: usize,
    pub longest: usize,
    due: Option<Instant>,
}

impl End {
    pub fn new(address: Address, endpoint: Driver<Provider>) -> Self {
        Self {
            address,
            endpoint,
            reply: Vec::new(),
            sending: BTreeMap::new(),
            streams: BTreeMap::new(),
            received: BTreeMap::new(),
            ended: BTreeSet::new(),
            closed: BTreeSet::new(),
            reset: BTreeMap::new(),
            opened: Vec::new(),
            established: Vec::new(),
            failed: Vec::new(),
            gone: Vec::new(),
            moved: 0,
            drops: Vec::new(),
            requests: 0,
            sends: usize::MAX,
            longest: 0,
            due: None,
        }
    }

    /// Opens a stream to the peer that this end has called, or that has called it.
    pub fn open(
        &mut self,
        env: &mut Env<'_>,
        out: &mut Outbox,
        association: AssociationId,
        bytes: &[u8],
    ) -> StreamId {
        let stream = self
            .endpoint
            .open_stream(env, association, &Offer::default())
            .unwrap();
        self.streams.insert(stream, association);
        self.sending.insert(stream, (bytes.to_vec(), true));
        self.flush(env, out);
        stream
    }

    fn note(&mut self, event: &Event<'_, Place>) {
        match *event {
            Event::Established {
                association, peer, ..
            } => self.established.push((association, peer)),
            Event::Failed {
                association, error, ..
            } => {
                self.failed.push(error);
                self.gone.push(association);
            }
            Event::Closed { association } => self.gone.push(association),
            Event::AddressMoved { .. } => self.moved += 1,
            Event::Dropped { reason, .. } => self.drops.push(reason),
            Event::Request { .. } => self.requests += 1,
            Event::Stream { association, event } => match event {
                hedgerow_leg::Event::Opened(stream) => {
                    let offer = self.endpoint.stream_offer(association, stream).unwrap();
                    let name = offer.name.as_bytes().to_vec();
                    assert!(!self.streams.contains_key(&stream), "opened twice");
                    self.opened.push((stream, name));
                    self.streams.insert(stream, association);
                    self.sending.insert(stream, (self.reply.clone(), true));
                }
                hedgerow_leg::Event::Closed(stream) => {
                    assert!(self.ended.contains(&stream), "closed before the end");
                    assert!(self.closed.insert(stream));
                }
                hedgerow_leg::Event::Reset { stream, reason, .. } => {
                    assert!(self.reset.insert(stream, reason).is_none());
                }
                _ => {}
            },
            _ => {}
        }
    }

    /// Writes and reads what there is, sends and fetches what there is.
    pub fn flush(&mut self, env: &mut Env<'_>, out: &mut Outbox) {
        loop {
            while let Some(event) = self.endpoint.poll_event() {
                self.note(&event);
            }
            self.copy();
            let mut datagram = [0; 1_500];
            while let Some((to, len)) = self.endpoint.poll_transmit(env, &mut datagram) {
                if len > self.sends {
                    self.endpoint.datagram_refused(to, len);
                    continue;
                }
                // A handshake's flights keep to their own rules.
                if datagram[0] == 23 {
                    self.longest = self.longest.max(len);
                }
                out.send(self.address, to.0, &datagram[..len]);
            }
            match self.endpoint.poll_event() {
                Some(event) => self.note(&event),
                None => break,
            }
        }
        self.due = self.endpoint.poll_timeout();
    }

    fn copy(&mut self) {
        for (&stream, &association) in &self.streams {
            if let Some((bytes, finishes)) = self.sending.get_mut(&stream)
                && let Ok(len) = self.endpoint.write_stream(association, stream, bytes)
            {
                bytes.drain(..len);
                if bytes.is_empty() && *finishes {
                    *finishes = self.endpoint.finish_stream(association, stream).is_err();
                }
            }
            let mut part = [0; 700];
            while !self.ended.contains(&stream) {
                match self.endpoint.read_stream(association, stream, &mut part) {
                    Ok(Read::Bytes(len)) => {
                        let all = self.received.entry(stream).or_default();
                        all.extend_from_slice(&part[..len]);
                    }
                    Ok(Read::End) => {
                        self.ended.insert(stream);
                    }
                    Ok(Read::Blocked) | Err(_) => break,
                }
            }
        }
    }
}

impl Node for End {
    type Provider = Provider;

    fn handle_datagram(
        &mut self,
        env: &mut Env<'_>,
        from: Address,
        _to: Address,
        datagram: &mut [u8],
        out: &mut Outbox,
    ) {
        let mut rest = datagram;
        while !rest.is_empty() {
            let mut answer = [0; 64];
            let handled = self
                .endpoint
                .handle_datagram(env, Place(from), rest, &mut answer);
            let (consumed, len) = (handled.consumed, handled.answer);
            let noted = handled.event.and_then(|event| match event {
                Event::Established {
                    association, peer, ..
                } => {
                    self.established.push((association, peer));
                    None
                }
                Event::Closed { association } => {
                    self.gone.push(association);
                    None
                }
                Event::AddressMoved { .. } => {
                    self.moved += 1;
                    None
                }
                Event::Dropped { reason, .. } => Some(reason),
                Event::Request { .. } => {
                    self.requests += 1;
                    None
                }
                _ => None,
            });
            self.drops.extend(noted);
            if len > 0 {
                out.send(self.address, from, &answer[..len]);
            }
            rest = &mut rest[consumed..];
            self.flush(env, out);
        }
    }

    fn handle_timeout(&mut self, env: &mut Env<'_>, out: &mut Outbox) {
        self.endpoint.handle_timeout(env);
        self.flush(env, out);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.due
    }
}

/// A caller and the end that it calls: either can be the gateway.
pub struct Hop {
    pub world: World<End>,
    pub caller: NodeId,
    pub called: NodeId,
    /// The caller's association.
    pub association: AssociationId,
}

/// Plain PSK and CCM_8: 29 bytes a record, and few forgeries until keys are renewed.
pub fn config(role: Role) -> Config {
    let patient = patient();
    Config {
        handshake: Settings::new(&[CipherSuite::TLS_PSK_WITH_AES_128_CCM_8])
            .with_timers(super::patient_timers()),
        legs: Some(LegConfig {
            leg: Arc::new(hedgerow_leg::Config {
                send_buffer: 4_096,
                receive_buffer: 4_096,
                max_segment_len: 256,
                max_retransmit: 30,
                linger: Duration::from_secs(60 * 31),
                ..hedgerow_leg::Config::default()
            }),
            ..LegConfig::new(role)
        }),
        ..patient
    }
}

pub fn other(role: Role) -> Role {
    match role {
        Role::Gateway => Role::Device,
        Role::Device => Role::Gateway,
    }
}

impl Hop {
    /// Has the end of one role call the other's.
    pub fn new(seed: u64, caller: Role, conditions: Conditions) -> Self {
        Self::with(seed, &config(caller), &config(other(caller)), conditions)
    }

    pub fn with(seed: u64, caller: &Config, called: &Config, conditions: Conditions) -> Self {
        let known = Known::new(&[(IDENTITY, PSK)]);
        Self::of(seed, caller, called, conditions, known)
    }

    /// The called end has these keys.
    pub fn of(
        seed: u64,
        caller: &Config,
        called: &Config,
        conditions: Conditions,
        known: Known,
    ) -> Self {
        let mut world = World::new(seed);
        world.set_conditions(conditions);
        let mut rng = TestRng::stream(seed, 77);
        let env = &mut Env::new(world.now(), &mut rng);
        let [at_called, at_caller] =
            ["called", "caller"].map(|name| world.provider(SoftCrypto, name));
        let server = Endpoint::server(at_called, known, called.clone(), env);
        let client = Endpoint::client(at_caller, Known::new(&[]), caller.clone());
        let called = world.add(End::new(SERVER, server), &[SERVER]);
        let caller = world.add(End::new(CLIENT, client), &[CLIENT]);
        let association = world.act(caller, |end, env, out| {
            let begun = end.endpoint.connect(env, Place(SERVER), Some(&shown()));
            end.flush(env, out);
            begun.unwrap()
        });
        Self {
            world,
            caller,
            called,
            association,
        }
    }

    /// Opens a stream at the end that has called, or at the one that was called.
    pub fn open(&mut self, at: NodeId, bytes: &[u8]) -> StreamId {
        let association = match at == self.caller {
            true => self.association,
            false => self.world.node(at).established[0].0,
        };
        self.world
            .act(at, |end, env, out| end.open(env, out, association, bytes))
    }

    pub fn assert_carried(&self, at: NodeId, stream: StreamId, bytes: &[u8]) {
        let end = self.world.node(at);
        assert_eq!(end.reset.get(&stream), None);
        let received = end.received.get(&stream).map_or(&[][..], Vec::as_slice);
        assert!(received == bytes, "{} of {}", received.len(), bytes.len());
        assert!(end.ended.contains(&stream) && end.closed.contains(&stream));
    }
}
