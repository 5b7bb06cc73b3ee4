//! One exchange, driven by hand: the test plays its peer and its application.

use std::convert::Infallible;
use std::time::Duration;

use hedgerow_coap::{
    BlockValue, Code, Message, MessageId, MessageOption, MessageType, MessageWriter, OptionNumber,
    Token,
};
use hedgerow_core::{DropReason, Env, Instant};
use hedgerow_exchange::{
    Config, Error, Event, HeapExchange, IncomingRequest, OutgoingRequest, Received, Request,
    Response,
};
use rand_core::{TryCryptoRng, TryRng};

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

pub const CON: MessageType = MessageType::Confirmable;
pub const NON: MessageType = MessageType::NonConfirmable;
pub const ACK: MessageType = MessageType::Acknowledgement;
pub const RST: MessageType = MessageType::Reset;

/// A message that owns its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owned {
    pub message_type: MessageType,
    pub code: Code,
    pub id: MessageId,
    pub token: Token,
    pub options: Vec<(u16, Vec<u8>)>,
    pub payload: Vec<u8>,
}

impl Owned {
    pub fn new(message_type: MessageType, code: Code, id: u16, token: &[u8]) -> Self {
        Self {
            message_type,
            code,
            id: MessageId(id),
            token: Token::new(token).unwrap(),
            options: Vec::new(),
            payload: Vec::new(),
        }
    }

    pub fn from_view(message: &Message<'_>) -> Self {
        Self {
            message_type: message.message_type(),
            code: message.code(),
            id: message.message_id(),
            token: message.token(),
            options: message
                .options()
                .map(|option| (option.number().0, option.value().to_vec()))
                .collect(),
            payload: message.payload().to_vec(),
        }
    }

    pub fn option(mut self, number: OptionNumber, value: &[u8]) -> Self {
        self.options.push((number.0, value.to_vec()));
        self.options.sort_by_key(|(number, _)| *number);
        self
    }

    pub fn uint(self, number: OptionNumber, value: u32) -> Self {
        let value = hedgerow_coap::UintValue::new(value);
        self.option(number, value.as_bytes())
    }

    pub fn block(self, number: OptionNumber, num: u32, more: bool, size: usize) -> Self {
        let szx = size.trailing_zeros() as u8 - 4;
        let value = BlockValue::new(num, more, szx).unwrap().encode();
        self.option(number, value.as_bytes())
    }

    pub fn payload(mut self, payload: &[u8]) -> Self {
        self.payload = payload.to_vec();
        self
    }

    pub fn value(&self, number: OptionNumber) -> Option<&[u8]> {
        let mut options = self.options.iter();
        options
            .find(|(other, _)| *other == number.0)
            .map(|(_, value)| value.as_slice())
    }

    /// Returns number, M and size of a block option.
    pub fn block_of(&self, number: OptionNumber) -> Option<(u32, bool, usize)> {
        let block = BlockValue::decode(self.value(number)?).unwrap();
        Some((block.num(), block.more(), block.size()))
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![0; 4_096];
        let mut writer =
            MessageWriter::new(&mut out, self.message_type, self.code, self.id, self.token)
                .unwrap();
        for (number, value) in &self.options {
            writer.option(OptionNumber(*number), value).unwrap();
        }
        let len = writer.payload(&self.payload).unwrap();
        out.truncate(len);
        out
    }

    /// What answers this message: same token, and as an ACK the same message ID.
    pub fn answer(&self, message_type: MessageType, code: Code) -> Self {
        let mut answer = Self::new(message_type, code, self.id.0, self.token.as_bytes());
        if code.is_empty() {
            answer.token = Token::EMPTY;
        }
        answer
    }
}

/// What came of a message.
#[derive(Debug, PartialEq, Eq)]
pub enum Came {
    Request(IncomingRequest, Owned),
    Response(OutgoingRequest, Owned),
    Ping,
    Handled,
    Dropped(DropReason),
}

pub struct End {
    pub exchange: HeapExchange<Config>,
    pub rng: Rng,
    pub now: Instant,
}

