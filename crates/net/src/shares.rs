//! How much each source may take of what there is for all.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hedgerow_endpoint::Source;

/// Counts how many places each [`Source`] has taken. One without any leaves nothing behind.
#[derive(Debug)]
pub struct Shares {
    most: usize,
    taken: Mutex<HashMap<Source, usize>>,
}

impl Shares {
    /// Gives each source as many places as `most`.
    pub fn new(most: usize) -> Self {
        Self {
            most,
            taken: Mutex::default(),
        }
    }

    /// Takes a place of the source that `address` belongs to; `None` if it has taken all of them.
    pub fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Share> {
        let source = Source::of(address);
        let mut taken_by = self.lock();
        let taken = taken_by.get(&source).copied().unwrap_or_default();
        if taken >= self.most {
            return None;
        }
        taken_by.insert(source, taken.saturating_add(1));
        drop(taken_by);
        Some(Share {
            shares: Arc::clone(self),
            source,
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Source, usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A source's place, free again once it is dropped.
#[derive(Debug)]
pub struct Share {
    shares: Arc<Shares>,
    source: Source,
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut taken_by = self.shares.lock();
        match taken_by.get_mut(&self.source) {
            Some(taken) if *taken > 1 => *taken = taken.saturating_sub(1),
            _ => drop(taken_by.remove(&self.source)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn source_has_its_places_and_no_others() {
        let clients = Arc::new(Shares::new(2));
        let enter = |client: &str| clients.enter(client.parse().unwrap());
        let (first, second) = (enter("192.0.2.1").unwrap(), enter("192.0.2.1").unwrap());
        assert!(enter("192.0.2.1").is_none());
        assert!(enter("::ffff:192.0.2.1").is_none());
        assert!(enter("192.0.2.2").is_some());
        drop(first);
        let third = enter("192.0.2.1").unwrap();
        assert!(enter("192.0.2.1").is_none());
        drop((second, third));
        assert!(clients.lock().is_empty());
    }

    #[test]
    fn addresses_of_one_ipv6_network_are_one_source() {
        let clients = Arc::new(Shares::new(1));
        let enter = |client: &str| clients.enter(client.parse().unwrap());
        let _place = enter("2001:db8::1").unwrap();
        assert!(enter("2001:db8::ffff:1:2:3").is_none());
        assert!(enter("2001:db8:0:1::1").is_some());
    }
}
