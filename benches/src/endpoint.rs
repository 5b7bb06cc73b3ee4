//! A server of `hedgerow-endpoint` that many clients meet, one after the other.

use std::time::Duration;

use getrandom::SysRng;
use hedgerow_coap::Code;
use hedgerow_core::{Credentials, CryptoProvider, Env, Instant, PeerId, Psk};
use hedgerow_endpoint::{Address, Config, Endpoint, Event, Handled};
use hedgerow_exchange::{Request, Response};
use hedgerow_handshake::Settings;
use hedgerow_record::CipherSuite;
use rand_core::UnwrapErr;

use crate::handshake::{IDENTITY, PSK};

/// Where a client or the server is: as long as an IPv6 address with a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place([u8; 18]);

impl Place {
    fn new(n: u32) -> Self {
        let mut bytes = [0xfd; 18];
        bytes[..4].copy_from_slice(&n.to_be_bytes());
        Self(bytes)
    }
}

impl Address for Place {
    fn with_bytes<R>(&self, lend: impl FnOnce(&[u8]) -> R) -> R {
        lend(&self.0)
    }
}

type Store<'k> = &'k (&'static [u8], Psk, PeerId);

/// A server, and the time that it sees.
pub struct Server<'k, P: CryptoProvider> {
    provider: P,
    settings: Settings,
    endpoint: Endpoint<Place, P, Store<'k>, Credentials<'k>>,
    keys: Store<'k>,
    now: Instant,
    clients: u32,
}

/// The one key that all clients share here; a real server has one for each.
pub fn keys() -> (&'static [u8], Psk, PeerId) {
    (IDENTITY.as_bytes(), Psk::new(PSK).unwrap(), PeerId(1))
}

impl<'k, P: CryptoProvider + Copy> Server<'k, P> {
    /// Makes a server that accepts one suite.
    pub fn new(provider: P, suite: CipherSuite, keys: Store<'k>) -> Self {
        let settings = Settings::new(&[suite]);
        let mut rng = UnwrapErr(SysRng);
        let env = &mut Env::new(Instant::ZERO, &mut rng);
        Self {
            provider,
            settings,
            endpoint: Endpoint::server(provider, keys, config(settings), env),
            keys,
            now: Instant::ZERO,
            clients: 0,
        }
    }

    /// Lets a new client establish a session, ask for something and be answered, and forgets the
    /// client without a goodbye.
    pub fn meet_client(&mut self) {
        self.clients += 1;
        let (here, there) = (Place::new(0), Place::new(self.clients));
        let mut rng = UnwrapErr(SysRng);
        let env = &mut Env::new(self.now, &mut rng);
        let credentials = Credentials {
            psk_identity: IDENTITY.as_bytes(),
            psk: &self.keys.1,
            peer: PeerId(2),
        };
        let mut client = Endpoint::client(self.provider, self.keys, config(self.settings));
        let association = client.connect(env, here, Some(&credentials)).unwrap();
        client
            .request(env, association, &Request::new(Code::GET))
            .unwrap();

        let (mut datagram, mut answer) = ([0; 1_500], [0; 64]);
        let mut is_answered = false;
        while !is_answered {
            while let Some((_, len)) = client.poll_transmit(env, &mut datagram) {
                let mut part = &mut datagram[..len];
                while !part.is_empty() {
                    let server = &mut self.endpoint;
                    let Handled {
                        consumed,
                        answer: back,
                        event,
                    } = server.handle_datagram(env, there, part, &mut answer);
                    if let Some(Event::Request {
                        association,
                        request,
                        ..
                    }) = event
                    {
                        let response = Response::new(Code::CONTENT).payload(b"21.5");
                        server
                            .respond(env, association, request, &response)
                            .unwrap();
                    }
                    if back > 0 {
                        client.handle_datagram(env, here, &mut answer[..back], &mut [0; 64]);
                    }
                    part = &mut part[consumed..];
                }
            }
            while let Some((_, len)) = self.endpoint.poll_transmit(env, &mut datagram) {
                let mut part = &mut datagram[..len];
                while !part.is_empty() {
                    let handled = client.handle_datagram(env, here, part, &mut answer);
                    is_answered |= matches!(handled.event, Some(Event::Response { .. }));
                    let consumed = handled.consumed;
                    part = &mut part[consumed..];
                }
            }
        }
        while self.endpoint.poll_event().is_some() {}
    }

    /// Lets time pass in which nobody says anything.
    pub fn wait(&mut self, duration: Duration) {
        self.now = self.now + duration;
        let mut rng = UnwrapErr(SysRng);
        let env = &mut Env::new(self.now, &mut rng);
        self.endpoint.handle_timeout(env);
        while self.endpoint.poll_transmit(env, &mut [0; 1_500]).is_some() {}
        while self.endpoint.poll_event().is_some() {}
    }

    /// Returns how many sessions are held.
    pub fn sessions(&self) -> usize {
        self.endpoint.associations()
    }
}

fn config(handshake: Settings) -> Config {
    Config {
        handshake,
        ..Config::default()
    }
}

#[cfg(test)]
mod tests {
    use hedgerow_crypto_soft::SoftCrypto;

    use super::*;

    #[test]
    fn sessions_stay_while_nobody_says_anything() {
        let keys = keys();
        let suite = CipherSuite::TLS_PSK_WITH_AES_128_CCM_8;
        let mut server = Server::new(SoftCrypto, suite, &keys);
        for _ in 0..3 {
            server.meet_client();
        }
        server.wait(Duration::from_secs(600));
        assert_eq!(server.sessions(), 3);
        server.wait(Duration::from_secs(4_000));
        assert_eq!(server.sessions(), 0);
    }
}
