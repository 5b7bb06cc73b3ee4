//! The sessions with devices.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hedgerow_core::{Peer, PeerId};
use hedgerow_net::{HopEvent, HopEvents, HopId};
use hedgerow_proxy::ItlsParty;
use tokio::sync::watch;
use tokio::time::sleep_until;
use tracing::{debug, info};

use super::{Itls, State, Way};
use crate::config::Mode;
use crate::server::stopped;

impl Itls {
    /// Follows the sessions of one node until the gateway stops; and closes idle flows.
    pub(crate) async fn follow(
        self: Arc<Self>,
        node: usize,
        mut events: HopEvents,
        mut stop: watch::Receiver<bool>,
    ) {
        loop {
            let due = self.lock().forwarder.poll_timeout();
            let due = due.map(|due| Duration::from_micros(due.as_micros()));
            let due = due.and_then(|due| self.begun.checked_add(due));
            tokio::select! {
                () = stopped(&mut stop) => return,
                event = events.next() => match event {
                    Some(event) => self.note_hop(node, event),
                    None => return,
                },
                () = self.opened.notified() => {}
                () = sleep_until(due.unwrap_or(self.begun)), if due.is_some() => {
                    let mut state = self.lock();
                    state.forwarder.handle_timeout(self.now());
                    self.settle(&mut state);
                }
            }
        }
    }

    fn note_hop(self: &Arc<Self>, node: usize, event: HopEvent) {
        match event {
            HopEvent::Established { hop, peer, remote } => {
                self.begin_device(node, hop, peer, remote)
            }
            HopEvent::Ended { hop } => {
                let session = self.lock().hops.remove(&(node, hop));
                if let Some(session) = session {
                    self.end(session);
                    debug!(mode = "itls", "hop ended");
                }
            }
            HopEvent::Failed { remote } => {
                let mut state = self.lock();
                let calling = state.calling.iter();
                let device = calling
                    .filter(|(_, at)| **at == Some(remote))
                    .map(|(device, _)| *device)
                    .next();
                if let Some(device) = device {
                    self.give_up(&mut state, device);
                }
            }
            HopEvent::Message {
                hop,
                message,
                is_light,
            } => {
                let session = self.lock().hops.get(&(node, hop)).copied();
                if let Some(session) = session {
                    self.take(session, &message, is_light);
                }
            }
            HopEvent::TooLong { hop, flow, len } => {
                let mut state = self.lock();
                let Some(&session) = state.hops.get(&(node, hop)) else {
                    return;
                };
                let Some(told) = state.forwarder.too_long(session, flow, len) else {
                    return;
                };
                let mut out = [0; 16];
                if let Some(len) = told.encode(&mut out) {
                    let message = out.get(..len).unwrap_or_default().to_vec();
                    let (to, about) = (told.to, (told.flow, len));
                    self.send(&mut state, to, about, message, false);
                }
            }
        }
    }

    fn begin_device(&self, node: usize, hop: HopId, peer: Peer, remote: SocketAddr) {
        let Some(device) = device_of(peer) else {
            return;
        };
        let entry = self.registry.entries().get(device);
        let Some(entry) = entry.filter(|entry| entry.device.has(Mode::Itls)) else {
            return;
        };
        let name = entry.device.name();
        info!(target: "hedgerow::audit", device = name, %remote, mode = "itls", "hop established");
        let mut state = self.lock();
        state.calling.remove(&device);
        let party = ItlsParty::Device(device);
        let session = state.forwarder.begin_session(self.now(), party, true);
        state.hops.insert((node, hop), session);
        state.ways.insert(session, Way::Hop { node, hop });
        self.settle(&mut state);
    }

    /// Begins a session with a device that is awaited.
    pub(super) fn call(self: &Arc<Self>, state: &mut State, device: usize) {
        if state.calling.contains_key(&device) {
            return;
        }
        state.calling.insert(device, None);
        let itls = Arc::clone(self);
        // A name may have to be looked up, and nobody else waits for that. There is one of these for each
        // device at most, and it ends in bounded time.
        tokio::spawn(async move {
            let target = match itls.registry.entries().get(device) {
                Some(entry) => itls.registry.hop_target(entry).await.ok(),
                None => None,
            };
            let mut state = itls.lock();
            if !state.calling.contains_key(&device) {
                // It has come by itself since then. Nothing would be told of a session that there is, and the device
                // would count as called for good.
                return;
            }
            let begun = target.and_then(|target| {
                state.calling.insert(device, Some(target.address));
                itls.nodes.first()?.begin_hop(&target).ok()
            });
            if begun.is_none() {
                itls.give_up(&mut state, device);
            }
        });
    }

    fn give_up(&self, state: &mut State, device: usize) {
        state.calling.remove(&device);
        state.forwarder.unreachable(self.now(), device);
        self.settle(state);
    }
}

/// Returns the device that a session is with: its number is its place in the configuration. One that many could
/// be is nobody.
fn device_of(peer: Peer) -> Option<usize> {
    match peer {
        Peer::Psk(PeerId(number))
        | Peer::RawPublicKey(PeerId(number))
        | Peer::Certificate(PeerId(number)) => usize::try_from(number).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use hedgerow_net::{Node, NodeConfig};

    use super::*;
    use crate::config::{Config, Device, Itls as ItlsListener, Security};
    use crate::registry::Registry;
    use crate::tunnels::Tunnels;

    async fn itls() -> Arc<Itls> {
        let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let (certificate, key) = (pair.cert.pem(), pair.signing_key.serialize_pem());
        let local = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listener = ItlsListener::from_pem(local, certificate.as_bytes(), key.as_bytes());
        let security = Security::psk("gateway", b"0123456789abcdef").unwrap();
        let lamp = Device::new("lamp", "coaps://127.0.0.1:9", security).with_modes(&[Mode::Itls]);
        let config = Config::default().with_device(lamp);
        let proxy = Arc::new(config.proxy().unwrap());
        let node = Node::bind_client(local, NodeConfig::default());
        let node = node.await.unwrap();
        let registry = Registry::new(config.devices, proxy, node.clone(), 1, None);
        let tunnels = Tunnels::new(config.users, config.tunnel, None, None);
        let registry = Arc::new(registry.unwrap());
        Itls::new(&listener.unwrap(), registry, tunnels, vec![node])
    }

    /// Waits until nothing is looked up any more.
    async fn settled(itls: &Arc<Itls>) {
        while Arc::strong_count(itls) > 1 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn device_that_came_by_itself_while_it_was_looked_up_is_not_called() {
        let itls = itls().await;
        let calls = |comes: bool| {
            let mut state = itls.lock();
            itls.call(&mut state, 0);
            if comes {
                // What its session does when it is established.
                state.calling.remove(&0);
            }
        };
        calls(true);
        settled(&itls).await;
        assert!(itls.lock().calling.is_empty());
        calls(false);
        settled(&itls).await;
        let at = SocketAddr::from((Ipv4Addr::LOCALHOST, 9));
        assert_eq!(itls.lock().calling.get(&0), Some(&Some(at)));
    }
}
