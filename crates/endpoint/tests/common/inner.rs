//! Two ends of mode `itls` and a gateway that forwards between them, in a simulated network. The way
//! between Internet end and gateway stands for TLS over a stream: whole messages in order. The other
//! one is DTLS over a lossy leg.

#![allow(dead_code, unreachable_pub)]

use std::time::Duration;

use hedgerow_core::{Credentials, Env, Event, Instant, PeerId, Psk, SecureChannel, Writer};
use hedgerow_crypto_soft::SoftCrypto;
use hedgerow_endpoint::{AssociationId, ForwardSecrecy};
use hedgerow_endpoint::{Config, Endpoint, InnerConfig, InnerTimers, OuterStream, SecurityPolicy};
use hedgerow_handshake::{Buffers, ClientHandshake, Session};
use hedgerow_itls::{CloseReason, Control, End, Open, OuterBinding, RoutingHeader, Settings};
use hedgerow_sim::{Address, Conditions, Node, NodeId, NonceLedger, Outbox, World};

use super::common::{CLIENT, Host, Known, Place, SERVER, Shown};

/// The gateway's address towards the device.
pub const GATEWAY: Address = Address::new(3, 50_000);
pub const DEVICE: Address = Address::new(4, 5684);
/// By which the gateway reaches the device in mode `terminate` too.
pub const HOP_KEY: &[u8] = b"the gateway's own";
/// Under which the Internet end begins, and under which the device does.
pub const END_KEY: &[u8] = b"the two ends' one";
pub const REVERSE_KEY: &[u8] = b"their other one..";
pub const NAME: &[u8] = b"thermometer";
pub const USER: &[u8] = b"alice";

pub type Provider = NonceLedger<SoftCrypto>;
pub type EndHost = Host<SoftCrypto>;
pub type Net = World<Actor>;

#[expect(clippy::large_enum_variant, reason = "there are three of them")]
pub enum Actor {
    End(EndHost),
    Gateway(Gateway),
}

/// Which way the gateway sends something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Internet,
    Device,
}

/// What an active gateway makes of each message that it forwards.
pub type Attack = Box<dyn FnMut(Side, Vec<u8>) -> Vec<(Side, Vec<u8>)>>;

enum Hop {
    None,
    Handshake(Box<ClientHandshake<Provider, Credentials<'static>, [u8; 512]>>),
    Session(Box<Session<<Provider as hedgerow_core::CryptoProvider>::Aead>>),
}

/// Forwards between two outer sessions, and knows the names of two ends.
pub struct Gateway {
    provider: Provider,
    psk: &'static Psk,
    hop: Hop,
    handshake: hedgerow_handshake::Settings,
    /// Flows on the Internet end's side and on the device's.
    flows: Vec<(u16, u16)>,
    last: u16,
    held: Vec<Vec<u8>>,
    pub attack: Option<Attack>,
    /// What went to each side, without its outer layer.
    pub seen: Vec<(Side, Vec<u8>)>,
    /// The longest message that the device's hop takes.
    pub max_len: usize,
    pub hops: u32,
}

impl Gateway {
    fn new(provider: Provider, handshake: hedgerow_handshake::Settings) -> Self {
        Self {
            provider,
            psk: Box::leak(Box::new(Psk::new(HOP_KEY).unwrap())),
            hop: Hop::None,
            handshake,
            flows: Vec::new(),
            last: 0,
            held: Vec::new(),
            attack: None,
            seen: Vec::new(),
            max_len: usize::MAX,
            hops: 0,
        }
    }

    /// Returns the flows that it forwards between, on the Internet end's side and on the device's.
    pub fn flows(&self) -> &[(u16, u16)] {
        &self.flows
    }

    /// Begins a new session with the device; every flow is forgotten with the old one.
    pub fn open_hop(&mut self, env: &mut Env<'_>, out: &mut Outbox) {
        let credentials = Credentials {
            psk_identity: b"gateway",
            psk: self.psk,
            peer: PeerId(1),
        };
        let buffers = Buffers {
            incoming: [0; 512],
            outgoing: [0; 512],
        };
        let machine = ClientHandshake::new(
            self.provider.clone(),
            credentials,
            self.handshake,
            buffers,
            env,
        );
        self.hop = Hop::Handshake(Box::new(machine.unwrap()));
        self.hops += 1;
        self.flush(env, out);
    }

