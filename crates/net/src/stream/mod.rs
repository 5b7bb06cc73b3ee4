//! CoAP over TCP and TLS (RFC 8323): connections, each with a task of its own.

mod client;
mod config;
mod connection;
mod ending;
mod progress;
mod requests;
mod server;
mod sessions;
mod statistics;
mod table;
mod transfer;

pub use client::StreamClient;
pub use config::{ProtocolName, StreamConfig};
pub use server::StreamServer;
pub use statistics::StreamStatistics;
