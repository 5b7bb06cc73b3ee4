//! What an endpoint may use, and how it behaves.

use alloc::sync::Arc;
use core::time::Duration;

use hedgerow_handshake::Settings;

use crate::{ConnectionIdFormat, InnerConfig, LegConfig, Resumption, SecurityPolicy};

/// Whether records carry connection IDs (RFC 9146), where the peer takes part.
///
/// An ID lets a peer change its address without a handshake, and lets whoever sees both addresses
/// link them (RFC 9146 §8).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ConnectionIds {
    /// None in either direction.
    #[default]
    Off,
    /// What is sent carries the peer's, if it names one; what arrives carries none. This is for
    /// clients: it is their address that changes.
    SendOnly,
    /// What arrives carries one of this format too.
    Both(ConnectionIdFormat),
}

impl ConnectionIds {
    /// Returns the length of the IDs in what arrives, in bytes.
    pub(crate) const fn receive_len(&self) -> usize {
        match self {
            Self::Off | Self::SendOnly => 0,
            Self::Both(format) => format.len(),
        }
    }
}

/// The configuration of an endpoint.
#[derive(Clone, Debug)]
pub struct Config {
    /// Which security modes may be used, and by whom.
    pub security: Arc<SecurityPolicy>,
    /// Suites, timers and datagram length of handshakes.
    ///
    /// The connection ID in it has no meaning here: each handshake gets its own by
    /// [`Self::connection_ids`].
    pub handshake: Settings,
    /// Whether records carry connection IDs.
    pub connection_ids: ConnectionIds,
    /// Whether sessions are resumed: by default not.
    pub resumption: Resumption,
    /// What each association's exchange may use, shared by all. Where there is no security, tokens
    /// are unpredictable and no request has to be fresh, whatever it says.
    pub exchange: Arc<hedgerow_exchange::Config>,
    /// Whether sessions carry streams beside CoAP: by default not, and segments are ignored.
    pub legs: Option<LegConfig>,
    /// Whether this is a gateway that forwards messages of mode `itls`: [`Event::Forwarded`](crate::Event::Forwarded)
    /// hands them out. By default not, and they are ignored.
    pub forwards: bool,
    /// Whether hops of mode `itls` have a light outer layer beside their records, at a gateway that
    /// [forwards](Self::forwards) and at an end. A flow has it where both sides of its hop do. By default not.
    pub light_layer: bool,
    /// Whether sessions with a gateway carry inner sessions (mode `itls`): by default not, and their messages
    /// are ignored.
    pub inner: Option<InnerConfig>,
    /// Associations at the same time. A full table refuses new peers.
    pub max_associations: usize,
    /// Associations in clear with addresses that have proved nothing, beside all others; 0 for none, as
    /// it should be. It is for clients that take an Echo challenge (RFC 9175 §2.3) for the answer.
    ///
    /// Such an address gets at most three times the bytes that came from it: an answer that is longer
    /// makes room for the challenge. Methods that aren't idempotent, such as POST, are challenged
    /// always, since a request that is challenged after it was carried out may be carried out again.
    pub max_unproved_associations: usize,
    /// Handshakes under way at the same time. They are apart from each other: one that stalls
    /// delays none, and the deadline in `handshake` frees its place. A quarter is kept for those
    /// that this end begins.
    pub max_handshakes: usize,
    /// Associations that peers from one [`Source`](crate::Source) have begun.
    pub max_associations_per_source: usize,
    /// Handshakes under way that peers from one source have begun.
    pub max_handshakes_per_source: usize,
    /// Events waiting to be fetched. What happens beyond that is counted, and lost.
    pub max_events: usize,
    /// How long an association without a message is kept. Answers to the pings of
    /// [`Self::ping_idle_after`] don't count; a peer's own pings do.
    pub idle_timeout: Duration,
    /// How long the peer of an association with a session may be silent before it is asked for a sign of
    /// life under the session (RFC 7252 §4.3), and again after as long; `None` for never, as it is
    /// where peers sleep.
    ///
    /// The ping is retransmitted as any Confirmable message. A peer that doesn't answer is gone
    /// at the latest MAX_TRANSMIT_WAIT after it was due (RFC 7252 §4.8.2: 93 s by default): the association
    /// ends with [`Event::Failed`](crate::Event::Failed) and
    /// [`PeerFault::Unresponsive`](hedgerow_core::PeerFault::Unresponsive). An end that has begun the
    /// association first tries a new handshake beside the session, as with any silent peer, and
    /// its failure ends the association earlier. An idle association costs a ping and its answer in
    /// that time, a dead one 1 + MAX_RETRANSMIT pings once.
    pub ping_idle_after: Option<Duration>,
}

impl Default for Config {
    /// MultiKey at least, no connection IDs, no resumption, no legs, 10,000 associations, 256 handshakes, an hour of idleness.
    fn default() -> Self {
        Self {
            security: Arc::default(),
            handshake: Settings::default(),
            connection_ids: ConnectionIds::default(),
            resumption: Resumption::default(),
            exchange: Arc::new(hedgerow_exchange::Config::default()),
            legs: None,
            forwards: false,
            light_layer: false,
            inner: None,
            max_associations: 10_000,
            max_unproved_associations: 0,
            max_handshakes: 256,
            max_associations_per_source: 2_500,
            max_handshakes_per_source: 64,
            max_events: 4_096,
            idle_timeout: Duration::from_secs(3_600),
            ping_idle_after: None,
        }
    }
}