    /// Says goodbye to the device in order.
    pub fn close_hop(&mut self, env: &mut Env<'_>, out: &mut Outbox) {
        if let Hop::Session(session) = &mut self.hop {
            session.close();
        }
        self.flush(env, out);
        self.hop = Hop::None;
    }

    /// Puts a message on its way as the gateway itself can.
    pub fn inject(&mut self, side: Side, message: &[u8], out: &mut Outbox) {
        self.send_as_it_is(side, message, out);
    }

    /// Forgets the flows and tells one side, as when the other's session has ended.
    pub fn close_flows(&mut self, side: Side, reason: CloseReason, out: &mut Outbox) {
        for (internet, device) in std::mem::take(&mut self.flows) {
            let flow = if side == Side::Internet {
                internet
            } else {
                device
            };
            self.send_as_it_is(side, &control(flow, &Control::Close(reason)), out);
        }
    }

    fn flush(&mut self, env: &mut Env<'_>, out: &mut Outbox) {
        let mut datagram = [0; 1_500];
        loop {
            let len = match &mut self.hop {
                Hop::None => None,
                Hop::Handshake(machine) => machine.poll_transmit(env, &mut datagram).unwrap(),
                Hop::Session(session) => session.poll_transmit(env, &mut datagram).unwrap(),
            };
            let Some(len) = len else { break };
            out.send(GATEWAY, DEVICE, &datagram[..len]);
        }
    }

    fn send(&mut self, side: Side, message: Vec<u8>, out: &mut Outbox) {
        let sent = match &mut self.attack {
            None => vec![(side, message)],
            Some(attack) => attack(side, message),
        };
        for (side, message) in sent {
            self.send_as_it_is(side, &message, out);
        }
    }

    fn send_as_it_is(&mut self, side: Side, message: &[u8], out: &mut Outbox) {
        self.seen.push((side, message.to_vec()));
        match side {
            Side::Internet => out.send(SERVER, CLIENT, message),
            Side::Device => {
                let Hop::Session(session) = &mut self.hop else {
                    self.held.push(message.to_vec());
                    return;
                };
                let mut record = vec![0; message.len() + 64];
                let len = session.seal(message, &mut record).unwrap();
                out.send(GATEWAY, DEVICE, &record[..len]);
            }
        }
    }

    fn flow(&self, from: Side, flow: u16) -> Option<u16> {
        let (mut both, other) = (self.flows.iter(), from);
        both.find_map(|&(internet, device)| match other {
            Side::Internet => (internet == flow).then_some(device),
            Side::Device => (device == flow).then_some(internet),
        })
    }

    fn forward(&mut self, env: &mut Env<'_>, from: Side, message: &[u8], out: &mut Outbox) {
        let to = match from {
            Side::Internet => Side::Device,
            Side::Device => Side::Internet,
        };
        let (header, rest) = RoutingHeader::decode(message).unwrap();
        let known = self.flow(from, header.flow);
        if !header.is_control {
            if to == Side::Device && rest.len() > self.max_len {
                let len = u16::try_from(rest.len()).unwrap();
                let told = control(header.flow, &Control::TooLong(len));
                return self.send(from, told, out);
            }
            return match known {
                Some(flow) => self.send(to, routed(flow, rest), out),
                None => {
                    let close = Control::Close(CloseReason::UnknownFlow);
                    self.send(from, control(header.flow, &close), out);
                }
            };
        }
        match Control::decode(rest).unwrap() {
            Control::Open(open) => {
                let wanted = if to == Side::Device { NAME } else { USER };
                if open.name != wanted {
                    let close = Control::Close(CloseReason::Refused);
                    return self.send(from, control(header.flow, &close), out);
                }
                let flow = known.unwrap_or_else(|| {
                    self.last += if self.last == 0 { 1 } else { 2 };
                    self.flows.push(match from {
                        Side::Internet => (header.flow, self.last),
                        Side::Device => (self.last, header.flow),
                    });
                    self.last
                });
                let open = Control::Open(Open {
                    wants_light_layer: false,
                    name: if to == Side::Device { USER } else { NAME },
                    message: open.message,
                });
                if matches!(self.hop, Hop::None) {
                    self.open_hop(env, out);
                }
                self.send(to, control(flow, &open), out);
            }
            Control::Close(_) => {
                if let Some(flow) = known {
                    self.flows
                        .retain(|&(one, other)| one != flow && other != flow);
                    let close = Control::Close(CloseReason::Gone);
                    self.send(to, control(flow, &close), out);
                }
            }
            Control::TooLong(_) | Control::User(_) => {}
        }
    }

