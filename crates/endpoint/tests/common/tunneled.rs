//! A device behind a gateway that carries datagrams, in a simulated network: the client's datagrams go
//! into capsules, through two pipes of bytes in order, out of the capsules and over a lossy leg to an
//! ordinary server.

#![allow(dead_code, unreachable_pub)]

use hedgerow_core::{Env, Instant};
use hedgerow_proxy::{
    MAX_UDP_CAPSULE_OVERHEAD, TunnelDecoder, TunnelDrop, TunnelEvent, TunnelFault,
    encode_udp_capsule,
};
use hedgerow_sim::{Address, Outbox};

use super::carried::{self, Attack, Carrying, DEVICE, GATEWAY, Pipe, Way, part};
use super::common::{CLIENT, SERVER};

pub type Net = carried::Net<Tunneled>;

/// The client's end of a tunnel, the TCP connection and the gateway, once the tunnel is granted.
pub struct Tunneled {
    to_device: Address,
    to_gateway: Pipe,
    to_end: Pipe,
    at_gateway: TunnelDecoder,
    at_end: TunnelDecoder,
    pub attack: Option<Attack>,
    /// What the client's end dropped, and the gateway.
    pub dropped: Vec<TunnelDrop>,
    pub dropped_by_gateway: Vec<TunnelDrop>,
    /// How the tunnel ended for the client: between two capsules, or not.
    pub ended: Option<Result<(), TunnelFault>>,
}

impl Tunneled {
    pub fn new() -> Self {
        Self {
            to_device: DEVICE,
            to_gateway: Pipe::default(),
            to_end: Pipe::default(),
            at_gateway: TunnelDecoder::new(MAX_DATAGRAM),
            at_end: TunnelDecoder::new(MAX_DATAGRAM),
            attack: None,
            dropped: Vec::new(),
            dropped_by_gateway: Vec::new(),
            ended: None,
        }
    }

    #[must_use]
    pub fn leading_to(mut self, device: Address) -> Self {
        self.to_device = device;
        self
    }

    /// Puts bytes on the way to the client, as only the gateway can.
    pub fn inject_bytes(&mut self, now: Instant, bytes: &[u8]) {
        self.to_end.push(now, bytes.to_vec());
    }

    /// Puts a datagram on the way to the client.
    pub fn inject(&mut self, now: Instant, datagram: &[u8]) {
        self.to_end.push(now, capsule(datagram));
    }

    /// Ends the TCP connection. What has arrived of a capsule that isn't whole stays so.
    pub fn cut(&mut self) {
        self.to_end = Pipe::default();
        let ended = self.at_end.finish();
        self.ended.get_or_insert(ended);
    }
}

impl Carrying for Tunneled {
    fn handle_client(&mut self, env: &mut Env<'_>, datagram: &mut [u8]) {
        if self.ended.is_none() {
            self.to_gateway.push(env.now, capsule(datagram));
        }
    }

    fn handle_device(&mut self, env: &mut Env<'_>, from: Address, datagram: &[u8]) {
        // The gateway's socket is connected to the device.
        if from == self.to_device {
            for datagram in self.attacked(Way::ToInternetEnd, datagram.to_vec()) {
                self.to_end.push(env.now, capsule(&datagram));
            }
        }
    }

    fn handle_timeout(&mut self, env: &mut Env<'_>, out: &mut Outbox) {
        while let Some(bytes) = self.to_gateway.pop(env.now) {
            let part = part(env);
            let mut payloads = Vec::new();
            for mut part in bytes.chunks(part) {
                while let Some(event) = self.at_gateway.next_event(&mut part).unwrap() {
                    match event {
                        TunnelEvent::UdpPayload(payload) => payloads.push(payload.to_vec()),
                        TunnelEvent::Dropped(reason) => self.dropped_by_gateway.push(reason),
                        TunnelEvent::Probing(_) => panic!("probes weren't asked for"),
                    }
                }
            }
            for payload in payloads {
                for datagram in self.attacked(Way::ToDevice, payload) {
                    out.send(GATEWAY, self.to_device, &datagram);
                }
            }
        }
        while let Some(bytes) = self.to_end.pop(env.now) {
            let part = part(env);
            for mut part in bytes.chunks(part) {
                while self.ended.is_none() {
                    match self.at_end.next_event(&mut part) {
                        Ok(None) => break,
                        Ok(Some(TunnelEvent::UdpPayload(payload))) => {
                            out.send(SERVER, CLIENT, payload);
                        }
                        Ok(Some(TunnelEvent::Dropped(reason))) => self.dropped.push(reason),
                        Ok(Some(TunnelEvent::Probing(_))) => panic!("probes weren't asked for"),
                        Err(fault) => self.ended = Some(Err(fault)),
                    }
                }
            }
        }
    }

    fn pipes(&self) -> [&Pipe; 2] {
        [&self.to_gateway, &self.to_end]
    }

    fn attack(&mut self) -> &mut Option<Attack> {
        &mut self.attack
    }
}

/// A DATAGRAM capsule with a UDP payload.
pub fn capsule(datagram: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; datagram.len() + MAX_UDP_CAPSULE_OVERHEAD];
    let len = encode_udp_capsule(datagram, &mut bytes).unwrap();
    bytes.truncate(len);
    bytes
}

/// What the program's ends keep of a datagram at most.
const MAX_DATAGRAM: usize = 1_500;
