//! A machine under test and a scripted peer that plays the other end: it holds the keys, computes
//! its own key schedule and can send any message in any form at any time.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub
)]

use std::sync::OnceLock;
use std::time::Duration;

use hedgerow_core::{
    AeadAlgorithm, AgreementKey, ChannelError, ClientCertificates, CryptoProvider, Env, Event,
    HmacSha256, Instant, KeyAgreement, NamedGroup, P256_PUBLIC_KEY_LEN, PeerFault,
    PskAndCertificates, SecureChannel, SecureStream, Sha256, SignatureScheme, Signatures,
    SigningKey, Writer,
};
use hedgerow_crypto_soft::{SoftAead, SoftCrypto, SoftSigningKey};
use hedgerow_handshake::{
    Acceptance, Acceptor, Buffers, CachedSession, ClientHandshake, ExtendedMasterSecret,
    ResumableSession, ServerHandshake, ServerResumption, SessionId, SessionSlot, SessionTable,
    Settings, TicketKeys, TlsClientHandshake, TlsServerHandshake,
};
use hedgerow_record::{
    CipherSuite, ContentType, DTLS_1_2, DtlsOpener, DtlsRecord, DtlsSealer, EpochNumber, Protocol,
    RecordNumber, TLS_1_2, TlsOpener, TlsRecord, TlsSealer, TrafficKeys, decode_p256_spki,
    encode_p256_spki, encode_record, encode_tls_record,
};
use hedgerow_sim::TestRng;

use crate::common::{Bytes, IDENTITY, Known, PSK, Shown, Store};

#[path = "machine.rs"]
mod machine;
#[path = "messages.rs"]
mod messages;

use machine::{CERTIFICATES, KnownByAll, LongTermKeys, Machine, OTHER_KIND_OF_CERTIFICATE};
pub use machine::{Kind, Kx, Side};
pub use messages::type_of;

pub const ADDRESS: &[u8] = b"scripted peer";
/// The suite of which both ends are capable that no session here has.
pub const OTHER_SUITE: CipherSuite = CipherSuite::TLS_PSK_WITH_AES_128_CCM;
pub const COOKIE: [u8; 16] = [0xc0; 16];

/// What a machine did with one record, or several.
#[derive(Debug, Default)]
pub struct Outcome {
    pub error: Option<ChannelError>,
    pub plaintexts: Vec<Vec<u8>>,
    pub is_closed: bool,
    pub sent: Vec<Sent>,
}

/// What a machine sent, one element a record or message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sent {
    Message(u8, Vec<u8>),
    ChangeCipherSpec,
    Alert(u8, u8),
    Data(Vec<u8>),
}

/// Whose record keys.
#[derive(Clone)]
struct WriteKey {
    algorithm: AeadAlgorithm,
    key: Vec<u8>,
    iv: Vec<u8>,
}

impl WriteKey {
    fn keys(&self) -> TrafficKeys<SoftAead> {
        TrafficKeys::new(&SoftCrypto, self.algorithm, &self.key, &self.iv).unwrap()
    }
}

struct Keys {
    master: Vec<u8>,
    peer: WriteKey,
}

/// A record's form on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Clear,
    Protected,
}

/// A machine and its peer.
pub struct Stand {
    pub kind: Kind,
    pub now: Instant,
    rng: TestRng,
    machine: Machine,
    store: Store,
    settings: Settings,
    is_x509: bool,
    clients: ClientCertificates,
    /// The group in which the peer agrees.
    pub group: NamedGroup,
    pub identity: Vec<u8>,
    transcript: Vec<u8>,
    client_random: [u8; 32],
    server_random: [u8; 32],
    cookie: Vec<u8>,
    machine_public_key: Vec<u8>,
    /// That of the last ServerHello.
    suite: CipherSuite,
    /// Whether the hellos of both have it; the machine's always does.
    has_extended_master_secret: bool,
    sessions: Sessions,
    keys: Option<Keys>,
    opener: Option<Opener>,
    machine_has_changed: bool,
    machine_next_seq: u16,
    /// Whether the machine's Finished, if it came, was right.
    pub machine_finished: Option<bool>,
    /// What the machine sent last that wasn't an alert.
    pub last_flight: Vec<Sent>,
    /// The peer's next message_seq.
    pub next_seq: u16,
    /// The peer's next record number of epoch 0.
    pub next_number: u64,
    /// The peer's next record number under keys.
    pub next_sealed: u64,
    /// A message that the machine may hold for the turn after the next.
    pub queued: Option<String>,
    /// What the machine took, by name, with its record.
    pub history: Vec<(String, Vec<u8>)>,
}

