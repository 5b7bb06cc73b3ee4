//! A device behind a gateway that translates, in a simulated network: the client's datagrams go into
//! the adapter, through two pipes of bytes in order, out of the gateway's translator and over a lossy
//! leg to an ordinary server.

#![allow(dead_code, unreachable_pub)]

use hedgerow_core::{DropReason, Env, Instant};
use hedgerow_endpoint::{TranslateError, TranslatedEvent, TranslatedStream};
use hedgerow_proxy::{NotPermitted, Opening, ToDevice, Translator};
use hedgerow_record::{CipherSuite, Error, TranslateForm, TranslateStatus};
use hedgerow_sim::{Address, Outbox};

use super::carried::{self, Attack, Carrying, DEVICE, GATEWAY, LONG, Pipe, SHORT, Way, part};
use super::common::{CLIENT, SERVER};

pub type Net = carried::Net<Between>;

/// Every suite of the two lists with its form.
pub fn suites() -> impl Iterator<Item = (CipherSuite, TranslateForm)> + Clone {
    let short = SHORT.map(|suite| (suite, TranslateForm::Short));
    let long = LONG.map(|suite| (suite, TranslateForm::Long));
    short.into_iter().chain(long)
}

/// The adapter of the Internet end, the TCP connection and the gateway.
pub struct Between {
    adapter: TranslatedStream,
    translator: Option<Translator>,
    device_name: &'static str,
    permitted: Result<(), NotPermitted>,
    to_device: Address,
    to_gateway: Pipe,
    to_end: Pipe,
    received: Vec<u8>,
    datagram: Vec<u8>,
    pub attack: Option<Attack>,
    /// What the adapter dropped, and the gateway.
    pub dropped: Vec<DropReason>,
    pub dropped_by_gateway: Vec<DropReason>,
    /// How the connection ended for the Internet end.
    pub failed: Option<TranslateError>,
    pub framing: Option<Error>,
    pub status: Option<TranslateStatus>,
    /// Datagrams that were too long for the device's leg, as the gateway tells.
    pub refused: Vec<usize>,
    pub is_accepted: bool,
}

impl Between {
    pub fn new(form: TranslateForm, asked: &str, name: &'static str) -> Self {
        let mut preface = Vec::new();
        let adapter = TranslatedStream::open(asked, form, &mut preface).unwrap();
        let mut to_gateway = Pipe::default();
        to_gateway.push(Instant::ZERO, preface);
        Self {
            adapter,
            translator: None,
            device_name: name,
            permitted: Ok(()),
            to_device: DEVICE,
            to_gateway,
            to_end: Pipe::default(),
            received: Vec::new(),
            datagram: vec![0; 1_452],
            attack: None,
            dropped: Vec::new(),
            dropped_by_gateway: Vec::new(),
            failed: None,
            framing: None,
            status: None,
            refused: Vec::new(),
            is_accepted: false,
        }
    }

    #[must_use]
    pub fn leading_to(mut self, device: Address) -> Self {
        self.to_device = device;
        self
    }

    /// The longest datagram that the gateway takes for the device.
    #[must_use]
    pub fn with_room(mut self, len: usize) -> Self {
        self.datagram = vec![0; len];
        self
    }

    #[must_use]
    pub const fn refusing(mut self, why: NotPermitted) -> Self {
        self.permitted = Err(why);
        self
    }

    /// Puts bytes on the way to the Internet end, as only the gateway or somebody on the stream can.
    pub fn inject(&mut self, now: Instant, bytes: &[u8]) {
        self.to_end.push(now, bytes.to_vec());
    }

    /// Ends the TCP connection.
    pub fn cut(&mut self) {
        self.to_end = Pipe::default();
        self.failed.get_or_insert(self.adapter.handle_end());
    }

