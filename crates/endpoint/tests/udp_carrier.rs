//! UDP carriers between a client and a gateway, in virtual time (`docs/specs/auto.md`).
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::time::Duration;

use hedgerow_core::{DropReason, Env, Instant, Psk};
use hedgerow_crypto_soft::SoftCrypto;
use hedgerow_endpoint::{
    Address, Source, UdpCarrierClient, UdpCarrierId, UdpCarrierReceived, UdpCarrierServer,
    UdpCarrierServerEvent,
};
use hedgerow_sim::{TestRng, for_each_seed};
use rand_core::Rng;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Host(u16);

impl Address for Host {
    fn with_bytes<R>(&self, lend: impl FnOnce(&[u8]) -> R) -> R {
        lend(&self.0.to_be_bytes())
    }

    fn source(&self) -> Option<Source> {
        let [first, second] = (self.0 / 100).to_be_bytes();
        Some(Source::of([10, 0, first, second].into()))
    }
}

type Client = UdpCarrierClient<SoftCrypto>;
type Server = UdpCarrierServer<Host, SoftCrypto>;

const ID: UdpCarrierId = UdpCarrierId(7);
const IDENTITY: &[u8] = b"an identity of 1";
const KEY: &[u8] = &[0x4b; 32];

/// A gateway and its clients, with a way between them that loses some.
struct Net {
    now: Instant,
    rng: TestRng,
    server: Server,
    clients: Vec<(Host, Client)>,
    loss: f64,
    to_server: Vec<(Host, Vec<u8>)>,
    to_client: Vec<(Host, Vec<u8>)>,
    events: Vec<String>,
    messages: Vec<(UdpCarrierId, Vec<u8>)>,
    received: Vec<(Host, Vec<u8>)>,
}

impl Net {
    fn new(seed: u64, loss: f64) -> Self {
        let mut rng = TestRng::new(seed);
        let server = Server::new(SoftCrypto, &mut Env::new(Instant::ZERO, &mut rng));
        Self {
            now: Instant::ZERO,
            rng,
            server,
            clients: Vec::new(),
            loss,
            to_server: Vec::new(),
            to_client: Vec::new(),
            events: Vec::new(),
            messages: Vec::new(),
            received: Vec::new(),
        }
    }

    fn offer(&mut self, id: UdpCarrierId, identity: &[u8], key: &[u8]) {
        self.server.offer(id, identity, Psk::new(key).unwrap());
    }

    fn client(&mut self, host: Host, identity: &[u8], key: &[u8]) {
        let env = &mut Env::new(self.now, &mut self.rng);
        let client = Client::new(SoftCrypto, identity, Psk::new(key).unwrap(), env).unwrap();
        self.clients.push((host, client));
    }

    /// Brings the first client's handshake to where its hello with the cookie was taken, and returns that.
    fn begin(&mut self) -> Vec<u8> {
        let host = self.clients[0].0;
        self.transmit();
        let (_, hello) = self.to_server.pop().unwrap();
        self.receive(host, hello);
        let (_, mut answer) = self.to_client.pop().unwrap();
        let env = &mut Env::new(self.now, &mut self.rng);
        self.clients[0].1.handle_datagram(env, &mut answer);
        self.transmit();
        let (_, hello) = self.to_server.pop().unwrap();
        self.receive(host, hello.clone());
        assert_eq!(self.server.handshakes(), 1);
        hello
    }

    fn is_lost(&mut self) -> bool {
        let percent = f64::from(self.rng.next_u32() % 1_000) / 1_000.0;
        percent < self.loss
    }

    fn send(&mut self, id: UdpCarrierId, message: &[u8]) {
        let mut out = [0; 1_500];
        let (to, len) = self.server.seal(id, message, &mut out).unwrap();
        self.to_client.push((to, out[..len].to_vec()));
    }

    fn send_from(&mut self, client: usize, message: &[u8]) {
        let mut out = [0; 1_500];
        let (host, client) = &mut self.clients[client];
        let len = client.seal(message, &mut out).unwrap();
        self.to_server.push((*host, out[..len].to_vec()));
    }