/// What either end has of the session of an earlier handshake.
#[derive(Default)]
struct Sessions {
    /// The session's master secret; `None` in the earlier handshake itself.
    master: Option<Vec<u8>>,
    /// What the machine has, as a client.
    resumable: Option<ResumableSession>,
    /// What it has as a server.
    ticket_keys: Option<TicketKeys>,
    table: Option<SessionTable<Vec<SessionSlot>>>,
    /// What the peer has as a client.
    id: Vec<u8>,
    ticket: Vec<u8>,
    /// The session ID in the machine's ClientHello.
    offered_id: Vec<u8>,
}

impl Sessions {
    fn new(kx: Kx, env: &mut Env<'_>) -> Self {
        let keys = TicketKeys::draw(Duration::from_secs(3_600), env);
        let by_id = kx == Kx::ResumedId;
        let slots = || (0..4).map(|_| SessionSlot::default()).collect();
        Self {
            ticket_keys: Some(if by_id { keys.without_tickets() } else { keys }),
            table: by_id.then(|| SessionTable::new(slots())),
            ..Self::default()
        }
    }

    /// A server's part, for a ClientHello with this session ID.
    fn of_server(&mut self, id: Option<&SessionId>, env: &mut Env<'_>) -> ServerResumption {
        let resumption = ServerResumption::new(self.ticket_keys.as_mut().unwrap().lease(env));
        match &self.table {
            None => resumption,
            Some(table) => resumption.with_session_ids(id.and_then(|id| table.find(id, env.now))),
        }
    }

    fn keep(&mut self, resumable: Option<ResumableSession>, cacheable: Option<CachedSession>) {
        self.resumable = resumable;
        if let (Some(table), Some(session)) = (&mut self.table, cacheable) {
            table.insert(session);
        }
    }
}

enum Opener {
    Dtls(DtlsOpener<SoftAead>),
    Tls(TlsOpener<SoftAead>),
}

/// How a stand differs from the usual one.
#[derive(Clone, Copy, Default)]
pub struct Setup<'a> {
    /// The variant of the ClientHello, where the peer is the client.
    pub hello: &'a str,
    pub is_forbidden: bool,
    pub group: Option<NamedGroup>,
    /// Whether a DTLS server is one that asks for no cookie.
    pub asks_for_no_cookie: bool,
    /// Whether keys come in certificates rather than raw.
    pub is_x509: bool,
    /// Whether a server asks its clients for no certificate.
    pub asks_nobody: bool,
}

impl Stand {
    /// Brings up the machine; a DTLS client has answered one HelloVerifyRequest, a DTLS server's
    /// acceptor has given its cookie.
    pub fn new(kind: Kind, setup: &Setup<'_>) -> Self {
        let rng = &mut TestRng::new(6);
        let mut sessions = Sessions::new(kind.kx, &mut Env::new(Instant::ZERO, rng));
        if kind.kx.is_resumed() {
            let mut earlier = Self::begin(kind, &Setup::default(), 5, sessions);
            assert_eq!(earlier.complete(), Ok(()), "{kind:?}");
            sessions = earlier.sessions;
            sessions.master = earlier.keys.map(|keys| keys.master);
        }
        Self::begin(kind, setup, 7, sessions)
    }

