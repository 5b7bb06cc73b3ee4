//! A client, a server and the two ways between them.

use std::collections::VecDeque;
use std::sync::OnceLock;
use std::time::Duration;

use hedgerow_core::{
    CertificateCredentials, CertificateType, ChannelError, ClientCertificates, Credentials, Env,
    Event, Identity, IdentityRequest, Instant, Misuse, P256_PUBLIC_KEY_LEN, Peer, PeerFault,
    PeerId, Psk, PskAndCertificates, RawPublicKeyRequest, SecureStream, SignatureScheme,
    Signatures, SigningKey,
};
use hedgerow_crypto_soft::{SoftAead, SoftCrypto, SoftSigningKey};
use hedgerow_handshake::{
    Buffers, ClientState, ExtendedMasterSecret, ServerState, Settings, TlsClientHandshake,
    TlsServerHandshake, TlsSession,
};
use hedgerow_record::{CipherSuite, KeyExchange, encode_p256_spki};
use hedgerow_sim::{Ledger, LedgerAead, NonceLedger, TestRng};

use super::START;
use super::reached::{count, note_client, note_server};

type Crypto = NonceLedger<SoftCrypto>;
type Shown = PskAndCertificates<Credentials<'static>, RawKeys>;
type Known = PskAndCertificates<(&'static [u8], Psk, PeerId), RawKeys>;

/// The way from client to server is 0, the way back is 1; an end has the number of the way on which
/// it sends.
pub(super) const CLIENT: usize = 0;
pub(super) const SERVER: usize = 1;

enum Stage {
    Client(Box<TlsClientHandshake<Crypto, Shown, Vec<u8>>>),
    Server(Box<TlsServerHandshake<Crypto, Known, Vec<u8>>>),
    Session(Box<TlsSession<LedgerAead<SoftAead>>>),
    /// Between two stages; no call finds it so.
    Gone,
}

/// One end and what goes out of it.
struct End {
    stage: Stage,
    side: &'static str,
    /// What has arrived and makes no whole record yet.
    arrived: Vec<u8>,
    /// What is on its way to the other end.
    way: Vec<u8>,
    /// All that it has sealed, and all that it was given.
    said: Vec<u8>,
    heard: Vec<u8>,
    peer: Option<Peer>,
    is_over: bool,
    client_state: Option<ClientState>,
    server_state: Option<ServerState>,
}

/// Both ends, their time and their randomness.
pub(super) struct Ends {
    ends: [End; 2],
    now: Instant,
    rng: TestRng,
    /// Whom the server and the client have to find; `None` where there must be no session.
    expected: Option<[Peer; 2]>,
    /// Whether nobody has done anything that an honest network and honest ends don't.
    is_calm: bool,
    next_text: u8,
}

impl Ends {
    pub(super) fn new(config: u8) -> Self {
        let has = |bit: u8| config >> bit & 1 == 1;
        let suite = SUITES[usize::from(config & 0x0f) % SUITES.len()];
        let is_ecdsa = suite.key_exchange() == Some(KeyExchange::EcdheEcdsa);
        let (has_wrong_key, has_other_suite, asks_nobody) = (has(4), has(5), has(6));
        let mut settings = Settings::new(&[suite]);
        if has(7) {
            settings = settings.with_extended_master_secret(ExtendedMasterSecret::Accepted);
        }
        let known = match has_other_suite {
            true => Settings::new(&[SUITES[usize::from(suite == SUITES[0])]]),
            false => settings,
        };
        let clients = match asks_nobody {
            true => ClientCertificates::NotRequested,
            false => ClientCertificates::Required,
        };
        let (raw_client, raw_server) = (long_term(3), long_term(4));
        let other = long_term(5);
        let shown = Shown {
            psk: Credentials {
                psk_identity: IDENTITY,
                psk: if has_wrong_key {
                    psk(&WRONG, b"a wrong key")
                } else {
                    psk(&RIGHT, PSK)
                },
                peer: PeerId(2),
            },
            certificates: RawKeys {
                own: if has_wrong_key { other } else { raw_client },
                accepted: &raw_server.1,
                clients: ClientCertificates::Required,
            },
        };
        let store = Known {
            psk: (
                IDENTITY,
                Psk::new(PSK).expect("a key of some bytes"),
                PeerId(1),
            ),
            certificates: RawKeys {
                own: raw_server,
                accepted: &raw_client.1,
                clients,
            },
        };
        let ledger = Ledger::new(u64::from(config));
        let [at_client, at_server] =
            ["client", "server"].map(|node| NonceLedger::new(SoftCrypto, &ledger, node));
        let mut rng = TestRng::new(1);
        let env = &mut Env::new(START, &mut rng);
        let client = TlsClientHandshake::new(at_client, shown, settings, buffers(), env);
        let server = TlsServerHandshake::new(at_server, store, known, buffers(), env);
        let is_refused = has_other_suite || has_wrong_key && !(is_ecdsa && asks_nobody);
        let found = match (is_ecdsa, asks_nobody) {
            (false, _) => [Peer::Psk(PeerId(1)), Peer::Psk(PeerId(2))],
            (true, true) => [Peer::Anonymous, Peer::RawPublicKey(RAW)],
            (true, false) => [Peer::RawPublicKey(RAW); 2],
        };
        let mut ends = Self {
            ends: [
                End::new(
                    Stage::Client(Box::new(client.expect("there are buffers"))),
                    "client",
                ),
                End::new(
                    Stage::Server(Box::new(server.expect("there are buffers"))),
                    "server",
                ),
            ],
            now: START,
            rng,
            expected: (!is_refused).then_some(found),
            is_calm: true,
            next_text: 0,
        };
        ends.flush(CLIENT);
        ends.flush(SERVER);
        ends
    }

    /// Hands the first bytes on a way to the end at which it ends.
    pub(super) fn deliver(&mut self, way: usize, most: usize) {
        let from = &mut self.ends[way].way;
        let bytes: Vec<u8> = from.drain(..most.min(from.len())).collect();
        let to = 1 - way;
        self.ends[to].arrived.extend(bytes);
        while self.take_record(to) {}
        self.flush(to);
    }

    pub(super) fn deliver_everything(&mut self) {
        for _ in 0..MAX_ROUNDS {
            if self.ends.iter().all(|end| end.way.is_empty()) {
                return;
            }
            self.deliver(CLIENT, usize::MAX);
            self.deliver(SERVER, usize::MAX);
        }
        unreachable!("bytes without an end");
    }

    /// Changes the records on a way.
    pub(super) fn change(&mut self, way: usize, change: impl FnOnce(&mut VecDeque<Vec<u8>>)) {
        let mut records = records(&self.ends[way].way);
        change(&mut records);
        self.is_calm = false;
        self.ends[way].way = records.into_iter().flatten().collect();
    }

    pub(super) fn overwrite(&mut self, way: usize, at: usize, change: impl FnOnce(u8) -> u8) {
        let bytes = &mut self.ends[way].way;
        let at = at.checked_rem(bytes.len()).unwrap_or_default();
        if let Some(byte) = bytes.get_mut(at) {
            *byte = change(*byte);
            self.is_calm = false;
        }
    }

    /// RFC 5246 §6.2.1: where records begin and end means nothing to the messages in them.
    pub(super) fn cut(&mut self, way: usize, at: usize) {
        let mut records = records(&self.ends[way].way);
        let has_changed = records.iter().any(|record| record.first() == Some(&20));
        let is_session = matches!(self.ends[way].stage, Stage::Session(_));
        let Some(first) = records.pop_front() else {
            return;
        };
        // MUST NOT (RFC 5246 §6.2.1): no part of a handshake message is empty.
        let at = 5 + at.max(1);
        if first.first() != Some(&22) || has_changed || is_session || at >= first.len() {
            return;
        }
        let (front, behind) = first.split_at(at);
        let both = [super::record(22, &front[5..]), super::record(22, behind)];
        self.ends[way].way = both.into_iter().chain(records).flatten().collect();
    }

    /// Lets an end send application data, if it can.
    pub(super) fn say(&mut self, way: usize, len: usize) {
        self.next_text = self.next_text.wrapping_add(1);
        let text = vec![self.next_text; len];
        let end = &mut self.ends[way];
        if let Stage::Session(session) = &mut end.stage {
            let mut record = vec![0; len + session.overhead()];
            if let Ok(len) = session.seal(&text, &mut record) {
                end.way.extend(&record[..len]);
                end.said.extend(text);
            }
        }
    }

    pub(super) fn close(&mut self, way: usize) {
        if let Stage::Session(session) = &mut self.ends[way].stage {
            session.close();
            self.is_calm = false;
        }
        self.flush(way);
    }

    /// Ends the stream from one end to the other.
    pub(super) fn end(&mut self, way: usize) {
        self.is_calm = false;
        let to = 1 - way;
        let end = &mut self.ends[to];
        let ended = match &mut end.stage {
            Stage::Client(machine) => machine.handle_end(),
            Stage::Server(machine) => machine.handle_end(),
            Stage::Session(session) => session.handle_end(),
            Stage::Gone => Ok(()),
        };
        end.note(ended.err());
        self.flush(to);
    }

    pub(super) fn pass(&mut self, duration: Duration) {
        self.now = self.now + duration;
        for way in [CLIENT, SERVER] {
            let env = &mut Env::new(self.now, &mut self.rng);
            let end = &mut self.ends[way];
            if end.poll_timeout().is_some_and(|at| at <= self.now) {
                self.is_calm = false;
                let due = match &mut end.stage {
                    Stage::Client(machine) => machine.handle_timeout(env),
                    Stage::Server(machine) => machine.handle_timeout(env),
                    Stage::Session(session) => session.handle_timeout(env),
                    Stage::Gone => Ok(()),
                };
                end.note(due.err());
                let is_later = end.poll_timeout().is_none_or(|at| at > self.now);
                assert!(is_later, "a timer that was handled is still due");
            }
            self.flush(way);
        }
    }

    /// Delivers everything, lets time pass until nobody waits for anything, and checks what must
    /// hold then.
    pub(super) fn conclude(&mut self) {
        self.deliver_everything();
        if self.is_calm && self.expected.is_some() {
            for way in [CLIENT, SERVER] {
                self.say(way, 20);
            }
            self.deliver_everything();
            let [client, server] = &self.ends;
            assert_eq!(client.said, server.heard, "the client's data");
            assert_eq!(server.said, client.heard, "the server's data");
            assert!(client.said.len() >= 20, "both are established");
        }
        for _ in 0..4 {
            let due = self.ends.iter().filter_map(End::poll_timeout).min();
            let Some(at) = due else {
                return;
            };
            self.pass(at.saturating_since(self.now));
            self.deliver_everything();
        }
        unreachable!("timers without an end");
    }

    /// Takes in one record; `false` if there is none.
    fn take_record(&mut self, at: usize) -> bool {
        let env = &mut Env::new(self.now, &mut self.rng);
        let [client, server] = &mut self.ends;
        let (end, other) = match at {
            CLIENT => (client, server),
            _ => (server, client),
        };
        let before = end.arrived.len();
        if before == 0 {
            return false;
        }
        let received = match &mut end.stage {
            Stage::Client(machine) => {
                let received = machine.handle_bytes(env, &mut end.arrived);
                note_client(&mut end.client_state, machine.state());
                received
            }
            Stage::Server(machine) => {
                let received = machine.handle_bytes(env, &mut end.arrived);
                note_server(&mut end.server_state, machine.state());
                received
            }
            Stage::Session(session) => session.handle_bytes(env, &mut end.arrived),
            Stage::Gone => return false,
        };
        let rest = match received {
            Ok(None) => return false,
            Ok(Some(received)) => {
                let is_nothing = matches!(received.event, None | Some(Event::Dropped(_)));
                assert!(!end.is_over || is_nothing, "taken after the end");
                match received.event {
                    Some(Event::Plaintext(text)) => {
                        end.heard.extend_from_slice(text);
                        // What is heard was said, in its order and no more than once.
                        assert!(other.said.starts_with(&end.heard));
                        count("session_plaintext");
                    }
                    Some(Event::Established(peer)) => end.peer = Some(peer),
                    Some(Event::Closed) => {
                        end.is_over = true;
                        count("session_closed");
                    }
                    _ => {}
                }
                received.rest.len()
            }
            Err(error) => {
                end.note(Some(error));
                end.arrived.clear();
                return false;
            }
        };
        end.arrived.drain(..before - rest);
        if let Some(peer) = end.peer {
            let expected = self.expected.expect("nobody has the credentials for this");
            let found = match at {
                CLIENT => expected[1],
                _ => expected[0],
            };
            assert_eq!(peer, found);
        }
        end.become_session();
        true
    }

    /// Puts what an end has to send on its way.
    fn flush(&mut self, at: usize) {
        let end = &mut self.ends[at];
        let mut out = [0; 1_200];
        loop {
            let env = &mut Env::new(self.now, &mut self.rng);
            let written = match &mut end.stage {
                Stage::Client(machine) => machine.poll_transmit(env, &mut out),
                Stage::Server(machine) => machine.poll_transmit(env, &mut out),
                Stage::Session(session) => session.poll_transmit(env, &mut out),
                Stage::Gone => return,
            };
            match written.expect("there is room") {
                Some(len) => end.way.extend(&out[..len]),
                None if end.become_session() => {}
                None => return,
            }
        }
    }
}

impl End {
    const fn new(stage: Stage, side: &'static str) -> Self {
        Self {
            stage,
            side,
            arrived: Vec::new(),
            way: Vec::new(),
            said: Vec::new(),
            heard: Vec::new(),
            peer: None,
            is_over: false,
            client_state: None,
            server_state: None,
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        match &self.stage {
            Stage::Client(machine) => machine.poll_timeout(),
            Stage::Server(machine) => machine.poll_timeout(),
            Stage::Session(session) => session.poll_timeout(),
            Stage::Gone => None,
        }
    }

    /// Says whether a handshake that is over has become a session now.
    fn become_session(&mut self) -> bool {
        let mut has_become = true;
        self.stage = match std::mem::replace(&mut self.stage, Stage::Gone) {
            Stage::Client(end) if end.is_established() && end.is_sent() => {
                let end = end.into_session().expect("it is over and sent");
                Stage::Session(Box::new(end.session))
            }
            Stage::Server(end) if end.is_established() && end.is_sent() => {
                let end = end.into_session().expect("it is over and sent");
                Stage::Session(Box::new(end.session))
            }
            other => {
                has_become = false;
                other
            }
        };
        has_become
    }

    /// Notes why an end is over. From then on every record is refused.
    fn note(&mut self, error: Option<ChannelError>) {
        let fault = match error {
            None => return,
            Some(ChannelError::Misuse(Misuse::Closed)) if self.is_over => return,
            Some(ChannelError::Peer(fault)) => fault,
            Some(other) => unreachable!("{other}"),
        };
        assert!(!self.is_over, "{fault} after the end");
        self.is_over = true;
        let what = match fault {
            PeerFault::AlertSent { .. } => "alert_sent",
            PeerFault::AlertReceived { .. } => "alert_received",
            PeerFault::HandshakeTimeout => "handshake_timeout",
            PeerFault::CredentialsRefused => "credentials_refused",
            PeerFault::Truncated => "truncated",
            other => unreachable!("{other}"),
        };
        count(&format!("{}_{what}", self.side));
    }
}

/// A key, made once, with its public key.
struct RawKeys {
    own: &'static (SoftSigningKey, [u8; 91]),
    accepted: &'static [u8],
    clients: ClientCertificates,
}

impl CertificateCredentials for RawKeys {
    fn identity(&self, request: &IdentityRequest<'_>) -> Option<Identity<'_>> {
        (request.certificate_type == CertificateType::RawPublicKey)
            .then_some(Identity::RawPublicKey(&self.own.0))
    }

    fn peer_of_raw_public_key(&self, request: &RawPublicKeyRequest<'_>) -> Option<PeerId> {
        (request.subject_public_key_info == self.accepted).then_some(RAW)
    }

    fn client_certificates(&self) -> ClientCertificates {
        self.clients
    }
}

fn long_term(number: u8) -> &'static (SoftSigningKey, [u8; 91]) {
    static KEYS: [OnceLock<(SoftSigningKey, [u8; 91])>; 3] = [const { OnceLock::new() }; 3];
    KEYS[usize::from(number) % 3].get_or_init(|| {
        let scheme = SignatureScheme::EcdsaSecp256r1Sha256;
        let key = SoftCrypto
            .signing_key(scheme, &[number; 32])
            .expect("a key below the order");
        let mut public_key = [0; P256_PUBLIC_KEY_LEN];
        key.write_public_key(&mut public_key)
            .expect("there is room");
        (key, encode_p256_spki(&public_key))
    })
}

fn psk(place: &'static OnceLock<Psk>, bytes: &[u8]) -> &'static Psk {
    place.get_or_init(|| Psk::new(bytes).expect("a key of some bytes"))
}

/// Takes bytes apart into records; what isn't a whole one is the last.
fn records(mut bytes: &[u8]) -> VecDeque<Vec<u8>> {
    let mut records = VecDeque::new();
    while let [_, _, _, high, low, ..] = *bytes {
        let len = 5 + usize::from(u16::from_be_bytes([high, low]));
        let Some((record, behind)) = bytes.split_at_checked(len) else {
            break;
        };
        records.push_back(record.to_vec());
        bytes = behind;
    }
    if !bytes.is_empty() {
        records.push_back(bytes.to_vec());
    }
    records
}

fn buffers() -> Buffers<Vec<u8>> {
    Buffers {
        incoming: vec![0; 1_024],
        outgoing: vec![0; 1_024],
    }
}

const SUITES: [CipherSuite; 11] = [
    CipherSuite::TLS_PSK_WITH_AES_128_CCM_8,
    CipherSuite::TLS_PSK_WITH_AES_128_CCM,
    CipherSuite::TLS_PSK_WITH_AES_128_GCM_SHA256,
    CipherSuite::TLS_PSK_WITH_CHACHA20_POLY1305_SHA256,
    CipherSuite::TLS_ECDHE_PSK_WITH_AES_128_CCM_8_SHA256,
    CipherSuite::TLS_ECDHE_PSK_WITH_AES_128_CCM_SHA256,
    CipherSuite::TLS_ECDHE_PSK_WITH_AES_128_GCM_SHA256,
    CipherSuite::TLS_ECDHE_PSK_WITH_CHACHA20_POLY1305_SHA256,
    CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8,
    CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_CCM,
    CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
];
const IDENTITY: &[u8] = b"thermometer";
const PSK: &[u8] = b"a key of 16 byte";
static RIGHT: OnceLock<Psk> = OnceLock::new();
static WRONG: OnceLock<Psk> = OnceLock::new();
/// Whom either end takes the other one's raw public key for.
const RAW: PeerId = PeerId(7);
/// More than any script of honest ends needs.
const MAX_ROUNDS: u32 = 100;
