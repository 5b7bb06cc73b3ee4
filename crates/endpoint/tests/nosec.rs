//! A server without security, and who gets an association with it.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::expect_used,
    clippy::as_conversions
)]

mod common;

use std::time::Duration;

use common::{CLIENT, Driver, Host, Known, Place, SERVER, body, defaults, get, patient};
use hedgerow_coap::{Code, Message, MessageId, MessageOption, OptionNumber};
use hedgerow_core::{CryptoProvider, DropReason, Env, Instant, Misuse, Peer, SecurityMode};
use hedgerow_crypto_soft::SoftCrypto;
use hedgerow_endpoint::{AssociationId, Config, Endpoint, Event, SecurityPolicy};
use hedgerow_exchange::{IncomingRequest, OutgoingRequest, Request, Response};
use hedgerow_sim::{Conditions, NodeId, Outbox, TestRng, World, for_each_seed};
use rand_core::Rng as _;

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
    carried_out: u32,
}

impl Played {
    fn new(config: Config) -> Self {
        let mut rng = TestRng::new(3);
        let now = Instant::ZERO;
        let server = server(SoftCrypto, config, &mut Env::new(now, &mut rng));
        Self {
            server,
            rng,
            now,
            carried_out: 0,
        }
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

impl Played {
    /// Answers the request that came last with a body, and returns what is sent.
    fn respond(&mut self, association: AssociationId, request: IncomingRequest, len: usize) {
        let mut env = Env::new(self.now, &mut self.rng);
        let body = body(len);
        let response = Response::new(Code::CONTENT).payload(&body);
        self.server
            .respond(&mut env, association, request, &response)
            .unwrap();
    }

    /// Gives a datagram to the server, answers it with `len` bytes if it asks, and returns everything
    /// that is sent back.
    fn ask(&mut self, port: u16, datagram: &[u8], len: usize) -> Vec<Vec<u8>> {
        let mut datagram = datagram.to_vec();
        let mut out = [0; 1_500];
        let mut env = Env::new(self.now, &mut self.rng);
        let from = Place(hedgerow_sim::Address::new(9, port));
        let handled = self
            .server
            .handle_datagram(&mut env, from, &mut datagram, &mut out);
        let answer = handled.answer;
        let asked = match handled.event {
            Some(Event::Request {
                association,
                request,
                ..
            }) => Some((association, request)),
            _ => None,
        };
        let mut sent = vec![out[..answer].to_vec()];
        if let Some((association, request)) = asked {
            self.carried_out += 1;
            self.respond(association, request, len);
        }
        let mut env = Env::new(self.now, &mut self.rng);
        while let Some((to, len)) = self.server.poll_transmit(&mut env, &mut out) {
            assert_eq!(to, from);
            sent.push(out[..len].to_vec());
        }
        sent.retain(|datagram| !datagram.is_empty());
        sent
    }
}

fn code(datagram: &[u8]) -> Code {
    Message::decode(datagram).unwrap().code()
}

fn with_method(mut datagram: Vec<u8>, method: Code) -> Vec<u8> {
    datagram[1] = u8::from(method);
    datagram
}

/// Only where it is configured: a short answer to a request that may be repeated, and never more than
/// three times the bytes that came.
#[test]
fn unproved_peer_gets_short_answers_where_that_is_configured() {
    let mut played = Played::new(Config {
        max_unproved_associations: 1,
        ..Config::default()
    });
    let small = played.ask(1, &get(1, None), 4);
    assert_eq!(small.len(), 1);
    assert_eq!(code(&small[0]), Code::CONTENT);
    // The place is taken: the next one is challenged as ever.
    let other = played.ask(2, &get(1, None), 4);
    assert_eq!(code(&other[0]), Code::UNAUTHORIZED);
    assert_eq!((played.carried_out, played.server.associations()), (1, 1));

    // What isn't idempotent is challenged before it is carried out.
    let post = with_method(get(2, None), Code::POST);
    let refused = played.ask(1, &post, 4);
    assert_eq!((refused.len(), code(&refused[0])), (1, Code::UNAUTHORIZED));
    assert_eq!(played.carried_out, 1);

    // An answer that is too long makes room for the challenge, also for a duplicate.
    let request = get(3, None);
    for _ in 0..2 {
        let sent = played.ask(1, &request, 500);
        assert_eq!((sent.len(), code(&sent[0])), (1, Code::UNAUTHORIZED));
        assert!(sent[0].len() <= 3 * request.len());
    }
    let challenge = played.ask(1, &request, 500).remove(0);
    let challenge = Message::decode(&challenge).unwrap();
    assert_eq!(challenge.message_id(), MessageId(3));
    let echo = challenge.option(OptionNumber::ECHO).unwrap().value();
    let whole = played.ask(1, &get(4, Some(echo)), 500);
    assert_eq!(Message::decode(&whole[0]).unwrap().payload(), body(500));
    // From now on it is like any other, and its place is free.
    let whole = played.ask(1, &get(5, None), 500);
    assert_eq!(Message::decode(&whole[0]).unwrap().payload(), body(500));
    assert_eq!(code(&played.ask(2, &get(2, None), 4)[0]), Code::CONTENT);
    assert_eq!(played.server.associations(), 2);
}

#[test]
fn bytes_for_an_unproved_address_stay_within_three_times_its_own() {
    for_each_seed(0..200, |seed| {
        let mut rng = TestRng::new(seed);
        let mut played = Played::new(Config {
            max_unproved_associations: 1,
            ..Config::default()
        });
        let (mut bytes_in, mut bytes_out) = (0, 0);
        for id in 0..40 {
            let method =
                [Code::GET, Code::PUT, Code::POST, Code::EMPTY][rng.next_u32() as usize % 4];
            let request = match method {
                Code::EMPTY => vec![0x40, 0, 0, id],
                method => with_method(get(id.into(), None), method),
            };
            let len = rng.next_u32() as usize % 200;
            bytes_in += request.len();
            let sent = played.ask(1, &request, len);
            bytes_out += sent.iter().map(Vec::len).sum::<usize>();
            // Whatever is sent again later counts too.
            if let Some(due) = played.server.poll_timeout() {
                played.now = played.now.max(due);
                let mut env = Env::new(played.now, &mut played.rng);
                played.server.handle_timeout(&mut env);
                let mut out = [0; 1_500];
                while let Some((_, len)) = played.server.poll_transmit(&mut env, &mut out) {
                    bytes_out += len;
                }
            }
            assert!(bytes_out <= 3 * bytes_in, "{bytes_out} for {bytes_in}");
        }
        assert!(bytes_out > 0);
    });
}

/// An address changes hands, and datagrams in its name cost nothing to make: a proof is good for as
/// long as a request that came with it may be repeated, whatever comes in between.
#[test]
fn proof_of_an_address_ends() {
    let mut played = Played::new(Config::default());
    let lifetime = Config::default().exchange.transmission.exchange_lifetime();
    let answered = |played: &mut Played| {
        let challenge = played.ask(1, &get(1, None), 1_000).remove(0);
        let challenge = Message::decode(&challenge).unwrap();
        assert_eq!(challenge.code(), Code::UNAUTHORIZED);
        let echo = challenge.option(OptionNumber::ECHO).unwrap().value();
        code(&played.ask(1, &get(2, Some(echo)), 1_000)[0])
    };
    assert_eq!(answered(&mut played), Code::CONTENT);
    played.now = played.now + (lifetime - Duration::from_secs(1));
    let last = get(3, None);
    assert_eq!(code(&played.ask(1, &last, 1_000)[0]), Code::CONTENT);
    played.now = played.now + Duration::from_secs(2);
    // The same request again gets the same answer: challenged, it would come as another one.
    let carried_out = played.carried_out;
    assert_eq!(code(&played.ask(1, &last, 1_000)[0]), Code::CONTENT);
    assert_eq!(played.carried_out, carried_out);
    let (mut bytes_in, mut bytes_out) = (0, 0);
    for id in 10..100 {
        let request = get(id, None);
        let sent = played.ask(1, &request, 1_000);
        bytes_in += request.len();
        bytes_out += sent.iter().map(Vec::len).sum::<usize>();
        assert_eq!(code(&sent[0]), Code::UNAUTHORIZED);
        played.now = played.now + Duration::from_secs(30);
    }
    assert!(bytes_out <= 3 * bytes_in);
    assert_eq!(played.carried_out, carried_out);
    // Another proof goes on where the first one ended.
    assert_eq!(answered(&mut played), Code::CONTENT);
    let next = played.ask(1, &get(200, None), 1_000);
    assert_eq!(code(&next[0]), Code::CONTENT);
    assert_eq!(played.server.associations(), 1);
    // Requests that are only challenged don't keep an association.
    for id in 300..400 {
        played.now = played.now + Duration::from_secs(300);
        let mut env = Env::new(played.now, &mut played.rng);
        played.server.handle_timeout(&mut env);
        while played.server.poll_event().is_some() {}
        played.ask(1, &get(id, None), 1_000);
    }
    assert_eq!(played.server.associations(), 0);
}

/// Whoever comes in clear has no claim on an address that this end wants to call.
#[test]
fn peer_in_clear_does_not_keep_this_end_from_calling_its_address() {
    let mut played = Played::new(Config::default());
    played.prove(1);
    let place = Place(hedgerow_sim::Address::new(9, 1));
    let mut env = Env::new(played.now, &mut played.rng);
    // In clear it is one association, whoever asks.
    played.server.connect(&mut env, place, None).unwrap();
    assert_eq!(played.server.associations(), 1);
    let shown = common::shown();
    let called = played.server.connect(&mut env, place, Some(&shown));
    let called = called.unwrap();
    assert_eq!(played.server.associations(), 1);
    let closed = played.server.poll_event();
    assert!(matches!(closed, Some(Event::Closed { association }) if association != called));
}
