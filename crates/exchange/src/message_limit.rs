//! Messages that are too long for what lies below.

use core::borrow::Borrow;

use hedgerow_coap::Code;

use crate::block_message::{OVERHEAD, WHOLE_REQUEST_OVERHEAD};
use crate::client::{Phase, Work};
use crate::client_blocks::{Step, Transfer};
use crate::restart::is_conditional_write;
use crate::storage::{Bodies, List, Storage};
use crate::{Config, Exchange};

impl<S: Storage, C: Borrow<Config>> Exchange<S, C> {
    /// Sets the longest message that what lies below carries to this peer, in bytes: a record of the
    /// length agreed on (RFC 8449), or a datagram that fits the path. It counts where it is less than
    /// [`Config::max_message_len`].
    ///
    /// From then on bodies go in smaller blocks where they have to. A GET, PUT or DELETE under way whose
    /// message has become too long is sent anew, with another message ID and token; any other message
    /// that was sent before is sent again as it was. A request that waits and doesn't fit even so ends
    /// with [`RequestError::TooLongForPeer`](crate::RequestError::TooLongForPeer).
    pub fn limit_messages(&mut self, max_len: usize) {
        let limit = u16::try_from(max_len).unwrap_or(u16::MAX);
        let is_less = limit < self.message_limit;
        self.message_limit = limit;
        if !is_less {
            return;
        }
        let max_len = self.max_message_len();
        for index in 0..self.outgoing.as_slice().len() {
            let Some(entry) = self.outgoing.as_mut_slice().get_mut(index) else {
                return;
            };
            let is_under_way = matches!(
                entry.phase,
                Phase::ExpectAcknowledgement { .. } | Phase::NonConfirmableDue { .. }
            );
            let Work::Request(transfer) = &entry.work else {
                continue;
            };
            let (options_len, body_len) = self.blocks.kept_lens(transfer.template);
            let needed = options_len.saturating_add(transfer.message_overhead(body_len));
            let template = self.blocks.bodies.bytes(transfer.template);
            if is_under_way
                && needed > max_len
                && matches!(transfer.code, Code::GET | Code::PUT | Code::DELETE)
                && !is_conditional_write(transfer.code, template)
            {
                entry.phase = Phase::Queued;
            }
        }
    }
}

impl Transfer {
    /// Returns the most that the message under way takes beside its options, in bytes.
    const fn message_overhead(&self, body_len: usize) -> usize {
        match self.step {
            Step::Whole => WHOLE_REQUEST_OVERHEAD.saturating_add(body_len),
            Step::Upload { size, .. } => OVERHEAD.saturating_add(size.len),
            // The body doesn't go with it.
            Step::Download { .. } => 0,
        }
    }
}
