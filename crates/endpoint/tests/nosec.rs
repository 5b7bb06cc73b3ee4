//! A server without security, and who gets an association with it.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::expect_used
)]

mod common;

use std::time::Duration;

use common::{CLIENT, Driver, Host, Known, Place, SERVER, body, defaults, patient};
use hedgerow_coap::{Code, Message, MessageId, MessageOption, MessageType, MessageWriter};
use hedgerow_coap::{OptionNumber, Token};
use hedgerow_core::{CryptoProvider, DropReason, Env, Instant, Misuse, Peer, SecurityMode};
use hedgerow_crypto_soft::SoftCrypto;
use hedgerow_endpoint::{AssociationId, Config, Endpoint, Event, SecurityPolicy};
use hedgerow_exchange::{OutgoingRequest, Request};
use hedgerow_sim::{Conditions, NodeId, Outbox, TestRng, World, for_each_seed};

type Hosts = World<Host<SoftCrypto>>;

/// The same where nothing need protect a peer.
fn clear(config: Config) -> Config {
    Config {
        security: SecurityPolicy::new(SecurityMode::NoSec).into(),
        ..config
    }
}

fn server<P: CryptoProvider + Clone>(provider: P, config: Config, env: &mut Env<'_>) -> Driver<P> {
    Endpoint::server_without_security(provider, Known::new(&[]), clear(config), env).unwrap()
}

fn pair(world: &mut Hosts, config: &Config) -> (NodeId, NodeId) {
    let mut rng = TestRng::stream(world.seed(), 77);
    let mut env = Env::new(world.now(), &mut rng);
    let [at_server, at_client] = ["server", "client"].map(|name| world.provider(SoftCrypto, name));
    let server = server(at_server.clone(), config.clone(), &mut env);
    let client = Endpoint::client(at_client.clone(), Known::new(&[]), clear(config.clone()));
    (
        world.add(Host::new(CLIENT, at_client, client), &[CLIENT]),
        world.add(Host::new(SERVER, at_server, server), &[SERVER]),
    )
}

fn ask(
    host: &mut Host<SoftCrypto>,
    env: &mut Env<'_>,
    out: &mut Outbox,
    code: Code,
    payload: &[u8],
) -> (AssociationId, OutgoingRequest) {
    let association = host.endpoint.connect(env, Place(SERVER), None).unwrap();
    let path = [MessageOption::new(OptionNumber::URI_PATH, b"x")];
    let request = Request::new(code).options(&path).payload(payload);
    let name = host.endpoint.request(env, association, &request).unwrap();
    host.flush(env, out);
    (association, name)
}

#[test]
fn requests_in_clear_are_answered_once_the_address_is_proved() {
    let mut world = Hosts::new(1);
    let (client, server) = pair(&mut world, &defaults());
    let upload = body(5_000);
    let asked = [
        (Code::GET, b"4".to_vec(), Code::CONTENT, 4),
        (Code::GET, b"5000".to_vec(), Code::CONTENT, 5_000),
        (Code::PUT, upload.clone(), Code::CHANGED, 4),
        (Code::POST, b"once".to_vec(), Code::CHANGED, 1),
    ];
    let names: Vec<_> = asked
        .iter()
        .map(|(code, payload, ..)| {
            world.act(client, |host, env, out| ask(host, env, out, *code, payload))
        })
        .collect();
    world.run_for(Duration::from_secs(100)).unwrap();
    for (name, (_, _, code, len)) in names.iter().zip(&asked) {
        let (answered, payload) = &world.node(client).responses[name];
        assert_eq!((answered, payload.len()), (code, *len));
    }
    assert!(world.node(server).handled.values().all(|times| *times == 1));
    assert_eq!(world.node(server).endpoint.associations(), 1);
}

/// A POST is carried out once, whatever is lost, duplicated or held back: the challenged request too.
#[test]
fn handler_runs_once_however_the_challenged_request_is_duplicated() {
    for_each_seed(0..1000, |seed| {
        let mut world = Hosts::new(seed);
        world.set_conditions(Conditions::rough());
        let (client, server) = pair(&mut world, &patient());
        let (small, large) = world.act(client, |host, env, out| {
            (
                ask(host, env, out, Code::POST, b"once"),
                ask(host, env, out, Code::GET, b"3000"),
            )
        });
        world
            .run_until(|world| world.node(client).responses.len() == 2)
            .unwrap();
        let responses = &world.node(client).responses;
        assert_eq!(responses[&small], (Code::CHANGED, b"4".to_vec()));
        assert_eq!(responses[&large], (Code::CONTENT, body(3_000)));
        assert!(world.node(server).handled.values().all(|times| *times == 1));
    });
}

/// A node that is played by the test.
struct Played {
    server: Driver<SoftCrypto>,
    rng: TestRng,
    now: Instant,
}

impl Played {
    fn new(config: Config) -> Self {
        let mut rng = TestRng::new(3);
        let now = Instant::ZERO;
        let server = server(SoftCrypto, config, &mut Env::new(now, &mut rng));
        Self { server, rng, now }
    }

