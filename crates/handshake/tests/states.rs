//! Every message in every state of every machine, in every form, against a table that was derived
//! from the RFCs and not from this code: `state_table.txt`, whose head explains it.
//!
//! Each cell is a fresh machine, brought into its state by a scripted honest peer; then one message
//! is put in. What the machine does has to be one of the table's alternatives. Where it is to have
//! no effect, the honest handshake completes afterwards; where it is fatal, nothing is accepted any
//! more.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod common;
#[path = "common/scripted.rs"]
mod scripted;
#[path = "common/state_table.rs"]
mod state_table;

use std::collections::BTreeMap;
use std::time::Duration;

use hedgerow_core::{ChannelError, Instant, Misuse, NamedGroup, PeerFault};
use hedgerow_record::Protocol;

use scripted::{Form, Kind, Kx, Outcome, Sent, Setup, Side, Stand, type_of};
use state_table::{Cell, Row, Seen, matches_word, state_named, table};

const NAMES: [&str; 19] = [
    "HelloRequest",
    "ClientHello",
    "ServerHello",
    "HelloVerifyRequest",
    "NewSessionTicket",
    "Certificate",
    "ServerKeyExchange",
    "CertificateRequest",
    "ServerHelloDone",
    "CertificateVerify",
    "ClientKeyExchange",
    "Finished",
    "handshake_99",
    "ChangeCipherSpec",
    "alert_warning",
    "alert_fatal",
    "close_notify",
    "application_data",
    "content_99",
];

/// Cells where the machine does what the table doesn't allow, as `machine | kx | state | message |
/// what it does`, with their number and why that stands. Each is met, and no others.
const DEVIATES: [(&str, usize, &str); 18] = [
    (
        "dtls-client | * | ChangeCipherSpec | ServerHelloDone replayed old | resend",
        3,
        EPOCH_0_HAS_NO_WINDOW,
    ),
    (
        "dtls-client | PSK_TICKET | NewSessionTicket | ServerHelloDone replayed old | resend",
        1,
        EPOCH_0_HAS_NO_WINDOW,
    ),
    (
        "dtls-server | * | ClientKeyExchange | ClientHello replayed old | resend",
        3,
        EPOCH_0_HAS_NO_WINDOW,
    ),
    (
        "dtls-server | * | ChangeCipherSpec | ClientHello replayed old | resend",
        2,
        EPOCH_0_HAS_NO_WINDOW,
    ),
    (
        "dtls-server | ECDHE_ECDSA | Certificate | ClientHello replayed old | resend",
        1,
        EPOCH_0_HAS_NO_WINDOW,
    ),
    (
        "dtls-server | * | ClientHello | ClientHello clear old | next *",
        6,
        ACCEPTOR_HAS_NO_STATE,
    ),
    (
        "dtls-server | * | ClientHello | ClientHello clear early | next *",
        6,
        ACCEPTOR_HAS_NO_STATE,
    ),
    (
        "dtls-server | * | ClientKeyExchange | alert_fatal clear - | drop",
        4,
        ANYBODYS_ALERT,
    ),
    (
        "dtls-server | * | ClientKeyExchange | close_notify clear - | drop",
        4,
        ANYBODYS_ALERT,
    ),
    (
        "dtls-server | * | ChangeCipherSpec | alert_fatal clear - | drop",
        6,
        ANYBODYS_ALERT,
    ),
    (
        "dtls-server | * | ChangeCipherSpec | close_notify clear - | drop",
        6,
        ANYBODYS_ALERT,
    ),
    (
        "* | * | Established | ClientHello:scsv protected * | warn 100",
        12,
        REFUSED_UNREAD,
    ),
    (
        "dtls-server | * | Established | ClientHello:no_renegotiation_info protected next | warn 100",
        6,
        REFUSED_UNREAD,
    ),
    (
        "tls-server | * | Established | ClientHello:no_renegotiation_info protected - | warn 100",
        6,
        REFUSED_UNREAD,
    ),
    (
        "dtls-server | ECDHE_ECDSA | Certificate | alert_fatal clear - | drop",
        1,
        ANYBODYS_ALERT,
    ),
    (
        "dtls-server | ECDHE_ECDSA | Certificate | close_notify clear - | drop",
        1,
        ANYBODYS_ALERT,
    ),
    (
        "dtls-server | ECDHE_ECDSA | CertificateVerify | alert_fatal clear - | drop",
        1,
        ANYBODYS_ALERT,
    ),
    (
        "dtls-server | ECDHE_ECDSA | CertificateVerify | close_notify clear - | drop",
        1,
        ANYBODYS_ALERT,
    ),
];

const EPOCH_0_HAS_NO_WINDOW: &str = "replay detection is optional (RFC 6347 §3.3), and numbers that \
    nobody authenticates would let anybody move a window; copies are answered once in half a timeout";

const ACCEPTOR_HAS_NO_STATE: &str = "without state any number is the next one: a client that has \
    answered two HelloVerifyRequests comes with 2; the cookie covers the rest";

const ANYBODYS_ALERT: &str = "in clear anybody can have sent it, to end a handshake that isn't his; \
    one that its client gave up ends at the deadline, and a client's alerts count under keys";