    /// Gives the server a datagram, and says how many bytes it answers with at once.
    fn receive(&mut self, from: Host, mut datagram: Vec<u8>) -> usize {
        let mut rest = datagram.as_mut_slice();
        let mut answered = 0;
        while !rest.is_empty() {
            let mut out = [0; 64];
            let env = &mut Env::new(self.now, &mut self.rng);
            let handled = self.server.handle_datagram(env, from, rest, &mut out);
            if handled.answer > 0 {
                answered += handled.answer;
                self.to_client.push((from, out[..handled.answer].to_vec()));
            }
            match handled.event {
                Some(UdpCarrierServerEvent::Message(id, message)) => {
                    self.messages.push((id, message.to_vec()));
                }
                Some(event) => self.events.push(format!("{event:?}")),
                None => {}
            }
            rest = handled.rest;
        }
        answered
    }

    /// Runs until nothing is on its way, and then on to the next timer, until `end`.
    fn run(&mut self, end: Duration) {
        let end = Instant::ZERO + end;
        loop {
            self.transmit();
            if self.to_server.is_empty() && self.to_client.is_empty() {
                let clients = self.clients.iter().filter_map(|it| it.1.poll_timeout());
                let due = clients.chain(self.server.poll_timeout()).min();
                let Some(due) = due.filter(|due| *due <= end) else {
                    self.now = end;
                    return;
                };
                self.now = self.now.max(due);
                let env = &mut Env::new(self.now, &mut self.rng);
                self.server.handle_timeout(env);
                for (_, client) in &mut self.clients {
                    if client.poll_timeout().is_some_and(|at| at <= env.now) {
                        client.handle_timeout(env);
                    }
                }
                continue;
            }
            for (from, datagram) in std::mem::take(&mut self.to_server) {
                if !self.is_lost() {
                    self.receive(from, datagram);
                    self.transmit();
                }
            }
            for (to, mut datagram) in std::mem::take(&mut self.to_client) {
                if self.is_lost() {
                    continue;
                }
                let env = &mut Env::new(self.now, &mut self.rng);
                let found = self.clients.iter_mut().find(|it| it.0 == to);
                let Some((_, client)) = found else { continue };
                let mut rest = datagram.as_mut_slice();
                while !rest.is_empty() {
                    let (what, left) = client.handle_datagram(env, rest);
                    if let UdpCarrierReceived::Message(message) = what {
                        self.received.push((to, message.to_vec()));
                    }
                    rest = left;
                }
            }
        }
    }

    fn transmit(&mut self) {
        let mut out = [0; 1_500];
        let env = &mut Env::new(self.now, &mut self.rng);
        while let Some((to, len)) = self.server.poll_transmit(env, &mut out) {
            self.to_client.push((to, out[..len].to_vec()));
        }
        for (host, client) in &mut self.clients {
            while let Some(len) = client.poll_transmit(env, &mut out) {
                self.to_server.push((*host, out[..len].to_vec()));
            }
        }
    }
}

#[test]
fn carrier_opens_and_carries_both_ways() {
    let mut net = Net::new(1, 0.0);
    net.offer(ID, IDENTITY, KEY);
    net.client(Host(1), IDENTITY, KEY);
    net.run(Duration::from_secs(1));
    assert!(net.clients[0].1.is_open());
    assert_eq!(
        net.events,
        ["Opened { id: UdpCarrierId(7), replaced: None }"]
    );
    let longest = [0x17; 1_152];
    net.send_from(0, &longest);
    net.send(ID, b"back");
    net.run(Duration::from_secs(2));
    assert_eq!(net.messages, [(ID, longest.to_vec())]);
    assert_eq!(net.received, [(Host(1), b"back".to_vec())]);
    assert_eq!((net.server.sessions(), net.server.handshakes()), (1, 0));
}

