//! One connection over a reliable transport, driven by hand: the test plays its peer, its transport
//! and its application.

use std::convert::Infallible;
use std::time::Duration;

use hedgerow_coap::{
    Abort, BlockValue, Code, Csm, Frame, Message, MessageOption, MessageWriter, OptionNumber,
    Options, Release, Signal, Token,
};
use hedgerow_core::{DropReason, Env, Instant};
use hedgerow_exchange::{
    Connection, ConnectionConfig, Error, Event, Heap, IncomingRequest, OutgoingRequest, Received,
    Request, Response, Storage,
};
use rand_core::{TryCryptoRng, TryRng};

/// SplitMix64.
pub struct Rng(pub u64);

impl TryRng for Rng {
    type Error = Infallible;
    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        self.try_next_u64().map(|number| number as u32)
    }
    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Ok(z ^ (z >> 31))
    }
    fn try_fill_bytes(&mut self, dst: &mut [u8]) -> Result<(), Infallible> {
        dst.fill_with(|| self.try_next_u64().unwrap() as u8);
        Ok(())
    }
}

impl TryCryptoRng for Rng {}

/// A message that owns its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owned {
    pub code: Code,
    pub token: Vec<u8>,
    pub options: Vec<(u16, Vec<u8>)>,
    pub payload: Vec<u8>,
}

impl Owned {
    pub fn new(code: Code, token: &[u8]) -> Self {
        Self {
            code,
            token: token.to_vec(),
            options: Vec::new(),
            payload: Vec::new(),
        }
    }

    pub fn payload(mut self, payload: &[u8]) -> Self {
        self.payload = payload.to_vec();
        self
    }

    pub fn option(mut self, number: OptionNumber, value: &[u8]) -> Self {
        self.options.push((number.0, value.to_vec()));
        self.options.sort_by_key(|(number, _)| *number);
        self
    }

    pub fn block(self, number: OptionNumber, num: u32, more: bool, szx: u8) -> Self {
        let value = BlockValue::new_reliable(num, more, szx).unwrap().encode();
        self.option(number, value.as_bytes())
    }

    pub fn value(&self, number: OptionNumber) -> Option<&[u8]> {
        let mut options = self.options.iter();
        let found = options.find(|(other, _)| *other == number.0);
        found.map(|(_, value)| value.as_slice())
    }

    /// Number, M and size exponent.
    pub fn block_of(&self, number: OptionNumber) -> Option<(u32, bool, u8)> {
        let block = BlockValue::decode_reliable(self.value(number)?).unwrap();
        Some((block.num(), block.more(), block.szx()))
    }

    pub fn encode(&self) -> Vec<u8> {
        let len: usize = self.options.iter().map(|(_, value)| value.len() + 5).sum();
        let mut out = vec![0; 32 + len + self.payload.len()];
        let token = Token::new(&self.token).unwrap();
        let mut writer = MessageWriter::new_framed(&mut out, self.code, token).unwrap();
        for (number, value) in &self.options {
            writer.option(OptionNumber(*number), value).unwrap();
        }
        let len = writer.payload(&self.payload).unwrap();
        out.truncate(len);
        out
    }

    pub fn decode(bytes: &[u8]) -> Self {
        match Frame::decode(bytes).unwrap() {
            (Frame::Message(m), []) => Self::of(m.code(), m.token(), m.options(), m.payload()),
            (Frame::Signaling(m), []) => Self::of(m.code(), m.token(), m.options(), m.payload()),
            other => panic!("{other:?}"),
        }
    }

    fn of(code: Code, token: Token, options: Options<'_>, payload: &[u8]) -> Self {
        Self {
            code,
            token: token.as_bytes().to_vec(),
            options: options
                .map(|o| (o.number().0, o.value().to_vec()))
                .collect(),
            payload: payload.to_vec(),
        }
    }

    fn of_message(message: &Message<'_>) -> Self {
        let (code, token) = (message.code(), message.token());
        Self::of(code, token, message.options(), message.payload())
    }
}

pub fn signal(signal: Signal<'_>, token: &[u8]) -> Vec<u8> {
    let mut out = [0; 1_000];
    let len = signal.encode(Token::new(token).unwrap(), &mut out).unwrap();
    out[..len].to_vec()
}

pub fn csm(max_message_size: u32) -> Vec<u8> {
    signal(
        Signal::Csm(Csm {
            max_message_size: Some(max_message_size),
            block_wise_transfer: true,
        }),
        &[],
    )
}

pub fn get(token: u8) -> Owned {
    Owned::new(Code::GET, &[token]).option(OptionNumber::URI_PATH, b"a")
}

/// What came of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Came {
    Request(IncomingRequest, Owned),
    Response(OutgoingRequest, Owned),
    Release {
        addresses: Vec<String>,
        hold_off: Option<u32>,
        diagnostic: Vec<u8>,
    },
    Abort {
        bad_csm_option: Option<u16>,
        diagnostic: Vec<u8>,
    },
    Ping,
    Handled,
    Blocked,
    Dropped(DropReason),
}

