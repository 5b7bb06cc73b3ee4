//! `hedgerow-exchange`: a request out and its response in, a request in and its response out, over
//! blocks, in the form of fixed capacity: over datagrams and over a stream.

use ::core::time::Duration;

use hedgerow_coap::{Code, MessageOption, OptionNumber, Release};
use hedgerow_core::{Env, Instant};
use hedgerow_exchange::{
    Config, ConnectionConfig, FixedConnection, FixedExchange, Received, Request, Response,
};

use crate::counting_rng::CountingRng;

/// 4 entries a table, 8 message IDs, messages of 128 bytes, 2 bodies of 512 bytes.
type Device<'c> = FixedExchange<4, 8, 128, 2, 512, &'c Config>;

pub(crate) fn enter(bytes: &mut [u8]) -> usize {
    talk(bytes)
        .unwrap_or_default()
        .wrapping_add(stream(bytes).unwrap_or_default())
}

fn talk(bytes: &mut [u8]) -> Option<usize> {
    let mut rng = CountingRng(0);
    let mut env = Env::new(Instant::ZERO, &mut rng);
    let config = Config {
        max_message_len: 128,
        max_block_szx: 2,
        ..Config::default()
    };
    let mut device = Device::new(&config, &mut env);
    let path = [MessageOption::new(OptionNumber::URI_PATH, b"x")];
    let request = Request::new(Code::PUT).options(&path).payload(bytes);
    let asked = device.request(&mut env, &request).ok()?;
    let mut out = [0; 128];
    let mut sent = device.poll_transmit(&mut env, &mut out).ok()??;

    let answered = match device.handle_message(&mut env, bytes) {
        Received::Request { request, message } => Some((request, message.payload().len())),
        Received::Response { message, .. } => return Some(message.payload().len()),
        _ => None,
    };
    if let Some((request, len)) = answered {
        let body = [7; 300];
        let response = Response::new(Code::CONTENT).payload(body.get(..len)?);
        device.respond(&mut env, request, &response).ok()?;
    }
    env.now = device.poll_timeout()? + Duration::from_secs(1);
    device.handle_timeout(&mut env);
    sent = sent.wrapping_add(device.poll_transmit(&mut env, &mut out).ok()??);
    device.cancel(asked).ok()?;
    device.restart_association(&mut env);
    device.poll_event().map(|_| sent)
}

/// 4 entries a table, messages of 128 bytes, 2 bodies of 512 bytes.
type Streaming<'c> = FixedConnection<4, 128, 2, 512, &'c ConnectionConfig>;

fn stream(bytes: &[u8]) -> Option<usize> {
    let mut rng = CountingRng(0);
    let mut env = Env::new(Instant::ZERO, &mut rng);
    let config = ConnectionConfig::default();
    let mut device = Streaming::new(&config, &mut env);
    let path = [MessageOption::new(OptionNumber::URI_PATH, b"x")];
    let request = Request::new(Code::PUT).options(&path).payload(bytes);
    let asked = device.request(&request).ok()?;
    device.ping(true).ok()?;
    let mut out = [0; 128];
    let mut sent = device.poll_transmit(&mut env, &mut out).ok()??;

    let mut rest = bytes;
    while !rest.is_empty() && !device.is_blocked() {
        let (received, after) = device.handle_bytes(&mut env, rest);
        rest = after;
        let request = match received {
            Received::Request { request, .. } => request,
            Received::Release { release } => {
                sent = sent.wrapping_add(release.alternative_addresses().count());
                continue;
            }
            Received::Abort { abort } => return Some(abort.diagnostic().len()),
            _ => continue,
        };
        let response = Response::new(Code::CONTENT).payload(&[7; 300]);
        device.respond(&mut env, request, &response).ok()?;
    }
    env.now = device.poll_timeout()? + Duration::from_secs(1);
    device.handle_timeout(&mut env);
    device.cancel(asked).ok()?;
    device.release(&Release::new().with_hold_off(1)).ok()?;
    device.abort("no more");
    sent = sent.wrapping_add(device.poll_transmit(&mut env, &mut out).ok()??);
    device.handle_transport_closed();
    device.poll_event().map(|_| sent)
}
