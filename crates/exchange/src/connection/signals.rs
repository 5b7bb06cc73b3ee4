//! Signaling, RFC 8323 §5: what goes out beside requests, and what the peer's signals do.

use core::borrow::Borrow;
use core::fmt::Write;

use hedgerow_coap::{
    Abort, Code, Csm, EncodeError, Release, Signal, SignalingError, SignalingMessage, Token,
};
use hedgerow_core::{DropReason, Instant};

use crate::connection::receive::Outcome;
use crate::connection::requests::{PendingPhase, PendingWork};
use crate::connection::responses::IncomingPhase;
use crate::connection::{Connection, State};
use crate::storage::{List, MessageBuffer, Storage};
use crate::{CloseReason, ConnectionConfig, Error, RequestError};

/// A message that waits to be sent.
#[derive(Debug)]
pub(crate) enum Outbound<M> {
    /// This end's CSM, the first of all.
    Csm,
    Pong {
        token: Token,
    },
    /// A Pong that waits until the requests up to this handle are answered (RFC 8323 §5.4.1).
    CustodyPong {
        token: Token,
        last_handle: u32,
    },
    Release(M),
    /// An answer, or the Abort.
    Message(M),
}

/// The ping by which this end looks after a silent peer (RFC 8323 §3.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Probe {
    None,
    Due,
    ExpectPong {
        token: Token,
        until: Instant,
    },
    /// No Pong came; the application is to be told.
    Unanswered {
        transmissions: u8,
    },
    Reported,
}

impl<S: Storage, C: Borrow<ConnectionConfig>> Connection<S, C> {
    /// Ends the connection in order (RFC 8323 §5.5): no more requests are taken, those under way are
    /// finished, then the Release goes out, and the peer closes the connection. Its own requests are
    /// answered until then. [`Event::Closed`](crate::Event::Closed) comes when the peer has closed,
    /// or after `release_timeout`.
    ///
    /// # Errors
    ///
    /// [`Error::ConnectionEnding`] if either end has released or aborted already;
    /// [`Error::Encode`] if the Release doesn't fit a message.
    pub fn release(&mut self, release: &Release<'_>) -> Result<(), Error> {
        self.release_lent();
        if !self.accepts_requests() {
            return Err(Error::ConnectionEnding);
        }
        let mut bytes = S::Message::default();
        bytes.write(self.transmit_len(), |out| {
            Signal::Release(*release).encode(Token::EMPTY, out)
        })?;
        self.release = bytes;
        match &mut self.state {
            State::ExpectCsm { is_releasing, .. } => *is_releasing = true,
            state => *state = State::Finishing,
        }
        self.advance();
        Ok(())
    }

    /// Ends the connection at once, with a text for whoever looks into it on the other side
    /// (RFC 8323 §5.6). Whatever waits to be sent is forgotten, and every request fails.
    /// [`Event::Closed`](crate::Event::Closed) comes when the Abort is sent.
    pub fn abort(&mut self, diagnostic: &str) {
        self.release_lent();
        self.abort_with(&Abort::new(diagnostic), CloseReason::Aborted);
    }

    /// Aborts for a fault of the peer.
    pub(crate) fn abort_for(&mut self, reason: CloseReason) {
        let mut text = heapless::String::<96>::new();
        // Every reason is shorter.
        let _ = write!(text, "{reason}");
        let abort = Abort::new(&text);
        let bad_csm_option = match reason {
            CloseReason::Signaling(error) => error.bad_csm_option(),
            _ => None,
        };
        match bad_csm_option {
            Some(number) => self.abort_with(&abort.with_bad_csm_option(number), reason),
            None => self.abort_with(&abort, reason),
        }
    }