const REFUSED_UNREAD: &str = "every hello is refused unread, by the no_renegotiation that RFC 5246 \
    §7.2.2 has for it; RFC 5746 §3.7 aborts the handshake, and none has begun";

/// How many messages in clear a DTLS machine kept and ended the handshake for when their turn came,
/// as the table allows: each of 13 that has no place after the next one. A client ignores HelloRequest
/// everywhere, and where a message may be left out, the next but one has a place too. Before ServerHello,
/// which is run twice, they are 10 with PSK and else 11; before ServerKeyExchange 11 each with PSK and
/// ECDHE_PSK. A promised ticket adds as many as PSK has, 11 before ServerHelloDone, and 11 before a
/// ServerHello that resumes and promises one; without one nothing in clear has a turn behind that. With ECDHE_ECDSA they are 11 before Certificate, 10 before ServerKeyExchange and 11 before
/// CertificateRequest; and a server, which keeps no ClientHello, has 11 before Certificate and before
/// ClientKeyExchange. Later there are none: what is kept is forgotten with epoch 0. Under the keys there is
/// one thing that is kept, a Finished ahead of the ticket, which may be promised in both kinds of handshake.
const ENDED_IN_THEIR_TURN: usize =
    2 * (10 + 11 + 11) + 2 * 11 + (11 + 10 + 11) + 2 * 11 + (2 * 10 + 11 + 11) + 2 * 11 + 2;

/// Where replays in epoch 0 can't be brought about beyond those of what was taken, and why.
const NO_WINDOW_YET: [&str; 44] = [
    "dtls-client | PSK | ServerHello",
    "dtls-client | PSK | ServerKeyExchange",
    "dtls-client | PSK | ServerHelloDone",
    "dtls-client | PSK | ChangeCipherSpec",
    "dtls-client | ECDHE_PSK | ServerHello",
    "dtls-client | ECDHE_PSK | ServerKeyExchange",
    "dtls-client | ECDHE_PSK | ServerHelloDone",
    "dtls-client | ECDHE_PSK | ChangeCipherSpec",
    "dtls-client | ECDHE_ECDSA | ServerHello",
    "dtls-client | ECDHE_ECDSA | Certificate",
    "dtls-client | ECDHE_ECDSA | ServerKeyExchange",
    "dtls-client | ECDHE_ECDSA | CertificateRequest",
    "dtls-client | ECDHE_ECDSA | ServerHelloDone",
    "dtls-client | ECDHE_ECDSA | ChangeCipherSpec",
    "dtls-client | PSK_TICKET | ServerHello",
    "dtls-client | PSK_TICKET | ServerKeyExchange",
    "dtls-client | PSK_TICKET | ServerHelloDone",
    "dtls-client | PSK_TICKET | NewSessionTicket",
    "dtls-client | PSK_TICKET | ChangeCipherSpec",
    "dtls-client | RESUMED_ID | ServerHello",
    "dtls-client | RESUMED_ID | ChangeCipherSpec",
    "dtls-client | RESUMED_TICKET | ServerHello",
    "dtls-client | RESUMED_TICKET | ChangeCipherSpec",
    "dtls-client | RESUMED_NEW_TICKET | ServerHello",
    "dtls-client | RESUMED_NEW_TICKET | NewSessionTicket",
    "dtls-client | RESUMED_NEW_TICKET | ChangeCipherSpec",
    "dtls-server | PSK | ClientHello",
    "dtls-server | PSK | ClientKeyExchange",
    "dtls-server | PSK | ChangeCipherSpec",
    "dtls-server | ECDHE_PSK | ClientHello",
    "dtls-server | ECDHE_PSK | ClientKeyExchange",
    "dtls-server | ECDHE_PSK | ChangeCipherSpec",
    "dtls-server | ECDHE_ECDSA | ClientHello",
    "dtls-server | ECDHE_ECDSA | Certificate",
    "dtls-server | ECDHE_ECDSA | ClientKeyExchange",
    "dtls-server | ECDHE_ECDSA | CertificateVerify",
    "dtls-server | ECDHE_ECDSA | ChangeCipherSpec",
    "dtls-server | PSK_TICKET | ClientHello",
    "dtls-server | PSK_TICKET | ClientKeyExchange",
    "dtls-server | PSK_TICKET | ChangeCipherSpec",
    "dtls-server | RESUMED_ID | ClientHello",
    "dtls-server | RESUMED_ID | ChangeCipherSpec",
    "dtls-server | RESUMED_TICKET | ClientHello",
    "dtls-server | RESUMED_TICKET | ChangeCipherSpec",
];

const WHY_NO_WINDOW: &str = "replayed, beyond byte for byte copies of what was taken: no record was \
    opened under keys yet, so that no window has seen a number (RFC 6347 §3.3, §4.1.2.6)";

/// Lines that an earlier one with the same reactions covers: `* forged *` and `* clear *`.
const COVERED: [&str; 4] = [
    "dtls-client Finished:wrong_key",
    "dtls-server Finished:wrong_key",
    "tls-client Finished:wrong_key",
    "tls-server Finished:wrong_key",
];