    fn take_datagram(&mut self, env: &mut Env<'_>, datagram: &mut [u8], out: &mut Outbox) {
        let mut rest = datagram;
        while !rest.is_empty() {
            let received = match &mut self.hop {
                Hop::None => return,
                Hop::Handshake(machine) => machine.handle_datagram(env, rest).unwrap(),
                Hop::Session(session) => session.handle_datagram(env, rest).unwrap(),
            };
            let (is_over, event) = match received.event {
                Some(Event::Plaintext(message)) => (false, Some(message.to_vec())),
                Some(Event::Established(_)) => (true, None),
                _ => (false, None),
            };
            rest = received.rest;
            if is_over && let Hop::Handshake(machine) = std::mem::replace(&mut self.hop, Hop::None)
            {
                let session = machine.into_session().unwrap().session;
                self.hop = Hop::Session(Box::new(session));
                for message in std::mem::take(&mut self.held) {
                    self.send_as_it_is(Side::Device, &message, out);
                }
            }
            if let Some(message) = event {
                self.forward(env, Side::Device, &message, out);
            }
        }
        self.flush(env, out);
    }
}

pub fn routed(flow: u16, message: &[u8]) -> Vec<u8> {
    let header = RoutingHeader {
        flow,
        is_control: false,
    };
    written(|out| {
        header.encode(out).unwrap();
        out.bytes(message).unwrap();
    })
}

pub fn control(flow: u16, control: &Control<'_>) -> Vec<u8> {
    let header = RoutingHeader {
        flow,
        is_control: true,
    };
    written(|out| {
        header.encode(out).unwrap();
        control.encode(out).unwrap();
    })
}

fn written(write: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut bytes = [0; 1_500];
    let mut out = Writer::new(&mut bytes);
    write(&mut out);
    out.written().to_vec()
}

impl Node for Actor {
    type Provider = Provider;

    fn handle_datagram(
        &mut self,
        env: &mut Env<'_>,
        from: Address,
        to: Address,
        datagram: &mut [u8],
        out: &mut Outbox,
    ) {
        match self {
            Self::End(end) => end.handle_datagram(env, from, to, datagram, out),
            Self::Gateway(gateway) if to == SERVER => {
                let message = datagram.to_vec();
                gateway.forward(env, Side::Internet, &message, out);
            }
            Self::Gateway(gateway) => gateway.take_datagram(env, datagram, out),
        }
    }

    fn handle_timeout(&mut self, env: &mut Env<'_>, out: &mut Outbox) {
        match self {
            Self::End(end) => end.handle_timeout(env, out),
            Self::Gateway(gateway) => {
                let failed = match &mut gateway.hop {
                    Hop::Handshake(machine) => machine.handle_timeout(env).is_err(),
                    _ => false,
                };
                if failed {
                    gateway.hop = Hop::None;
                }
                gateway.flush(env, out);
            }
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        match self {
            Self::End(end) => end.poll_timeout(),
            Self::Gateway(gateway) => match &gateway.hop {
                Hop::Handshake(machine) => machine.poll_timeout(),
                _ => None,
            },
        }
    }
}

#[derive(Clone, Copy)]
pub struct Trio {
    pub internet: NodeId,
    pub gateway: NodeId,
    pub device: NodeId,
}

impl Trio {
    pub fn internet<'w>(&self, world: &'w Net) -> &'w EndHost {
        end(world, self.internet)
    }

    pub fn device<'w>(&self, world: &'w Net) -> &'w EndHost {
        end(world, self.device)
    }

    pub fn gateway<'w>(&self, world: &'w Net) -> &'w Gateway {
        match world.node(self.gateway) {
            Actor::Gateway(gateway) => gateway,
            Actor::End(_) => panic!("an end"),
        }
    }

    /// Lends the gateway.
    pub fn act<R>(
        &self,
        world: &mut Net,
        act: impl FnOnce(&mut Gateway, &mut Env<'_>, &mut Outbox) -> R,
    ) -> R {
        world.act(self.gateway, |actor, env, out| match actor {
            Actor::Gateway(gateway) => act(gateway, env, out),
            Actor::End(_) => panic!("an end"),
        })
    }

    pub fn attack(
        &self,
        world: &mut Net,
        attack: impl FnMut(Side, Vec<u8>) -> Vec<(Side, Vec<u8>)> + 'static,
    ) {
        self.act(world, |gateway, _, _| {
            gateway.attack = Some(Box::new(attack))
        });
    }
}

