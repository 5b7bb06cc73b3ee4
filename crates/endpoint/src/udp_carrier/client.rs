//! The client's end of a UDP carrier.

use alloc::boxed::Box;

use hedgerow_core::{
    ChannelError, CryptoProvider, DropReason, Env, Event, Instant, Misuse, Psk, SecureChannel,
};
use hedgerow_handshake::{Buffers, ClientHandshake, Session};

use super::keys::OwnKey;
use super::settings;
use crate::handshaking::{Buffer, buffers};

/// One carrier, from its handshake to its end. Another attempt is another value.
pub struct UdpCarrierClient<P: CryptoProvider> {
    state: State<P>,
}

enum State<P: CryptoProvider> {
    Handshaking(Box<ClientHandshake<P, OwnKey, Buffer>>),
    Open(Box<Session<P::Aead>>),
    /// Failed, or closed by the gateway.
    Closed,
}

/// What became of a record.
#[derive(Debug, PartialEq, Eq)]
pub enum UdpCarrierReceived<'d> {
    /// The handshake is over: what is sealed from now on reaches the gateway.
    Opened,
    /// A message of the gateway's.
    Message(&'d mut [u8]),
    /// The gateway has ended it, or it has failed. Nothing comes any more.
    Closed,
    /// Noise.
    Dropped(DropReason),
    /// Part of a handshake.
    Nothing,
}

impl<P: CryptoProvider> UdpCarrierClient<P> {
    /// Begins a handshake under the identity and the key of an offer.
    ///
    /// # Errors
    ///
    /// [`Misuse`] for an identity that is too long.
    pub fn new(provider: P, identity: &[u8], psk: Psk, env: &mut Env<'_>) -> Result<Self, Misuse> {
        let key = OwnKey {
            identity: identity.to_vec(),
            psk,
        };
        let settings = settings();
        let len = Buffers::<Buffer>::client_len(&settings, &key);
        let machine = ClientHandshake::new(provider, key, settings, buffers(len), env)?;
        Ok(Self {
            state: State::Handshaking(Box::new(machine)),
        })
    }

    /// Says whether messages can be sealed.
    pub const fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_))
    }

    /// Says whether it has failed or was closed.
    pub const fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// Takes in the first record of `datagram`, and returns what is left of it. Call it again while that
    /// isn't empty, and [`Self::poll_transmit`] after each call.
    pub fn handle_datagram<'d>(
        &mut self,
        env: &mut Env<'_>,
        datagram: &'d mut [u8],
    ) -> (UdpCarrierReceived<'d>, &'d mut [u8]) {
        let received = match &mut self.state {
            State::Handshaking(machine) => machine.handle_datagram(env, datagram),
            State::Open(session) => session.handle_datagram(env, datagram),
            State::Closed => {
                let dropped = UdpCarrierReceived::Dropped(DropReason::AfterClose);
                return (dropped, &mut []);
            }
        };
        let Ok(received) = received else {
            self.state = State::Closed;
            return (UdpCarrierReceived::Closed, &mut []);
        };
        let what = match received.event {
            Some(Event::Established(_)) => match self.establish() {
                true => UdpCarrierReceived::Opened,
                false => UdpCarrierReceived::Closed,
            },
            Some(Event::Plaintext(message)) => UdpCarrierReceived::Message(message),
            Some(Event::Closed) => {
                self.state = State::Closed;
                UdpCarrierReceived::Closed
            }
            Some(Event::Dropped(reason)) => UdpCarrierReceived::Dropped(reason),
            _ => UdpCarrierReceived::Nothing,
        };
        (what, received.rest)
    }

    fn establish(&mut self) -> bool {
        if let State::Handshaking(machine) = core::mem::replace(&mut self.state, State::Closed)
            && let Some(established) = machine.into_session()
        {
            self.state = State::Open(Box::new(established.session));
        }
        self.is_open()
    }

    /// Sends a flight again, or gives the handshake up, after which it [is closed](Self::is_closed).
    pub fn handle_timeout(&mut self, env: &mut Env<'_>) {
        if let State::Handshaking(machine) = &mut self.state
            && machine.handle_timeout(env).is_err()
        {
            self.state = State::Closed;
        }
    }

    /// Returns when [`Self::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match &self.state {
            State::Handshaking(machine) => machine.poll_timeout(),
            State::Open(_) | State::Closed => None,
        }
    }

    /// Writes the next datagram that isn't a message, if any: 1,200 bytes are enough.
    pub fn poll_transmit(&mut self, env: &mut Env<'_>, out: &mut [u8]) -> Option<usize> {
        let written = match &mut self.state {
            State::Handshaking(machine) => machine.poll_transmit(env, out),
            State::Open(session) => session.poll_transmit(env, out),
            State::Closed => return None,
        };
        written.ok().flatten()
    }

    /// Seals a message into `out` and returns the datagram's length. A key that is used up ends the
    /// carrier.
    ///
    /// # Errors
    ///
    /// [`Misuse::Closed`] before and after the session; the others of [`SecureChannel::seal`].
    pub fn seal(&mut self, message: &[u8], out: &mut [u8]) -> Result<usize, ChannelError> {
        let State::Open(session) = &mut self.state else {
            return Err(Misuse::Closed.into());
        };
        let sealed = session.seal(message, out);
        if matches!(sealed, Err(ChannelError::Limit(_))) {
            self.state = State::Closed;
        }
        sealed
    }

    /// Writes the word that ends the session in order, if there is one.
    pub fn close(mut self, env: &mut Env<'_>, out: &mut [u8]) -> Option<usize> {
        if let State::Open(session) = &mut self.state {
            session.close();
        }
        self.poll_transmit(env, out)
    }
}