/// Puts a record in and says what the machine made of it.
fn put(stand: &mut Stand, name: &str, record: &[u8]) -> Seen {
    let before = stand.state();
    let flight = stand.last_flight.clone();
    let outcome = stand.take(name, record);
    seen(stand, name, before, &flight, &outcome)
}

fn seen(stand: &Stand, name: &str, before: &str, flight: &[Sent], outcome: &Outcome) -> Seen {
    let after = stand.state();
    let other = || Seen::Else(format!("{before} to {after}: {outcome:?}"));
    let sent = &outcome.sent[..];
    // An acceptor refuses and remembers nothing, so that it has no state to end.
    let is_over = after == "Closed" || after == "ClientHello" && stand.kind.is_dtls();
    match outcome.error {
        Some(ChannelError::Peer(PeerFault::AlertSent { description })) => {
            let is_sent = sent == [Sent::Alert(2, description)];
            return match is_over && is_sent {
                true => Seen::Fatal(description),
                false => other(),
            };
        }
        Some(ChannelError::Peer(
            PeerFault::AlertReceived { .. } | PeerFault::CredentialsRefused,
        )) if is_over => {
            return match sent {
                [] => Seen::Close,
                [Sent::Alert(1, 0)] => Seen::ReplyCloseNotify,
                _ => other(),
            };
        }
        Some(ChannelError::Misuse(Misuse::Closed)) if before == "Closed" => return Seen::Nothing,
        Some(_) => return other(),
        None => {}
    }
    if outcome.is_closed {
        return match sent {
            [] if is_over => Seen::Close,
            [Sent::Alert(1, 0)] if is_over => Seen::ReplyCloseNotify,
            _ => other(),
        };
    }
    match (&outcome.plaintexts[..], sent) {
        // A server that refuses a hello that its acceptor took is over before it is fed.
        ([], [Sent::Alert(2, description)]) if is_over => Seen::Fatal(*description),
        ([text], []) if text == b"data" && before == "Established" => Seen::Next("Established"),
        ([], _) if after != before => Seen::Next(state_named(after)),
        ([], [Sent::Message(1, _)]) if name.starts_with("HelloVerify") => Seen::Next("ServerHello"),
        ([], []) => Seen::Nothing,
        ([], [Sent::Alert(1, description)]) => Seen::Warn(*description),
        ([], _) if sent == flight => Seen::Resend,
        _ => other(),
    }
}

/// A machine that has ended takes nothing any more and says nothing.
fn assert_dead(stand: &mut Stand, cell: &Cell) {
    if stand.state() == "ClientHello" {
        return;
    }
    assert_eq!(stand.state(), "Closed", "{}", cell.name());
    for name in NAMES {
        for form in [Form::Clear, Form::Protected] {
            let (content_type, payload) = stand.payload(name, stand.next_seq);
            let record = stand.record(form, content_type, &payload);
            let outcome = stand.feed(&record);
            let is_quiet = outcome.plaintexts.is_empty() && outcome.sent.is_empty();
            let is_refused = matches!(
                outcome.error,
                None | Some(ChannelError::Misuse(Misuse::Closed))
            );
            assert!(
                is_quiet && is_refused,
                "{}: {name}: {outcome:?}",
                cell.name()
            );
            assert_eq!(stand.state(), "Closed", "{}: {name}", cell.name());
        }
    }
}

/// The suite's account.
struct Account {
    table: Vec<Row>,
    lines_met: Vec<bool>,
    cells: BTreeMap<&'static str, usize>,
    deviations: BTreeMap<String, usize>,
    not_brought_about: Vec<String>,
    /// How many cells' messages were kept and ended the handshake when their turn came.
    ended_in_their_turn: usize,
}

impl Account {
    fn new() -> Self {
        let table = table();
        Self {
            lines_met: vec![false; table.len()],
            table,
            cells: BTreeMap::new(),
            deviations: BTreeMap::new(),
            not_brought_about: Vec::new(),
            ended_in_their_turn: 0,
        }
    }

    /// Compares what was seen with the table; whether it is allowed.
    fn check(&mut self, cell: &Cell, seen: &Seen) -> bool {
        *self.cells.entry(cell.kind.machine()).or_default() += 1;
        let row = cell.row(&self.table);
        let at = self.table.iter().position(|other| other.line == row.line);
        self.lines_met[at.unwrap()] = true;
        if row.reactions.iter().any(|reaction| seen.is(reaction)) {
            return true;
        }
        let text = format!("{} | {}", cell.name(), seen.text());
        *self.deviations.entry(text).or_default() += 1;
        false
    }

