//! The gateway: HTTP and HTTPS in front, CoAP devices over DTLS or TLS behind (RFC 8075, the mode
//! `terminate`), and UDP tunnels to devices whose keys it doesn't have (RFC 9298, the mode `tunnel`). It holds configuration, the registry of devices, the HTTP
//! server, the page at `/`, logs and the audit trail.
//!
//! - `/devices/NAME/path?query` asks a configured device, `/hc/coaps://HOST:PORT/path` one that may
//!   be named by its URI, `/healthz` the gateway itself. Nothing else is ever asked.
//! - What a request becomes is decided by [`hedgerow_proxy`], sessions are kept by
//!   [`hedgerow_net`]. A name is looked up at the start, and again for the request after one that
//!   its device didn't answer or something else than the device did; each address is checked
//!   against policy, and the address that was checked is the one used.
//! - A device that was restarted is met again by a handshake beside the old session, which begins
//!   after three transmissions without an answer: with RFC 7252's parameters 8 to 12 s after the
//!   request ([`Config::restart_bound`]). GET, PUT and DELETE are then sent anew; a POST ends in
//!   504, for nobody knows whether it was carried out.
//! - Failures are told by cause as `application/problem+json`: 502 for a wrong key, 504 for a
//!   device that sleeps, 403 for a destination that isn't configured, 503 with `Retry-After` where
//!   too much goes on, 429 where one client has too much of it.
//! - A request takes its place once its body is there, and gives it back once its answer has been
//!   read; [`Limits`] says what that takes of memory. Bodies that don't come, answers that nobody
//!   reads and connections that ask for nothing end after the times of [`Timeouts`].
//! - A listener of its own takes TCP connections in mode `translate`, whose DTLS records go on as UDP to a
//!   device with that mode, within [`Translate`]; `docs/specs/translate.md` has the whole of it.
//! - `/.well-known/masque/udp/NAME/PORT/` opens a tunnel to a device with the mode `tunnel`, for
//!   configured users alone, by upgrade in HTTP/1.1 and extended CONNECT in HTTP/2. Datagrams pass as
//!   they are, within [`TunnelLimits`]; `docs/specs/tunnel.md` has the whole of it.
//! - A listener of its own takes DTLS sessions of devices that open TLS connections to listed servers, each in a
//!   stream of its session, within [`Leg`]; `docs/specs/leg.md` has the whole of it.
//! - A listener of its own takes Internet ends in mode `itls`, over TLS and for configured users alone. Messages that two
//!   ends have sealed for each other go on between their connections and the DTLS sessions of devices with that
//!   mode, whichever end begins, within [`Itls`]; `docs/specs/itls.md` has the whole of it.
//! - A listener for plain HTTP answers to `localhost`, addresses and configured names only, and no
//!   listener lets a page of another site change a device.
//!
//! Logs go to `tracing`: one line a request under `hedgerow::access`, with its path but never its
//! query, fields or body; what was denied under `hedgerow::audit`; at the start one line a device
//! with its modes and security, at a tunnel's end who had it, to which device, and how much it carried. Keys are in no log, no message and no `Debug` output.
//!
//! It leaves out the other modes, groups, caching, observation, PATCH, rights of single HTTP
//! clients, reloading of the configuration and metrics beyond [`Running::statistics`]. Setting up a
//! `tracing` subscriber and the runtime is the program's.
//!
//! # Example
//!
//! ```
//! use std::path::Path;
//!
//! use hedgerow_gateway::{Config, Gateway};
//!
//! let text = r#"
//!     [http]
//!     listen = "127.0.0.1:0"
//!
//!     [[device]]
//!     name = "thermometer"
//!     uri = "coaps://192.0.2.7:5684"
//!     mode = "terminate"
//!     security = "psk"
//!     psk_identity = "gateway"
//!     psk = "0x8f2b0d4f1c6a97e35b1fd0c2a94e7786"
//! "#;
//! let config = Config::from_toml(text, "hedgerow.toml", Path::new("."))?;
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! let gateway = Gateway::start(config).await?;
//! println!("curl http://{}/devices/thermometer/temperature", gateway.http_addr().unwrap());
//! gateway.shutdown().await;
//!
//! // A mistake is found before anything listens.
//! let error = Config::from_toml("[htpp]", "hedgerow.toml", Path::new(".")).unwrap_err();
//! assert!(error.to_string().starts_with("hedgerow.toml:1:2: htpp: unknown key: did you mean http?"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Features
//!
//! None. The crate needs an operating system and a tokio runtime.

mod access_log;
mod adapt;
mod authorization;
mod auto;
mod config;
mod device_side;
mod failure;
mod gateway;
mod guesses;
mod http_places;
mod itls;
mod key;
mod leg_form;
mod page;
mod problem;
mod progress;
mod rate;
mod registry;
mod server;
mod service;
mod services;
mod site;
mod translate;
mod tunnel;
mod tunnels;
mod ways;

pub use adapt::AdaptStatistics;
pub use config::{
    Coap, CoapsOverHttp, Config, ConfigError, Device, DeviceAddress, Dtls, Http, Https,
    HttpsClient, HttpsError, HttpsPsk, Itls, ItlsCaller, Leg, LegPeer, LegService, Limits, Mistake,
    Mode, PathPattern, PathPatternError, Position, Security, Timeouts, TlsListener, Translate,
    TunnelLimits, User,
};
pub use gateway::{Gateway, Running, StartError};
pub use hedgerow_proxy::ItlsStatistics;
pub use http_places::HttpStatistics;
pub use key::{KeyError, parse_key, parse_key_file};
pub use services::LegStatistics;
pub use translate::TranslateStatistics;
pub use tunnels::{TunnelStatistics, TunnelTraffic};
pub use ways::Via;
