//! What happened to each datagram, in order.

use std::fmt;

use hedgerow_core::Instant;

use crate::Address;

/// What became of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fate {
    /// A node got it.
    Delivered,
    /// Lost by chance.
    Lost,
    /// Sent while its direction was partitioned.
    Partitioned,
    /// Dropped by a planted fault.
    Dropped,
    /// Longer than the direction carries.
    TooLong,
    /// No node has the address, or a NAT has forgotten it.
    Unroutable,
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Delivered => "delivered",
            Self::Lost => "lost",
            Self::Partitioned => "partitioned",
            Self::Dropped => "dropped",
            Self::TooLong => "too long",
            Self::Unroutable => "unroutable",
        })
    }
}

/// How much a world writes down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tracing {
    /// Nothing: the fastest.
    #[default]
    Off,
    /// The fate of each datagram.
    Fates,
    /// The fate and the bytes of each datagram, to replay them or to search them for secrets.
    Bytes,
}

/// The fate of one datagram, or of one of its copies.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TraceEntry {
    /// When it was sent.
    pub sent: Instant,
    /// When its fate was settled: on arrival, or when sent if it never arrives.
    pub at: Instant,
    /// Source as the receiver sees it.
    pub from: Address,
    /// Destination as the sender wrote it.
    pub to: Address,
    /// Length in bytes.
    pub len: usize,
    /// What became of it.
    pub fate: Fate,
    /// Whether it is a copy made by the network.
    pub is_duplicate: bool,
    /// Whether the network changed its bytes.
    pub is_altered: bool,
    /// The bytes, as they arrived or would have; empty below [`Tracing::Bytes`].
    pub datagram: Vec<u8>,
}

impl fmt::Display for TraceEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:>12} us  {} -> {}  {} B  {}",
            self.at.as_micros(),
            self.from,
            self.to,
            self.len,
            self.fate
        )?;
        if self.is_duplicate {
            f.write_str(", copy")?;
        }
        if self.is_altered {
            f.write_str(", altered")?;
        }
        Ok(())
    }
}

/// The fates of a world's datagrams, in the order in which they were settled. Prints one line each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    tracing: Tracing,
    entries: Vec<TraceEntry>,
}

impl Trace {
    /// Lends the entries.
    pub fn entries(&self) -> &[TraceEntry] {
        &self.entries
    }

    pub(crate) const fn set_tracing(&mut self, tracing: Tracing) {
        self.tracing = tracing;
    }

    /// Writes down an entry, which is only made if it is wanted.
    pub(crate) fn push(&mut self, datagram: &[u8], entry: impl FnOnce() -> TraceEntry) {
        if self.tracing == Tracing::Off {
            return;
        }
        let mut entry = entry();
        if self.tracing == Tracing::Bytes {
            entry.datagram = datagram.to_vec();
        }
        self.entries.push(entry);
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for entry in &self.entries {
            writeln!(f, "{entry}")?;
        }
        Ok(())
    }
}
