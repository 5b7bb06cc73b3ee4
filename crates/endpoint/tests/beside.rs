//! A new handshake beside a live session, from the same address (RFC 6347 §4.2.8).
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod common;

use common::{CLIENT, Driver, Known, PSK, Place, Shown, defaults};
use hedgerow_coap::{Header, MessageId};
use hedgerow_core::{DropReason, Env, Instant, SecureChannel};
use hedgerow_crypto_soft::{SoftAead, SoftCrypto};
use hedgerow_endpoint::{Config, Endpoint, Event};
use hedgerow_handshake::{Buffers, ClientHandshake, MIN_DATAGRAM_LEN, Session, Settings};
use hedgerow_record::CipherSuite;
use hedgerow_sim::TestRng;

/// Long enough for the client's last flight to take two datagrams of the least length.
const IDENTITY: [u8; 128] = [b'i'; 128];

type Client = ClientHandshake<SoftCrypto, Shown, Box<[u8]>>;

struct Stand {
    server: Driver<SoftCrypto>,
    rng: TestRng,
    now: Instant,
    established: u32,
    drops: Vec<DropReason>,
}

impl Stand {
    fn new() -> Self {
        let mut rng = TestRng::new(3);
        let now = Instant::ZERO;
        let config = Config {
            handshake: settings(),
            ..defaults()
        };
        let known = Known::new(&[(&IDENTITY, PSK)]);
        let server = Endpoint::server(SoftCrypto, known, config, &mut Env::new(now, &mut rng));
        Self {
            server,
            rng,
            now,
            established: 0,
            drops: Vec::new(),
        }
    }

    fn begin(&mut self) -> Client {
        let env = &mut Env::new(self.now, &mut self.rng);
        let shown = Shown::new(&IDENTITY, PSK);
        let buffers = Buffers {
            incoming: vec![0; 512].into(),
            outgoing: vec![0; 512].into(),
        };
        ClientHandshake::new(SoftCrypto, shown, settings(), buffers, env).unwrap()
    }

    /// Gives a datagram to the server, and returns what it sends.
    fn give(&mut self, datagram: &[u8]) -> Vec<Vec<u8>> {
        let env = &mut Env::new(self.now, &mut self.rng);
        let mut sent = Vec::new();
        let mut datagram = datagram.to_vec();
        let mut rest = &mut datagram[..];
        while !rest.is_empty() {
            let mut answer = [0; 64];
            let handled = self
                .server
                .handle_datagram(env, Place(CLIENT), rest, &mut answer);
            let consumed = handled.consumed;
            if handled.answer > 0 {
                sent.push(answer[..handled.answer].to_vec());
            }
            match handled.event {
                Some(Event::Established { .. }) => self.established += 1,
                Some(Event::Dropped { reason, .. }) => self.drops.push(reason),
                _ => {}
            }
            rest = &mut rest[consumed..];
        }
        let mut out = [0; 1_200];
        while let Some((_, len)) = self.server.poll_transmit(env, &mut out) {
            sent.push(out[..len].to_vec());
        }
        sent
    }

    /// Fetches what a client sends.
    fn fetch(&mut self, client: &mut Client) -> Vec<Vec<u8>> {
        let env = &mut Env::new(self.now, &mut self.rng);
        let mut sent = Vec::new();
        let mut out = [0; 1_200];
        while let Some(len) = client.poll_transmit(env, &mut out).unwrap() {
            sent.push(out[..len].to_vec());
        }
        sent
    }

    fn tell(&mut self, client: &mut Client, datagrams: &[Vec<u8>]) {
        let env = &mut Env::new(self.now, &mut self.rng);
        for datagram in datagrams {
            let mut datagram = datagram.clone();
            let mut rest = &mut datagram[..];
            while !rest.is_empty() && !client.is_established() {
                rest = client.handle_datagram(env, rest).unwrap().rest;
            }
        }
    }

    /// Brings a handshake to the client's last flight, which is returned.
    fn up_to_the_last_flight(&mut self, client: &mut Client) -> Vec<Vec<u8>> {
        for _ in 0..2 {
            let hello = self.fetch(client);
            for datagram in hello {
                let answer = self.give(&datagram);
                self.tell(client, &answer);
            }
        }
        self.fetch(client)
    }

    fn connect(&mut self) -> Session<SoftAead> {
        let mut client = self.begin();
        let flight = self.up_to_the_last_flight(&mut client);
        for datagram in flight {
            let answer = self.give(&datagram);
            self.tell(&mut client, &answer);
        }
        client.into_session().unwrap().session
    }
}

fn settings() -> Settings {
    let suite = CipherSuite::TLS_ECDHE_PSK_WITH_AES_128_CCM_8_SHA256;
    Settings::new(&[suite]).with_max_datagram_len(MIN_DATAGRAM_LEN)
}

