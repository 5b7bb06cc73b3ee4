//! What a connection may use, and how it behaves.

use core::time::Duration;

use hedgerow_coap::Csm;

use crate::Config;

/// The configuration of a connection over a reliable transport. Many connections can share one: a
/// [`Connection`](crate::Connection) takes anything that borrows as a `ConnectionConfig`.
#[derive(Clone, Debug)]
pub struct ConnectionConfig {
    /// The bounds, tokens and block-wise transfer, as over datagrams.
    ///
    /// `max_message_len` bounds the messages sent, and the peer's Max-Message-Size may bound them
    /// further; `response_timeout` is how long the response to one message is waited for;
    /// `max_replies` bounds the answers and signaling messages that wait to be sent, beyond which no
    /// bytes are taken in; BERT needs a `max_block_szx` of 6. There is nothing to retransmit and
    /// nothing to deduplicate, so `transmission`, `acknowledge_after`, `unanswered_threshold`,
    /// `max_seen` and `max_seen_bytes` aren't looked at.
    pub exchange: Config,
    /// The longest message taken in, in bytes: Max-Message-Size (RFC 8323 §5.3.1). More than 1,152
    /// invites BERT (§5.3.2), for which a multiple of 1,024 and some hundred bytes more are right.
    /// In the form of fixed capacity the smaller of this and the array's size counts.
    pub max_message_size: u32,
    /// Whether requests wait for the peer's CSM. If not, they go out at once, by the base values
    /// (RFC 8323 §3.3), and a peer that takes less aborts.
    pub wait_for_csm: bool,
    /// How long the peer's CSM is waited for.
    pub csm_timeout: Duration,
    /// How long the peer may be silent while a request waits for its response before it is pinged
    /// (RFC 8323 §3.4); `None` for never.
    pub ping_after: Option<Duration>,
    /// How long the peer may be silent at all before it is pinged (RFC 8323 §3.4); `None` for never, as it
    /// is where a connection may be left alone. One Ping goes out in that time, and
    /// [`Event::PeerUnresponsive`](crate::Event::PeerUnresponsive) comes if `pong_timeout` brings nothing.
    pub ping_idle_after: Option<Duration>,
    /// How long a Pong is waited for.
    pub pong_timeout: Duration,
    /// How long the connection lasts after a Release (RFC 8323 §5.5): the peer is given that long to
    /// close it, and what is under way when the peer releases is given that long to end.
    pub release_timeout: Duration,
}

impl ConnectionConfig {
    /// The Max-Message-Size of the default: BERT of eight blocks, and 256 bytes for the rest.
    const MAX_MESSAGE_SIZE: u16 = 8 * 1_024 + 256;
}

impl Default for ConnectionConfig {
    fn default() -> Self {
        Self {
            exchange: Config {
                max_message_len: usize::from(Self::MAX_MESSAGE_SIZE),
                ..Config::default()
            },
            max_message_size: u32::from(Self::MAX_MESSAGE_SIZE),
            wait_for_csm: true,
            csm_timeout: Duration::from_secs(30),
            ping_after: Some(Duration::from_secs(60)),
            ping_idle_after: None,
            pong_timeout: Duration::from_secs(30),
            release_timeout: Duration::from_secs(30),
        }
    }
}

/// What the peer's CSMs have said so far (RFC 8323 §5.3).
#[derive(Clone, Copy, Debug)]
pub(crate) struct PeerSettings {
    pub(crate) max_message_size: u32,
    pub(crate) block_wise_transfer: bool,
}

impl PeerSettings {
    /// The base values.
    pub(crate) const BASE: Self = Self {
        max_message_size: Csm::BASE_MAX_MESSAGE_SIZE,
        block_wise_transfer: false,
    };

    /// Takes in one more CSM: what it doesn't name stays.
    pub(crate) fn update(&mut self, csm: Csm) {
        if let Some(size) = csm.max_message_size {
            self.max_message_size = size;
        }
        self.block_wise_transfer |= csm.block_wise_transfer;
    }

    /// Says whether the peer takes BERT (RFC 8323 §5.3.2).
    pub(crate) const fn takes_bert(self) -> bool {
        self.block_wise_transfer && self.max_message_size > Csm::BASE_MAX_MESSAGE_SIZE
    }
}