/// At 20 % loss each way most handshakes end within their 10 s, and none leaves anything behind.
#[test]
fn handshakes_end_one_way_or_the_other_under_loss() {
    let mut open = 0;
    for_each_seed(0..200, |seed| {
        let mut net = Net::new(seed, 0.2);
        net.offer(ID, IDENTITY, KEY);
        net.client(Host(1), IDENTITY, KEY);
        net.run(Duration::from_secs(30));
        let client = &net.clients[0].1;
        assert!(client.is_open() || client.is_closed());
        assert_eq!(net.server.handshakes(), 0);
        assert!(!client.is_open() || net.server.is_open(ID));
        open += u32::from(client.is_open());
    });
    assert!(open > 160, "{open} of 200");
}

/// What one flow's way loses makes no message of another flow late or lost: each has a session of its own, and
/// none of them keeps order or sends again.
#[test]
fn flow_is_not_stalled_by_another_flows_loss() {
    let other = UdpCarrierId(8);
    for loss in [0, 5, 20, 100] {
        for_each_seed(0..1_000, |seed| {
            let mut net = Net::new(seed, 0.0);
            net.offer(ID, IDENTITY, KEY);
            net.offer(other, b"another identity", &[2; 32]);
            net.client(Host(1), IDENTITY, KEY);
            net.client(Host(2), b"another identity", &[2; 32]);
            net.run(Duration::from_secs(1));
            for number in 0..20_u8 {
                for (client, id) in [(0, ID), (1, other)] {
                    net.send_from(client, &[number]);
                    net.send(id, &[number]);
                }
                // What waits of the first flow, in either direction, is lost or comes late.
                for waiting in [&mut net.to_server, &mut net.to_client] {
                    let (mut first, second): (Vec<_>, Vec<_>) =
                        waiting.drain(..).partition(|it| it.0 == Host(1));
                    first.retain(|_| net.rng.next_u32() % 100 >= loss);
                    first.extend(second);
                    if net.rng.next_u32().is_multiple_of(2) {
                        first.reverse();
                    }
                    *waiting = first;
                }
                let now = net.now;
                net.run(Duration::from_secs(1));
                assert_eq!(net.now, now, "nothing is waited for");
                let came = net.messages.iter().filter(|it| it.0 == other);
                assert_eq!(came.count(), usize::from(number) + 1);
                let came = net.received.iter().filter(|it| it.0 == Host(2));
                assert_eq!(came.count(), usize::from(number) + 1);
            }
        });
    }
}

#[test]
fn unproved_address_gets_no_more_than_it_sends_and_leaves_nothing() {
    let mut net = Net::new(2, 0.0);
    net.offer(ID, IDENTITY, KEY);
    net.client(Host(1), IDENTITY, KEY);
    net.transmit();
    let hello = net.to_server.pop().unwrap().1;
    let answered = net.receive(Host(1), hello.clone());
    assert!(answered > 0 && answered < hello.len());
    assert_eq!((net.server.sessions(), net.server.handshakes()), (0, 0));
    // Whatever else comes from nowhere is dropped in silence.
    for junk in [&b""[..], b"\x17", &[0x17; 60], &hello[..40]] {
        assert_eq!(net.receive(Host(2), junk.to_vec()), 0);
    }
    assert_eq!((net.server.sessions(), net.server.handshakes()), (0, 0));
}

#[test]
fn wrong_key_unknown_identity_and_withdrawn_offer_stay_out_alike() {
    for (identity, key) in [(IDENTITY, &[1; 32][..]), (b"another identity", KEY)] {
        let mut net = Net::new(3, 0.0);
        net.offer(ID, IDENTITY, KEY);
        net.client(Host(1), identity, key);
        net.run(Duration::from_secs(30));
        assert!(net.clients[0].1.is_closed());
        assert_eq!((net.server.sessions(), net.server.handshakes()), (0, 0));
    }
    // Withdrawn while the handshake is under way.
    let mut net = Net::new(3, 0.0);
    net.offer(ID, IDENTITY, KEY);
    net.client(Host(1), IDENTITY, KEY);
    net.transmit();
    for _ in 0..2 {
        let (from, hello) = net.to_server.pop().unwrap();
        net.receive(from, hello);
        let (_, mut answer) = net.to_client.pop().unwrap_or((Host(0), Vec::new()));
        let env = &mut Env::new(net.now, &mut net.rng);
        net.clients[0].1.handle_datagram(env, &mut answer);
        net.transmit();
    }
    assert_eq!(net.server.handshakes(), 1);
    let env = &mut Env::new(net.now, &mut net.rng);
    net.server.withdraw(env, ID);
    net.run(Duration::from_secs(30));
    assert_eq!((net.server.sessions(), net.server.handshakes()), (0, 0));
    assert!(!net.events.iter().any(|event| event.starts_with("Opened")));
}