    /// Runs a cell: `name` is what is sent, by the scripted peer's word for it.
    fn run(&mut self, stand: &mut Stand, cell: &Cell, name: &str, record: &[u8]) {
        let mut seen = put(stand, name, record);
        if matches!(
            name,
            "ServerKeyExchange:point_not_on_curve" | "ServerKeyExchange:x25519_shared_secret_zero"
        ) {
            // Where the agreement is computed only behind ServerHelloDone, so is the check.
            while let Seen::Next(state @ ("CertificateRequest" | "ServerHelloDone")) = seen {
                let (content_type, payload) = stand.payload(state, stand.next_seq);
                let record = stand.record(Form::Clear, content_type, &payload);
                seen = put(stand, state, &record);
            }
        }
        self.check(cell, &seen);
        if cell.state == "Closed" || seen.is_end() {
            assert_dead(stand, cell);
            return;
        }
        if cell.kind.is_dtls() && cell.state == "ClientHello" && seen == Seen::Nothing {
            // The cookie was for the hello that came.
            stand.fetch_cookie("");
        }
        let is_early =
            cell.kind.is_dtls() && cell.message[1] == "clear" && cell.message[2] == "early";
        stand.queued = (is_early && seen == Seen::Nothing).then(|| name.to_owned());
        let completed = stand.complete();
        if name.ends_with("unknown_identity") || name.ends_with("identity_forbidden_by_policy") {
            assert_ne!(stand.state(), "Established", "{}", cell.name());
        } else if completed.is_err() && self.ends_in_its_turn(stand, cell) {
            self.ended_in_their_turn += 1;
        } else if let Err(what) = completed {
            let text = format!("{} | {}, then {what}", cell.name(), seen.text());
            *self.deviations.entry(text).or_default() += 1;
        }
    }

    /// Each deviation is one that is written down above, and each of those is met.
    fn assert_deviations(&self) {
        let mut counts = [0; DEVIATES.len()];
        for (cell, times) in &self.deviations {
            let known = DEVIATES
                .iter()
                .position(|(pattern, ..)| matches_cell(pattern, cell));
            match known {
                Some(at) => counts[at] += times,
                None => panic!("{cell}\nand in all: {:#?}", self.deviations),
            }
        }
        for ((pattern, expected, why), found) in DEVIATES.iter().zip(counts) {
            println!("DEVIATES {found} x {pattern}: {why}");
            assert_eq!(found, *expected, "{pattern}");
        }
    }

    /// Says whether a machine ended because a message that was kept for its turn has, in the state
    /// after this one, the effect that the table gives it there.
    fn ends_in_its_turn(&self, stand: &Stand, cell: &Cell) -> bool {
        let [name, form, seq] = &cell.message;
        let states = cell.kind.states();
        let at = states.iter().position(|&state| state == cell.state);
        // A Finished ahead of the ticket is made of a transcript without it.
        let is_finished =
            (cell.state, &name[..], &form[..]) == ("NewSessionTicket", "Finished", "protected");
        let (state, name) = match is_finished {
            true => ("Finished", "Finished:wrong_verify_data"),
            false => (states[at.unwrap() + 1], &name[..]),
        };
        let turn = Cell {
            kind: cell.kind,
            state,
            message: words([name, form, "next"]),
        };
        let is_fatal = |reaction: &&str| reaction.starts_with("fatal");
        (form == "clear" || is_finished)
            && seq == "early"
            && cell.kind.is_dtls()
            && stand.state() == "Closed"
            && turn.row(&self.table).reactions.iter().any(is_fatal)
    }
}

fn matches_cell(pattern: &str, cell: &str) -> bool {
    let pattern: Vec<_> = pattern
        .split([' ', '|'])
        .filter(|word| !word.is_empty())
        .collect();
    let cell: Vec<_> = cell
        .split([' ', '|'])
        .filter(|word| !word.is_empty())
        .collect();
    pattern.len() == cell.len()
        && pattern
            .iter()
            .zip(&cell)
            .all(|(pattern, word)| matches_word(pattern, word))
}

fn kinds() -> Vec<Kind> {
    let mut kinds = Vec::new();
    for protocol in [Protocol::Dtls, Protocol::Tls] {
        for side in [Side::Client, Side::Server] {
            for kx in [
                Kx::Psk,
                Kx::EcdhePsk,
                Kx::EcdheEcdsa,
                Kx::PskTicket,
                Kx::ResumedId,
                Kx::ResumedTicket,
                Kx::ResumedNewTicket,
            ] {
                // Servers of this crate renew no tickets.
                if (side, kx) != (Side::Server, Kx::ResumedNewTicket) {
                    kinds.push(Kind { protocol, side, kx });
                }
            }
        }
    }
    kinds
}

/// Brings a machine into a state, `Closed` by one of the ways into it.
fn stand_in(kind: Kind, state: &str, way: usize, setup: &Setup<'_>) -> Stand {
    if state != "Closed" {
        let setup = Setup {
            asks_for_no_cookie: way == 1,
            ..*setup
        };
        let mut stand = Stand::in_state(kind, state, &setup);
        stand.wait();
        return stand;
    }
    let (at, name) = match (way, kind.side) {
        (0, _) => ("Established", "close_notify"),
        (1, _) => ("Established", "alert_fatal"),
        (2, Side::Client) => ("ServerHello", "ServerHello:cut_off"),
        (2, Side::Server) if kind.kx.is_resumed() => ("Finished", "Finished:cut_off"),
        (2, Side::Server) => ("ClientKeyExchange", "ClientKeyExchange:cut_off"),
        _ => ("Finished", "Finished:wrong_verify_data"),
    };
    let mut stand = Stand::in_state(kind, at, setup);
    let form = match at {
        "Established" | "Finished" => Form::Protected,
        _ => Form::Clear,
    };
    let (content_type, payload) = stand.payload(name, stand.next_seq);
    let record = stand.record(form, content_type, &payload);
    stand.feed(&record);
    assert_eq!(stand.state(), "Closed", "{kind:?} {name}");
    stand
}

