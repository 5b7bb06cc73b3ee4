//! Whether the peer is there: what went out since it was last heard.

use core::borrow::Borrow;

use hedgerow_coap::{Message, OptionNumber};

use crate::client::Work;
use crate::storage::{Bodies, Storage};
use crate::{Config, Exchange};

/// What is known of the peer being there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Liveness {
    unanswered: u8,
    report: Report,
    heard: Heard,
}

/// How many messages had come from the peer at some time. It wraps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Heard(u32);

/// How far the application knows of a silent peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Report {
    None,
    Pending,
    Done,
}

impl Liveness {
    pub(crate) const ALIVE: Self = Self {
        unanswered: 0,
        report: Report::None,
        heard: Heard(0),
    };

    /// Notes that a message came from the peer.
    pub(crate) const fn hear(&mut self) {
        *self = Self {
            heard: Heard(self.heard.0.wrapping_add(1)),
            ..Self::ALIVE
        };
    }

    pub(crate) const fn heard(&self) -> Heard {
        self.heard
    }

    pub(crate) fn is_silent_since(&self, heard: Heard) -> bool {
        self.heard == heard
    }

    pub(crate) const fn count_unanswered(&mut self) {
        self.unanswered = self.unanswered.saturating_add(1);
    }

    /// Reports the silence if it has lasted for so many transmissions; one of them has just been
    /// waited for in vain.
    pub(crate) fn judge(&mut self, threshold: u8) {
        if self.unanswered >= threshold && self.report == Report::None {
            self.report = Report::Pending;
        }
    }

    /// Returns the number of unanswered transmissions if it is to be reported.
    pub(crate) fn poll_report(&mut self) -> Option<u8> {
        (self.report == Report::Pending).then(|| {
            self.report = Report::Done;
            self.unanswered
        })
    }
}

impl Work {
    /// Says whether a response that didn't come tells of the peer: that of a Non-confirmable
    /// request, unless it asks for silence (RFC 7967 §2). With a Confirmable message it is the
    /// Acknowledgement that tells.
    pub(crate) fn counts_as_unanswered(&self, bodies: &impl Bodies) -> bool {
        match self {
            Self::Request(transfer) if !transfer.is_confirmable => {
                let template = Message::decode(bodies.bytes(transfer.template));
                template.is_ok_and(|template| {
                    let no_response = template.option(OptionNumber::NO_RESPONSE);
                    // A value of zero asks for every response.
                    no_response.is_none_or(|option| option.value().iter().all(|byte| *byte == 0))
                })
            }
            Self::Request(_) | Self::Ping => false,
        }
    }
}

impl<S: Storage, C: Borrow<Config>> Exchange<S, C> {
    /// Asks to be told anew of a peer that still shows no sign of life: what was undertaken about it
    /// came to nothing. The next message that is waited for in vain tells.
    pub fn report_silence_again(&mut self) {
        if self.liveness.report == Report::Done {
            self.liveness.report = Report::None;
        }
    }

    /// Returns the number of unanswered transmissions since anything came from the peer: those of
    /// Confirmable messages, and Non-confirmable requests whose response didn't come within
    /// [`Config::response_timeout`]. Requests with the No-Response option (RFC 7967) don't count.
    pub const fn unanswered_transmissions(&self) -> u8 {
        self.liveness.unanswered
    }
}
