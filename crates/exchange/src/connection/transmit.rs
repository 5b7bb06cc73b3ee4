//! What goes out next: answers and signals first, then responses, then requests.

use core::borrow::Borrow;

use hedgerow_coap::{EncodeError, Signal, Token};
use hedgerow_core::{Env, Instant};

use crate::block_message::{Framing, Head};
use crate::connection::Connection;
use crate::connection::requests::{PendingPhase, PendingWork};
use crate::connection::responses::IncomingPhase;
use crate::connection::signals::{Probe, copy};
use crate::storage::{List, MessageBuffer, Storage};
use crate::{ConnectionConfig, Error, RequestError};

impl<S: Storage, C: Borrow<ConnectionConfig>> Connection<S, C> {
    /// Writes the next message to send to the front of `out` and returns its length, in bytes. All of
    /// it is to be sent, in order; whoever's transport takes no more doesn't ask for more.
    ///
    /// # Errors
    ///
    /// [`Error::Encode`] with [`EncodeError::BufferTooSmall`] if `out` is shorter than
    /// `max_message_len` of the configuration, or than 128 bytes; nothing changes then.
    pub fn poll_transmit(
        &mut self,
        env: &mut Env<'_>,
        out: &mut [u8],
    ) -> Result<Option<usize>, Error> {
        self.release_lent();
        let needed = self.transmit_len();
        if out.len() < needed {
            return Err(Error::Encode(EncodeError::BufferTooSmall {
                needed,
                available: out.len(),
            }));
        }
        self.advance();
        while let Some(index) = self.next_outbound() {
            let Some(outbound) = self.outbox.remove(index) else {
                break;
            };
            // Every one of them fits: it was written before, or is shorter than what is needed.
            if let Ok(len) = self.write_outbound(&outbound, env.now, out) {
                return Ok(Some(len));
            }
        }
        if let Some(len) = self.write_response(out) {
            return Ok(Some(len));
        }
        if let Some(len) = self.write_probe(env, out) {
            return Ok(Some(len));
        }
        let written = self.write_request(env, out);
        self.advance();
        Ok(written)
    }

    /// Returns which of the messages that wait may go out.
    pub(crate) fn next_outbound(&self) -> Option<usize> {
        let mut outbox = self.outbox.as_slice().iter();
        outbox.position(|outbound| self.is_ready(outbound))
    }

    fn write_response(&mut self, out: &mut [u8]) -> Option<usize> {
        let mut incoming = self.incoming.as_slice().iter().enumerate();
        let (index, len) = incoming.find_map(|(index, entry)| match &entry.phase {
            IncomingPhase::Queued(message) => Some((index, copy(message.as_slice(), out).ok()?)),
            _ => None,
        })?;
        self.incoming.remove(index);
        Some(len)
    }

    fn write_probe(&mut self, env: &mut Env<'_>, out: &mut [u8]) -> Option<usize> {
        if self.probe != Probe::Due {
            return None;
        }
        let token = self.allocate_token(env);
        let len = Signal::Ping { custody: false }.encode(token, out).ok()?;
        let until = env.now.saturating_add(self.config().pong_timeout);
        self.probe = Probe::ExpectPong { token, until };
        Some(len)
    }

    fn write_request(&mut self, env: &mut Env<'_>, out: &mut [u8]) -> Option<usize> {
        if !self.may_send_requests() {
            return None;
        }
        loop {
            let mut outgoing = self.outgoing.as_slice().iter();
            let index = outgoing.position(|entry| matches!(entry.phase, PendingPhase::Queued))?;
            let token = self.allocate_token(env);
            if let Some(len) = self.write_queued(index, token, env.now, out) {
                return Some(len);
            }
        }
    }

    /// Writes the message of a request that waits; where that can't be, the request fails.
    fn write_queued(
        &mut self,
        index: usize,
        token: Token,
        now: Instant,
        out: &mut [u8],
    ) -> Option<usize> {
        let config = self.config.borrow();
        let bounds = Self::bounds(config, self.peer);
        let entry = self.outgoing.as_mut_slice().get_mut(index)?;
        let (written, timeout) = match &mut entry.work {
            PendingWork::Ping { custody, was_sent } => {
                *was_sent = true;
                let ping = Signal::Ping { custody: *custody };
                (ping.encode(token, out).ok(), config.pong_timeout)
            }
            PendingWork::Request(transfer) => {
                let head = Head {
                    framing: Framing::Stream,
                    code: transfer.code,
                    token,
                };
                let fits = self.blocks.fit(bounds, transfer);
                let room = out.get_mut(..bounds.send_len).unwrap_or_default();
                let written = fits
                    .ok()
                    .and_then(|()| self.blocks.write_request(bounds, transfer, head, room));
                transfer.was_sent |= written.is_some();
                (written, config.exchange.response_timeout)
            }
        };
        entry.phase = match written {
            Some(_) => PendingPhase::ExpectResponse {
                token,
                sent_at: now,
                until: now.saturating_add(timeout),
            },
            None => PendingPhase::Failed(RequestError::TooLongForPeer),
        };
        written
    }

    fn allocate_token(&mut self, env: &mut Env<'_>) -> Token {
        let outgoing = self.outgoing.as_slice();
        let probe = self.probe;
        let kind = self.config.borrow().exchange.tokens;
        self.tokens.allocate(kind, env.rng, |token| {
            matches!(probe, Probe::ExpectPong { token: sent, .. } if sent == token)
                || outgoing.iter().any(|entry| {
                    matches!(entry.phase, PendingPhase::ExpectResponse { token: sent, .. }
                        if sent == token)
                })
        })
    }
}