fn ways_into(kind: Kind, state: &str) -> std::ops::Range<usize> {
    match state {
        "Closed" => 0..4,
        // With a cookie asked for, and without.
        "ServerHello" if kind.is_dtls() => 0..2,
        _ => 0..1,
    }
}

/// The message_seq that the table's word means.
fn seq_of(stand: &Stand, state: &str, name: &str, word: &str) -> u16 {
    let begins_anew = state == "Established"
        && (name.starts_with("HelloRequest") || name.starts_with("ClientHello"));
    match word {
        "next" if begins_anew => 0,
        "old" => stand.next_seq.saturating_sub(1),
        "early" => stand.next_seq + 1,
        _ => stand.next_seq,
    }
}

fn words(words: [&str; 3]) -> [String; 3] {
    words.map(str::to_owned)
}

/// Whether a window has seen anything in `state`.
fn has_window(state: &str) -> bool {
    matches!(state, "Finished" | "Established" | "Closed")
}

fn run_forms(account: &mut Account, kind: Kind, state: &'static str, way: usize) {
    for name in NAMES {
        let is_message = type_of(name).is_some();
        let is_first = (state, way) == ("ServerHello", 1);
        let seqs: &[&str] = match (kind.protocol, is_message) {
            // Nothing is older than the first message.
            (Protocol::Dtls, true) if is_first => &["next", "early"],
            (Protocol::Dtls, true) => &["next", "old", "early"],
            _ => &["-"],
        };
        let fresh = || stand_in(kind, state, way, &Setup::default());
        for &seq in seqs {
            let cell = |form: &str| Cell {
                kind,
                state,
                message: words([name, form, seq]),
            };
            let mut forms = vec![(Form::Clear, "clear")];
            if kind.is_dtls() || has_window(state) {
                forms.push((Form::Protected, "protected"));
            }
            for (form, word) in forms {
                let mut stand = fresh();
                let seq = seq_of(&stand, state, name, seq);
                let (content_type, payload) = stand.payload(name, seq);
                let record = stand.record(form, content_type, &payload);
                account.run(&mut stand, &cell(word), name, &record);
            }
            if !kind.is_dtls() {
                continue;
            }
            for forgery in 0..4 {
                let mut stand = fresh();
                let seq = seq_of(&stand, state, name, seq);
                let (content_type, payload) = stand.payload(name, seq);
                let number = stand.next_sealed;
                let mut record = stand.sealed_record(1, number, content_type, &payload);
                match forgery {
                    0 => *record.last_mut().unwrap() ^= 1,
                    1 => record = stand.sealed_record(2, number, content_type, &payload),
                    // Too short for a nonce and a tag.
                    2 => {
                        record.truncate(16);
                        record[12] = 3;
                        record[11] = 0;
                    }
                    // A version that isn't the one negotiated.
                    _ => record[2] = 0xff,
                }
                account.run(&mut stand, &cell("forged"), name, &record);
            }
            if has_window(state) {
                for is_below in [false, true] {
                    let mut stand = fresh();
                    let seq = seq_of(&stand, state, name, seq);
                    let number = stand.next_sealed;
                    let first = number + if is_below { 100 } else { 0 };
                    let harmless = stand.sealed_record(1, first, 21, &[1, 90]);
                    let outcome = stand.feed(&harmless);
                    assert_eq!(outcome.error, None);
                    stand.next_sealed = first + 1;
                    let (content_type, payload) = stand.payload(name, seq);
                    let record = stand.sealed_record(1, number, content_type, &payload);
                    account.run(&mut stand, &cell("replayed"), name, &record);
                }
            }
        }
    }
    if kind.is_dtls() && !has_window(state) && way == 0 {
        let name = format!("{} | {} | {state}", kind.machine(), kind.kx.name());
        account.not_brought_about.push(name);
        let taken = stand_in(kind, state, way, &Setup::default()).history.len();
        for at in 0..taken {
            let mut stand = stand_in(kind, state, way, &Setup::default());
            let (name, record) = stand.history[at].clone();
            let name = name.split(':').next().unwrap();
            let seq = if type_of(name).is_some() { "old" } else { "-" };
            let cell = Cell {
                kind,
                state,
                message: words([name, "replayed", seq]),
            };
            account.run(&mut stand, &cell, name, &record);
        }
    }
}

/// The contents that certificates have and raw public keys haven't: a list can be empty, and nobody
/// judges a raw public key but the one who is asked for it.
const X509_VARIANTS: [&str; 3] = [
    "Certificate:empty",
    "Certificate:not_trusted",
    "CertificateRequest:nothing_suitable",
];

