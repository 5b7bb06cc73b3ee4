//! The listener for mode `translate`.

use std::net::SocketAddr;
use std::time::Duration;

/// The listener for mode `translate` and what its connections may take (docs/specs/translate.md). Anybody
/// may open one: the gateway has no key to ask for.
///
/// A connection takes at most `max_datagram` and 75 KiB besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Translate {
    /// Address and port.
    pub listen: SocketAddr,
    /// Connections at the same time; more are closed at once.
    pub connections: usize,
    /// Connections of one client at the same time: of an IPv4 address or an IPv6 network of 64 bits.
    pub connections_per_client: usize,
    /// Connections to one device at the same time; more are told that the gateway is busy.
    pub connections_per_device: usize,
    /// How long the first bytes may take, which name the device.
    pub preface_timeout: Duration,
    /// How long a connection is kept on which the device has shown no session.
    pub establish_timeout: Duration,
    /// How long a connection is kept on which the device says nothing any more.
    pub idle_timeout: Duration,
    /// The longest datagram that is passed on to a device, in bytes.
    pub max_datagram: usize,
}

impl Translate {
    /// Listens at an address, with 256 connections, 16 a client, 16 a device, 10 s for the first bytes, 60 s
    /// until there is a session, an hour of silence, datagrams of 1,452 bytes.
    pub const fn new(listen: SocketAddr) -> Self {
        Self {
            listen,
            connections: 256,
            connections_per_client: 16,
            connections_per_device: 16,
            preface_timeout: Duration::from_secs(10),
            establish_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(3_600),
            max_datagram: 1_452,
        }
    }
}
