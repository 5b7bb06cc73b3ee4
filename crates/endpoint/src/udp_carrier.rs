//! The UDP carrier of the mode `auto`: a DTLS session between a client and its gateway, under a key
//! that the gateway has offered in a tunnel (`docs/specs/auto.md`). What it carries is not looked at.

mod client;
mod keys;
mod server;

use core::time::Duration;

use hedgerow_handshake::{Settings, Timers};
use hedgerow_record::CipherSuite;

pub use client::{UdpCarrierClient, UdpCarrierReceived};
pub use server::{UdpCarrierHandled, UdpCarrierId, UdpCarrierServer, UdpCarrierServerEvent};

/// What both ends offer: plain pre-shared keys, which are fresh and came through TLS, and full tags.
fn settings() -> Settings {
    let timers = Timers {
        initial_timeout: Duration::from_millis(500),
        max_timeout: Duration::from_secs(4),
        max_transmissions: 5,
        deadline: HANDSHAKE_DEADLINE,
    };
    Settings::new(&SUITES)
        .with_timers(timers)
        .with_max_datagram_len(MAX_FLIGHT_LEN)
}

const SUITES: [CipherSuite; 3] = [
    CipherSuite::TLS_PSK_WITH_AES_128_GCM_SHA256,
    CipherSuite::TLS_PSK_WITH_AES_128_CCM,
    CipherSuite::TLS_PSK_WITH_CHACHA20_POLY1305_SHA256,
];

/// When a handshake is given up: what can't be reached in this time isn't worth it yet.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);

/// The longest datagram of a flight, in bytes.
const MAX_FLIGHT_LEN: usize = 1_200;
