//! How long messages and how large blocks may be in either direction, RFC 8323 §5.3 and §6.

use core::borrow::Borrow;

use hedgerow_coap::{BlockValue, Csm};

use crate::ConnectionConfig;
use crate::blocks::{Bounds, Carrier};
use crate::connection::Connection;
use crate::connection::config::PeerSettings;
use crate::storage::{MessageBuffer, Storage};

impl<S: Storage, C: Borrow<ConnectionConfig>> Connection<S, C> {
    /// Returns the longest message taken in, in bytes: what this end's CSM says.
    pub(crate) fn own_max_message_size(&self) -> u32 {
        let capacity = u32::try_from(S::Message::CAPACITY).unwrap_or(u32::MAX);
        self.config().max_message_size.min(capacity)
    }

    /// Returns the length of the buffer that [`Self::poll_transmit`] needs, in bytes.
    pub(crate) fn transmit_len(&self) -> usize {
        let config = &self.config().exchange;
        let len = config.max_message_len.min(S::Message::CAPACITY);
        len.max(MIN_MESSAGE_LEN)
    }

    /// Makes the bounds of messages and blocks from what both ends take.
    pub(crate) fn bounds(config: &ConnectionConfig, peer: PeerSettings) -> Bounds<'_> {
        let exchange = &config.exchange;
        let szx = exchange.block_szx();
        let is_largest = szx == BlockValue::MAX_SZX;
        let bert = |is_on: bool| match is_largest && is_on {
            true => BlockValue::BERT_SZX,
            false => szx,
        };
        let taken = usize::try_from(config.max_message_size).unwrap_or(usize::MAX);
        let base = usize::try_from(Csm::BASE_MAX_MESSAGE_SIZE).unwrap_or(usize::MAX);
        let takes_bert = taken.min(S::Message::CAPACITY) > base;
        let most = usize::try_from(peer.max_message_size).unwrap_or(usize::MAX);
        let len = exchange.max_message_len.min(S::Message::CAPACITY).min(most);
        // The overhead counted elsewhere is a datagram's; a length field of four bytes takes two more.
        let extra = if len > 65_804 { 2 } else { 0 };
        Bounds {
            config: exchange,
            send_len: len.saturating_sub(extra),
            send_szx: bert(peer.takes_bert()),
            receive_szx: bert(takes_bert),
            carrier: Carrier::Stream,
        }
    }
}

/// Room for every signaling message of this end's own making, in bytes.
const MIN_MESSAGE_LEN: usize = 128;
