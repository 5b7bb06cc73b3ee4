//! What a new association leaves of the old one, RFC 7252 §9.1 and the decision on restarted
//! devices.

use core::borrow::Borrow;

use hedgerow_coap::{Code, Message, OptionNumber};
use hedgerow_core::Env;

use crate::block_message::BlockSize;
use crate::blocks::Bounds;
use crate::client::{Phase, Work};
use crate::client_blocks::Step;
use crate::deduplication::Deduplication;
use crate::freshness::Freshness;
use crate::liveness::Liveness;
use crate::message_ids::MessageIds;
use crate::server::IncomingPhase;
use crate::storage::{Bodies, List, Storage};
use crate::{Config, Exchange, RequestError, ResponseError};

impl<S: Storage, C: Borrow<Config>> Exchange<S, C> {
    /// Goes on under a new secure session with the same peer.
    ///
    /// Nothing that was sent under the old session is retransmitted (RFC 7252 §9.1.1). GET, PUT and
    /// DELETE requests are sent anew, with new message IDs and tokens and from their first block;
    /// so are requests that never went out. Others, writes under a condition (If-Match,
    /// If-None-Match) and pings end with
    /// [`Event::RequestFailed`](crate::Event::RequestFailed) and
    /// [`RequestError::AssociationRestarted`]. Requests of the peer end with
    /// [`Event::ResponseFailed`](crate::Event::ResponseFailed), since their responses belong to the
    /// old session (§9.1.2). The peer's message IDs and what showed that its requests are fresh
    /// ([`Config::fresh_within`]) are forgotten; tokens are never used again.
    pub fn restart_association(&mut self, env: &mut Env<'_>) {
        self.release_lent();
        self.message_ids = MessageIds::new(env.rng);
        self.seen = Deduplication::default();
        self.replies = S::List::default();
        self.liveness = Liveness::ALIVE;
        self.blocks.clear();
        // The security association is part of the endpoint that a value was for (RFC 9175 §2.3).
        self.freshness = Freshness::default();
        for entry in self.incoming.as_mut_slice() {
            if !matches!(entry.phase, IncomingPhase::Failed(_)) {
                entry.phase = IncomingPhase::Failed(ResponseError::AssociationRestarted);
            }
        }
        for index in 0..self.outgoing.as_slice().len() {
            self.restart_outgoing(index);
        }
    }

    fn restart_outgoing(&mut self, index: usize) {
        let Some(entry) = self.outgoing.as_mut_slice().get_mut(index) else {
            return;
        };
        if entry.ended().is_some() {
            return;
        }
        let bodies = &self.blocks.bodies;
        let transfer = match &mut entry.work {
            Work::Request(transfer)
                if !transfer.was_sent
                    || matches!(transfer.code, Code::GET | Code::PUT | Code::DELETE)
                        && !is_conditional_write(
                            transfer.code,
                            bodies.bytes(transfer.template),
                        ) =>
            {
                transfer
            }
            Work::Request(_) | Work::Ping => {
                entry.phase = Phase::Failed(RequestError::AssociationRestarted);
                return;
            }
        };
        entry.phase = Phase::Queued;
        let (template, step) = (transfer.template, transfer.step);
        if let Step::Download { assembly, .. } = step {
            self.blocks.bodies.release(assembly);
        }
        let (options_len, payload_len) = self.blocks.kept_lens(template);
        let bounds = Bounds::datagrams::<S>(self.config.borrow(), self.message_limit);
        let was_uploaded = match step {
            Step::Whole => false,
            Step::Upload { .. } => true,
            Step::Download { upload, .. } => upload.is_done(),
        };
        // What the old session has taught about the peer's block sizes, the new one teaches again.
        let size = BlockSize::fitting(options_len, bounds.send_len, bounds.send_szx);
        let step = match size.filter(|_| was_uploaded && payload_len > 0) {
            Some(size) => self.blocks.upload(bounds, size),
            None => Step::Whole,
        };
        let entry = self.outgoing.as_mut_slice().get_mut(index);
        if let Some(Work::Request(transfer)) = entry.map(|entry| &mut entry.work) {
            transfer.step = step;
            // MUST (RFC 9175 §2.3): an Echo value goes only to the endpoint that it came from, and
            // the security association is part of the endpoint.
            transfer.echoing.forget();
        }
    }
}

/// Says whether a write depends on the resource's state: carried out already, it would fail the
/// second time, and the application would be told the wrong thing.
pub(crate) fn is_conditional_write(code: Code, template: &[u8]) -> bool {
    let conditions = [OptionNumber::IF_MATCH, OptionNumber::IF_NONE_MATCH];
    code != Code::GET
        && Message::decode(template).is_ok_and(|template| {
            template
                .options()
                .any(|option| conditions.contains(&option.number()))
        })
}
