//! What goes out next: answers first, then what is due again, then what waited for NSTART.

use core::borrow::Borrow;

use hedgerow_coap::{EncodeError, Header, MessageId, MessageType};
use hedgerow_core::{Env, Instant};

use crate::block_message::{Framing, Head};
use crate::blocks::Bounds;
use crate::client::{Phase, Sent, Work};
use crate::client_blocks::Transfer;
use crate::deduplication::Answer;
use crate::exchange::Reply;
use crate::retransmission::Retransmission;
use crate::server::{IncomingPhase, set_message_id};
use crate::storage::{List, MessageBuffer, Storage};
use crate::{Config, Error, Exchange, RequestError};

impl<S: Storage, C: Borrow<Config>> Exchange<S, C> {
    /// Writes the next message to send to the front of `out` and returns its length, in bytes.
    ///
    /// # Errors
    ///
    /// [`Error::Encode`] with [`EncodeError::BufferTooSmall`] if `out` is shorter than
    /// [`Config::max_message_len`]; nothing changes then.
    pub fn poll_transmit(
        &mut self,
        env: &mut Env<'_>,
        out: &mut [u8],
    ) -> Result<Option<usize>, Error> {
        self.release_lent();
        let needed = self.max_message_len();
        if out.len() < needed {
            return Err(Error::Encode(EncodeError::BufferTooSmall {
                needed,
                available: out.len(),
            }));
        }
        while let Some(reply) = self.replies.remove(0) {
            if let Some(len) = self.write_reply(reply, out) {
                return Ok(Some(len));
            }
        }
        self.start_queued(env);
        if let Some(len) = self.write_due_response(env.now, out) {
            return Ok(Some(len));
        }
        Ok(self.write_due_request(env.now, out))
    }

    fn write_reply(&mut self, reply: Reply, out: &mut [u8]) -> Option<usize> {
        match reply {
            Reply::Empty(header) => copy(&header.encode(), out),
            Reply::Stored(id) => match self.seen.answer(id)? {
                Answer::Message(message) => copy(message.as_slice(), out),
                Answer::Once(message) => {
                    let len = copy(message.as_slice(), out);
                    self.seen.set_answer(id, Answer::Nothing);
                    len
                }
                Answer::Nothing | Answer::Acknowledgement => None,
            },
        }
    }

    /// Gives message IDs, tokens and timers to what waits, as far as NSTART and the message IDs
    /// allow. Responses go first: somebody waits for them.
    fn start_queued(&mut self, env: &mut Env<'_>) {
        let transmission = self.config().transmission;
        let lifetime = transmission.exchange_lifetime();
        for index in 0..self.incoming.as_slice().len() {
            let Some(entry) = self.incoming.as_slice().get(index) else {
                return;
            };
            if !matches!(entry.phase, IncomingPhase::Queued(_))
                || (entry.is_confirmable && self.outstanding() >= self.nstart())
            {
                continue;
            }
            let Some(message_id) = self.message_ids.allocate(env.now, lifetime) else {
                return;
            };
            if let Some(entry) = self.incoming.as_mut_slice().get_mut(index) {
                entry.start(message_id, Retransmission::new(&transmission, env.rng));
            }
        }
        // MUST (RFC 7252 §4.7): no more than NSTART interactions are outstanding.
        while self.outstanding() < self.nstart() {
            let outgoing = self.outgoing.as_slice().iter();
            let Some(index) = outgoing
                .enumerate()
                .find_map(|(index, entry)| matches!(entry.phase, Phase::Queued).then_some(index))
            else {
                return;
            };
            let bounds = Bounds::datagrams::<S>(self.config.borrow(), self.message_limit);
            let entry = self.outgoing.as_mut_slice().get_mut(index);
            if let Some(entry) = entry
                && let Work::Request(transfer) = &mut entry.work
                && self.blocks.fit(bounds, transfer).is_err()
            {
                entry.phase = Phase::Failed(RequestError::TooLongForPeer);
                continue;
            }
            let Some(message_id) = self.message_ids.allocate(env.now, lifetime) else {
                return;
            };
            let outgoing = self.outgoing.as_slice();
            let token = self
                .tokens
                .allocate(self.config.borrow().tokens, env.rng, |token| {
                    outgoing
                        .iter()
                        .any(|entry| entry.phase.sent().is_some_and(|sent| sent.token == token))
                });
            if let Some(entry) = self.outgoing.as_mut_slice().get_mut(index) {
                let sent = Sent { message_id, token };
                entry.phase = match &entry.work {
                    Work::Request(transfer) if !transfer.is_confirmable => {
                        Phase::NonConfirmableDue { sent }
                    }
                    _ => Phase::ExpectAcknowledgement {
                        sent,
                        retransmission: Retransmission::new(&transmission, env.rng),
                    },
                };
            }
        }
    }