    fn at_gateway(&mut self, now: Instant, out: &mut Outbox) {
        if self.status.is_none() {
            let (name, permitted) = (self.device_name, self.permitted);
            let opening = Translator::open(&self.received, |asked| match asked == name {
                true => permitted,
                false => Err(NotPermitted::Refused),
            });
            match opening.unwrap() {
                Opening::Incomplete => return,
                Opening::Refused { answer, status } => {
                    self.status = Some(status);
                    self.to_end.push(now, answer.to_vec());
                    return;
                }
                Opening::Accepted {
                    translator,
                    answer,
                    consumed,
                    ..
                } => {
                    self.status = Some(TranslateStatus::Accepted);
                    self.translator = Some(translator);
                    for answer in self.attacked(Way::ToInternetEnd, answer.to_vec()) {
                        self.to_end.push(now, answer);
                    }
                    self.received.drain(..consumed);
                }
            }
        }
        let received = std::mem::take(&mut self.received);
        let mut rest = received.as_slice();
        while let Some(translator) = &mut self.translator {
            let found = match translator.read_stream(rest, &mut self.datagram) {
                Err(error) => {
                    self.framing = Some(error);
                    self.translator = None;
                    return;
                }
                Ok((_, None)) => return,
                Ok((len, Some(found))) => {
                    rest = &rest[len..];
                    found
                }
            };
            match found {
                ToDevice::Datagram(len) => {
                    let datagram = self.datagram[..len].to_vec();
                    for datagram in self.attacked(Way::ToDevice, datagram) {
                        out.send(GATEWAY, self.to_device, &datagram);
                    }
                }
                ToDevice::Dropped { reason, len } => {
                    self.dropped_by_gateway.push(reason);
                    if reason == DropReason::TooLong {
                        let notice = translator.too_long(len);
                        self.to_end.push(now, notice);
                    }
                }
            }
        }
    }

    fn at_end(&mut self, bytes: &[u8], out: &mut Outbox) {
        let mut rest = bytes;
        while self.failed.is_none() {
            match self.adapter.stream_to_datagrams(rest) {
                Err(error) => self.failed = Some(error),
                Ok((_, None)) => return,
                Ok((len, Some(event))) => {
                    match event {
                        TranslatedEvent::Accepted => self.is_accepted = true,
                        TranslatedEvent::Datagram(datagram) => out.send(SERVER, CLIENT, datagram),
                        TranslatedEvent::DatagramRefused { len } => self.refused.push(len),
                        TranslatedEvent::Dropped(reason) => self.dropped.push(reason),
                        _ => {}
                    }
                    rest = &rest[len..];
                }
            }
        }
    }
}

impl Carrying for Between {
    fn handle_client(&mut self, env: &mut Env<'_>, datagram: &mut [u8]) {
        let mut bytes = Vec::new();
        let missing = self.adapter.datagram_to_stream(datagram, &mut bytes);
        assert_eq!(missing, None, "of our own");
        self.to_gateway.push(env.now, bytes);
    }

    fn handle_device(&mut self, env: &mut Env<'_>, from: Address, datagram: &[u8]) {
        let mut bytes = datagram.to_vec();
        // The gateway's socket is connected to the device.
        if from == self.to_device
            && let Some(translator) = &mut self.translator
        {
            let dropped = &mut self.dropped_by_gateway;
            translator.translate_datagram(&mut bytes, |reason| dropped.push(reason));
            for bytes in self.attacked(Way::ToInternetEnd, bytes) {
                self.to_end.push(env.now, bytes);
            }
        }
    }

    fn handle_timeout(&mut self, env: &mut Env<'_>, out: &mut Outbox) {
        while let Some(bytes) = self.to_gateway.pop(env.now) {
            let part = part(env);
            for part in bytes.chunks(part) {
                self.received.extend(part);
                self.at_gateway(env.now, out);
            }
        }
        while let Some(bytes) = self.to_end.pop(env.now) {
            let part = part(env);
            for part in bytes.chunks(part) {
                self.at_end(part, out);
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
