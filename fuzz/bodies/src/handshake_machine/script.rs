//! The attacker: what each step of a script does.

use std::sync::OnceLock;
use std::time::Duration;

use hedgerow_core::{Credentials, Env, Instant, PeerId, Psk, Reader, Writer};
use hedgerow_crypto_soft::SoftCrypto;
use hedgerow_handshake::{ExtendedMasterSecret, MIN_DATAGRAM_LEN, Settings};
use hedgerow_record::{
    CipherSuite, ConnectionId, ContentType, DTLS_1_2, DtlsRecord, EpochNumber, HandshakeType,
    MAX_PLAINTEXT_LEN, RECORD_HEADER_LEN, RecordNumber, encode_handshake_header, encode_record,
};
use hedgerow_sim::{Ledger, NonceLedger, TestRng};

use super::pair::{CLIENT, Pair, Resumes, SERVER, Setup};

/// Two pairs, their time and their randomness, and everything that was ever sent.
pub(super) struct World {
    pairs: [Pair; 2],
    /// Whether the script has touched the second pair; the first one is there in any case.
    is_second_used: bool,
    now: Instant,
    rng: TestRng,
    sent: Vec<Vec<u8>>,
}

impl World {
    pub(super) fn new(config: u8, resumption: u8) -> Self {
        let ledger = Ledger::new(u64::from(config) << 8 | u64::from(resumption));
        let mut rng = TestRng::new(1);
        let mut env = Env::new(Instant::ZERO, &mut rng);
        let mut pair = |name: &'static [u8], known_psk: &'static [u8]| {
            let mut pair = Pair::new(
                setup(config, resumption, name, known_psk),
                ["client", "server"].map(|node| NonceLedger::new(SoftCrypto, &ledger, node)),
                &mut env,
            );
            if resumption & 4 != 0 {
                pair.flush_client(&mut env);
                deliver_all(&mut pair, &mut env);
                pair = pair.meet_again(resumption & 8 != 0, &mut env);
            }
            pair
        };
        let mut pairs = [pair(b"thermometer", PSK), pair(b"lamp", OTHER_PSK)];
        for pair in &mut pairs {
            pair.flush_client(&mut env);
        }
        let mut world = Self {
            pairs,
            is_second_used: false,
            now: Instant::ZERO,
            rng,
            sent: Vec::new(),
        };
        world.note_sent(0, [0, 0]);
        world.note_sent(1, [0, 0]);
        world
    }

    /// Does the next step; `None` at the script's end.
    pub(super) fn step(&mut self, script: &mut Reader<'_>) -> Option<()> {
        let op = script.u8().ok()?;
        let pair = usize::from(op >> 4 & 1);
        let way = usize::from(op >> 5 & 1);
        self.is_second_used |= pair == 1;
        match op & 0x0f {
            0 => {
                if let Some(datagram) = self.take(pair, way) {
                    self.deliver(pair, way, &datagram);
                }
            }
            1 => drop(self.take(pair, way)),
            2 => {
                if let Some(datagram) = self.way(pair, way).front().cloned() {
                    self.deliver(pair, way, &datagram);
                }
            }
            3 => {
                if let Some(datagram) = self.take(pair, way) {
                    self.way(pair, way).push_back(datagram);
                }
            }
            4 => self.pass(script.u8().ok()?),
            5 => {
                let at = usize::from(script.u16().ok()?);
                self.overwrite(pair, way, at / 8, |byte| byte ^ (1 << (at % 8)));
            }
            6 => {
                let back = usize::from(script.u8().ok()?);
                let newest_first = self.sent.iter().rev();
                if let Some(datagram) = newest_first.cycle().nth(back).cloned() {
                    self.deliver(pair, way, &datagram);
                }
            }
            7 => {
                let content_type = ContentType::from(script.u8().ok()?);
                let epoch = EpochNumber(u16::from(script.u8().ok()?));
                let number = RecordNumber::new(epoch, u64::from(script.u8().ok()?))?;
                let record = record(content_type, number, script.vector8().ok()?)?;
                self.deliver(pair, way, &record);
            }
            8 => {
                let msg_type = HandshakeType::from(script.u8().ok()?);
                let message_seq = u16::from(script.u8().ok()?);
                let message = message(msg_type, message_seq, script.vector8().ok()?)?;
                let number = RecordNumber::new(EpochNumber(0), 0x100)?;
                let record = record(ContentType::Handshake, number, &message)?;
                self.deliver(pair, way, &record);
            }
            9 => {
                self.is_second_used = true;
                let fronts = [self.take(0, way), self.take(1, way)];
                for (pair, datagram) in [1, 0].into_iter().zip(fronts) {
                    self.way(pair, way).extend(datagram);
                }
            }
            10 => {
                let len = usize::from(script.u8().ok()?);
                let before = self.lengths(pair);
                self.pair(pair).say(way, len);
                self.note_sent(pair, before);
            }
            11 => self.act(pair, |pair, env| pair.close(way, env)),
            12 => {
                if let Some(datagram) = self.take(pair, way) {
                    for record in records(&datagram).into_iter().rev() {
                        self.way(pair, way).push_front(record);
                    }
                }
            }
            13 => {
                if let Some(mut datagram) = self.take(pair, way) {
                    datagram.extend(self.take(pair, way).unwrap_or_default());
                    self.way(pair, way).push_front(datagram);
                }
            }
            14 => self.deliver_all(pair),
            _ => {
                let at = usize::from(script.u16().ok()?);
                let value = script.u8().ok()?;
                self.overwrite(pair, way, at, |_| value);
            }
        }
        Some(())
    }