#[test]
fn verified_session_replaces_the_one_before_and_nothing_else_does() {
    let mut net = Net::new(4, 0.0);
    net.offer(ID, IDENTITY, KEY);
    net.client(Host(1), IDENTITY, KEY);
    net.run(Duration::from_secs(1));
    // A handshake that isn't verified changes nothing.
    net.client(Host(2), IDENTITY, &[9; 32]);
    net.run(Duration::from_secs(20));
    net.send_from(0, b"still here");
    net.run(Duration::from_secs(21));
    assert_eq!(net.messages.len(), 1);
    net.client(Host(3), IDENTITY, KEY);
    net.run(Duration::from_secs(22));
    assert_eq!(net.server.sessions(), 1);
    net.send(ID, b"to the new one");
    net.send_from(0, b"from the old one");
    net.run(Duration::from_secs(23));
    assert_eq!(net.received, [(Host(3), b"to the new one".to_vec())]);
    assert_eq!(net.messages.len(), 1);
}

#[test]
fn offer_that_is_withdrawn_ends_its_carrier_and_no_other() {
    let mut net = Net::new(5, 0.0);
    let other = UdpCarrierId(8);
    net.offer(ID, IDENTITY, KEY);
    net.offer(other, b"another identity", &[2; 32]);
    net.client(Host(1), IDENTITY, KEY);
    net.client(Host(2), b"another identity", &[2; 32]);
    net.run(Duration::from_secs(1));
    assert_eq!(net.server.sessions(), 2);
    let env = &mut Env::new(net.now, &mut net.rng);
    net.server.withdraw(env, ID);
    net.run(Duration::from_secs(2));
    assert!(net.clients[0].1.is_closed());
    assert!(!net.server.is_open(ID) && net.server.is_open(other));
    // A message under one key is never another offer's.
    net.send_from(1, b"mine");
    net.run(Duration::from_secs(3));
    assert_eq!(net.messages, [(other, b"mine".to_vec())]);
}

#[test]
fn forged_and_replayed_records_are_dropped() {
    let mut net = Net::new(6, 0.0);
    net.offer(ID, IDENTITY, KEY);
    net.client(Host(1), IDENTITY, KEY);
    net.run(Duration::from_secs(1));
    net.send_from(0, b"once");
    let (from, record) = net.to_server.pop().unwrap();
    net.events.clear();
    net.receive(from, record.clone());
    net.receive(from, record.clone());
    let mut forged = record.clone();
    *forged.last_mut().unwrap() ^= 1;
    forged[10] ^= 0x40;
    net.receive(from, forged);
    // From elsewhere it is nobody's.
    net.receive(Host(9), record);
    assert_eq!(net.messages.len(), 1);
    let dropped = [
        DropReason::Replayed,
        DropReason::AuthenticationFailed,
        DropReason::UnknownPeer,
    ];
    assert_eq!(
        net.events,
        dropped.map(|reason| format!("Dropped({reason:?})"))
    );
}