/// The contents that the last section of the table has, by the peer's word and the table's.
fn variants(kind: Kind, state: &str) -> Vec<(String, String)> {
    let mut words: Vec<(&str, &str)> = match (kind.side, state) {
        (Side::Client, "ServerHello") => vec![
            ("ServerHello:other_version", ""),
            ("ServerHello:suite_not_offered", ""),
            ("ServerHello:scsv_chosen", "ServerHello:suite_not_offered"),
            ("ServerHello:compression_not_null", ""),
            ("ServerHello:unsolicited_extension", ""),
            ("ServerHello:extension_twice", ""),
            ("ServerHello:no_extended_master_secret", ""),
            ("ServerHello:no_renegotiation_info", ""),
            ("ServerHello:renegotiation_info_not_empty", ""),
        ],
        (Side::Server, "ClientHello") => vec![
            ("ClientHello:lower_version", ""),
            ("ClientHello:higher_version", ""),
            ("ClientHello:unknown_suites_and_extensions", ""),
            ("ClientHello:unknown_session_id", ""),
            ("ClientHello:no_extended_master_secret", ""),
            ("ClientHello:no_scsv_no_renegotiation_info", ""),
            ("ClientHello:no_extensions_block", ""),
            ("ClientHello:no_common_suite", ""),
            ("ClientHello:no_null_compression", ""),
            ("ClientHello:renegotiation_info_not_empty", ""),
            ("ClientHello:extension_twice", ""),
        ],
        (Side::Server, "ClientKeyExchange") if kind.kx != Kx::EcdheEcdsa => vec![
            ("ClientKeyExchange:unknown_identity", ""),
            ("ClientKeyExchange:identity_forbidden_by_policy", ""),
        ],
        (_, "ChangeCipherSpec") => vec![("ChangeCipherSpec:not_one_octet_1", "")],
        (_, "Finished") => vec![("Finished:wrong_verify_data", "")],
        (Side::Server, "Established") => vec![
            ("ClientHello:scsv", ""),
            ("ClientHello:no_renegotiation_info", ""),
        ],
        _ => Vec::new(),
    };
    words.extend(match (kind.side, state) {
        (Side::Client, "ServerHello") if kind.kx.is_resumed() => &[
            ("ServerHello:other_session_id", ""),
            ("ServerHello:resumed_with_other_suite", ""),
        ][..],
        (Side::Client, "NewSessionTicket") => &[("NewSessionTicket:empty_ticket", "")],
        (Side::Server, "ClientHello") if kind.kx.is_resumed() => {
            &[("ClientHello:session_without_its_suite", "")]
        }
        _ => &[],
    });
    if (kind.side, kind.kx, state) == (Side::Server, Kx::ResumedTicket, "ClientHello") {
        words.push(("ClientHello:ticket_forged", ""));
    }
    if kind.kx == Kx::EcdhePsk {
        words.extend(match (kind.side, state) {
            (Side::Client, "ServerHello") => &[
                ("ServerHello:aead_suite_with_other_version", ""),
                ("ServerHello:no_point_formats", ""),
                ("ServerHello:point_formats_without_uncompressed", ""),
            ][..],
            (Side::Client, "ServerKeyExchange") => &[
                ("ServerKeyExchange:group_not_offered", ""),
                ("ServerKeyExchange:explicit_curve", ""),
                ("ServerKeyExchange:point_not_on_curve", ""),
                ("ServerKeyExchange:compressed_point", ""),
                ("ServerKeyExchange:x25519_shared_secret_zero", ""),
            ],
            (Side::Server, "ClientHello") => &[
                ("ClientHello:no_common_group", ""),
                ("ClientHello:no_supported_groups", ""),
                ("ClientHello:no_point_formats", ""),
                ("ClientHello:point_formats_without_uncompressed", ""),
            ],
            (Side::Server, "ClientKeyExchange") => &[
                ("ClientKeyExchange:point_not_on_curve", ""),
                ("ClientKeyExchange:x25519_shared_secret_zero", ""),
            ],
            _ => &[],
        });
    }
    if kind.kx == Kx::EcdheEcdsa {
        words.extend(match (kind.side, state) {
            (Side::Client, "ServerHello") => &[
                ("ServerHello:no_point_formats", ""),
                ("ServerHello:point_formats_without_uncompressed", ""),
            ][..],
            (Side::Client, "Certificate") => &[
                ("Certificate:empty", ""),
                ("Certificate:raw_public_key_empty", ""),
                ("Certificate:wrong_key_type", ""),
                ("Certificate:not_trusted", ""),
                ("Certificate:raw_public_key_not_trusted", ""),
            ],
            (Side::Client, "ServerKeyExchange") => &[
                ("ServerKeyExchange:group_not_offered", ""),
                ("ServerKeyExchange:explicit_curve", ""),
                ("ServerKeyExchange:point_not_on_curve", ""),
                ("ServerKeyExchange:compressed_point", ""),
                ("ServerKeyExchange:x25519_shared_secret_zero", ""),
                ("ServerKeyExchange:bad_signature", ""),
                ("ServerKeyExchange:signature_algorithm_not_offered", ""),
            ],
            (Side::Client, "CertificateRequest") => &[("CertificateRequest:nothing_suitable", "")],
            (Side::Server, "ClientHello") => &[
                ("ClientHello:no_common_group", ""),
                ("ClientHello:no_supported_groups", ""),
                ("ClientHello:no_point_formats", ""),
                ("ClientHello:point_formats_without_uncompressed", ""),
                ("ClientHello:no_common_certificate_type", ""),
            ],
            (Side::Server, "Certificate") => &[
                ("Certificate:empty", ""),
                ("Certificate:raw_public_key_empty", ""),
                ("Certificate:not_trusted", ""),
                ("Certificate:raw_public_key_not_trusted", ""),
            ],
            (Side::Server, "ClientKeyExchange") => &[
                ("ClientKeyExchange:point_not_on_curve", ""),
                ("ClientKeyExchange:x25519_shared_secret_zero", ""),
            ],
            (Side::Server, "CertificateVerify") => &[
                ("CertificateVerify:bad_signature", ""),
                ("CertificateVerify:signature_algorithm_not_requested", ""),
            ],
            _ => &[],
        });
    }
    if kind.is_dtls() && state == "ServerHello" {
        words.push(("HelloVerifyRequest:version_fefd", ""));
        words.push(("HelloVerifyRequest:version_feff", ""));
    }
    let mut words: Vec<(String, String)> = words
        .into_iter()
        .map(|(own, table)| {
            let table = if table.is_empty() { own } else { table };
            (own.to_owned(), table.to_owned())
        })
        .collect();
    let is_handshake = !matches!(state, "ChangeCipherSpec" | "Established" | "Closed");
    if is_handshake {
        for fault in ["cut_off", "left_over"] {
            // Nothing can be cut off an empty message.
            if (state, fault) != ("ServerHelloDone", "cut_off") {
                words.push((format!("{state}:{fault}"), format!("{state}:malformed")));
            }
        }
    }
    words
}

