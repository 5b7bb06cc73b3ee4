//! An address that a peer seems to have moved to, until it has shown that it receives there (RFC
//! 9146 §6).

use core::time::Duration;

use hedgerow_coap::{Header, Message, MessageId, MessageType};
use hedgerow_core::{Env, Instant};
use hedgerow_exchange::TransmissionParameters;

/// Bytes out for bytes in before an address has proved itself.
const MAX_AMPLIFICATION: usize = 3;

/// How long an association waits from one probe to the next one under another message ID.
///
/// Each takes one of 2,048 IDs that the peer can't tell beforehand. A peer that answers without
/// having received, to have its traffic sent to a third party, guesses for hours; and somebody on
/// the path who rewrites the source of every record can't use the association's message IDs up.
pub(crate) const PROBE_PAUSE: Duration = Duration::from_secs(8);

/// An address under probation: a ping goes there, and little else.
#[derive(Debug)]
pub(crate) struct Candidate<A> {
    pub(crate) address: A,
    /// Bytes of verified records that came from there, each newer than all before.
    received: usize,
    /// Bytes sent there.
    sent: usize,
    probe: Probe,
}

/// The ping, which goes to the candidate and nowhere else.
#[derive(Debug)]
enum Probe {
    /// Begins then, and gets its message ID.
    Planned { at: Instant },
    /// Sent until it is answered.
    Sent {
        message_id: MessageId,
        transmissions: u8,
        timeout: Duration,
        /// When it is sent again.
        at: Instant,
    },
}

/// What has become due for a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    Nothing,
    /// The ping; under a new message ID if there is none yet.
    Probe(Option<MessageId>),
    /// It has never answered.
    GiveUp,
}

impl<A> Candidate<A> {
    /// Begins with the verified record of `len` bytes that came from `address`; its probe begins
    /// at `at`.
    pub(crate) const fn new(address: A, len: usize, at: Instant) -> Self {
        Self {
            address,
            received: len,
            sent: 0,
            probe: Probe::Planned { at },
        }
    }

    /// Counts another verified record from there.
    pub(crate) const fn receive(&mut self, len: usize) {
        self.received = self.received.saturating_add(len);
    }

    /// Says whether `len` bytes more may go there.
    const fn allows(&self, len: usize) -> bool {
        // MUST (RFC 9146 §6): an address isn't used before it has shown that it receives. Until
        // then it gets no more than three times what came from it, whatever that is.
        self.sent.saturating_add(len) <= self.received.saturating_mul(MAX_AMPLIFICATION)
    }

    /// Says whether a copy of `len` bytes may go there, with a probe of `probe_len` bytes kept
    /// back, and counts it.
    pub(crate) const fn take_copy(&mut self, len: usize, probe_len: usize) -> bool {
        let is_allowed = self.allows(len.saturating_add(probe_len));
        if is_allowed {
            self.sent = self.sent.saturating_add(len);
        }
        is_allowed
    }

    /// Says what is due at `now`, where a probe has `probe_len` bytes. One for which there is no
    /// allowance waits for what comes next from there.
    pub(crate) fn due(&self, now: Instant, max_retransmit: u8, probe_len: usize) -> Due {
        match self.probe {
            Probe::Planned { at } if now >= at && self.allows(probe_len) => Due::Probe(None),
            Probe::Sent {
                at, transmissions, ..
            } if now >= at && transmissions > max_retransmit => Due::GiveUp,
            Probe::Sent { at, message_id, .. } if now >= at && self.allows(probe_len) => {
                Due::Probe(Some(message_id))
            }
            Probe::Planned { .. } | Probe::Sent { .. } => Due::Nothing,
        }
    }

    /// Returns when something is due, other than by what comes from there.
    pub(crate) fn poll_timeout(&self, max_retransmit: u8, probe_len: usize) -> Option<Instant> {
        match self.probe {
            Probe::Sent {
                at, transmissions, ..
            } if transmissions > max_retransmit => Some(at),
            Probe::Planned { at } | Probe::Sent { at, .. } => self.allows(probe_len).then_some(at),
        }
    }

    /// Notes that the probe was sent in `len` bytes.
    pub(crate) fn probe_sent(
        &mut self,
        env: &mut Env<'_>,
        message_id: MessageId,
        len: usize,
        parameters: &TransmissionParameters,
    ) {
        self.sent = self.sent.saturating_add(len);
        let (transmissions, timeout) = match self.probe {
            Probe::Planned { .. } => (1, parameters.initial_timeout(env.rng)),
            Probe::Sent {
                transmissions,
                timeout,
                ..
            } => (transmissions.saturating_add(1), timeout.saturating_mul(2)),
        };
        self.probe = Probe::Sent {
            message_id,
            transmissions,
            timeout,
            at: env.now.saturating_add(timeout),
        };
    }

    /// Says whether a verified message is the answer to the probe: the Reset that a ping asks for,
    /// or an Acknowledgement, which some send.
    pub(crate) fn is_answered_by(&self, message: &[u8]) -> bool {
        let Probe::Sent { message_id, .. } = self.probe else {
            return false;
        };
        Message::decode(message).is_ok_and(|message| {
            is_answer(message.message_type())
                && message.code().is_empty()
                && message.message_id() == message_id
        })
    }

    /// Says whether a message could be an answer that its sender has guessed.
    pub(crate) fn is_guess(message: &[u8]) -> bool {
        message.len() == Header::LEN
            && Message::decode(message).is_ok_and(|message| is_answer(message.message_type()))
    }
}

const fn is_answer(message_type: MessageType) -> bool {
    matches!(
        message_type,
        MessageType::Reset | MessageType::Acknowledgement
    )
}
