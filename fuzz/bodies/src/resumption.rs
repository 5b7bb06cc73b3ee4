//! Resumption in `hedgerow-handshake` over a stream: a session, and then an attempt to resume it while
//! somebody on the path changes bytes; and any bytes as a ticket.
//!
//! ```text
//! config(1)   by session ID instead of a ticket (bit 0), an expired session (bit 1), other keys (bit 2),
//!             the rest is bits to flip in the ticket that was issued (bit 3)
//! changes(1)  how many, up to 15; then each: flight(1) place(2) bits to flip(1)
//! the rest    shown to the server as a ticket, and to a client as a NewSessionTicket
//! ```

use std::time::Duration;

use hedgerow_core::{
    Credentials, Env, Event, Instant, Peer, PeerId, Psk, Reader, SecureStream, Writer,
};
use hedgerow_crypto_soft::{SoftAead, SoftCrypto};
use hedgerow_handshake::{
    Buffers, ResumableSession, ServerResumption, SessionSlot, SessionTable, Settings, TicketKeys,
    TlsClientHandshake, TlsServerHandshake, TlsSession,
};
use hedgerow_record::{CipherSuite, NewSessionTicket};
use hedgerow_sim::TestRng;

use crate::counts::Counts;

const IDENTITY: &[u8] = b"lamp";
const PSK: &[u8] = b"sixteen byte key";
const LIFETIME: Duration = Duration::from_secs(3_600);
const CLIENT: Peer = Peer::Psk(PeerId(1));
const SERVER: Peer = Peer::Psk(PeerId(2));

/// What is counted.
const NAMES: [&str; 8] = [
    "resumed_by_ticket",
    "resumed_by_session_id",
    "full_after_expiry",
    "full_after_restart",
    "failed_after_change",
    "own_ticket_opened",
    "foreign_ticket_refused",
    "new_session_ticket_decoded",
];
static COUNTS: Counts<{ NAMES.len() }> = Counts::new();

type Change<'c> = &'c mut dyn FnMut(usize, &mut [u8]);
type Sessions = SessionTable<[SessionSlot; 2]>;

/// What a connection came to at either end.
#[derive(Default)]
struct Ends {
    client: Option<(TlsSession<SoftAead>, Option<ResumableSession>, bool)>,
    server: Option<(TlsSession<SoftAead>, bool)>,
}

/// Resumes a session while bytes change: whoever establishes it is who it was, and only a handshake
/// that nobody has touched resumes at both ends.
pub fn resumption(input: &[u8]) {
    let mut script = Reader::new(input);
    let (Ok(config), Ok(change_count)) = (script.u8(), script.u8()) else {
        return;
    };
    COUNTS.count_run();
    let mut changes = Vec::new();
    for _ in 0..change_count % 16 {
        let change = (|| Some((script.u8().ok()?, script.u16().ok()?, script.u8().ok()?)))();
        let Some(change) = change else {
            return;
        };
        changes.push(change);
    }
    let mut rng = TestRng::new(7);
    let mut env = Env::new(Instant::ZERO, &mut rng);
    let mut keys = TicketKeys::draw(LIFETIME, &mut env);
    if config & 1 != 0 {
        keys = keys.without_tickets();
    }
    let mut table = SessionTable::new([SessionSlot::default(), SessionSlot::default()]);
    let first = connect(&mut env, &mut keys, &mut table, None, &mut |_, _| {});
    let (_, session, was_resumed) = first.client.expect("a full handshake");
    assert!(!was_resumed);
    let session = session.expect("something to resume by");
    let ticket = session.ticket().to_vec();

    let mut shown = script.rest().to_vec();
    if config & 8 != 0 {
        let changes = shown.into_iter().chain(std::iter::repeat(0));
        shown = ticket.iter().zip(changes).map(|(a, b)| a ^ b).collect();
    }
    let rest = shown.as_slice();
    let opens = keys.lease(&mut env).opens(&SoftCrypto, rest);
    assert!(!opens || rest == ticket, "a ticket that nobody has issued");
    count(match opens {
        true => "own_ticket_opened",
        false => "foreign_ticket_refused",
    });
    if let Ok(message) = NewSessionTicket::decode_exact(rest) {
        let mut out = vec![0; rest.len()];
        let mut writer = Writer::new(&mut out);
        message.encode(&mut writer).expect("it was as long before");
        assert_eq!(writer.written(), rest);
        count("new_session_ticket_decoded");
    }

    if config & 2 != 0 {
        env.now = env.now + LIFETIME;
    }
    if config & 4 != 0 {
        keys = TicketKeys::draw(LIFETIME, &mut env);
        table = SessionTable::new([SessionSlot::default(), SessionSlot::default()]);
    }
    let mut has_changed = false;
    let ends = connect(
        &mut env,
        &mut keys,
        &mut table,
        Some(session),
        &mut |n, bytes| {
            for &(flight, place, flip) in &changes {
                if usize::from(flight) == n
                    && let Some(byte) = bytes.get_mut(usize::from(place))
                {
                    *byte ^= flip;
                    has_changed |= flip != 0;
                }
            }
        },
    );
    let may_resume = config & 6 == 0;
    let Ends {
        client: Some((mut client, _, client_resumed)),
        server: Some((mut server, server_resumed)),
    } = ends
    else {
        assert!(has_changed, "an untouched handshake failed");
        count("failed_after_change");
        return;
    };
    assert_eq!(client_resumed, server_resumed);
    // Every message of a handshake is under its Finished: what was changed and holds was no message.
    assert_eq!(
        client_resumed, may_resume,
        "resumed what is over, or not what isn't"
    );
    count(match (client_resumed, config & 7) {
        (true, by) if by & 1 == 0 => "resumed_by_ticket",
        (true, _) => "resumed_by_session_id",
        (false, over) if over & 2 != 0 => "full_after_expiry",
        (false, _) => "full_after_restart",
    });
    assert_eq!((client.peer(), server.peer()), (SERVER, CLIENT));
    let mut record = [0; 64];
    let len = client.seal(b"there", &mut record).expect("it fits");
    let received = server.handle_bytes(&mut env, &mut record[..len]);
    let event = received.expect("the same keys").and_then(|it| it.event);
    assert!(matches!(event, Some(Event::Plaintext(text)) if text == b"there"));
}