impl End {
    pub fn new(config: Config) -> Self {
        let mut rng = Rng(1);
        let now = Instant::from_micros(1_000_000);
        let exchange = HeapExchange::new(config, &mut Env::new(now, &mut rng));
        Self { exchange, rng, now }
    }

    pub fn receive_bytes(&mut self, datagram: &[u8]) -> Came {
        let mut env = Env::new(self.now, &mut self.rng);
        match self.exchange.handle_message(&mut env, datagram) {
            Received::Request { request, message } => {
                Came::Request(request, Owned::from_view(&message))
            }
            Received::Response { request, message } => {
                Came::Response(request, Owned::from_view(&message))
            }
            Received::Ping => Came::Ping,
            Received::Handled => Came::Handled,
            Received::Dropped(reason) => Came::Dropped(reason),
            other => panic!("{other:?}"),
        }
    }

    pub fn receive(&mut self, message: &Owned) -> Came {
        self.receive_bytes(&message.encode())
    }

    /// Takes in a request that must come out.
    pub fn receive_request(&mut self, message: &Owned) -> IncomingRequest {
        match self.receive(message) {
            Came::Request(request, _) => request,
            other => panic!("{other:?}"),
        }
    }

    pub fn transmit_bytes(&mut self) -> Option<Vec<u8>> {
        let mut out = vec![0; 1_152];
        let mut env = Env::new(self.now, &mut self.rng);
        let len = self.exchange.poll_transmit(&mut env, &mut out).unwrap()?;
        out.truncate(len);
        Some(out)
    }

    pub fn transmit(&mut self) -> Option<Owned> {
        let bytes = self.transmit_bytes()?;
        Some(Owned::from_view(&Message::decode(&bytes).unwrap()))
    }

    /// Fetches the one message that there must be.
    pub fn transmit_one(&mut self) -> Owned {
        let message = self.transmit().expect("a message");
        assert_eq!(self.transmit(), None);
        message
    }

    pub fn request(&mut self, request: &Request<'_>) -> Result<OutgoingRequest, Error> {
        let mut env = Env::new(self.now, &mut self.rng);
        self.exchange.request(&mut env, request)
    }

    pub fn get(&mut self, path: &str) -> OutgoingRequest {
        self.send(Code::GET, path, &[])
    }

    pub fn send(&mut self, method: Code, path: &str, payload: &[u8]) -> OutgoingRequest {
        let options = [MessageOption::new(OptionNumber::URI_PATH, path.as_bytes())];
        self.request(&Request::new(method).options(&options).payload(payload))
            .unwrap()
    }

    pub fn respond(&mut self, request: IncomingRequest, code: Code, payload: &[u8]) {
        self.try_respond(request, &Response::new(code).payload(payload))
            .unwrap();
    }

    pub fn try_respond(
        &mut self,
        request: IncomingRequest,
        response: &Response<'_>,
    ) -> Result<(), Error> {
        let mut env = Env::new(self.now, &mut self.rng);
        self.exchange.respond(&mut env, request, response)
    }

    pub fn wait(&mut self, duration: Duration) {
        self.now = self.now + duration;
        let mut env = Env::new(self.now, &mut self.rng);
        self.exchange.handle_timeout(&mut env);
    }

    /// Waits until the exchange wants to be called, and returns how long that took.
    pub fn wait_for_timeout(&mut self) -> Duration {
        let due = self.exchange.poll_timeout().expect("a timer");
        let duration = due.saturating_since(self.now);
        self.wait(duration);
        duration
    }

    pub fn restart(&mut self) {
        let mut env = Env::new(self.now, &mut self.rng);
        self.exchange.restart_association(&mut env);
    }

    pub fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.exchange.poll_event()).collect()
    }
}

/// A GET of `path`.
pub fn get(message_type: MessageType, id: u16, path: &str) -> Owned {
    request(message_type, Code::GET, id, path)
}

pub fn request(message_type: MessageType, method: Code, id: u16, path: &str) -> Owned {
    Owned::new(message_type, method, id, &id.to_be_bytes())
        .option(OptionNumber::URI_PATH, path.as_bytes())
}

pub const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
