//! The hop's DTLS session, from its handshake on.

use std::time::Duration;

use hedgerow_core::{
    ChannelError, Credentials, Env, Event as ChannelEvent, Instant, PeerId, Psk, Received,
    SecureChannel,
};
use hedgerow_handshake::{
    Acceptance, Acceptor, ClientHandshake, ServerHandshake, Session, Settings, Timers,
};

use crate::ends::{Aead, Provider, buffers};

/// What the gateway has for the hop, which has nothing to do with the end-to-end key.
pub const HOP_KEY: &[u8] = b"this hop's bytes";

type Keys = (&'static [u8], Psk, PeerId);
type Client = ClientHandshake<Provider, Credentials<'static>, Box<[u8]>>;
type Server = ServerHandshake<Provider, Keys, Box<[u8]>>;

enum Stage {
    ExpectServer(Box<Client>),
    ExpectHello(Box<Acceptor<Provider>>, Provider),
    ExpectClient(Box<Server>),
    Established(Box<Session<Aead>>),
    Gone,
}

/// One end of the hop's session: the device calls the gateway.
pub struct HopSession {
    stage: Stage,
    settings: Settings,
    /// Why there is none.
    pub failure: Option<ChannelError>,
}

impl HopSession {
    pub fn device(provider: Provider, settings: Settings, env: &mut Env<'_>) -> Self {
        let credentials = Credentials {
            psk_identity: b"meter",
            psk: Box::leak(Box::new(Psk::new(HOP_KEY).unwrap())),
            peer: PeerId(1),
        };
        let client = ClientHandshake::new(provider, credentials, settings, buffers(), env);
        Self::at(Stage::ExpectServer(Box::new(client.unwrap())), settings)
    }

    pub fn gateway(provider: Provider, settings: Settings, env: &mut Env<'_>) -> Self {
        let acceptor = Acceptor::new(provider.clone(), settings, env);
        Self::at(Stage::ExpectHello(Box::new(acceptor), provider), settings)
    }

    const fn at(stage: Stage, settings: Settings) -> Self {
        Self {
            stage,
            settings,
            failure: None,
        }
    }

    pub const fn is_established(&self) -> bool {
        matches!(self.stage, Stage::Established(_))
    }

    /// Takes in the first record of a datagram; what is to be sent without a session is written to `answer`.
    pub fn handle_datagram<'d>(
        &mut self,
        env: &mut Env<'_>,
        datagram: &'d mut [u8],
        answer: &mut Vec<u8>,
    ) -> Received<'d> {
        let received = match &mut self.stage {
            Stage::ExpectServer(client) => client.handle_datagram(env, datagram),
            Stage::ExpectClient(server) => server.handle_datagram(env, datagram),
            Stage::Established(session) => session.handle_datagram(env, datagram),
            Stage::ExpectHello(acceptor, provider) => {
                let mut out = [0; 200];
                match acceptor.handle_datagram(env, b"device", datagram, &mut out) {
                    Acceptance::Answer(len) => answer.extend_from_slice(&out[..len]),
                    Acceptance::Accept(hello) => {
                        let keys = (&b"meter"[..], Psk::new(HOP_KEY).unwrap(), PeerId(2));
                        let provider = provider.clone();
                        let server =
                            Server::new(provider, keys, self.settings, hello, buffers(), env);
                        self.stage = Stage::ExpectClient(Box::new(server.unwrap()));
                    }
                    _ => {}
                }
                return nothing();
            }
            Stage::Gone => return nothing(),
        };
        let received = match received {
            Ok(received) => received,
            Err(error) => {
                self.fail(error);
                return nothing();
            }
        };
        if let Some(ChannelEvent::Established(_)) = received.event {
            self.stage = match std::mem::replace(&mut self.stage, Stage::Gone) {
                Stage::ExpectServer(client) => established(client.into_session().unwrap().session),
                Stage::ExpectClient(server) => established(server.into_session().unwrap().session),
                other => other,
            };
        }
        received
    }

    pub fn handle_timeout(&mut self, env: &mut Env<'_>) {
        let ended = match &mut self.stage {
            Stage::ExpectServer(client) => client.handle_timeout(env),
            Stage::ExpectClient(server) => server.handle_timeout(env),
            Stage::Established(session) => session.handle_timeout(env),
            Stage::ExpectHello(..) | Stage::Gone => Ok(()),
        };
        if let Err(error) = ended {
            self.fail(error);
        }
    }

    fn fail(&mut self, error: ChannelError) {
        (self.stage, self.failure) = (Stage::Gone, Some(error));
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        match &self.stage {
            Stage::ExpectServer(client) => client.poll_timeout(),
            Stage::ExpectClient(server) => server.poll_timeout(),
            Stage::Established(session) => session.poll_timeout(),
            Stage::ExpectHello(..) | Stage::Gone => None,
        }
    }

    pub fn poll_transmit(&mut self, env: &mut Env<'_>, out: &mut [u8]) -> Option<usize> {
        match &mut self.stage {
            Stage::ExpectServer(client) => client.poll_transmit(env, out).unwrap(),
            Stage::ExpectClient(server) => server.poll_transmit(env, out).unwrap(),
            Stage::Established(session) => session.poll_transmit(env, out).unwrap(),
            Stage::ExpectHello(..) | Stage::Gone => None,
        }
    }

    pub fn seal(&mut self, segment: &[u8], out: &mut [u8]) -> usize {
        match &mut self.stage {
            Stage::Established(session) => session.seal(segment, out).unwrap(),
            _ => panic!("no session yet"),
        }
    }
}

fn established(session: Session<Aead>) -> Stage {
    Stage::Established(Box::new(session))
}

/// 15 tries, all of them while the other end keeps its last flight (RFC 6347 §4.2.4: 240 s).
pub fn patient() -> Settings {
    Settings::default().with_timers(Timers {
        max_transmissions: 15,
        max_timeout: Duration::from_secs(15),
        deadline: Duration::from_secs(1_000),
        ..Timers::default()
    })
}

fn nothing<'d>() -> Received<'d> {
    Received {
        event: None,
        newest: false,
        rest: &mut [],
    }
}
