//! Places for connections of HTTP and HTTPS, which all of their listeners have in common.

use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hedgerow_net::{Share, Shares};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::Limits;

/// Counters of connections over HTTP and HTTPS that were closed at once, since the gateway started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct HttpStatistics {
    /// Those beyond [`Limits::connections`].
    pub busy: u64,
    /// Those of a client beyond [`Limits::connections_per_client`].
    pub busy_client: u64,
}

/// The places.
pub(crate) struct HttpPlaces {
    all: Arc<Semaphore>,
    clients: Arc<Shares>,
    counters: Mutex<HttpStatistics>,
}

/// A connection's place, free again once it is dropped.
#[derive(Debug)]
pub(crate) struct HttpPlace {
    _all: OwnedSemaphorePermit,
    _client: Share,
}

/// Why a connection has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoHttpPlace {
    /// There are as many as configured.
    Busy,
    /// Of this client there are.
    BusyClient,
}

impl fmt::Display for NoHttpPlace {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Busy => "as many as configured",
            Self::BusyClient => "as many of this client as configured",
        })
    }
}

impl HttpPlaces {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            all: Arc::new(Semaphore::new(limits.connections)),
            clients: Arc::new(Shares::new(limits.connections_per_client)),
            counters: Mutex::default(),
        }
    }

    /// Takes a place for a connection of a client.
    pub(crate) fn enter(&self, client: IpAddr) -> Result<HttpPlace, NoHttpPlace> {
        // The client first: one that is past its own share isn't what others lack places for.
        let Some(share) = self.clients.enter(client) else {
            let mut counters = self.lock();
            counters.busy_client = counters.busy_client.saturating_add(1);
            return Err(NoHttpPlace::BusyClient);
        };
        let Ok(place) = Arc::clone(&self.all).try_acquire_owned() else {
            let mut counters = self.lock();
            counters.busy = counters.busy.saturating_add(1);
            return Err(NoHttpPlace::Busy);
        };
        Ok(HttpPlace {
            _all: place,
            _client: share,
        })
    }

    pub(crate) fn statistics(&self) -> HttpStatistics {
        *self.lock()
    }

    fn lock(&self) -> MutexGuard<'_, HttpStatistics> {
        self.counters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_leaves_places_to_others_and_each_refusal_is_counted() {
        let limits = Limits {
            connections: 3,
            connections_per_client: 2,
            ..Limits::default()
        };
        let places = HttpPlaces::new(&limits);
        let enter = |client: &str| places.enter(client.parse().unwrap());
        let greedy = [enter("2001:db8::1").unwrap(), enter("2001:db8::2").unwrap()];
        // Another address of the same network is the same client.
        assert_eq!(enter("2001:db8::3").unwrap_err(), NoHttpPlace::BusyClient);
        let _other = enter("192.0.2.1").unwrap();
        assert_eq!(enter("192.0.2.2").unwrap_err(), NoHttpPlace::Busy);
        let counted = HttpStatistics {
            busy: 1,
            busy_client: 1,
        };
        assert_eq!(places.statistics(), counted);
        drop(greedy);
        // Whoever found none keeps no share either.
        let _again = [enter("192.0.2.2").unwrap(), enter("192.0.2.2").unwrap()];
    }
}