/// More records of the old session than may be forged in a second come while the new handshake has its keys
/// and waits for the Finished: each is read, none counts as a forgery of the new key, and the Finished
/// is taken right after them.
#[test]
fn records_of_the_session_are_no_forgeries_of_the_new_key() {
    let mut stand = Stand::new();
    let mut session = stand.connect();
    assert_eq!(stand.established, 1);
    let mut client = stand.begin();
    let flight = stand.up_to_the_last_flight(&mut client);
    let (finished, before) = flight.split_last().unwrap();
    assert!(!before.is_empty(), "the Finished has a datagram of its own");
    for datagram in before {
        stand.give(datagram);
    }
    assert_eq!(stand.server.handshakes(), 1);
    for number in 0..1_100_u16 {
        let mut record = [0; 64];
        let message = Header::reset(MessageId(number)).encode();
        let len = session.seal(&message, &mut record).unwrap();
        stand.give(&record[..len]);
    }
    assert_eq!(stand.server.dropped(DropReason::Unmatched), 1_100);
    let last = stand.give(finished);
    assert_eq!(stand.established, 2, "{:?}", stand.drops.last());
    stand.tell(&mut client, &last);
    assert!(client.is_established());
    assert_eq!(stand.server.associations(), 1);
}

/// What nobody has sealed counts against both keys, and a flood of it against the new one leaves the session
/// its records.
#[test]
fn forgeries_beside_a_handshake_leave_the_session_its_records() {
    let mut stand = Stand::new();
    let mut session = stand.connect();
    let mut client = stand.begin();
    let flight = stand.up_to_the_last_flight(&mut client);
    let (_, before) = flight.split_last().unwrap();
    for datagram in before {
        stand.give(datagram);
    }
    let mut sealed = [0; 64];
    let message = Header::reset(MessageId(1)).encode();
    let len = session.seal(&message, &mut sealed).unwrap();
    for number in 0..1_000_u16 {
        let mut forged = sealed[..len].to_vec();
        forged[9..11].copy_from_slice(&(number + 100).to_be_bytes());
        stand.give(&forged);
    }
    assert_eq!(
        stand.server.dropped(DropReason::AuthenticationFailed),
        1_000
    );
    stand.give(&sealed[..len]);
    assert_eq!(stand.server.dropped(DropReason::Unmatched), 1);
}

/// RFC 6347 §4.2.8: anybody can send ClientHellos from the client's address, with cookies they don't get to see
/// or without; the session is there throughout, and each costs at most one answer of thrice its length.
#[test]
fn spoofed_hellos_cost_the_session_nothing() {
    let mut stand = Stand::new();
    let mut session = stand.connect();
    let mut stranger = stand.begin();
    let hello = stand.fetch(&mut stranger).remove(0);
    for n in 0..1_000_u16 {
        let mut spoofed = hello.clone();
        // The hello's random bytes differ each time.
        spoofed[13 + 12 + 2..][..2].copy_from_slice(&n.to_be_bytes());
        let answer: usize = stand.give(&spoofed).iter().map(Vec::len).sum();
        assert!(answer <= 3 * spoofed.len());
        assert_eq!(
            (stand.server.handshakes(), stand.server.associations()),
            (0, 1)
        );
    }
    let mut record = [0; 64];
    let message = Header::reset(MessageId(1)).encode();
    let len = session.seal(&message, &mut record).unwrap();
    stand.give(&record[..len]);
    assert_eq!(stand.server.dropped(DropReason::Unmatched), 1);
    assert_eq!(stand.established, 1);
}

/// RFC 6347 §4.2.8: the session goes only once the new handshake is verified; a client that proves its address
/// and no key leaves it as it is.
#[test]
fn session_goes_only_once_the_new_handshake_is_verified() {
    let mut stand = Stand::new();
    let mut session = stand.connect();
    let mut client = stand.begin();
    let flight = stand.up_to_the_last_flight(&mut client);
    let mut say = |stand: &mut Stand, number| {
        let mut record = [0; 64];
        let message = Header::reset(MessageId(number)).encode();
        let len = session.seal(&message, &mut record).unwrap();
        stand.give(&record[..len]);
        stand.server.dropped(DropReason::Unmatched)
    };
    assert_eq!(stand.server.handshakes(), 1);
    assert_eq!(say(&mut stand, 1), 1);
    let (finished, before) = flight.split_last().unwrap();
    for datagram in before {
        stand.give(datagram);
    }
    // A Finished that doesn't verify is a forgery and no more.
    let mut wrong = finished.clone();
    *wrong.last_mut().unwrap() ^= 1;
    stand.give(&wrong);
    assert_eq!(stand.established, 1);
    assert_eq!(say(&mut stand, 2), 2);
    stand.give(finished);
    assert_eq!((stand.established, stand.server.associations()), (2, 1));
    // From now on the old session's records are nobody's.
    assert_eq!(say(&mut stand, 3), 2);
}
