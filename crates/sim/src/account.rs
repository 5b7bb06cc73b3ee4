//! What became of the datagrams of one direction.

use std::ops::AddAssign;

/// Counts of one direction, or of several added up.
///
/// When nothing is in flight, `sent + duplicated` equals
/// `delivered + lost + partitioned + dropped + too_long + unroutable`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Account {
    /// Datagrams that the sender sent.
    pub sent: u64,
    /// Bytes of UDP payload in them.
    pub sent_bytes: u64,
    /// Datagrams, copies included, that the receiver got.
    pub delivered: u64,
    /// Bytes of UDP payload in them.
    pub delivered_bytes: u64,
    /// Datagrams lost by chance.
    pub lost: u64,
    /// Datagrams sent while the direction was partitioned.
    pub partitioned: u64,
    /// Datagrams dropped by a planted fault.
    pub dropped: u64,
    /// Datagrams longer than [`Conditions::max_datagram_len`](crate::Conditions::max_datagram_len).
    pub too_long: u64,
    /// Datagrams, copies included, that arrived where no node is.
    pub unroutable: u64,
    /// Copies made beside the originals, by chance or by a planted fault.
    pub duplicated: u64,
    /// Datagrams, copies included, held back by chance so that later ones overtake them.
    pub reordered: u64,
    /// Datagrams whose bytes were changed by chance.
    pub corrupted: u64,
    /// How often planted faults and rewrites took effect, of any kind.
    pub planted: u64,
}

impl AddAssign for Account {
    fn add_assign(&mut self, other: Self) {
        self.sent += other.sent;
        self.sent_bytes += other.sent_bytes;
        self.delivered += other.delivered;
        self.delivered_bytes += other.delivered_bytes;
        self.lost += other.lost;
        self.partitioned += other.partitioned;
        self.dropped += other.dropped;
        self.too_long += other.too_long;
        self.unroutable += other.unroutable;
        self.duplicated += other.duplicated;
        self.reordered += other.reordered;
        self.corrupted += other.corrupted;
        self.planted += other.planted;
    }
}

/// Widens a length; a `usize` is never wider than 64 bits on a host.
pub(crate) fn bytes(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}
