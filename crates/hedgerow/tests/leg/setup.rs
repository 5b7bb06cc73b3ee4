//! A run: a device's TLS client, a gateway that does what it is told, and a TLS server, until nothing happens any
//! more.

use std::time::Duration;

use hedgerow_core::{ChannelError, ClientCredentials, Env, ServerCredentials};
use hedgerow_handshake::Settings;
use hedgerow_leg::{Config, ResetReason};
use hedgerow_record::{Error as FramingError, LegForm};
use hedgerow_sim::{Conditions, Outbox, World};

use crate::ends::{TlsEnd, psk_client, psk_server};
use crate::hop::{DEVICE, GATEWAY, PATIENT, Side};
use crate::session::patient;
use crate::tampering::{Copier, Tampering};
use crate::terminate::{DEVICE_COAPS, GATEWAY_COAPS};

const REQUEST: &[u8] = b"a request that nobody in between reads, several records of it. ";
const RESPONSE: &[u8] = b"the server's answer, which is as secret and somewhat longer. ";

pub fn request() -> Vec<u8> {
    REQUEST.repeat(60)
}

pub fn response() -> Vec<u8> {
    RESPONSE.repeat(120)
}

/// What differs from one run to the next.
#[derive(Clone, Copy)]
pub struct Setup {
    pub seed: u64,
    pub loss: f64,
    /// The form of the records on the leg: what the device has chosen, and what the gateway takes it for.
    pub form: LegForm,
    pub gateway_form: LegForm,
    /// The name of the service in the OPEN.
    pub service: &'static [u8],
    pub tampering: Tampering,
    /// Timers and tries of the hop's session and of the leg.
    pub hop: Settings,
    pub leg: Config,
    /// Whether the gateway asks the device first, in mode `terminate`.
    pub terminates: bool,
}

impl Setup {
    pub fn new(form: LegForm, seed: u64, loss: f64) -> Self {
        Self {
            seed,
            loss,
            form,
            gateway_form: form,
            service: b"upstream",
            tampering: Tampering::None,
            hop: patient(),
            leg: PATIENT,
            terminates: false,
        }
    }

    pub fn copier(&self) -> Copier {
        Copier::new(self.tampering, self.gateway_form)
    }

    pub fn with_a_psk(&self) -> Outcome {
        self.run(psk_client(), psk_server())
    }

    pub fn run<C, S>(&self, client: C, server: S) -> Outcome
    where
        C: ClientCredentials + 'static,
        S: ServerCredentials + 'static,
    {
        let mut world = World::new(self.seed);
        world.set_conditions(Conditions {
            loss: self.loss,
            ..Conditions::rough()
        });
        let (mut device, gateway) = Side::pair(&mut world, client, server, self);
        device.wanted = self.service;
        let device = world.add(device, &[DEVICE, DEVICE_COAPS]);
        let gateway = world.add(gateway, &[GATEWAY, GATEWAY_COAPS]);
        if self.terminates {
            let ask = |side: &mut Side, env: &mut Env<'_>, out: &mut Outbox| {
                side.beside.as_mut().unwrap().ask(env, out);
            };
            world.act(gateway, ask);
            world.run_for(Duration::from_secs(10)).unwrap();
        }
        world.act(gateway, |side, _, _| {
            side.tls.answer = response();
            side.tls.expected = request().len();
        });
        world.act(device, |side, env, out| {
            side.tls.answer = request();
            side.open(env, out);
        });
        match self.tampering {
            Tampering::None | Tampering::Flip(_) | Tampering::End(_) | Tampering::Delay(_) => {
                world.run_until_idle().unwrap();
            }
            // An end that waits for what was left out asks the other one now and then.
            _ => world.run_for(Duration::from_secs(4_000)).unwrap(),
        }
        let take = |world: &mut World<Side>, at| {
            world.act(at, |side, _, _| {
                (
                    side.tls.take(),
                    std::mem::replace(&mut side.copier, self.copier()),
                    (side.reset, side.framing_fault, side.session.failure),
                )
            })
        };
        let (client, _, (reset, framing_fault, hop_failure)) = take(&mut world, device);
        let mut read = Vec::new();
        world.act(gateway, |side, _, _| {
            read = side.beside.take().map_or_else(Vec::new, |it| it.read);
        });
        let (server, gateway, _) = take(&mut world, gateway);
        Outcome {
            form: self.form,
            client,
            server,
            gateway,
            reset,
            framing_fault,
            hop_failure,
            read,
        }
    }
}

/// What became of a connection at both ends, and what the gateway saw.
pub struct Outcome {
    form: LegForm,
    pub client: TlsEnd,
    pub server: TlsEnd,
    pub gateway: Copier,
    /// What the gateway has given the stream up for, at the device.
    pub reset: Option<ResetReason>,
    /// What the device couldn't follow.
    pub framing_fault: Option<FramingError>,
    /// Why the device has no session with the gateway.
    pub hop_failure: Option<ChannelError>,
    /// What the gateway has read of the device, in mode `terminate`.
    pub read: Vec<Vec<u8>>,
}

impl Outcome {
    pub fn assert_whole(&self) {
        assert_eq!(self.client.failure, None);
        assert_eq!(self.server.failure, None);
        assert!(self.server.plaintext == request());
        assert!(self.client.plaintext == response());
        assert!(
            self.client.is_closed && self.server.is_closed,
            "not in order"
        );
        assert_eq!(self.reset, None);
        // The positive control for the search: the hellos went by in clear.
        assert!(contains(&self.gateway.copied, b"\x16\x03"));
        // The first record to the device: type, version, epoch and sequence number of DTLS, or not.
        let first = contains(&self.gateway.copied, b"\x16\xfe\xfd\0\0\0\0\0\0\0\0");
        assert_eq!(first, self.form == LegForm::Dtls);
        for secret in [REQUEST, RESPONSE] {
            assert!(
                !contains(&self.gateway.copied, &secret[..16]),
                "the gateway read it"
            );
        }
    }
}

pub fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// What an active gateway does to bytes on their way, at places all over a connection: nobody ever takes
/// anything but what the other end sent, and never less than all of it as the end.
pub fn assert_resisted(cell: &str, at: usize, outcome: &Outcome) -> bool {
    let (client, server) = (&outcome.client, &outcome.server);
    for (end, other, all) in [(server, client, request()), (client, server, response())] {
        assert!(all.starts_with(&end.plaintext), "{cell} {at}");
        // An end that was made to give up before it said anything may say that it goes.
        let said = if other.has_answered { &all[..] } else { &[] };
        assert!(
            !end.is_closed || end.plaintext == said,
            "{cell} {at}: no end"
        );
    }
    client.failure.is_some() || server.failure.is_some()
}
