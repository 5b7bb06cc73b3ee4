//! What is counted.

use hedgerow_core::DropReason;

/// Counters of all flows since the forwarder was made. None holds anything of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ItlsStatistics {
    /// Flows that there are now.
    pub open: u64,
    /// Flows that were opened.
    pub opened: u64,
    /// OPENs for a name that isn't known or isn't allowed.
    pub refused: u64,
    /// OPENs that a limit turned away.
    pub busy: u64,
    /// OPENs for somebody who can't be had.
    pub gone: u64,
    /// Messages passed on to devices.
    pub to_devices: u64,
    /// Messages passed on to Internet ends.
    pub to_users: u64,
    /// Of those passed on, messages that came in datagrams of a light outer layer.
    pub light: u64,
    /// Of those passed on, and of what the gateway says, messages that were dropped because their peer doesn't
    /// read what waits for it, or because a queue was full.
    pub undelivered: u64,
    drops: Vec<u64>,
}

impl Default for ItlsStatistics {
    fn default() -> Self {
        Self {
            open: 0,
            opened: 0,
            refused: 0,
            busy: 0,
            gone: 0,
            to_devices: 0,
            to_users: 0,
            light: 0,
            undelivered: 0,
            drops: vec![0; DropReason::ALL.len()],
        }
    }
}

impl ItlsStatistics {
    /// Returns how many messages were dropped for a reason.
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.drops.get(reason.index()).copied().unwrap_or_default()
    }

    pub(super) fn count_drop(&mut self, reason: DropReason) {
        if let Some(count) = self.drops.get_mut(reason.index()) {
            add(count);
        }
    }
}

pub(super) const fn add(count: &mut u64) {
    *count = count.saturating_add(1);
}