fn run_variants(account: &mut Account, kind: Kind, state: &'static str) {
    for (name, table_name) in variants(kind, state) {
        let variant = name.split_once(':').unwrap().1;
        let setup = Setup {
            hello: if name.starts_with("ClientHello") && state == "ClientHello" {
                variant
            } else {
                ""
            },
            is_forbidden: variant == "identity_forbidden_by_policy",
            group: match &name[..] {
                "ClientKeyExchange:point_not_on_curve" | "ClientHello:no_supported_groups" => {
                    Some(NamedGroup::Secp256r1)
                }
                _ => None,
            },
            asks_for_no_cookie: false,
            asks_nobody: false,
            is_x509: X509_VARIANTS.contains(&&table_name[..]),
        };
        let form = match has_window(state) {
            true => Form::Protected,
            false => Form::Clear,
        };
        let mut stand = stand_in(kind, state, 0, &setup);
        let is_message = type_of(name.split(':').next().unwrap()).is_some();
        let word = if is_message && kind.is_dtls() {
            "next"
        } else {
            "-"
        };
        let seq = seq_of(&stand, state, &name, word);
        let (content_type, payload) = stand.payload(&name, seq);
        let record = stand.record(form, content_type, &payload);
        let form = if form == Form::Clear {
            "clear"
        } else {
            "protected"
        };
        let cell = Cell {
            kind,
            state,
            message: words([&table_name, form, word]),
        };
        account.run(&mut stand, &cell, &name, &record);
    }
}

/// What the table has that is neither a message in a form nor a content.
fn run_others(account: &mut Account, kind: Kind) {
    for &state in kind.states() {
        for clear in [true, false] {
            let mut stand = stand_in(kind, state, 0, &Setup::default());
            let mut record = match kind.protocol {
                // The longest fragment that a length can claim, and the shortest that is too long.
                Protocol::Dtls => stand.clear_record(stand.next_number, 22, &[0; 16]),
                Protocol::Tls => stand.clear_record(0, 22, &[0; 16]),
            };
            let header_len = record.len() - 16;
            let fragment_len: u16 = match (clear, has_window(state)) {
                (true, _) => (1 << 14) + 2049,
                (false, false) => (1 << 14) + 1,
                (false, true) => (1 << 14) + 8 + 16 + 1,
            };
            record[header_len - 2..header_len].copy_from_slice(&fragment_len.to_be_bytes());
            record.truncate(header_len);
            // What is expected stands in front, so that it would be seen to be taken.
            let (_, payload) = match state {
                "ChangeCipherSpec" | "Finished" | "Established" | "Closed" => (22, Vec::new()),
                _ => stand.payload(state, stand.next_seq),
            };
            record.extend(payload);
            record.resize(header_len + usize::from(fragment_len), 0);
            let cell = Cell {
                kind,
                state,
                message: words(["record:too_long", "clear", "-"]),
            };
            account.run(&mut stand, &cell, "record:too_long", &record);
        }
    }
    let cell = |state: &'static str, message| Cell {
        kind,
        state,
        message: words(message),
    };
    // Keys that differ.
    let mut stand = stand_in(kind, "Finished", 0, &Setup::default());
    let honest = stand.payload("Finished", stand.next_seq);
    stand.spoil_keys();
    let record = stand.record(Form::Protected, honest.0, &honest.1);
    let message = match kind.protocol {
        Protocol::Dtls => ["Finished:wrong_key", "forged", "next"],
        Protocol::Tls => ["Finished:wrong_key", "clear", "-"],
    };
    let seen = put(&mut stand, "Finished", &record);
    account.check(&cell("Finished", message), &seen);
    match (kind.protocol, kind.side) {
        (Protocol::Dtls, Side::Server) => {
            let flight = stand.last_flight.clone();
            let outcome = stand.time_out(Instant::ZERO + Duration::from_secs(31));
            let seen = self::seen(&stand, "", "Finished", &flight, &outcome);
            let cell = cell("Finished", ["handshake_deadline", "-", "-"]);
            account.check(&cell, &seen);
            assert_dead(&mut stand, &cell);
            run_record_version(
                account,
                kind,
                [0xfe, 0xff],
                "ClientHello:record_version_feff",
            );
        }
        (Protocol::Tls, Side::Server) => {
            for minor in [0, 1, 2, 4, 255] {
                run_record_version(account, kind, [3, minor], "ClientHello:record_version_03xx");
            }
        }
        (_, Side::Client) => {
            let mut stand = Stand::new(kind, &Setup::default());
            stand.wait();
            let (content_type, payload) =
                stand.payload("ServerHello:no_renegotiation_info", stand.next_seq);
            let record = stand.record(Form::Clear, content_type, &payload);
            stand.take("ServerHello:no_renegotiation_info", &record);
            stand.complete().unwrap();
            let (content_type, payload) = stand.payload("HelloRequest", 0);
            let record = stand.record(Form::Protected, content_type, &payload);
            let word = if kind.is_dtls() { "next" } else { "-" };
            let name = "HelloRequest:server_without_renegotiation_info";
            let cell = cell("Established", [name, "protected", word]);
            account.run(&mut stand, &cell, "HelloRequest", &record);
        }
    }
}

