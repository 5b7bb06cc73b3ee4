//! How much of the gateway one HTTP client may take.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Counts what each client has under way, from a request's head until its answer has been read.
#[derive(Debug)]
pub(crate) struct Clients {
    most: usize,
    under_way: Mutex<HashMap<IpAddr, usize>>,
}

impl Clients {
    /// Gives each client as many places as `most`.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            most,
            under_way: Mutex::default(),
        }
    }

    /// Takes a place of a client's; `None` if it has taken all of them.
    pub(crate) fn enter(self: &Arc<Self>, client: IpAddr) -> Option<ClientPlace> {
        let client = network(client);
        let mut under_way = self.lock();
        let taken = under_way.get(&client).copied().unwrap_or_default();
        if taken >= self.most {
            return None;
        }
        under_way.insert(client, taken.saturating_add(1));
        drop(under_way);
        Some(ClientPlace {
            clients: Arc::clone(self),
            client,
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// A client's place, free again once it is dropped.
#[derive(Debug)]
pub(crate) struct ClientPlace {
    clients: Arc<Clients>,
    client: IpAddr,
}

impl Drop for ClientPlace {
    fn drop(&mut self) {
        let mut under_way = self.clients.lock();
        match under_way.get_mut(&self.client) {
            Some(taken) if *taken > 1 => *taken = taken.saturating_sub(1),
            // A client without a request leaves nothing behind.
            _ => drop(under_way.remove(&self.client)),
        }
    }
}

/// Returns what counts as one client: an IPv4 address, or the 64 bits that name an IPv6 network,
/// since the rest of the address is the client's to choose (RFC 4291 §2.5.1).
fn network(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(address) => {
            let prefix = u128::from(address) & (u128::MAX << 64);
            IpAddr::V6(Ipv6Addr::from(prefix))
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_has_its_places_and_no_others() {
        let clients = Arc::new(Clients::new(2));
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
    fn addresses_of_one_ipv6_network_are_one_client() {
        let clients = Arc::new(Clients::new(1));
        let enter = |client: &str| clients.enter(client.parse().unwrap());
        let _place = enter("2001:db8::1").unwrap();
        assert!(enter("2001:db8::ffff:1:2:3").is_none());
        assert!(enter("2001:db8:0:1::1").is_some());
    }
}