    fn begin(kind: Kind, setup: &Setup<'_>, seed: u64, mut sessions: Sessions) -> Self {
        let mut rng = TestRng::new(seed);
        let now = Instant::ZERO;
        let env = &mut Env::new(now, &mut rng);
        let mut settings = Settings::new(&[kind.kx.suite()]);
        if kind.kx.is_resumed() {
            settings = Settings::new(&[kind.kx.suite(), OTHER_SUITE]);
            // RFC 7627 §5.3 binds what is resumed, also where a full handshake may go without.
            settings.extended_master_secret = ExtendedMasterSecret::Accepted;
        }
        let buffers = buffers_for(kind.kx, setup.is_x509);
        let mut known = Known::new(IDENTITY, PSK);
        std::rc::Rc::get_mut(&mut known).unwrap().is_forbidden = setup.is_forbidden;
        let store = Store(known);
        let shown = PskAndCertificates {
            psk: Shown::new(IDENTITY, PSK),
            certificates: long_term_keys(
                Side::Client,
                setup.is_x509,
                ClientCertificates::default(),
            ),
        };
        let clients = match setup.asks_nobody {
            true => ClientCertificates::NotRequested,
            false => ClientCertificates::Required,
        };
        let known = KnownByAll {
            store: store.clone(),
            certificates: long_term_keys(Side::Server, setup.is_x509, clients),
        };
        let machine = match (kind.protocol, kind.side) {
            (Protocol::Dtls, Side::Client) => Machine::DtlsClient(Box::new(
                match kind.kx.has_resumption() {
                    true => {
                        let session = sessions.resumable.take();
                        ClientHandshake::resuming(
                            SoftCrypto, shown, settings, session, buffers, env,
                        )
                    }
                    false => ClientHandshake::new(SoftCrypto, shown, settings, buffers, env),
                }
                .unwrap(),
            )),
            (Protocol::Dtls, Side::Server) => {
                Machine::Acceptor(Box::new(Acceptor::new(SoftCrypto, settings, env)))
            }
            (Protocol::Tls, Side::Client) => Machine::TlsClient(Box::new(
                match kind.kx.has_resumption() {
                    true => {
                        let session = sessions.resumable.take();
                        TlsClientHandshake::resuming(
                            SoftCrypto, shown, settings, session, buffers, env,
                        )
                    }
                    false => TlsClientHandshake::new(SoftCrypto, shown, settings, buffers, env),
                }
                .unwrap(),
            )),
            (Protocol::Tls, Side::Server) => Machine::TlsServer(Box::new(
                match kind.kx.has_resumption() {
                    true => {
                        let resumption = sessions.of_server(None, env);
                        TlsServerHandshake::resuming(
                            SoftCrypto, known, settings, resumption, buffers, env,
                        )
                    }
                    false => TlsServerHandshake::new(SoftCrypto, known, settings, buffers, env),
                }
                .unwrap(),
            )),
        };
        let mut stand = Self {
            kind,
            now,
            rng,
            machine,
            store,
            settings,
            is_x509: setup.is_x509,
            clients,
            group: setup.group.unwrap_or(NamedGroup::X25519),
            identity: IDENTITY.to_vec(),
            transcript: Vec::new(),
            client_random: [0x11; 32],
            server_random: [0x22; 32],
            cookie: Vec::new(),
            machine_public_key: Vec::new(),
            suite: kind.kx.suite(),
            has_extended_master_secret: true,
            sessions,
            keys: None,
            opener: None,
            machine_has_changed: false,
            machine_next_seq: 0,
            machine_finished: None,
            last_flight: Vec::new(),
            next_seq: 0,
            next_number: 0,
            next_sealed: 0,
            queued: None,
            history: Vec::new(),
        };
        let hello = stand.transmit();
        stand.digest(&hello);
        match (kind.protocol, kind.side) {
            (Protocol::Dtls, Side::Client) if !setup.asks_for_no_cookie => {
                stand.send("HelloVerifyRequest");
            }
            (Protocol::Dtls, Side::Server) => {
                stand.fetch_cookie(setup.hello);
            }
            _ => {}
        }
        stand
    }

    /// Has the acceptor make a cookie for a hello of this variant.
    pub fn fetch_cookie(&mut self, variant: &str) {
        self.cookie.clear();
        let body = self.client_hello(variant);
        let record = self.record_of(Form::Clear, 1, 0, &body);
        let outcome = self.feed(&record);
        self.next_seq = 1;
        // An acceptor drops what it can't decode; any cookie serves then.
        self.cookie = match outcome.sent.first() {
            Some(Sent::Message(3, body)) => body[3..].to_vec(),
            _ => COOKIE.to_vec(),
        };
        self.machine_next_seq = 1;
    }