fn run_record_version(account: &mut Account, kind: Kind, version: [u8; 2], name: &str) {
    let mut stand = stand_in(kind, "ClientHello", 0, &Setup::default());
    let (content_type, payload) = stand.payload("ClientHello", stand.next_seq);
    let mut record = stand.record(Form::Clear, content_type, &payload);
    record[1..3].copy_from_slice(&version);
    let word = if kind.is_dtls() { "next" } else { "-" };
    let cell = Cell {
        kind,
        state: "ClientHello",
        message: words([name, "clear", word]),
    };
    account.run(&mut stand, &cell, "ClientHello", &record);
}

#[test]
fn every_message_in_every_state_has_a_reaction_that_the_rfcs_allow() {
    let mut account = Account::new();
    for kind in kinds() {
        for &state in kind.states() {
            for way in ways_into(kind, state) {
                run_forms(&mut account, kind, state, way);
            }
            run_variants(&mut account, kind, state);
        }
        run_others(&mut account, kind);
    }
    for (machine, cells) in &account.cells {
        println!("{machine}: {cells} cells");
    }
    println!(
        "kept for their turn, and fatal then: {}",
        account.ended_in_their_turn
    );
    assert_eq!(account.ended_in_their_turn, ENDED_IN_THEIR_TURN);
    println!("not brought about: {WHY_NO_WINDOW}:");
    for name in &account.not_brought_about {
        println!("  {name}");
    }
    assert_eq!(account.not_brought_about, NO_WINDOW_YET);
    let met = |(row, is_met): (&Row, &bool)| {
        (!is_met).then(|| format!("{} {}", row.machine, row.message[0]))
    };
    let mut unmet: Vec<_> = account
        .table
        .iter()
        .zip(&account.lines_met)
        .filter_map(met)
        .collect();
    unmet.sort();
    assert_eq!(unmet, COVERED, "lines of the table that no cell has met");
    account.assert_deviations();
}

/// RFC 5246 §7.4.6, §7.4.8: a client that wasn't asked for a certificate sends neither that nor a
/// signature; whoever does has sent a message out of its order.
#[test]
fn server_that_asks_for_no_certificate_takes_neither_it_nor_a_signature() {
    let setup = Setup {
        asks_nobody: true,
        ..Setup::default()
    };
    for protocol in [Protocol::Dtls, Protocol::Tls] {
        let (side, kx) = (Side::Server, Kx::EcdheEcdsa);
        let kind = Kind { protocol, side, kx };
        let mut states = Vec::new();
        for state in ["ClientKeyExchange", "ChangeCipherSpec"] {
            for name in ["Certificate", "CertificateVerify"] {
                let mut stand = Stand::in_state(kind, state, &setup);
                states.extend(stand.history.iter().map(|(name, _)| name.clone()));
                let (content_type, payload) = stand.payload(name, stand.next_seq);
                let record = stand.record(Form::Clear, content_type, &payload);
                let seen = put(&mut stand, name, &record);
                // In clear behind a DTLS client's whole flight, it is as nothing (RFC 6347 §4.1.2.7).
                let is_dropped = kind.is_dtls() && state == "ChangeCipherSpec";
                let expected = if is_dropped {
                    Seen::Nothing
                } else {
                    Seen::Fatal(10)
                };
                assert_eq!(seen, expected, "{kind:?} {state} {name}");
            }
        }
        assert!(!states.iter().any(|name| name.starts_with("Certificate")));
        let mut stand = Stand::in_state(kind, "ClientKeyExchange", &setup);
        assert_eq!(stand.complete(), Ok(()), "{kind:?}");
    }
}