#[test]
fn handshakes_are_bounded_in_all_and_for_each_source() {
    let mut net = Net::new(7, 0.0);
    for host in 0..12 {
        net.client(Host(host), IDENTITY, KEY);
    }
    for source in 1..12 {
        for host in 0..8 {
            net.client(Host(source * 100 + host), IDENTITY, KEY);
        }
    }
    // Two rounds: the hello without and the one with a cookie; nothing that follows arrives.
    for _ in 0..2 {
        net.transmit();
        for (from, hello) in std::mem::take(&mut net.to_server) {
            net.receive(from, hello);
        }
        for (to, mut answer) in std::mem::take(&mut net.to_client) {
            let env = &mut Env::new(net.now, &mut net.rng);
            let client = net.clients.iter_mut().find(|it| it.0 == to).unwrap();
            client.1.handle_datagram(env, &mut answer);
        }
    }
    assert_eq!(net.server.handshakes(), 64);
    let count = |reason: DropReason| {
        let text = format!("Dropped({reason:?})");
        net.events.iter().filter(|event| **event == text).count()
    };
    assert_eq!(count(DropReason::RateLimited), 4);
    assert!(count(DropReason::HandshakePoolFull) > 0);
    // After ten seconds there is room again.
    net.clients.clear();
    net.run(Duration::from_secs(11));
    assert_eq!(net.server.handshakes(), 0);
}

/// The network may deliver a copy for 2 x MSL, with a cookie that is still good.
#[test]
fn late_copy_of_the_hello_begins_nothing_and_costs_no_message() {
    let mut net = Net::new(8, 0.0);
    net.offer(ID, IDENTITY, KEY);
    net.client(Host(1), IDENTITY, KEY);
    let hello = net.begin();
    net.run(Duration::from_secs(1));
    assert!(net.server.is_open(ID));
    net.events.clear();
    assert_eq!(net.receive(Host(1), hello.clone()), 0);
    assert_eq!(net.events, ["Dropped(Duplicate)"]);
    assert_eq!((net.server.sessions(), net.server.handshakes()), (1, 0));
    net.send_from(0, b"still here");
    net.run(Duration::from_secs(2));
    assert_eq!(net.messages, [(ID, b"still here".to_vec())]);
    // A client that repeats its random bytes much later, against all rules, is met again.
    net.run(Duration::from_secs(250));
    net.events.clear();
    let answered = net.receive(Host(1), hello);
    assert!(answered > 0 || net.server.handshakes() == 1);
    assert_eq!(net.events, [""; 0]);
}

/// Whoever shares the address, or spoofs it once a cookie was seen, ends nothing before its key is verified.
#[test]
fn session_goes_on_while_another_handshake_runs_at_its_address_and_its_end_is_told() {
    let mut net = Net::new(9, 0.0);
    let other = UdpCarrierId(8);
    net.offer(ID, IDENTITY, KEY);
    net.offer(other, b"another identity", &[2; 32]);
    net.client(Host(1), IDENTITY, KEY);
    net.run(Duration::from_secs(1));
    let (_, mut before) = net.clients.pop().unwrap();
    net.client(Host(1), b"another identity", &[2; 32]);
    net.begin();
    net.events.clear();
    let mut record = [0; 1_500];
    let mut seal = |text: &[u8]| {
        let len = before.seal(text, &mut record).unwrap();
        record[..len].to_vec()
    };
    let [first, second, third] = [&b"first"[..], b"second", b"third"].map(&mut seal);
    // Two records in one datagram.
    net.receive(Host(1), [first, second].concat());
    let messages = [(ID, b"first".to_vec()), (ID, b"second".to_vec())];
    assert_eq!(net.messages, messages);
    assert_eq!(net.events, [""; 0]);
    net.run(Duration::from_secs(3));
    assert!(net.clients[0].1.is_open());
    let opened = "Opened { id: UdpCarrierId(8), replaced: Some(UdpCarrierId(7)) }";
    assert_eq!(net.events, [opened]);
    assert!(net.server.is_open(other) && !net.server.is_open(ID));
    net.receive(Host(1), third);
    assert_eq!(net.messages.len(), 2);
    net.send_from(0, b"mine");
    net.run(Duration::from_secs(4));
    assert_eq!(net.messages[2..], [(other, b"mine".to_vec())]);
}