    pub fn state(&self) -> &'static str {
        self.machine.state()
    }

    /// Brings a machine into `state` by an honest peer's messages.
    pub fn in_state(kind: Kind, state: &str, setup: &Setup<'_>) -> Self {
        let mut stand = Self::new(kind, setup);
        while stand.state() != state {
            let next = stand.state();
            let outcome = match next {
                "ClientHello" => stand.send(&format!("ClientHello:{}", setup.hello)),
                _ => stand.send(next),
            };
            assert_eq!(outcome.error, None, "{kind:?} {next}");
            assert_ne!(stand.state(), next, "{kind:?}");
        }
        stand
    }

    /// Sends the honest message `name` whose turn it is.
    pub fn send(&mut self, name: &str) -> Outcome {
        let form = match name {
            "Finished" => Form::Protected,
            _ => Form::Clear,
        };
        let (content_type, payload) = self.payload(name, self.next_seq);
        let record = self.record(form, content_type, &payload);
        self.take(name, &record)
    }

    /// Feeds a record with the message `name`, in the peer's next number, and keeps transcript and
    /// keys up with the machine's if it was accepted.
    pub fn take(&mut self, name: &str, record: &[u8]) -> Outcome {
        let before = self.state();
        let (mut outcome, raw) = self.feed_raw(record);
        // A HelloVerifyRequest leaves the state and brings another hello.
        let has_new_hello =
            before == "ServerHello" && name.starts_with("HelloVerifyRequest") && !raw.is_empty();
        if outcome.error.is_none() && (self.state() != before || has_new_hello) {
            if before == "ClientHello" && self.kind.is_dtls() {
                // Without state, an acceptor goes on from whatever number the hello has.
                self.next_seq = u16::from_be_bytes([record[17], record[18]]);
                self.machine_next_seq = self.next_seq;
            }
            self.commit(name);
            let queued = match self.is_past_the_next(before) {
                true => self.queued.take(),
                false => None,
            };
            match queued.as_deref() {
                // A ticket that was kept has its turn behind the client's own flight.
                Some("NewSessionTicket") => {
                    outcome.sent = self.digest(&raw);
                    self.commit("NewSessionTicket");
                }
                Some(queued) => {
                    self.commit(queued);
                    outcome.sent = self.digest(&raw);
                }
                None => outcome.sent = self.digest(&raw),
            }
        } else {
            outcome.sent = self.digest(&raw);
        }
        if outcome.error.is_none() {
            self.history.push((name.to_owned(), record.to_vec()));
        }
        outcome
    }

    /// Says whether the machine has come further than the one message that it was in `before` for.
    fn is_past_the_next(&self, before: &str) -> bool {
        let place = |state| self.kind.states().iter().position(|&other| other == state);
        place(self.state()) > place(before).map(|place| place + 1)
    }

    /// Takes the peer's message `name` for accepted.
    fn commit(&mut self, name: &str) {
        let kind = name.split(':').next().unwrap();
        if type_of(kind).is_none() {
            return;
        }
        let (_, payload) = self.payload(name, self.next_seq);
        if kind == "ClientHello" {
            self.transcript.clear();
        }
        if kind != "HelloVerifyRequest" {
            self.transcript.extend(&payload);
        }
        self.next_seq += 1;
        if kind == "ClientKeyExchange" {
            self.derive_keys();
        }
        if matches!(kind, "ClientHello" | "ServerHello") {
            self.has_extended_master_secret = !name.ends_with("no_extended_master_secret")
                && !name.ends_with("no_extensions_block");
        }
        if kind == "ServerHello"
            && name != "ServerHello:other_session_id"
            && let Some(master) = self.sessions.master.clone()
        {
            self.set_keys(master);
        }
    }

    /// Feeds bytes and digests what the machine sends, without taking anything for accepted.
    pub fn feed(&mut self, bytes: &[u8]) -> Outcome {
        let (mut outcome, raw) = self.feed_raw(bytes);
        outcome.sent = self.digest(&raw);
        outcome
    }

    fn feed_raw(&mut self, bytes: &[u8]) -> (Outcome, Vec<Vec<u8>>) {
        let mut outcome = Outcome::default();
        let mut raw = Vec::new();
        let env = &mut Env::new(self.now, &mut self.rng);
        let mut bytes = bytes.to_vec();
        let mut rest: &mut [u8] = &mut bytes;
        while !rest.is_empty() {
            if let Machine::Acceptor(acceptor) = &self.machine {
                let mut out = [0; 256];
                let known = KnownByAll {
                    store: self.store.clone(),
                    certificates: long_term_keys(Side::Server, self.is_x509, self.clients),
                };
                match acceptor.handle_datagram_with(&known, env, ADDRESS, rest, &mut out) {
                    Acceptance::Answer(len) => raw.push(out[..len].to_vec()),
                    Acceptance::Refuse { len, description } => {
                        raw.push(out[..len].to_vec());
                        outcome.error = Some(PeerFault::AlertSent { description }.into());
                    }
                    Acceptance::Accept(hello) => {
                        let settings = *acceptor.settings();
                        let buffers = buffers_for(self.kind.kx, self.is_x509);
                        let machine = match self.kind.kx.has_resumption() {
                            true => {
                                let id = Some(hello.session_id());
                                let resumption = self.sessions.of_server(id, env);
                                ServerHandshake::resuming(
                                    SoftCrypto, known, settings, resumption, hello, buffers, env,
                                )
                            }
                            false => ServerHandshake::new(
                                SoftCrypto, known, settings, hello, buffers, env,
                            ),
                        };
                        self.machine = Machine::DtlsServer(Box::new(machine.unwrap()));
                    }
                    Acceptance::Drop(_) => {}
                }
                break;
            }
            let received = match &mut self.machine {
                Machine::DtlsClient(machine) => machine
                    .handle_datagram(env, rest)
                    .map(|received| Some((received.event, received.rest))),
                Machine::DtlsServer(machine) => machine
                    .handle_datagram(env, rest)
                    .map(|received| Some((received.event, received.rest))),
                Machine::DtlsSession(machine, _) => machine
                    .handle_datagram(env, rest)
                    .map(|received| Some((received.event, received.rest))),
                Machine::TlsClient(machine) => machine
                    .handle_bytes(env, rest)
                    .map(|received| received.map(|received| (received.event, received.rest))),
                Machine::TlsServer(machine) => {
                    if let (Some(table), Some(id)) =
                        (&self.sessions.table, machine.peek_session_id(rest))
                    {
                        machine.offer_session(table.find(&id, self.now));
                    }
                    machine
                        .handle_bytes(env, rest)
                        .map(|received| received.map(|received| (received.event, received.rest)))
                }
                Machine::TlsSession(machine) => machine
                    .handle_bytes(env, rest)
                    .map(|received| received.map(|received| (received.event, received.rest))),
                Machine::Acceptor(_) | Machine::Gone => Ok(None),
            };
            let is_over = match received {
                Ok(None) => break,
                Err(error) => {
                    outcome.error = Some(error);
                    break;
                }
                Ok(Some((event, behind))) => {
                    rest = behind;
                    match &event {
                        Some(Event::Plaintext(text)) => outcome.plaintexts.push(text.to_vec()),
                        Some(Event::Closed) => outcome.is_closed = true,
                        _ => {}
                    }
                    matches!(event, Some(Event::Established(_)))
                }
            };
            if is_over {
                self.machine.transmit(env, &mut raw);
                let (resumable, cacheable) = self.machine.become_session();
                self.sessions.keep(resumable, cacheable);
            }
        }
        self.machine.transmit(env, &mut raw);
        (outcome, raw)
    }

    fn transmit(&mut self) -> Vec<Vec<u8>> {
        let mut raw = Vec::new();
        let env = &mut Env::new(self.now, &mut self.rng);
        self.machine.transmit(env, &mut raw);
        raw
    }

    /// Lets the machine's timer run out.
    pub fn time_out(&mut self, now: Instant) -> Outcome {
        self.now = now;
        let env = &mut Env::new(now, &mut self.rng);
        let error = match &mut self.machine {
            Machine::DtlsClient(machine) => machine.handle_timeout(env).err(),
            Machine::DtlsServer(machine) => machine.handle_timeout(env).err(),
            Machine::TlsClient(machine) => machine.handle_timeout(env).err(),
            Machine::TlsServer(machine) => machine.handle_timeout(env).err(),
            _ => None,
        };
        let raw = self.transmit();
        Outcome {
            error,
            sent: self.digest(&raw),
            ..Outcome::default()
        }
    }

    pub fn close(&mut self) -> Outcome {
        match &mut self.machine {
            Machine::DtlsSession(session, _) => session.close(),
            Machine::TlsSession(session) => session.close(),
            _ => panic!("no session"),
        }
        let raw = self.transmit();
        Outcome {
            sent: self.digest(&raw),
            ..Outcome::default()
        }
    }

    /// Seals application data in the machine's session and opens it at the peer.
    pub fn hear(&mut self, text: &[u8]) -> Result<Vec<Sent>, ChannelError> {
        let mut out = vec![0; text.len() + 64];
        let len = match &mut self.machine {
            Machine::DtlsSession(session, _) => session.seal(text, &mut out)?,
            Machine::TlsSession(session) => session.seal(text, &mut out)?,
            _ => panic!("no session: {}", self.state()),
        };
        Ok(self.digest(&[out[..len].to_vec()]))
    }

    /// Reads what the machine sent, opens it, and keeps transcript and keys up.
    fn digest(&mut self, raw: &[Vec<u8>]) -> Vec<Sent> {
        let mut sent = Vec::new();
        for datagram in raw {
            let mut bytes = datagram.clone();
            let mut rest: &mut [u8] = &mut bytes;
            while !rest.is_empty() {
                let (content_type, payload, behind) = match self.kind.protocol {
                    Protocol::Dtls => {
                        let (record, behind) = DtlsRecord::decode(rest).unwrap();
                        let content_type = record.content_type;
                        let payload = if record.number.epoch() == EpochNumber(0) {
                            record.fragment.to_vec()
                        } else {
                            match self.opener.as_mut() {
                                // RFC 5246 §7.1: before ChangeCipherSpec nothing is protected.
                                Some(Opener::Dtls(opener)) if self.machine_has_changed => {
                                    opener.open(record).map(|opened| opened.plaintext.to_vec())
                                }
                                _ => Ok(Vec::new()),
                            }
                            .unwrap_or_default()
                        };
                        (content_type, payload, behind)
                    }
                    Protocol::Tls => {
                        let (record, behind) = TlsRecord::decode(rest).unwrap().unwrap();
                        let content_type = record.content_type;
                        let payload = match self.opener.as_mut() {
                            Some(Opener::Tls(opener)) if self.machine_has_changed => opener
                                .open(record)
                                .map(|plaintext| plaintext.to_vec())
                                .unwrap_or_default(),
                            _ => record.fragment.to_vec(),
                        };
                        (content_type, payload, behind)
                    }
                };
                rest = behind;
                match content_type {
                    ContentType::ChangeCipherSpec => {
                        self.machine_has_changed = true;
                        sent.push(Sent::ChangeCipherSpec);
                    }
                    ContentType::Alert => sent.push(match payload[..] {
                        [level, description] => Sent::Alert(level, description),
                        _ => Sent::Alert(0, 255),
                    }),
                    ContentType::ApplicationData => sent.push(Sent::Data(payload)),
                    _ => self.digest_messages(&payload, &mut sent),
                }
            }
        }
        if matches!(
            sent.first(),
            Some(Sent::Message(..) | Sent::ChangeCipherSpec)
        ) {
            self.last_flight.clone_from(&sent);
        }
        sent
    }

    fn digest_messages(&mut self, payload: &[u8], sent: &mut Vec<Sent>) {
        let header_len = if self.kind.is_dtls() { 12 } else { 4 };
        let mut rest = payload;
        if rest.is_empty() {
            self.machine_finished = Some(false);
            sent.push(Sent::Message(20, Vec::new()));
        }
        while !rest.is_empty() {
            let code = rest[0];
            let len = usize::from(u16::from_be_bytes([rest[2], rest[3]]));
            let seq = match self.kind.protocol {
                Protocol::Dtls => u16::from_be_bytes([rest[4], rest[5]]),
                Protocol::Tls => self.machine_next_seq,
            };
            let (message, behind) = rest.split_at(header_len + len);
            let body = &message[header_len..];
            rest = behind;
            sent.push(Sent::Message(code, body.to_vec()));
            if seq < self.machine_next_seq || code == 3 || code == 0 {
                continue;
            }
            self.machine_next_seq = seq + 1;
            match code {
                1 => {
                    self.transcript.clear();
                    self.client_random.copy_from_slice(&body[2..34]);
                    self.sessions.offered_id = session_id_of(body).to_vec();
                }
                2 => {
                    self.server_random.copy_from_slice(&body[2..34]);
                    let id = session_id_of(body);
                    let suite = &body[35 + id.len()..][..2];
                    self.suite = CipherSuite(u16::from_be_bytes([suite[0], suite[1]]));
                    // RFC 5246 §7.4.1.3: the session whose ID comes back is resumed.
                    let own_id = session_id_of(&self.transcript[header_len..]);
                    let is_resumed = !id.is_empty() && id == own_id;
                    self.sessions.id = id.to_vec();
                    if let (true, Some(master)) = (is_resumed, self.sessions.master.clone()) {
                        self.set_keys(master);
                    }
                }
                4 => self.sessions.ticket = body[6..].to_vec(),
                12 if self.kind.kx == Kx::EcdheEcdsa => {
                    let group = u16::from_be_bytes([body[1], body[2]]);
                    self.group = NamedGroup::from_code_point(group).unwrap();
                    self.machine_public_key = body[4..][..usize::from(body[3])].to_vec();
                }
                16 if self.kind.kx == Kx::EcdheEcdsa => {
                    self.machine_public_key = body[1..].to_vec();
                }
                12 if self.kind.kx == Kx::EcdhePsk => {
                    let group = u16::from_be_bytes([body[3], body[4]]);
                    self.group = NamedGroup::from_code_point(group).unwrap();
                    self.machine_public_key = body[6..].to_vec();
                }
                16 if self.kind.kx == Kx::EcdhePsk => {
                    self.machine_public_key = body[2 + self.identity.len() + 1..].to_vec();
                }
                20 => {
                    let expected = self.verify_data(self.kind.side);
                    self.machine_finished = Some(expected == body);
                }
                _ => {}
            }
            self.transcript.extend(message);
            if code == 16 {
                self.derive_keys();
            }
        }
    }

    fn derive_keys(&mut self) {
        let other_secret = match self.kind.kx {
            kx if kx.is_psk() => vec![0; PSK.len()],
            _ => {
                let key = SoftCrypto.agreement_key(self.group, &[7; 32]).unwrap();
                match key.agree(&self.machine_public_key) {
                    Ok(secret) => secret.expose().to_vec(),
                    Err(_) => vec![0; 32],
                }
            }
        };
        let mut premaster = Vec::new();
        if self.kind.kx == Kx::EcdheEcdsa {
            premaster.extend(other_secret);
        } else {
            for secret in [&other_secret[..], PSK] {
                premaster.extend(u16::try_from(secret.len()).unwrap().to_be_bytes());
                premaster.extend(secret);
            }
        }
        let master = if self.has_extended_master_secret {
            let hash = sha256(&self.transcript);
            prf(&premaster, b"extended master secret", &hash, 48)
        } else {
            let seed = [self.client_random, self.server_random].concat();
            prf(&premaster, b"master secret", &seed, 48)
        };
        self.set_keys(master);
    }

    fn set_keys(&mut self, master: Vec<u8>) {
        let algorithm = self.suite.aead().unwrap();
        let key_len = algorithm.key_len();
        let iv_len = TrafficKeys::<SoftAead>::iv_len(algorithm);
        let seed = [self.server_random, self.client_random].concat();
        let block = prf(&master, b"key expansion", &seed, 2 * (key_len + iv_len));
        let (keys, ivs) = block.split_at(2 * key_len);
        let write_key = |at: usize| WriteKey {
            algorithm,
            key: keys[at * key_len..(at + 1) * key_len].to_vec(),
            iv: ivs[at * iv_len..(at + 1) * iv_len].to_vec(),
        };
        let (machine, peer) = match self.kind.side {
            Side::Client => (write_key(0), write_key(1)),
            Side::Server => (write_key(1), write_key(0)),
        };
        self.opener = Some(match self.kind.protocol {
            Protocol::Dtls => Opener::Dtls(DtlsOpener::new(machine.keys(), EpochNumber(1))),
            Protocol::Tls => Opener::Tls(TlsOpener::new(machine.keys())),
        });
        self.keys = Some(Keys { master, peer });
    }

    /// Has the peer seal with keys that the machine doesn't have.
    pub fn spoil_keys(&mut self) {
        let opener = self.opener.take();
        self.set_keys(vec![0x5a; 48]);
        self.opener = opener;
    }

    fn verify_data(&self, sender: Side) -> Vec<u8> {
        let label: &[u8] = match sender {
            Side::Client => b"client finished",
            Side::Server => b"server finished",
        };
        match &self.keys {
            Some(keys) => prf(&keys.master, label, &sha256(&self.transcript), 12),
            None => vec![0; 12],
        }
    }

    /// Returns the content type and payload of the record that carries `name`.
    pub fn payload(&self, name: &str, seq: u16) -> (u8, Vec<u8>) {
        let (kind, variant) = name.split_once(':').unwrap_or((name, ""));
        let Some(code) = type_of(kind) else {
            return match kind {
                "ChangeCipherSpec" if variant.is_empty() => (20, vec![1]),
                "ChangeCipherSpec" => (20, vec![2]),
                "alert_warning" => (21, vec![1, 90]),
                "alert_fatal" => (21, vec![2, 40]),
                "close_notify" => (21, vec![1, 0]),
                "application_data" => (23, b"data".to_vec()),
                "content_99" => (99, b"what is this".to_vec()),
                _ => panic!("{name}"),
            };
        };
        let mut body = match variant {
            "cut_off" | "left_over" => self.body(kind, ""),
            _ => self.body(kind, variant),
        };
        match variant {
            "cut_off" => {
                body.pop();
            }
            "left_over" => body.push(0),
            _ => {}
        }
        (22, self.message(code, seq, &body))
    }

    /// Puts a handshake header before a body.
    pub fn message(&self, code: u8, seq: u16, body: &[u8]) -> Vec<u8> {
        let len = u32::try_from(body.len()).unwrap().to_be_bytes();
        let mut message = vec![code, len[1], len[2], len[3]];
        if self.kind.is_dtls() {
            message.extend(seq.to_be_bytes());
            message.extend([0, 0, 0, len[1], len[2], len[3]]);
        }
        message.extend(body);
        message
    }

    fn record_of(&mut self, form: Form, code: u8, seq: u16, body: &[u8]) -> Vec<u8> {
        let message = self.message(code, seq, body);
        self.record(form, 22, &message)
    }

    /// Makes a record under the peer's next number; under made-up keys where there are none yet. A
    /// TLS record in clear has no number.
    pub fn record(&mut self, form: Form, content_type: u8, payload: &[u8]) -> Vec<u8> {
        match form {
            Form::Clear => {
                let number = self.next_number;
                self.next_number += 1;
                self.clear_record(number, content_type, payload)
            }
            Form::Protected => {
                let number = self.next_sealed;
                // Records under made-up keys are nobody's and use no number up.
                self.next_sealed += u64::from(self.keys.is_some());
                self.sealed_record(1, number, content_type, payload)
            }
        }
    }

    pub fn clear_record(&self, number: u64, content_type: u8, payload: &[u8]) -> Vec<u8> {
        let mut out = vec![0; payload.len() + 13];
        let mut writer = Writer::new(&mut out);
        let content_type = ContentType::from(content_type);
        match self.kind.protocol {
            Protocol::Dtls => {
                let number = RecordNumber::new(EpochNumber(0), number).unwrap();
                encode_record(content_type, DTLS_1_2, number, payload, &mut writer).unwrap();
            }
            Protocol::Tls => {
                encode_tls_record(content_type, TLS_1_2, payload, &mut writer).unwrap();
            }
        }
        writer.written().to_vec()
    }

    pub fn sealed_record(
        &self,
        epoch: u16,
        number: u64,
        content_type: u8,
        payload: &[u8],
    ) -> Vec<u8> {
        let keys = match &self.keys {
            Some(keys) => keys.peer.keys(),
            None => {
                let algorithm = self.suite.aead().unwrap();
                TrafficKeys::new(&SoftCrypto, algorithm, &[1; 16], &[2; 4]).unwrap()
            }
        };
        let mut out = vec![0; payload.len() + 64];
        let content_type = ContentType::from(content_type);
        let len = match self.kind.protocol {
            Protocol::Dtls => DtlsSealer::starting_at(keys, EpochNumber(epoch), number).seal(
                content_type,
                payload,
                &mut out,
            ),
            Protocol::Tls => {
                TlsSealer::starting_at(keys, number).seal(content_type, payload, &mut out)
            }
        }
        .unwrap();
        out.truncate(len);
        out
    }

    /// Lets the honest peer go on to the end; whether the machine then has a session whose Finished
    /// messages both verified, and data goes both ways.
    pub fn complete(&mut self) -> Result<(), String> {
        for _ in 0..8 {
            let state = self.state();
            match state {
                "Established" => return self.talk(),
                "Closed" => return Err("closed".to_owned()),
                _ => {}
            }
            let outcome = self.send(state);
            if self.state() == state || outcome.error.is_some() {
                return Err(format!("{state}: {outcome:?}"));
            }
            if self.machine_finished == Some(false) {
                return Err("the machine's Finished is not the peer's".to_owned());
            }
        }
        Err("no end".to_owned())
    }

    /// Sends data both ways.
    pub fn talk(&mut self) -> Result<(), String> {
        let record = self.record(Form::Protected, 23, b"over the hedge");
        let outcome = self.feed(&record);
        if outcome.plaintexts != [b"over the hedge".to_vec()] {
            return Err(format!("data: {outcome:?}"));
        }
        let heard = self.hear(b"and back").map_err(|error| error.to_string())?;
        if heard != [Sent::Data(b"and back".to_vec())] {
            return Err(format!("heard: {heard:?}"));
        }
        Ok(())
    }

    /// Lets time pass, so that a duplicate may be answered and the own timer has not run out yet.
    pub fn wait(&mut self) {
        self.now = self.now + Duration::from_millis(700);
    }
}

