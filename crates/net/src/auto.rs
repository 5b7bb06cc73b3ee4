//! The two carriers of the mode `auto` (`docs/specs/auto.md`): the gateway's UDP socket for all UDP
//! carriers, and the client's end of one tunnel with both.

mod client;
mod outgoing;
mod server;

pub(crate) use client::{AutoTunnel, carry};
pub use server::{
    UdpCarrier, UdpCarrierEvent, UdpCarrierSender, UdpCarrierStatistics, UdpCarriers,
};

/// What DTLS adds to a message, in bytes, at most; and more than any flight's datagram.
const RECORD_BUFFER_LEN: usize = hedgerow_proxy::MAX_UDP_CARRIER_MESSAGE_LEN + 128;
