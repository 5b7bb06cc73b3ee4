//! What an end offers and takes.

use hedgerow_core::NamedGroup;

use crate::hello::End;
use crate::suite::Suite;

/// What an end offers and takes in inner handshakes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    pub(crate) end: End,
    pub(crate) suites: [Suite; 2],
    pub(crate) suite_count: usize,
    /// `None`: no forward secrecy.
    pub(crate) group: Option<NamedGroup>,
}

impl Settings {
    /// Both suites, [`Suite::Aes128Ccm8`] first, and X25519; forward secrecy is required.
    pub const fn new(end: End) -> Self {
        Self {
            end,
            suites: Suite::ALL,
            suite_count: 2,
            group: Some(NamedGroup::X25519),
        }
    }

    /// Offers or takes one suite alone.
    #[must_use]
    pub const fn with_only_suite(mut self, suite: Suite) -> Self {
        self.suites = [suite; 2];
        self.suite_count = 1;
        self
    }

    /// Prefers a suite.
    #[must_use]
    pub const fn with_preferred_suite(mut self, suite: Suite) -> Self {
        self.suites = match suite {
            Suite::Aes128Ccm8 => [Suite::Aes128Ccm8, Suite::Aes128Ccm],
            Suite::Aes128Ccm => [Suite::Aes128Ccm, Suite::Aes128Ccm8],
        };
        self.suite_count = 2;
        self
    }

    /// Sets the group in which an initiator agrees. A responder takes every group that its provider
    /// has.
    #[must_use]
    pub const fn with_group(mut self, group: NamedGroup) -> Self {
        self.group = Some(group);
        self
    }

    /// Does without a key agreement as an initiator, and lets initiators do without as a responder:
    /// whoever gets the key later reads what was recorded.
    #[must_use]
    pub const fn without_forward_secrecy(mut self) -> Self {
        self.group = None;
        self
    }

    /// Says whether a session has to have forward secrecy.
    pub const fn requires_forward_secrecy(&self) -> bool {
        self.group.is_some()
    }

    pub(crate) fn suites(&self) -> &[Suite] {
        self.suites.get(..self.suite_count).unwrap_or_default()
    }
}