/// A ServerHello's session ID, and a ClientHello's.
fn session_id_of(hello: &[u8]) -> &[u8] {
    &hello[35..][..usize::from(hello[34])]
}

/// Chains need more room than raw public keys, and a hello with a ticket more than one without.
fn buffers_for(kx: Kx, is_x509: bool) -> Buffers<Bytes> {
    let len = match (is_x509, kx.has_resumption()) {
        (true, _) => 4_096,
        (false, true) => 1_024,
        (false, false) => 512,
    };
    Buffers {
        incoming: vec![0; len].into(),
        outgoing: vec![0; len].into(),
    }
}

/// The long-term key of either end, the same in every run.
fn long_term_key(side: Side) -> &'static SoftSigningKey {
    &long_term(side).0
}

/// An end's public key as a SubjectPublicKeyInfo.
fn spki(side: Side) -> &'static [u8] {
    &long_term(side).1
}

fn long_term(side: Side) -> &'static (SoftSigningKey, [u8; 91]) {
    static OF_CLIENT: OnceLock<(SoftSigningKey, [u8; 91])> = OnceLock::new();
    static OF_SERVER: OnceLock<(SoftSigningKey, [u8; 91])> = OnceLock::new();
    let (place, number) = match side {
        Side::Client => (&OF_CLIENT, 3),
        Side::Server => (&OF_SERVER, 4),
    };
    place.get_or_init(|| {
        let scheme = SignatureScheme::EcdsaSecp256r1Sha256;
        let key = SoftCrypto.signing_key(scheme, &[number; 32]).unwrap();
        let mut public_key = [0; P256_PUBLIC_KEY_LEN];
        let len = key.write_public_key(&mut public_key);
        assert_eq!(len, Ok(P256_PUBLIC_KEY_LEN));
        (key, encode_p256_spki(&public_key))
    })
}

