//! Two ends of mode `itls` and a gateway that forwards between them, in a simulated network. The way
//! between Internet end and gateway stands for TLS over a stream: whole messages in order. The other
//! one is DTLS over a lossy leg, with the light outer layer if the configuration says so.

#![allow(dead_code, unreachable_pub)]

use std::time::Duration;

use hedgerow_core::{Env, Instant, Writer};
use hedgerow_crypto_soft::SoftCrypto;
use hedgerow_endpoint::{AssociationId, ForwardSecrecy};
use hedgerow_endpoint::{Config, Endpoint, InnerConfig, InnerTimers, OuterStream, SecurityPolicy};
use hedgerow_itls::{Control, End, OuterBinding, RoutingHeader, Settings};
use hedgerow_sim::{Address, Conditions, Node, NodeId, NonceLedger, Outbox, World};

#[path = "inner_gateway.rs"]
mod gateway;

pub use gateway::Gateway;

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
                gateway.take(env, Side::Internet, datagram, false, out);
            }
            Self::Gateway(gateway) => gateway.take_datagram(env, from, datagram, out),
        }
    }

    fn handle_timeout(&mut self, env: &mut Env<'_>, out: &mut Outbox) {
        match self {
            Self::End(end) => end.handle_timeout(env, out),
            Self::Gateway(gateway) => gateway.handle_timeout(env, out),
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        match self {
            Self::End(end) => end.poll_timeout(),
            Self::Gateway(gateway) => gateway.poll_timeout(),
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
    trio_with(world, config, config)
}

/// The same with another configuration at the gateway.
pub fn trio_with(world: &mut Net, config: &Config, at_its_gateway: &Config) -> Trio {
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
    let gateway = Gateway::new(at_gateway, at_its_gateway);
    Trio {
        internet: world.add(Actor::End(internet), &[CLIENT]),
        gateway: world.add(Actor::Gateway(gateway), &[SERVER, GATEWAY]),
        device: world.add(Actor::End(device), &[DEVICE]),
    }
}

/// Has another device stand where the right one is expected.
pub fn replace_device(
    world: &mut Net,
    trio: Trio,
    store: Known,
    light_layer: bool,
    settings: Settings,
) {
    let config = Config {
        light_layer,
        inner: Some(InnerConfig::new(settings)),
        ..super::common::defaults()
    };
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
