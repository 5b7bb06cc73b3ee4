//! The channel of an association inside an outer session.

use alloc::vec::Vec;

use hedgerow_core::{Aead, Instant};
use hedgerow_itls::{Envelope, RoutingHeader};

use super::Outer;
use super::light::LightFlow;
use crate::AssociationId;

/// What protects an association's messages end to end, and which flow carries them.
pub(crate) struct InnerChannel<C> {
    /// The association whose session is the outer one; `None` for a stream at the association's address.
    pub(crate) hop: Option<AssociationId>,
    pub(crate) flow: u16,
    /// Whether the flow has the light outer layer.
    pub(crate) light: LightFlow,
    /// The longest message of the outer session, in bytes.
    pub(crate) max_len: usize,
    /// Whom this end has asked the gateway for.
    pub(crate) name: Vec<u8>,
    /// When the ends last proved themselves with their key.
    pub(crate) vouched_at: Instant,
    pub(crate) state: InnerState<C>,
}

/// How far an inner session is.
pub(crate) enum InnerState<C> {
    /// A handshake is under way.
    Expected,
    /// Both ends are known. As long as `confirms`, the other end waits for a first message.
    Open {
        envelope: Envelope<C>,
        confirms: bool,
    },
}

impl<C: Aead> InnerChannel<C> {
    /// Returns what it travels in. `address` is the association's.
    pub(crate) fn outer<A>(&self, address: A) -> Outer<A> {
        match self.hop {
            Some(hop) => Outer::Association(hop),
            None => Outer::Stream(address),
        }
    }

    pub(crate) const fn is_open(&self) -> bool {
        matches!(self.state, InnerState::Open { .. })
    }

    /// Returns the longest plaintext that the outer session carries, in bytes.
    pub(crate) fn max_plaintext_len(&self) -> usize {
        let header = RoutingHeader {
            flow: self.flow,
            is_control: false,
        };
        let tag_len = match &self.state {
            InnerState::Open { envelope, .. } => envelope.suite().algorithm().tag_len(),
            InnerState::Expected => LONGEST_TAG_LEN,
        };
        let overhead = header
            .encoded_len()
            .saturating_add(LONGEST_HEADER_LEN)
            .saturating_add(tag_len);
        self.max_len.saturating_sub(overhead)
    }

    /// Says whether the keys come near their limits.
    pub(crate) fn wants_new_keys(&self) -> bool {
        match &self.state {
            InnerState::Open { envelope, .. } => envelope.wants_new_keys(),
            InnerState::Expected => false,
        }
    }
}

/// Kind, and a sequence number up to the limit of 2^23.
const LONGEST_HEADER_LEN: usize = 1 + 3;
const LONGEST_TAG_LEN: usize = 16;
