//! What scripts bring about.

use hedgerow_handshake::{ClientState, ServerState};

use crate::counts::Counts;

/// Everything that is counted, in the order of a handshake.
const NAMES: [&str; 26] = [
    "client_expect_server_hello",
    "client_expect_certificate",
    "client_expect_server_key_exchange",
    "client_expect_certificate_request",
    "client_expect_server_hello_done",
    "client_expect_change_cipher_spec",
    "client_expect_finished",
    "client_established",
    "client_alert_sent",
    "client_alert_received",
    "client_handshake_timeout",
    "client_credentials_refused",
    "client_truncated",
    "server_expect_client_hello",
    "server_expect_certificate",
    "server_expect_client_key_exchange",
    "server_expect_certificate_verify",
    "server_expect_change_cipher_spec",
    "server_expect_finished",
    "server_established",
    "server_alert_sent",
    "server_alert_received",
    "server_handshake_timeout",
    "server_truncated",
    "session_plaintext",
    "session_closed",
];

static COUNTS: Counts<{ NAMES.len() }> = Counts::new();

pub(super) fn count(name: &str) {
    let at = NAMES.iter().position(|&known| known == name);
    assert!(at.is_some(), "{name} isn't counted");
    COUNTS.count(at);
}

pub(super) fn count_run() {
    COUNTS.count_run();
}

/// Returns how often everything was reached by [`tls_machine`](super::tls_machine) in this process.
pub fn tls_machine_reached() -> Vec<(&'static str, u64)> {
    COUNTS.named(NAMES)
}

/// Writes the counts to stderr in one line, now and then.
pub fn report_tls_reached() {
    COUNTS.report(NAMES);
}

/// Counts a client's state where it is another one than before.
pub(super) fn note_client(before: &mut Option<ClientState>, now: ClientState) {
    if before.replace(now) != Some(now) {
        count(match now {
            ClientState::ExpectServerHello { .. } => "client_expect_server_hello",
            ClientState::ExpectCertificate => "client_expect_certificate",
            ClientState::ExpectServerKeyExchange => "client_expect_server_key_exchange",
            ClientState::ExpectCertificateRequest => "client_expect_certificate_request",
            ClientState::ExpectServerHelloDone => "client_expect_server_hello_done",
            ClientState::ExpectChangeCipherSpec => "client_expect_change_cipher_spec",
            ClientState::ExpectFinished => "client_expect_finished",
            ClientState::Established => "client_established",
            // Counted by its fault.
            ClientState::Failed => return,
            other => unreachable!("{other:?} isn't counted"),
        });
    }
}

/// Counts a server's state where it is another one than before.
pub(super) fn note_server(before: &mut Option<ServerState>, now: ServerState) {
    if before.replace(now) != Some(now) {
        count(match now {
            ServerState::ExpectClientHello => "server_expect_client_hello",
            ServerState::ExpectCertificate => "server_expect_certificate",
            ServerState::ExpectClientKeyExchange => "server_expect_client_key_exchange",
            ServerState::ExpectCertificateVerify => "server_expect_certificate_verify",
            ServerState::ExpectChangeCipherSpec => "server_expect_change_cipher_spec",
            ServerState::ExpectFinished => "server_expect_finished",
            ServerState::Established => "server_established",
            // Counted by its fault.
            ServerState::Failed => return,
            other => unreachable!("{other:?} isn't counted"),
        });
    }
}