    fn write_due_response(&mut self, now: Instant, out: &mut [u8]) -> Option<usize> {
        let incoming = self.incoming.as_mut_slice().iter_mut();
        for (index, entry) in incoming.enumerate() {
            match &mut entry.phase {
                IncomingPhase::ExpectAcknowledgement {
                    message,
                    retransmission,
                    ..
                } if retransmission.is_due() => {
                    retransmission.sent(now);
                    let len = copy(message.as_slice(), out);
                    self.liveness.count_unanswered();
                    return len;
                }
                IncomingPhase::NonConfirmableDue(message) => {
                    let len = copy(message.as_slice(), out);
                    self.incoming.remove(index);
                    return len;
                }
                _ => {}
            }
        }
        None
    }

    fn write_due_request(&mut self, now: Instant, out: &mut [u8]) -> Option<usize> {
        for index in 0..self.outgoing.as_slice().len() {
            let entry = self.outgoing.as_slice().get(index)?;
            let sent = match entry.phase {
                Phase::ExpectAcknowledgement {
                    sent,
                    retransmission,
                } if retransmission.is_due() => sent,
                Phase::NonConfirmableDue { sent } => sent,
                _ => continue,
            };
            let written = match &entry.work {
                Work::Ping => copy(&Header::ping(sent.message_id).encode(), out),
                Work::Request(transfer) => {
                    let bounds = Bounds::datagrams::<S>(self.config.borrow(), self.message_limit);
                    let head = sent.head(transfer);
                    self.blocks.write_request(bounds, transfer, head, out)
                }
            };
            let config = self.config.borrow();
            let probing = config.transmission.probing_time(written.unwrap_or(0));
            let entry = self.outgoing.as_mut_slice().get_mut(index)?;
            let Some(len) = written else {
                entry.phase = Phase::Failed(RequestError::UnexpectedBlock);
                continue;
            };
            match &mut entry.phase {
                Phase::ExpectAcknowledgement { retransmission, .. } => {
                    retransmission.sent(now);
                    self.liveness.count_unanswered();
                }
                phase => {
                    // MUST (RFC 7252 §4.7): to a peer that doesn't respond, no more than
                    // PROBING_RATE on average. The request counts as outstanding until then.
                    *phase = Phase::ExpectResponse {
                        sent,
                        outstanding_until: Some(now.saturating_add(probing)),
                        until: now.saturating_add(config.response_timeout),
                        heard: self.liveness.heard(),
                    };
                }
            }
            if let Work::Request(transfer) = &mut entry.work {
                transfer.was_sent = true;
            }
            return Some(len);
        }
        None
    }

    /// Returns the number of outstanding interactions (RFC 7252 §4.7).
    pub(crate) fn outstanding(&self) -> usize {
        let incoming = self.incoming.as_slice().iter();
        let outgoing = self.outgoing.as_slice().iter();
        incoming
            .filter(|entry| matches!(entry.phase, IncomingPhase::ExpectAcknowledgement { .. }))
            .count()
            + outgoing
                .filter(|entry| entry.phase.is_outstanding())
                .count()
    }

    pub(crate) fn nstart(&self) -> usize {
        usize::from(self.config().transmission.nstart.max(1))
    }

    pub(crate) fn has_queued(&self) -> bool {
        let incoming = self.incoming.as_slice().iter();
        let outgoing = self.outgoing.as_slice().iter();
        incoming
            .map(|entry| matches!(entry.phase, IncomingPhase::Queued(_)))
            .chain(outgoing.map(|entry| matches!(entry.phase, Phase::Queued)))
            .any(|is_queued| is_queued)
    }
}

impl Sent {
    /// Makes the head of a request's message.
    const fn head(self, transfer: &Transfer) -> Head {
        let message_type = match transfer.is_confirmable {
            true => MessageType::Confirmable,
            false => MessageType::NonConfirmable,
        };
        Head {
            framing: Framing::Datagram {
                message_type,
                message_id: self.message_id,
            },
            code: transfer.code,
            token: self.token,
        }
    }
}

impl<M: MessageBuffer> crate::server::Incoming<M> {
    /// Makes a response that waits one that is due, under its message ID.
    fn start(&mut self, message_id: MessageId, retransmission: Retransmission) {
        let placeholder = IncomingPhase::Acknowledged;
        self.phase = match core::mem::replace(&mut self.phase, placeholder) {
            IncomingPhase::Queued(mut message) => {
                set_message_id(message.as_mut_slice(), message_id);
                match self.is_confirmable {
                    true => IncomingPhase::ExpectAcknowledgement {
                        message,
                        message_id,
                        retransmission,
                    },
                    false => IncomingPhase::NonConfirmableDue(message),
                }
            }
            other => other,
        };
    }
}

fn copy(message: &[u8], out: &mut [u8]) -> Option<usize> {
    out.get_mut(..message.len())?.copy_from_slice(message);
    Some(message.len())
}