    /// Delivers everything, lets time pass until nobody waits for anything, and checks what must
    /// hold then.
    pub(super) fn conclude(&mut self) {
        let count = if self.is_second_used { 2 } else { 1 };
        for index in 0..count {
            self.deliver_all(index);
            let mut rounds = 0;
            while let Some(at) = self.pair(index).poll_timeout() {
                self.advance(at);
                self.deliver_all(index);
                rounds += 1;
                assert!(rounds < MAX_ROUNDS, "timers without an end");
            }
            let (now, rng) = (self.now, &mut self.rng);
            let mut env = Env::new(now, rng);
            if let Some(pair) = self.pairs.get_mut(index) {
                pair.conclude(|pair| deliver_all(pair, &mut env));
            }
        }
    }

    fn pass(&mut self, tenths: u8) {
        let until = match tenths {
            0 => self.pairs.iter().filter_map(Pair::poll_timeout).min(),
            tenths => Some(self.now + Duration::from_millis(100) * u32::from(tenths)),
        };
        let Some(until) = until else {
            return;
        };
        let mut rounds = 0;
        while let Some(at) = self.pairs.iter().filter_map(Pair::poll_timeout).min() {
            if at > until {
                break;
            }
            self.advance(at);
            rounds += 1;
            assert!(rounds < MAX_ROUNDS, "timers without an end");
        }
        self.advance(until);
    }

    /// Moves the clock and lets both pairs do what is due then.
    fn advance(&mut self, to: Instant) {
        self.now = self.now.max(to);
        for index in 0..2 {
            self.act(index, |pair, env| {
                let due = pair.handle_timeouts(env);
                let is_later = pair.poll_timeout().is_none_or(|at| at > env.now);
                assert!(!due || is_later, "a timer that was handled is still due");
            });
        }
    }

    fn deliver(&mut self, pair: usize, way: usize, datagram: &[u8]) {
        self.act(pair, |pair, env| pair.deliver(way, datagram, env));
    }

    fn deliver_all(&mut self, pair: usize) {
        self.act(pair, deliver_all);
    }