    /// Gives a datagram to the server; returns its stateless answer and what came of it.
    fn give(&mut self, port: u16, datagram: &[u8]) -> (Vec<u8>, Option<Came>) {
        let mut datagram = datagram.to_vec();
        let mut out = [0; 64];
        let mut env = Env::new(self.now, &mut self.rng);
        let from = Place(hedgerow_sim::Address::new(9, port));
        let handled = self
            .server
            .handle_datagram(&mut env, from, &mut datagram, &mut out);
        let came = handled.event.map(|event| match event {
            Event::Request { address, peer, .. } => {
                assert_eq!((address, peer), (from, Peer::Anonymous));
                Came::Request
            }
            Event::Dropped { reason, .. } => Came::Dropped(reason),
            other => panic!("{other:?}"),
        });
        (out[..handled.answer].to_vec(), came)
    }

    /// Lets a peer at `port` show that it receives there.
    fn prove(&mut self, port: u16) -> Option<Came> {
        let (challenge, came) = self.give(port, &get(1, None));
        assert_eq!(came, None);
        let challenge = Message::decode(&challenge).unwrap();
        assert_eq!(challenge.code(), Code::UNAUTHORIZED);
        let echo = challenge.option(OptionNumber::ECHO).unwrap().value();
        let (answer, came) = self.give(port, &get(2, Some(echo)));
        assert!(answer.is_empty());
        came
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Came {
    Request,
    Dropped(DropReason),
}

fn get(id: u16, echo: Option<&[u8]>) -> Vec<u8> {
    let mut out = [0; 64];
    let (kind, token) = (MessageType::Confirmable, Token::from([5]));
    let mut writer = MessageWriter::new(&mut out, kind, Code::GET, MessageId(id), token).unwrap();
    writer.option(OptionNumber::URI_PATH, b"x").unwrap();
    if let Some(echo) = echo {
        writer.option(OptionNumber::ECHO, echo).unwrap();
    }
    let len = writer.finish();
    out[..len].to_vec()
}

#[test]
fn full_table_refuses_who_has_proved_its_address_and_evicts_nobody() {
    let mut played = Played::new(Config {
        max_associations: 2,
        ..Config::default()
    });
    assert_eq!(played.prove(1), Some(Came::Request));
    assert_eq!(played.prove(2), Some(Came::Request));
    let full = DropReason::PeerTableFull;
    assert_eq!(played.prove(3), Some(Came::Dropped(full)));
    assert_eq!(played.server.associations(), 2);
    // Who is in asks on without being challenged.
    let (answer, came) = played.give(1, &get(3, None));
    assert_eq!((answer.as_slice(), came), (&[][..], Some(Came::Request)));
}

#[test]
fn late_duplicate_of_a_challenged_request_asks_nothing() {
    let mut played = Played::new(Config::default());
    assert_eq!(played.prove(1), Some(Came::Request));
    let (answer, came) = played.give(1, &get(1, None));
    let duplicate = Some(Came::Dropped(DropReason::Duplicate));
    assert_eq!((answer.as_slice(), came), (&[][..], duplicate));

    // So does one whose successor comes to an association that is there.
    let mut played = Played::new(Config::default());
    let (second, _) = played.give(1, &get(20, None));
    assert_eq!(played.prove(1), Some(Came::Request));
    let second = Message::decode(&second).unwrap();
    let echo = second.option(OptionNumber::ECHO).unwrap().value();
    assert_eq!(played.give(1, &get(21, Some(echo))).1, Some(Came::Request));
    let duplicate = Some(Came::Dropped(DropReason::Duplicate));
    assert_eq!(played.give(1, &get(20, None)).1, duplicate);
}

/// A DTLS server has no ear for what comes in clear, and a server in clear none for handshakes.
#[test]
fn neither_kind_of_server_falls_back_to_the_other() {
    let mut rng = TestRng::new(3);
    let mut env = Env::new(Instant::ZERO, &mut rng);
    let mut secured: Driver<SoftCrypto> =
        Endpoint::server(SoftCrypto, Known::new(&[]), Config::default(), &mut env);
    let mut datagram = get(1, None);
    let mut out = [0; 64];
    let handled = secured.handle_datagram(&mut env, Place(CLIENT), &mut datagram, &mut out);
    assert_eq!(handled.answer, 0);
    assert!(matches!(
        handled.event,
        Some(Event::Dropped {
            reason: DropReason::Malformed,
            ..
        })
    ));

    let mut caller: Driver<SoftCrypto> =
        Endpoint::client(SoftCrypto, Known::new(&[]), Config::default());
    let shown = common::shown();
    caller
        .connect(&mut env, Place(SERVER), Some(&shown))
        .unwrap();
    let mut hello = [0; 1_500];
    let (_, len) = caller.poll_transmit(&mut env, &mut hello).unwrap();
    let (answer, came) = Played::new(Config::default()).give(1, &hello[..len]);
    assert!(answer.is_empty());
    assert_eq!(came, Some(Came::Dropped(DropReason::UnsupportedVersion)));
}

#[test]
fn server_in_clear_has_to_be_permitted() {
    let mut rng = TestRng::new(3);
    let mut env = Env::new(Instant::ZERO, &mut rng);
    let refused: Result<Driver<SoftCrypto>, _> =
        Endpoint::server_without_security(SoftCrypto, Known::new(&[]), Config::default(), &mut env);
    assert!(matches!(
        refused.err(),
        Some(Misuse::ForbiddenMode {
            mode: SecurityMode::NoSec,
            least: SecurityMode::MultiKey,
        })
    ));
}
