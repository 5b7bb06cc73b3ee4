//! A tunnel's second carrier, at the gateway (`docs/specs/auto.md`).

use std::sync::{Mutex, MutexGuard, PoisonError};

use hedgerow_net::UdpCarrierSender;
use hedgerow_proxy::{
    CarrierChoice, CarrierKind, CarrierMessage, CarrierRole, TunnelCarriers, udp_payload_message,
};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// What a tunnel whose client has asked for a UDP carrier has in addition.
pub(crate) struct Auto {
    carriers: Mutex<TunnelCarriers>,
    udp: UdpCarrierSender,
    start: Instant,
    /// Something may be due earlier than before.
    changed: Notify,
}

/// What became of a datagram on its way to the client.
pub(crate) struct Sent {
    /// What is to go over TCP, if anything.
    pub(crate) tcp: Option<Box<[u8]>>,
    /// Whether it went over UDP, and if it did not find room there.
    pub(crate) udp: Option<bool>,
}

impl Auto {
    pub(crate) fn new(udp: UdpCarrierSender) -> Self {
        let carriers = TunnelCarriers::new(CarrierRole::Gateway, hedgerow_core::Instant::ZERO);
        Self {
            carriers: Mutex::new(carriers),
            udp,
            start: Instant::now(),
            changed: Notify::new(),
        }
    }

    /// Chooses for a datagram of the device's.
    pub(crate) fn send(&self, datagram: &[u8]) -> Sent {
        let choice = self.lock().choose(self.now(), datagram);
        self.changed.notify_one();
        let message = udp_payload_message(datagram);
        match choice {
            CarrierChoice::Tcp => Sent {
                tcp: Some(message),
                udp: None,
            },
            CarrierChoice::Udp => Sent {
                tcp: None,
                udp: Some(self.udp.send(message)),
            },
            CarrierChoice::Both => Sent {
                udp: Some(self.udp.send(message.clone())),
                tcp: Some(message),
            },
        }
    }

    /// Takes in a message, and returns the payload if it is for the device.
    pub(crate) fn receive<'d>(
        &self,
        carrier: CarrierKind,
        message: CarrierMessage<'d>,
    ) -> Option<&'d [u8]> {
        let payload = self.lock().handle_message(self.now(), carrier, message);
        if payload.is_none() {
            self.changed.notify_one();
        }
        payload
    }

    pub(crate) fn udp_opened(&self) {
        self.lock().udp_opened(self.now());
    }

    pub(crate) fn udp_closed(&self) {
        self.lock().udp_closed(self.now());
    }

    /// Sends probes and echoes that are due; those for TCP are returned.
    pub(crate) fn step(&self) -> Vec<Box<[u8]>> {
        let now = self.now();
        let mut tcp = Vec::new();
        let mut carriers = self.lock();
        carriers.handle_timeout(now);
        while let Some((carrier, message)) = carriers.poll_message(now) {
            match carrier {
                CarrierKind::Tcp => tcp.push(message),
                // One that finds no room is a probe lost.
                CarrierKind::Udp => drop(self.udp.send(message)),
            }
        }
        tcp
    }

    /// Waits until [`Self::step`] is due.
    pub(crate) async fn due(&self) {
        let due = self.lock().poll_timeout();
        let timer = async {
            match due {
                Some(due) => {
                    let since = due.saturating_since(hedgerow_core::Instant::ZERO);
                    sleep_until(self.start + since).await;
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = timer => {}
            () = self.changed.notified() => {}
        }
    }

    fn now(&self) -> hedgerow_core::Instant {
        hedgerow_core::Instant::ZERO + self.start.elapsed()
    }

    fn lock(&self) -> MutexGuard<'_, TunnelCarriers> {
        self.carriers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