    fn abort_with(&mut self, abort: &Abort<'_>, reason: CloseReason) {
        if matches!(self.state, State::Aborting(_) | State::Closed { .. }) {
            return;
        }
        let is_csm_due = matches!(self.outbox.as_slice().first(), Some(Outbound::Csm));
        self.drop_everything(RequestError::ConnectionAborted);
        // MUST (RFC 8323 §3.3): the CSM is the first message, even if the next is the last.
        if is_csm_due {
            let _ = self.outbox.push(Outbound::Csm);
        }
        let mut bytes = S::Message::default();
        let len = self.transmit_len();
        let written = bytes.write(len, |out| Signal::Abort(*abort).encode(Token::EMPTY, out));
        let written = written.or_else(|_| {
            // The text is no more than a SHOULD (RFC 8323 §5.6).
            bytes.write(len, |out| {
                Signal::Abort(Abort::default()).encode(Token::EMPTY, out)
            })
        });
        if written.is_ok() {
            let _ = self.outbox.push(Outbound::Message(bytes));
        }
        self.state = State::Aborting(reason);
    }

    /// Takes in a signaling message of the peer.
    pub(crate) fn handle_signaling(
        &mut self,
        now: Instant,
        message: &SignalingMessage<'_>,
    ) -> Outcome {
        let is_first = matches!(message.code(), Code::CSM | Code::ABORT);
        if !is_first && !self.is_established() {
            // MUST (RFC 8323 §3.3): a missing CSM aborts the connection.
            self.abort_for(CloseReason::MissingCsm);
            return Outcome::Dropped(DropReason::UnexpectedMessage);
        }
        let signal = match message.signal() {
            Ok(signal) => signal,
            Err(SignalingError::UnknownCode { .. }) => {
                return Outcome::Dropped(DropReason::UnexpectedMessage);
            }
            // MUST (RFC 8323 §5.2, §3.3): a critical option that isn't understood, and a CSM that is
            // invalid, abort the connection.
            Err(error) => {
                self.abort_for(CloseReason::Signaling(error));
                return Outcome::Dropped(DropReason::UnexpectedMessage);
            }
        };
        match signal {
            Signal::Csm(csm) => {
                self.peer.update(csm);
                if let State::ExpectCsm { is_releasing, .. } = self.state {
                    self.state = match is_releasing {
                        true => State::Finishing,
                        false => State::Open,
                    };
                }
                Outcome::Handled
            }
            Signal::Abort(_) => {
                self.end(CloseReason::AbortedByPeer);
                Outcome::Abort
            }
            Signal::Ping { custody } => {
                self.answer_ping(message.token(), custody);
                Outcome::Ping
            }
            Signal::Pong { custody } => self.handle_pong(message.token(), custody),
            Signal::Release(_) => {
                self.handle_release(now);
                Outcome::Release
            }
        }
    }

    fn answer_ping(&mut self, token: Token, custody: bool) {
        let last_handle = self.last_handle;
        // MUST (RFC 8323 §5.4): the Pong has the Ping's token. There is room for it: `handle_bytes`
        // has looked.
        let _ = self.outbox.push(match custody {
            true => Outbound::CustodyPong { token, last_handle },
            false => Outbound::Pong { token },
        });
        // The wait for the application is no more than a SHOULD (§5.4.1). Where nothing but such waits
        // would keep this end from reading, and so perhaps the application from what it waits for
        // itself, the Pong goes out at once and promises nothing.
        if custody && self.is_blocked() && self.next_outbound().is_none() {
            let last = self.outbox.as_slice().len().saturating_sub(1);
            self.outbox.remove(last);
            let _ = self.outbox.push(Outbound::Pong { token });
        }
    }

    fn handle_pong(&mut self, token: Token, custody: bool) -> Outcome {
        if matches!(self.probe, Probe::ExpectPong { token: sent, .. } if sent == token) {
            self.probe = Probe::None;
            return Outcome::Handled;
        }
        let mut outgoing = self.outgoing.as_mut_slice().iter_mut();
        let entry = outgoing.find(|entry| {
            matches!(entry.work, PendingWork::Ping { .. })
                && matches!(entry.phase, PendingPhase::ExpectResponse { token: sent, .. }
                    if sent == token)
        });
        match entry {
            Some(entry) => {
                entry.phase = PendingPhase::Pong { custody };
                Outcome::Handled
            }
            None => Outcome::Dropped(DropReason::Unmatched),
        }
    }