/// What an end signs with, and what it accepts of the other end.
fn long_term_keys(side: Side, is_x509: bool, clients: ClientCertificates) -> LongTermKeys {
    let [of_client, of_server] = CERTIFICATES;
    let (other, own_certificate, certificate) = match side {
        Side::Client => (Side::Server, of_client, of_server),
        Side::Server => (Side::Client, of_server, of_client),
    };
    LongTermKeys {
        key: long_term_key(side),
        peer: spki(other),
        clients,
        x509: is_x509.then(|| {
            let public_key = decode_p256_spki(spki(other)).unwrap();
            (own_certificate, certificate, *public_key)
        }),
    }
}

fn sha256(bytes: &[u8]) -> Vec<u8> {
    let mut hash = SoftCrypto.sha256();
    hash.update(bytes);
    hash.finish().to_vec()
}

fn hmac(key: &[u8], bytes: &[u8]) -> Vec<u8> {
    let mut hmac = SoftCrypto.hmac_sha256(key);
    hmac.update(bytes);
    hmac.finish().to_vec()
}

/// RFC 5246 §5.
fn prf(secret: &[u8], label: &[u8], seed: &[u8], len: usize) -> Vec<u8> {
    let seed = [label, seed].concat();
    let mut a = hmac(secret, &seed);
    let mut out = Vec::new();
    while out.len() < len {
        out.extend(hmac(secret, &[&a[..], &seed].concat()));
        a = hmac(secret, &a);
    }
    out.truncate(len);
    out
}
