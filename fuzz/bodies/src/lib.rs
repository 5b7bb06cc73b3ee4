//! The bodies of the fuzz targets as plain functions, so that `cargo test` replays their seeds on
//! stable Rust.
//!
//! It may import every crate of the workspace and is imported by the targets in `fuzz/` alone, which
//! are one line each. It leaves out the fuzzer itself, which needs unstable compiler flags and so
//! lives in a workspace of its own.
//!
//! # A new target
//!
//! 1. A function in a module here, named as the target. It takes any bytes, asserts what must hold
//!    for them, and never draws randomness or time from outside.
//! 2. Its line in [`BODIES`].
//! 3. `fuzz/fuzz_targets/NAME.rs` and its `[[bin]]` in `fuzz/Cargo.toml`.
//! 4. Seeds in `fuzz/seeds/NAME/`, one input a file: valid ones first, and each input that once
//!    found something.
//!
//! # Example
//!
//! ```
//! hedgerow_fuzz_bodies::cursor(&[0x00, 0x02, 0x11, 0x22]);
//! assert!(hedgerow_fuzz_bodies::BODIES.iter().any(|body| body.name == "cursor"));
//! ```
//!
//! # Features
//!
//! None.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a body panics where something doesn't hold, and says what"
)]

mod acceptor;
mod adapt;
mod certificates;
mod cid_record;
mod coap_frame;
mod coap_link_format;
mod coap_message;
mod coap_uri;
mod connection;
mod counts;
mod cursor;
mod device_http;
mod dtls_record;
mod exchange;
mod handshake_fragment;
mod handshake_machine;
mod hellos;
mod http_request;
mod itls;
mod itls_forwarder;
mod leg;
mod resumption;
mod tls_machine;
mod translate;
mod tunnel_stream;
mod x509_chain;

pub use acceptor::acceptor;
pub use adapt::adapt;
pub use certificates::certificates;
pub use cid_record::cid_record;
pub use coap_frame::coap_frame;
pub use coap_link_format::coap_link_format;
pub use coap_message::coap_message;
pub use coap_uri::coap_uri;
pub use connection::connection;
pub use cursor::cursor;
pub use device_http::device_http;
pub use dtls_record::dtls_record;
pub use exchange::exchange;
pub use handshake_fragment::handshake_fragment;
pub use handshake_machine::{
    Reached, handshake_machine, handshake_machine_reached, report_reached,
};
pub use hellos::hellos;
pub use http_request::http_request;
pub use itls::itls;
pub use itls_forwarder::itls_forwarder;
pub use leg::{CONFIG as LEG_CONFIG, leg};
pub use resumption::{report_resumption_reached, resumption, resumption_reached};
pub use tls_machine::{report_tls_reached, tls_machine, tls_machine_reached};
pub use translate::translate;
pub use tunnel_stream::tunnel_stream;
pub use x509_chain::x509_chain;

/// A target: its name and what it does with one input.
#[derive(Clone, Copy, Debug)]
pub struct Body {
    /// The name of the target, of its file and of its folder of seeds.
    pub name: &'static str,
    /// The function that panics where something doesn't hold for the input.
    pub run: fn(&[u8]),
}

/// All targets, sorted by name.
pub const BODIES: &[Body] = &[
    body("acceptor", acceptor),
    body("adapt", adapt),
    body("certificates", certificates),
    body("cid_record", cid_record),
    body("coap_frame", coap_frame),
    body("coap_link_format", coap_link_format),
    body("coap_message", coap_message),
    body("coap_uri", coap_uri),
    body("connection", connection),
    body("cursor", cursor),
    body("device_http", device_http),
    body("dtls_record", dtls_record),
    body("exchange", exchange),
    body("handshake_fragment", handshake_fragment),
    body("handshake_machine", handshake_machine),
    body("hellos", hellos),
    body("http_request", http_request),
    body("itls", itls),
    body("itls_forwarder", itls_forwarder),
    body("leg", leg),
    body("resumption", resumption),
    body("tls_machine", tls_machine),
    body("tunnel_stream", tunnel_stream),
    body("translate", translate),
    body("x509_chain", x509_chain),
];

const fn body(name: &'static str, run: fn(&[u8])) -> Body {
    Body { name, run }
}