    /// Does something with a pair and notes what it sends.
    fn act(&mut self, index: usize, what: impl FnOnce(&mut Pair, &mut Env<'_>)) {
        let before = self.lengths(index);
        let mut env = Env::new(self.now, &mut self.rng);
        if let Some(pair) = self.pairs.get_mut(index) {
            what(pair, &mut env);
        }
        self.note_sent(index, before);
    }

    fn lengths(&mut self, pair: usize) -> [usize; 2] {
        [CLIENT, SERVER].map(|way| self.way(pair, way).len())
    }

    /// Remembers what stands in a pair's ways behind what stood there before.
    fn note_sent(&mut self, pair: usize, before: [usize; 2]) {
        for way in [CLIENT, SERVER] {
            let behind = before.get(way).copied().unwrap_or_default();
            let new: Vec<Vec<u8>> = self.way(pair, way).iter().skip(behind).cloned().collect();
            self.sent.extend(new);
        }
    }

    fn overwrite(&mut self, pair: usize, way: usize, at: usize, change: impl FnOnce(u8) -> u8) {
        if let Some(datagram) = self.way(pair, way).front_mut() {
            let at = at.checked_rem(datagram.len()).unwrap_or_default();
            if let Some(byte) = datagram.get_mut(at) {
                *byte = change(*byte);
            }
        }
    }

    fn take(&mut self, pair: usize, way: usize) -> Option<Vec<u8>> {
        self.way(pair, way).pop_front()
    }

    fn way(&mut self, pair: usize, way: usize) -> &mut std::collections::VecDeque<Vec<u8>> {
        let [to_server, to_client] = &mut self.pair(pair).ways;
        if way == CLIENT { to_server } else { to_client }
    }

    fn pair(&mut self, index: usize) -> &mut Pair {
        let [first, second] = &mut self.pairs;
        if index == 0 { first } else { second }
    }
}

/// Delivers what is on both ways, and what comes of it.
fn deliver_all(pair: &mut Pair, env: &mut Env<'_>) {
    for _ in 0..MAX_ROUNDS {
        let Some((way, datagram)) = [CLIENT, SERVER]
            .into_iter()
            .find_map(|way| Some((way, pair.ways.get_mut(way)?.pop_front()?)))
        else {
            return;
        };
        pair.deliver(way, &datagram, env);
    }
    unreachable!("datagrams without an end");
}

fn setup(config: u8, resumption: u8, name: &'static [u8], known_psk: &'static [u8]) -> Setup {
    let has = |bit: u8| config >> bit & 1 == 1;
    let suite = match config & 3 {
        0 => CipherSuite::TLS_PSK_WITH_AES_128_CCM_8,
        1 => CipherSuite::TLS_PSK_WITH_AES_128_CCM,
        2 => CipherSuite::TLS_PSK_WITH_AES_128_GCM_SHA256,
        _ => CipherSuite::TLS_PSK_WITH_CHACHA20_POLY1305_SHA256,
    };
    let mut client = Settings::new(&[suite]);
    if has(2) {
        client = client.with_extended_master_secret(ExtendedMasterSecret::Accepted);
    }
    if has(3) {
        client = client.with_max_datagram_len(MIN_DATAGRAM_LEN);
    }
    let mut server = client;
    if has(6) {
        let other = match config & 3 {
            0 => CipherSuite::TLS_PSK_WITH_AES_128_CCM,
            _ => CipherSuite::TLS_PSK_WITH_AES_128_CCM_8,
        };
        server = Settings::new(&[other]);
    }
    if has(7) {
        // Each end of each pair has its own; one end can't be told from another by length.
        let id = |end: u8| {
            let [first, ..] = name else {
                return ConnectionId::EMPTY;
            };
            ConnectionId::new(&[*first ^ end; ID_LEN]).expect("a short one")
        };
        client = client.with_connection_id(Some(id(0)));
        server = server.with_connection_id(Some(id(0x80)));
    }
    let psk = match (has(4), known_psk == PSK) {
        (true, _) => key(&WRONG, b"a wrong key"),
        (false, true) => key(&FIRST, PSK),
        (false, false) => key(&SECOND, OTHER_PSK),
    };
    Setup {
        name,
        credentials: Credentials {
            psk_identity: if has(5) { b"thermomeder" } else { name },
            psk,
            peer: PeerId(2),
        },
        known_identity: name,
        known_psk,
        client,
        server,
        resumes: match resumption & 3 {
            0 | 3 => Resumes::No,
            1 => Resumes::ByTicket,
            _ => Resumes::BySessionId,
        },
    }
}

fn key(place: &'static OnceLock<Psk>, bytes: &[u8]) -> &'static Psk {
    place.get_or_init(|| Psk::new(bytes).expect("a key of some bytes"))
}

/// Takes a datagram apart; what isn't a record stays with the last one.
pub(super) fn records(datagram: &[u8]) -> Vec<Vec<u8>> {
    let mut copy = datagram.to_vec();
    let (mut lengths, mut rest) = (Vec::new(), copy.as_mut_slice());
    while let Ok((record, behind)) = DtlsRecord::decode_with_connection_id(rest, ID_LEN) {
        let header_len = RECORD_HEADER_LEN.saturating_add(record.connection_id.len());
        lengths.push(header_len.saturating_add(record.fragment.len()));
        rest = behind;
    }
    let mut left = datagram;
    let mut records = Vec::new();
    for len in lengths {
        let (record, behind) = left.split_at(len);
        records.push(record.to_vec());
        left = behind;
    }
    match records.last_mut() {
        Some(last) => last.extend(left),
        None => records.push(left.to_vec()),
    }
    records
}

fn record(content_type: ContentType, number: RecordNumber, fragment: &[u8]) -> Option<Vec<u8>> {
    let mut out = vec![0; fragment.len().checked_add(RECORD_HEADER_LEN)?];
    assert!(fragment.len() <= MAX_PLAINTEXT_LEN);
    let mut writer = Writer::new(&mut out);
    encode_record(content_type, DTLS_1_2, number, fragment, &mut writer).ok()?;
    Some(out)
}

fn message(msg_type: HandshakeType, message_seq: u16, body: &[u8]) -> Option<Vec<u8>> {
    let mut out = vec![0; body.len().checked_add(12)?];
    let mut writer = Writer::new(&mut out);
    let length = u32::try_from(body.len()).ok()?;
    encode_handshake_header(msg_type, length, message_seq, 0, length, &mut writer).ok()?;
    writer.bytes(body).ok()?;
    Some(out)
}

/// How long the connection IDs are that both ends give, where there are any.
const ID_LEN: usize = 8;
const PSK: &[u8] = b"a key of 16 byte";
const OTHER_PSK: &[u8] = b"another 16 bytes";
static FIRST: OnceLock<Psk> = OnceLock::new();
static SECOND: OnceLock<Psk> = OnceLock::new();
static WRONG: OnceLock<Psk> = OnceLock::new();
/// More than any script of honest machines needs.
const MAX_ROUNDS: u32 = 2_000;
