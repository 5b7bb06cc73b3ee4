//! A whole handshake with `hedgerow-handshake`, both ends in memory, each datagram handed over.

use getrandom::SysRng;
use hedgerow_core::{
    ChannelError, Credentials, CryptoProvider, Env, Instant, PeerId, Psk, Received, SecureChannel,
};
use hedgerow_handshake::{
    Acceptance, Acceptor, Buffers, ClientHandshake, ServerHandshake, Session, Settings,
};
use hedgerow_record::CipherSuite;
use rand_core::UnwrapErr;

/// The client's identity in all handshakes.
pub const IDENTITY: &str = "thermometer-17";

/// The key that goes with it.
pub const PSK: &[u8; 16] = b"sixteen byte key";

/// What outlives a handshake at both ends: settings, keys and the key of cookies.
pub struct Ends<P: CryptoProvider> {
    provider: P,
    settings: Settings,
    acceptor: Acceptor<P>,
    store: (&'static [u8], Psk, PeerId),
    psk: Psk,
    rng: UnwrapErr<SysRng>,
    buffers: [[u8; Buffers::<&mut [u8]>::MIN_LEN]; 4],
    up: [u8; DATAGRAM],
    down: [u8; DATAGRAM],
}

/// Both ends' sessions.
pub struct Sessions<A> {
    /// The client's.
    pub client: Session<A>,
    /// The server's.
    pub server: Session<A>,
}

const DATAGRAM: usize = 1_200;

impl<P: CryptoProvider + Copy> Ends<P> {
    /// Sets both ends up for one suite.
    pub fn new(provider: P, suite: CipherSuite) -> Self {
        let settings = Settings::new(&[suite]);
        let mut rng = UnwrapErr(SysRng);
        let acceptor = Acceptor::new(provider, settings, &mut Env::new(Instant::ZERO, &mut rng));
        Self {
            provider,
            settings,
            acceptor,
            store: (IDENTITY.as_bytes(), Psk::new(PSK).unwrap(), PeerId(1)),
            psk: Psk::new(PSK).unwrap(),
            rng,
            buffers: [[0; _]; 4],
            up: [0; DATAGRAM],
            down: [0; DATAGRAM],
        }
    }

    /// Runs a handshake: hello, cookie, hello, and the two flights that follow. Random numbers
    /// come from the operating system, as they do in the product.
    pub fn run(&mut self) -> Sessions<P::Aead> {
        let (up, down) = (&mut self.up, &mut self.down);
        let env = &mut Env::new(Instant::ZERO, &mut self.rng);
        let [a, b, c, d] = &mut self.buffers;
        let (provider, settings) = (self.provider, self.settings);
        let credentials = Credentials {
            psk_identity: IDENTITY.as_bytes(),
            psk: &self.psk,
            peer: PeerId(2),
        };
        let buffers = Buffers {
            incoming: &mut a[..],
            outgoing: &mut b[..],
        };
        let client = ClientHandshake::new(provider, credentials, settings, buffers, env);
        let mut client = client.unwrap();
        let hello = loop {
            let len = client.poll_transmit(env, up).unwrap().unwrap();
            match self
                .acceptor
                .handle_datagram(env, b"address", &mut up[..len], down)
            {
                Acceptance::Accept(hello) => break hello,
                Acceptance::Answer(len) => {
                    feed(&mut down[..len], |rest| client.handle_datagram(env, rest));
                }
                _ => panic!("the hello was not accepted"),
            }
        };
        let buffers = Buffers {
            incoming: &mut c[..],
            outgoing: &mut d[..],
        };
        let server = ServerHandshake::new(provider, &self.store, settings, hello, buffers, env);
        let mut server = server.unwrap();
        let len = server.poll_transmit(env, down).unwrap().unwrap();
        feed(&mut down[..len], |rest| client.handle_datagram(env, rest));
        let len = client.poll_transmit(env, up).unwrap().unwrap();
        feed(&mut up[..len], |rest| server.handle_datagram(env, rest));
        let mut server = server.into_session().unwrap().session;
        let len = server.poll_transmit(env, down).unwrap().unwrap();
        feed(&mut down[..len], |rest| client.handle_datagram(env, rest));
        let client = client.into_session().unwrap().session;
        Sessions { client, server }
    }
}

/// Gives a datagram's records to a machine, one after the other.
fn feed(
    datagram: &mut [u8],
    mut handle: impl for<'d> FnMut(&'d mut [u8]) -> Result<Received<'d>, ChannelError>,
) {
    let mut rest = datagram;
    while !rest.is_empty() {
        rest = handle(rest).unwrap().rest;
    }
}

#[cfg(test)]
mod tests {
    use hedgerow_core::Event;
    use hedgerow_crypto_ring::RingCrypto;
    use hedgerow_crypto_soft::SoftCrypto;

    use super::*;
    use crate::suites::SUITES;

    fn check(mut ends: Ends<impl CryptoProvider + Copy>, suite: CipherSuite) {
        for _ in 0..2 {
            let mut sessions = ends.run();
            assert_eq!(sessions.server.suite(), suite);
            let mut datagram = [0; 64];
            let len = sessions.client.seal(b"text", &mut datagram).unwrap();
            let env = &mut Env::new(Instant::ZERO, &mut ends.rng);
            let received = sessions.server.handle_datagram(env, &mut datagram[..len]);
            let event = received.unwrap().event;
            assert!(matches!(event, Some(Event::Plaintext(text)) if text == b"text"));
        }
    }

    #[test]
    fn handshakes_end_in_sessions_that_understand_each_other() {
        for suite in SUITES {
            check(Ends::new(SoftCrypto, suite.suite), suite.suite);
            check(Ends::new(RingCrypto, suite.suite), suite.suite);
        }
    }
}
