//! How often the machines came into each state, over all inputs of a process.

use hedgerow_handshake::{ClientState, ServerState};

use crate::counts::Counts;

/// Declares what is counted once, with its name.
macro_rules! reached {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// Something that a script can bring about.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum Reached {
            $($(#[$doc])* $variant,)*
        }

        impl Reached {
            /// Everything, in the order of a handshake.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Returns the name under which it is reported.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

reached! {
    /// The client waits for the answer to its first hello.
    ClientExpectServerHello = "client_expect_server_hello",
    /// The client waits for the answer to a hello with a cookie.
    ClientExpectServerHelloWithCookie = "client_expect_server_hello_with_cookie",
    /// The client waits for ServerKeyExchange, or ServerHelloDone.
    ClientExpectServerKeyExchange = "client_expect_server_key_exchange",
    /// The client waits for ServerHelloDone behind a ServerKeyExchange.
    ClientExpectServerHelloDone = "client_expect_server_hello_done",
    /// The client waits for the ticket that the server has promised.
    ClientExpectNewSessionTicket = "client_expect_new_session_ticket",
    /// The client waits for ChangeCipherSpec.
    ClientExpectChangeCipherSpec = "client_expect_change_cipher_spec",
    /// The client waits for Finished.
    ClientExpectFinished = "client_expect_finished",
    /// The client is established.
    ClientEstablished = "client_established",
    /// The client has resumed a session.
    ClientResumed = "client_resumed",
    /// The client broke off and sent an alert.
    ClientAlertSent = "client_alert_sent",
    /// An alert in clear ended the client's handshake.
    ClientAlertInClear = "client_alert_in_clear",
    /// A verified alert ended the client's handshake.
    ClientAlertVerified = "client_alert_verified",
    /// The client gave up before it used its credentials.
    ClientHandshakeTimeout = "client_handshake_timeout",
    /// The client gave up, or was sent off, after it used its credentials.
    ClientCredentialsRefused = "client_credentials_refused",
    /// The acceptor sent a cookie.
    AcceptorAnswer = "acceptor_answer",
    /// The acceptor accepted a hello.
    AcceptorAccept = "acceptor_accept",
    /// The acceptor refused the offer of an address that had proved itself.
    AcceptorRefuse = "acceptor_refuse",
    /// The acceptor dropped a datagram.
    AcceptorDrop = "acceptor_drop",
    /// The server waits for ClientKeyExchange.
    ServerExpectClientKeyExchange = "server_expect_client_key_exchange",
    /// The server waits for ChangeCipherSpec.
    ServerExpectChangeCipherSpec = "server_expect_change_cipher_spec",
    /// The server waits for Finished.
    ServerExpectFinished = "server_expect_finished",
    /// The server is established.
    ServerEstablished = "server_established",
    /// The server has resumed a session.
    ServerResumed = "server_resumed",
    /// The server refused a hello that doesn't fit the session it names.
    ServerRefusedResumption = "server_refused_resumption",
    /// The server broke off before its deadline and sent an alert.
    ServerAlertSent = "server_alert_sent",
    /// A verified alert ended the server's handshake.
    ServerAlertVerified = "server_alert_verified",
    /// The server's deadline passed before the client used credentials.
    ServerHandshakeTimeout = "server_handshake_timeout",
    /// The server's deadline passed and the client's credentials hadn't verified.
    ServerCredentialsRefused = "server_credentials_refused",
    /// A session delivered plaintext.
    SessionPlaintext = "session_plaintext",
    /// A session dropped a record that didn't verify.
    SessionForgery = "session_forgery",
    /// A session dropped a record that it had opened before.
    SessionReplay = "session_replay",
    /// A server's session was asked for its last flight again.
    SessionFinalFlightAgain = "session_final_flight_again",
    /// A session was ended by its peer, whose handshake somebody broke.
    SessionEndedByHandshake = "session_ended_by_handshake",
    /// A session was closed by its peer.
    SessionClosed = "session_closed",
}

impl Reached {
    pub(super) fn count(self) {
        COUNTS.count(Self::ALL.iter().position(|&one| one == self));
    }
}

/// Returns how often everything was reached by [`handshake_machine`](super::handshake_machine) in
/// this process.
pub fn handshake_machine_reached() -> Vec<(&'static str, u64)> {
    COUNTS.named(names())
}

/// Writes the counts to stderr in one line, now and then.
pub fn report_reached() {
    COUNTS.report(names());
}

fn names() -> impl Iterator<Item = &'static str> {
    Reached::ALL.iter().map(|reached| reached.name())
}

pub(super) fn count_run() {
    COUNTS.count_run();
}

/// Counts a client's state where it is another one than before.
pub(super) fn note_client(before: &mut Option<ClientState>, now: ClientState) {
    if before.replace(now) == Some(now) {
        return;
    }
    match now {
        ClientState::ExpectServerHello { has_cookie: false } => {
            Reached::ClientExpectServerHello.count();
        }
        ClientState::ExpectServerHello { has_cookie: true } => {
            Reached::ClientExpectServerHelloWithCookie.count();
        }
        ClientState::ExpectServerKeyExchange => Reached::ClientExpectServerKeyExchange.count(),
        ClientState::ExpectServerHelloDone => Reached::ClientExpectServerHelloDone.count(),
        ClientState::ExpectNewSessionTicket => Reached::ClientExpectNewSessionTicket.count(),
        ClientState::ExpectChangeCipherSpec => Reached::ClientExpectChangeCipherSpec.count(),
        ClientState::ExpectFinished => Reached::ClientExpectFinished.count(),
        ClientState::Established => Reached::ClientEstablished.count(),
        // Counted by its fault.
        ClientState::Failed => {}
        other => unreachable!("{other:?} isn't counted"),
    }
}

/// Counts a server's state where it is another one than before.
pub(super) fn note_server(before: &mut Option<ServerState>, now: ServerState) {
    if before.replace(now) == Some(now) {
        return;
    }
    match now {
        ServerState::ExpectClientKeyExchange => Reached::ServerExpectClientKeyExchange.count(),
        ServerState::ExpectChangeCipherSpec => Reached::ServerExpectChangeCipherSpec.count(),
        ServerState::ExpectFinished => Reached::ServerExpectFinished.count(),
        ServerState::Established => Reached::ServerEstablished.count(),
        // Counted by its fault.
        ServerState::Failed => {}
        other => unreachable!("{other:?} isn't counted"),
    }
}

static COUNTS: Counts<{ Reached::ALL.len() }> = Counts::new();