fn count(name: &str) {
    let at = NAMES.iter().position(|&known| known == name);
    assert!(at.is_some(), "{name} isn't counted");
    COUNTS.count(at);
}

/// Returns how often everything was reached by [`resumption`] in this process.
pub fn resumption_reached() -> Vec<(&'static str, u64)> {
    COUNTS.named(NAMES)
}

/// Writes the counts to stderr in one line, now and then.
pub fn report_resumption_reached() {
    COUNTS.report(NAMES);
}

fn buffers() -> Buffers<[u8; 1024]> {
    Buffers {
        incoming: [0; 1024],
        outgoing: [0; 1024],
    }
}

/// Runs one connection, flight by flight.
fn connect(
    env: &mut Env<'_>,
    keys: &mut TicketKeys,
    table: &mut Sessions,
    session: Option<ResumableSession>,
    change: Change<'_>,
) -> Ends {
    let settings = Settings::new(&[
        CipherSuite::TLS_PSK_WITH_AES_128_CCM,
        CipherSuite::TLS_PSK_WITH_AES_128_CCM_8,
    ]);
    let psk = Psk::new(PSK).expect("its length");
    let shown = Credentials {
        psk_identity: IDENTITY,
        psk: &psk,
        peer: PeerId(2),
    };
    let store = (IDENTITY, Psk::new(PSK).expect("its length"), PeerId(1));
    let client = TlsClientHandshake::resuming(SoftCrypto, shown, settings, session, buffers(), env);
    let resumption = ServerResumption::new(keys.lease(env)).with_session_ids(None);
    let server =
        TlsServerHandshake::resuming(SoftCrypto, &store, settings, resumption, buffers(), env);
    let mut client = Some(client.expect("settings that fit"));
    let mut server = Some(server.expect("settings that fit"));
    let mut ends = Ends::default();
    let mut out = [0; 1200];
    for n in 0..6 {
        let is_client = n % 2 == 0;
        let mut flight = Vec::new();
        while flight.len() < 4_096 {
            if let Some(done) = client.take_if(|end| end.is_established() && end.is_sent()) {
                let done = done.into_session().expect("it is established");
                ends.client = Some((done.session, done.resumable, done.is_resumed));
            }
            if let Some(done) = server.take_if(|end| end.is_established() && end.is_sent()) {
                let done = done.into_session().expect("it is established");
                if let Some(session) = done.cacheable {
                    table.insert(session);
                }
                ends.server = Some((done.session, done.is_resumed));
            }
            let sent = match (is_client, &mut client, &mut server) {
                (true, Some(client), _) => client.poll_transmit(env, &mut out),
                (false, _, Some(server)) => server.poll_transmit(env, &mut out),
                (true, None, _) => match &mut ends.client {
                    Some((session, ..)) => session.poll_transmit(env, &mut out),
                    None => Ok(None),
                },
                (false, _, None) => match &mut ends.server {
                    Some((session, _)) => session.poll_transmit(env, &mut out),
                    None => Ok(None),
                },
            };
            let Ok(Some(len)) = sent else {
                break;
            };
            flight.extend_from_slice(&out[..len]);
        }
        if flight.is_empty() {
            break;
        }
        change(n, &mut flight);
        let mut rest = &mut flight[..];
        loop {
            let received = match (is_client, &mut client, &mut server) {
                (false, Some(client), _) => client.handle_bytes(env, rest),
                (true, _, Some(server)) => {
                    if let Some(wanted) = server.peek_session_id(rest) {
                        server.offer_session(table.find(&wanted, env.now));
                    }
                    server.handle_bytes(env, rest)
                }
                _ => break,
            };
            match received {
                Ok(Some(received)) => rest = received.rest,
                Ok(None) => break,
                Err(_) => return Ends::default(),
            }
        }
    }
    ends
}
