//! What the two ends of the hop have beside it: the device's CoAP server, which the gateway asks in mode `terminate`
//! with a key of its own.

use hedgerow_coap::Code;
use hedgerow_core::{Credentials, Env, Instant, PeerId, Psk};
use hedgerow_endpoint::{Config, Endpoint, Event};
use hedgerow_exchange::{Request, Response};
use hedgerow_sim::{Address, Outbox};

use crate::ends::Provider;

/// What the gateway asks the device with, and what the device answers then.
pub const TERMINATE_KEY: &[u8] = b"the gateway's...";
pub const UPTIME: &[u8] = b"up for 3 days";
/// Where the device serves CoAP, and from where the gateway asks.
pub const DEVICE_COAPS: Address = Address::new(1, 5_684);
pub const GATEWAY_COAPS: Address = Address::new(2, 30_000);

const IDENTITY: &[u8] = b"gateway";

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place(Address);

impl hedgerow_endpoint::Address for Place {
    fn with_bytes<R>(&self, lend: impl FnOnce(&[u8]) -> R) -> R {
        lend(self.0.as_bytes())
    }
}

type Keys = &'static (&'static [u8], Psk, PeerId);

/// One of the two ends.
pub struct Beside {
    own: Address,
    peer: Address,
    endpoint: Endpoint<Place, Provider, Keys, Credentials<'static>>,
    /// What it was answered.
    pub read: Vec<Vec<u8>>,
    due: Option<Instant>,
}

impl Beside {
    pub fn device(provider: Provider, env: &mut Env<'_>) -> Self {
        let endpoint = Endpoint::server(provider, keys(), Config::default(), env);
        Self::at(DEVICE_COAPS, GATEWAY_COAPS, endpoint)
    }

    pub fn gateway(provider: Provider) -> Self {
        let endpoint = Endpoint::client(provider, keys(), Config::default());
        Self::at(GATEWAY_COAPS, DEVICE_COAPS, endpoint)
    }

    const fn at(
        own: Address,
        peer: Address,
        endpoint: Endpoint<Place, Provider, Keys, Credentials<'static>>,
    ) -> Self {
        Self {
            own,
            peer,
            endpoint,
            read: Vec::new(),
            due: None,
        }
    }

    pub fn ask(&mut self, env: &mut Env<'_>, out: &mut Outbox) {
        let credentials = Credentials {
            psk_identity: IDENTITY,
            psk: Box::leak(Box::new(Psk::new(TERMINATE_KEY).unwrap())),
            peer: PeerId(3),
        };
        let peer = Place(self.peer);
        let association = self.endpoint.connect(env, peer, Some(&credentials));
        let request = Request::new(Code::GET);
        let asked = self.endpoint.request(env, association.unwrap(), &request);
        asked.unwrap();
        self.flush(env, out);
    }

    pub fn handle_datagram(&mut self, env: &mut Env<'_>, datagram: &mut [u8], out: &mut Outbox) {
        let mut rest = datagram;
        while !rest.is_empty() {
            let mut answer = [0; 64];
            let peer = Place(self.peer);
            let handled = self.endpoint.handle_datagram(env, peer, rest, &mut answer);
            let (consumed, len) = (handled.consumed, handled.answer);
            match handled.event {
                Some(Event::Request {
                    association,
                    request,
                    ..
                }) => {
                    let response = Response::new(Code::CONTENT).payload(UPTIME);
                    let answered = self.endpoint.respond(env, association, request, &response);
                    answered.unwrap();
                }
                Some(Event::Response { message, .. }) => {
                    self.read.push(message.payload().to_vec());
                }
                _ => {}
            }
            if len > 0 {
                out.send(self.own, self.peer, &answer[..len]);
            }
            rest = &mut rest[consumed..];
        }
        self.flush(env, out);
    }

    pub fn handle_timeout(&mut self, env: &mut Env<'_>, out: &mut Outbox) {
        self.endpoint.handle_timeout(env);
        self.flush(env, out);
    }

    pub const fn poll_timeout(&self) -> Option<Instant> {
        self.due
    }

    fn flush(&mut self, env: &mut Env<'_>, out: &mut Outbox) {
        while self.endpoint.poll_event().is_some() {}
        let mut datagram = [0; 1_500];
        while let Some((to, len)) = self.endpoint.poll_transmit(env, &mut datagram) {
            out.send(self.own, to.0, &datagram[..len]);
        }
        self.due = self.endpoint.poll_timeout();
    }
}

fn keys() -> Keys {
    let psk = Psk::new(TERMINATE_KEY).unwrap();
    Box::leak(Box::new((IDENTITY, psk, PeerId(4))))
}