impl Came {
    fn of(received: &Received<'_>) -> Self {
        match received {
            Received::Request { request, message } => {
                Self::Request(*request, Owned::of_message(message))
            }
            Received::Response { request, message } => {
                Self::Response(*request, Owned::of_message(message))
            }
            Received::Release { release } => Self::Release {
                addresses: release.alternative_addresses().map(str::to_owned).collect(),
                hold_off: release.hold_off(),
                diagnostic: release.diagnostic().to_vec(),
            },
            Received::Abort { abort } => Self::Abort {
                bad_csm_option: abort.bad_csm_option(),
                diagnostic: abort.diagnostic().to_vec(),
            },
            Received::Ping => Self::Ping,
            Received::Handled => Self::Handled,
            Received::Blocked => Self::Blocked,
            Received::Dropped(reason) => Self::Dropped(*reason),
            other => panic!("{other:?}"),
        }
    }

    pub fn request(self) -> (IncomingRequest, Owned) {
        match self {
            Self::Request(request, message) => (request, message),
            other => panic!("{other:?}"),
        }
    }

    pub fn response(self) -> (OutgoingRequest, Owned) {
        match self {
            Self::Response(request, message) => (request, message),
            other => panic!("{other:?}"),
        }
    }
}

pub struct End<S: Storage = Heap> {
    pub connection: Connection<S>,
    pub rng: Rng,
    pub now: Instant,
}

impl<S: Storage> End<S> {
    /// A connection that has neither sent nor received anything.
    pub fn fresh(config: ConnectionConfig) -> Self {
        let mut rng = Rng(7);
        let now = Instant::from_micros(1);
        Self {
            connection: Connection::new(config, &mut Env::new(now, &mut rng)),
            rng,
            now,
        }
    }

    /// A connection past both CSMs, to a peer that takes messages of this length.
    pub fn open(config: ConnectionConfig, peer_max_message_size: u32) -> Self {
        let mut end = Self::fresh(config);
        assert_eq!(end.sent()[0].code, Code::CSM);
        assert_eq!(end.feed(&csm(peer_max_message_size)), [Came::Handled]);
        end
    }

    /// Gives bytes to the connection until they are taken or it is blocked.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<Came> {
        let mut came = Vec::new();
        let mut rest = bytes;
        while !rest.is_empty() {
            let mut env = Env::new(self.now, &mut self.rng);
            let (received, after) = self.connection.handle_bytes(&mut env, rest);
            came.push(Came::of(&received));
            if matches!(received, Received::Blocked) {
                assert_eq!(after, rest);
                break;
            }
            assert!(after.len() < rest.len());
            rest = after;
        }
        came
    }

    pub fn feed_one(&mut self, message: &Owned) -> Came {
        let came = self.feed(&message.encode());
        assert_eq!(came.len(), 1, "{came:?}");
        came[0].clone()
    }

    /// Everything that is to be sent, in bytes.
    pub fn bytes(&mut self) -> Vec<Vec<u8>> {
        let mut sent = Vec::new();
        while let Some(message) = self.transmit() {
            sent.push(message);
        }
        sent
    }

    pub fn transmit(&mut self) -> Option<Vec<u8>> {
        let mut out = vec![0xee; 20_000];
        let mut env = Env::new(self.now, &mut self.rng);
        let len = self.connection.poll_transmit(&mut env, &mut out).unwrap()?;
        out.truncate(len);
        Some(out)
    }

    pub fn sent(&mut self) -> Vec<Owned> {
        let bytes = self.bytes();
        bytes.iter().map(|bytes| Owned::decode(bytes)).collect()
    }

    pub fn sent_one(&mut self) -> Owned {
        let sent = self.sent();
        assert_eq!(sent.len(), 1, "{sent:?}");
        sent[0].clone()
    }

    pub fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.connection.poll_event()).collect()
    }

    pub fn ask(&mut self, method: Code, payload: &[u8]) -> OutgoingRequest {
        self.try_ask(method, payload).unwrap()
    }

    pub fn try_ask(&mut self, method: Code, payload: &[u8]) -> Result<OutgoingRequest, Error> {
        let options = [MessageOption::new(OptionNumber::URI_PATH, b"a")];
        let request = Request::new(method).options(&options).payload(payload);
        self.connection.request(&request)
    }

    pub fn respond(&mut self, request: IncomingRequest, code: Code, payload: &[u8]) {
        let mut env = Env::new(self.now, &mut self.rng);
        let response = Response::new(code).payload(payload);
        self.connection
            .respond(&mut env, request, &response)
            .unwrap();
    }

    pub fn wait(&mut self, seconds: u64) {
        self.now = self.now + Duration::from_secs(seconds);
        let mut env = Env::new(self.now, &mut self.rng);
        self.connection.handle_timeout(&mut env);
    }

    /// The Abort that is the last thing sent.
    pub fn sent_abort(&mut self) -> (Option<u16>, String) {
        let sent = self.bytes();
        let Ok((Frame::Signaling(message), [])) = Frame::decode(sent.last().unwrap()) else {
            panic!("a signaling message");
        };
        match message.signal() {
            Ok(Signal::Abort(abort)) => {
                let text = String::from_utf8(abort.diagnostic().to_vec()).unwrap();
                (abort.bad_csm_option(), text)
            }
            other => panic!("{other:?}"),
        }
    }
}

pub fn release(release: Release<'_>) -> Vec<u8> {
    signal(Signal::Release(release), &[])
}

pub fn abort(abort: Abort<'_>) -> Vec<u8> {
    signal(Signal::Abort(abort), &[])
}

/// A body whose bytes differ from their neighbours.
pub fn body(len: usize) -> Vec<u8> {
    (0..len)
        .map(|index| (index as u8).wrapping_mul(31) ^ ((index >> 8) as u8))
        .collect()
}