    fn handle_release(&mut self, now: Instant) {
        // A Release of this end that hasn't gone out is overtaken: the peer waits for the close.
        self.release = S::Message::default();
        // The first Release counts: another one gives no more time.
        if !matches!(self.state, State::ReleasedByPeer { .. }) {
            let until = now.saturating_add(self.config().release_timeout);
            self.state = State::ReleasedByPeer { until };
        }
        for entry in self.outgoing.as_mut_slice() {
            if !entry.was_sent() && entry.is_under_way() {
                entry.phase = PendingPhase::Failed(RequestError::ConnectionReleased);
            }
        }
    }

    /// Says whether a message may go out now.
    pub(crate) fn is_ready(&self, outbound: &Outbound<S::Message>) -> bool {
        match outbound {
            // SHOULD (RFC 8323 §5.4.1): the Pong waits for the requests before the Ping.
            Outbound::CustodyPong { last_handle, .. } => {
                let mut incoming = self.incoming.as_slice().iter();
                !incoming.any(|entry| {
                    !matches!(entry.phase, IncomingPhase::Failed)
                        && is_up_to(entry.handle.0, *last_handle)
                })
            }
            _ => true,
        }
    }

    /// Writes a message that waited.
    pub(crate) fn write_outbound(
        &mut self,
        outbound: &Outbound<S::Message>,
        now: Instant,
        out: &mut [u8],
    ) -> Result<usize, EncodeError> {
        match outbound {
            Outbound::Csm => Signal::Csm(Csm {
                max_message_size: Some(self.own_max_message_size()),
                block_wise_transfer: true,
            })
            .encode(Token::EMPTY, out),
            Outbound::Pong { token } => Signal::Pong { custody: false }.encode(*token, out),
            Outbound::CustodyPong { token, .. } => {
                Signal::Pong { custody: true }.encode(*token, out)
            }
            Outbound::Release(message) => {
                let until = now.saturating_add(self.config().release_timeout);
                if let State::Released { until: timer } = &mut self.state {
                    *timer = Some(until);
                }
                copy(message.as_slice(), out)
            }
            Outbound::Message(message) => copy(message.as_slice(), out),
        }
    }

    /// Begins to look after the peer where a request waits and the peer says nothing, or where it is to be
    /// looked after in any case, and gives it up where no Pong comes.
    pub(crate) fn expire_probe(&mut self, now: Instant) {
        match self.probe {
            Probe::None if self.probe_due_at().is_some_and(|at| at <= now) => {
                self.probe = Probe::Due;
            }
            Probe::ExpectPong { until, .. } if until <= now => {
                // Whatever came after the ping shows that the peer is there.
                let patience = self.config().pong_timeout;
                let is_alive = self.last_received.saturating_add(patience) > until;
                self.probe = match is_alive {
                    true => Probe::None,
                    false => Probe::Unanswered { transmissions: 1 },
                };
            }
            _ => {}
        }
    }

    pub(crate) fn poll_probe_timeout(&self) -> Option<Instant> {
        match self.probe {
            Probe::None => self.probe_due_at(),
            Probe::ExpectPong { until, .. } => Some(until),
            _ => None,
        }
    }

    fn probe_due_at(&self) -> Option<Instant> {
        let outgoing = self.outgoing.as_slice().iter();
        let sent = outgoing.filter_map(|entry| entry.sent_at()).min();
        let waiting = self.config().ping_after.zip(sent);
        let waiting =
            waiting.map(|(after, sent)| sent.max(self.last_received).saturating_add(after));
        let idle = self.config().ping_idle_after;
        let idle = idle
            .filter(|_| self.is_established())
            .map(|after| self.last_received.saturating_add(after));
        waiting.into_iter().chain(idle).min()
    }
}

/// Says whether `handle` was given before `last` or is it; handles wrap around.
const fn is_up_to(handle: u32, last: u32) -> bool {
    last.wrapping_sub(handle) < u32::MAX / 2
}

pub(crate) fn copy(message: &[u8], out: &mut [u8]) -> Result<usize, EncodeError> {
    let available = out.len();
    let room = out
        .get_mut(..message.len())
        .ok_or(EncodeError::BufferTooSmall {
            needed: message.len(),
            available,
        })?;
    room.copy_from_slice(message);
    Ok(message.len())
}