pub fn end(world: &Net, id: NodeId) -> &EndHost {
    match world.node(id) {
        Actor::End(end) => end,
        Actor::Gateway(_) => panic!("not an end"),
    }
}

/// Lends an end and its way out.
pub fn at<R>(
    world: &mut Net,
    id: NodeId,
    act: impl FnOnce(&mut EndHost, &mut Env<'_>, &mut Outbox) -> R,
) -> R {
    world.act(id, |actor, env, out| match actor {
        Actor::End(end) => act(end, env, out),
        Actor::Gateway(_) => panic!("not an end"),
    })
}

/// Makes of a configuration that of an end.
pub fn with_inner(config: Config, end: End) -> Config {
    let is_patient = config.exchange.transmission.max_retransmit > 4;
    let mut inner = InnerConfig::new(Settings::new(end));
    if is_patient {
        inner.timers = InnerTimers {
            transmissions: 15,
            half_open: Duration::from_secs(100_000),
        };
    }
    let security = SecurityPolicy::default();
    let security = match end {
        End::Internet => security.for_end_to_end(ForwardSecrecy::Required),
        End::Device => security,
    };
    Config {
        inner: Some(inner),
        security: security.into(),
        ..config
    }
}

/// What the exporter of an Internet end's stream gives.
pub fn stream(number: u8) -> OuterStream {
    OuterStream {
        binding: OuterBinding::new([number; 32]),
        name: NAME.to_vec(),
        max_message_len: 1_400,
    }
}

/// Puts the three into a world whose conditions are those of the leg to the device.
pub fn trio(world: &mut Net, config: &Config) -> Trio {
    for (from, to) in [(CLIENT, SERVER), (SERVER, CLIENT)] {
        world.direction(from, to).set_conditions(Conditions {
            delay: Duration::ZERO..=Duration::ZERO,
            ..Conditions::default()
        });
    }
    let mut rng = hedgerow_sim::TestRng::stream(world.seed(), 77);
    let env = &mut Env::new(world.now(), &mut rng);
    let at_device = world.provider(SoftCrypto, "device");
    let store = Known::with_end_to_end(&[(b"gateway", HOP_KEY)], &[(b"end", END_KEY)]);
    let config_there = with_inner(config.clone(), End::Device);
    let device = Endpoint::server(at_device.clone(), store, config_there, env);
    let device = Host::new(DEVICE, at_device, device);
    let at_internet = world.provider(SoftCrypto, "internet");
    let store = Known::with_end_to_end(&[], &[(b"device", REVERSE_KEY)]);
    let config_here = with_inner(config.clone(), End::Internet);
    let mut internet = Endpoint::client(at_internet.clone(), store, config_here);
    internet
        .open_outer_stream(Place(SERVER), stream(1))
        .unwrap();
    let internet = Host::new(CLIENT, at_internet, internet);
    let at_gateway = world.provider(SoftCrypto, "gateway");
    let gateway = Gateway::new(at_gateway, config.handshake);
    Trio {
        internet: world.add(Actor::End(internet), &[CLIENT]),
        gateway: world.add(Actor::Gateway(gateway), &[SERVER, GATEWAY]),
        device: world.add(Actor::End(device), &[DEVICE]),
    }
}

/// Has another device stand where the right one is expected.
pub fn replace_device(world: &mut Net, trio: Trio, store: Known) {
    let config = with_inner(super::common::defaults(), End::Device);
    at(world, trio.device, |host, env, _| {
        host.endpoint = Endpoint::server(host.provider.clone(), store, config, env);
    });
}

/// What the Internet end shows.
pub fn shown() -> Shown {
    Shown::end_to_end(b"end", END_KEY)
}

/// What the device shows.
pub fn reverse() -> Shown {
    Shown::end_to_end(b"device", REVERSE_KEY)
}

/// Has the device ask the Internet end over the hop that there is.
pub fn ask_back(
    world: &mut Net,
    trio: Trio,
    code: hedgerow_coap::Code,
    payload: &[u8],
) -> (AssociationId, hedgerow_exchange::OutgoingRequest) {
    at(world, trio.device, |host, env, out| {
        let id = host
            .endpoint
            .connect_inner(env, Place(GATEWAY), USER, &reverse())
            .unwrap();
        let request = hedgerow_exchange::Request::new(code).payload(payload);
        let name = host.endpoint.request(env, id, &request).unwrap();
        host.flush(env, out);
        (id, name)
    })
}
