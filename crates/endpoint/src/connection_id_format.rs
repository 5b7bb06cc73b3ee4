//! How this project makes connection IDs: so that a load balancer finds the node. The format is
//! specified in `docs/specs/connection-id.md`.

use hedgerow_core::CryptoRng;
use hedgerow_record::{ConnectionId, MAX_CONNECTION_ID_LEN};

/// configuration and length(1) node number(2), and four unpredictable octets at least.
const MIN_LEN: usize = PREFIX_LEN + 4;

/// What is in front of the unpredictable octets.
const PREFIX_LEN: usize = 3;

/// How an endpoint makes the connection IDs that its peers put into their records.
///
/// An ID says in clear which node of a cluster it belongs to, so that a load balancer in front
/// delivers a record wherever its peer has moved to, and holds no state. The rest of it is
/// unpredictable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnectionIdFormat {
    configuration: u8,
    node: u16,
    len: usize,
}

impl ConnectionIdFormat {
    /// Makes IDs of 8 octets for a node, under configuration 0. Where there is one node only, its
    /// number is any.
    pub const fn new(node: u16) -> Self {
        Self {
            configuration: 0,
            node,
            len: 8,
        }
    }

    /// Sets the number of the configuration, 0 to 7, of which the three low bits count. Nodes
    /// change it when the numbering of the cluster changes, so that balancers tell old IDs from new
    /// ones.
    #[must_use]
    pub const fn with_configuration(mut self, configuration: u8) -> Self {
        self.configuration = configuration & 0x07;
        self
    }

    /// Sets the length of an ID, in octets; at least 7 and at most 32. All that arrive at one
    /// socket have this length, since a record doesn't say how long its ID is (RFC 9146 §4).
    #[must_use]
    pub fn with_len(mut self, len: usize) -> Self {
        self.len = len.clamp(MIN_LEN, MAX_CONNECTION_ID_LEN);
        self
    }

    /// Reads an ID's format back from octets that begin with an ID; `None` for what isn't of this
    /// format. Nothing is verified: a balancer may believe it, a node looks the ID up.
    pub fn decode(octets: &[u8]) -> Option<Self> {
        let &[first, high, low, ..] = octets else {
            return None;
        };
        let len = usize::from(first & 0x1f).saturating_add(1);
        (len >= MIN_LEN && octets.len() >= len).then_some(Self {
            configuration: first >> 5,
            node: u16::from_be_bytes([high, low]),
            len,
        })
    }

    /// Draws an ID.
    pub fn draw(&self, rng: &mut dyn CryptoRng) -> ConnectionId {
        let mut octets = [0; MAX_CONNECTION_ID_LEN];
        let [first, high, low, rest @ ..] = &mut octets;
        let last = u8::try_from(self.len.saturating_sub(1)).unwrap_or(0x1f);
        *first = (self.configuration << 5) | (last & 0x1f);
        [*high, *low] = self.node.to_be_bytes();
        let unpredictable = self.len.saturating_sub(PREFIX_LEN).min(rest.len());
        rng.fill_bytes(rest.get_mut(..unpredictable).unwrap_or_default());
        // No longer than its array, so that it is never refused.
        ConnectionId::new(octets.get(..self.len).unwrap_or_default()).unwrap_or_default()
    }

    /// Returns the number of the configuration.
    pub const fn configuration(&self) -> u8 {
        self.configuration
    }

    /// Returns the node's number.
    pub const fn node(&self) -> u16 {
        self.node
    }

    /// Returns the length of an ID, in octets.
    #[expect(clippy::len_without_is_empty, reason = "no ID of this format is empty")]
    pub const fn len(&self) -> usize {
        self.len
    }
}
