//! What is counted of connections in mode `translate`.

use std::sync::{Mutex, MutexGuard, PoisonError};

use hedgerow_core::DropReason;

/// Counters of all connections in mode `translate` since the gateway started. None holds anything of a
/// payload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TranslateStatistics {
    /// Connections that there are now.
    pub open: u64,
    /// Connections that were accepted.
    pub accepted: u64,
    /// Connections for no device, or for one that isn't in this mode.
    pub refused: u64,
    /// Connections and prefaces that a limit turned away.
    pub busy: u64,
    /// Prefaces in a version or form that there isn't, or that were none.
    pub not_supported: u64,
    /// Connections whose device has sent application data.
    pub established: u64,
    /// Datagrams to devices.
    pub datagrams_to_devices: u64,
    /// Datagrams from devices.
    pub datagrams_from_devices: u64,
    /// Datagrams that the system refused to send, or that ICMP came back for.
    pub unreachable: u64,
    drops: Vec<(DropReason, u64)>,
}

impl TranslateStatistics {
    /// Returns how many records and datagrams were dropped for a reason.
    pub fn dropped(&self, reason: DropReason) -> u64 {
        let mut drops = self.drops.iter();
        drops
            .find(|(other, _)| *other == reason)
            .map_or(0, |(_, count)| *count)
    }

    pub(super) fn count_drop(&mut self, reason: DropReason) {
        match self.drops.iter_mut().find(|(other, _)| *other == reason) {
            Some((_, count)) => add(count),
            None => self.drops.push((reason, 1)),
        }
    }
}

/// The counters where all connections reach them.
#[derive(Debug, Default)]
pub(crate) struct Counters(Mutex<TranslateStatistics>);

impl Counters {
    pub(crate) fn lock(&self) -> MutexGuard<'_, TranslateStatistics> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn add(count: &mut u64) {
    *count = count.saturating_add(1);
}
