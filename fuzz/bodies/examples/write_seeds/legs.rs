//! Scripts for the target `leg`: what a device sends that talks with a gateway, and some faults.

use hedgerow_core::{Env, Instant};
use hedgerow_fuzz_bodies::LEG_CONFIG;
use hedgerow_leg::{Body, FixedLeg, Name, Offer, ResetReason, Role, Segment, StreamId};
use hedgerow_sim::TestRng;

use crate::Seeds;

const ARRIVES: u8 = 0;
const TIMEOUT: u8 = 4;
const TAKE: u8 = 5;
const WRITE: u8 = 6;
const FINISH: u8 = 7;
const PING: u8 = 0x87;
const RESET: u8 = 0xc7;

pub(crate) fn leg() -> Seeds {
    vec![
        ("conversation".to_owned(), conversation(|_| false)),
        ("each_third_lost".to_owned(), conversation(|n| n % 3 == 1)),
        ("first_lost".to_owned(), conversation(|n| n == 0)),
        ("own_stream_in_silence".to_owned(), own_stream()),
        ("given_up_by_the_device".to_owned(), given_up()),
        ("device_starts_anew".to_owned(), anew()),
    ]
}

fn step(script: &mut Vec<u8>, operation: u8, bytes: &[u8]) {
    script.extend([operation, u8::try_from(bytes.len()).unwrap()]);
    script.extend(bytes);
}

/// A device opens a stream, sends 300 bytes and the end; what the gateway sends is as in the target.
fn conversation(is_lost: impl Fn(usize) -> bool) -> Vec<u8> {
    let mut script = Vec::new();
    // The target's own generator, so that the gateway's streams have the same names.
    let (mut rng, mut device_rng) = (TestRng::new(0), TestRng::new(1));
    let mut now = Instant::ZERO;
    let mut gateway =
        FixedLeg::<4, 512, _>::new(Role::Gateway, LEG_CONFIG, &mut Env::new(now, &mut rng))
            .unwrap();
    let mut device = FixedLeg::<4, 512, _>::new(
        Role::Device,
        LEG_CONFIG,
        &mut Env::new(now, &mut device_rng),
    )
    .unwrap();
    let stream = device.open(now, &offer()).unwrap();
    device.write(stream, &[0x17; 300]).unwrap();
    device.finish(stream).unwrap();
    let mut count = 0;
    let mut out = [0; 64];
    for round in 0..40 {
        while let Some(len) = device
            .poll_transmit(&mut Env::new(now, &mut device_rng), &mut out)
            .unwrap()
        {
            count += 1;
            if !is_lost(count - 1) {
                step(&mut script, ARRIVES, &out[..len]);
                gateway.handle_segment(now, &out[..len]);
            }
        }
        step(&mut script, TAKE, &[]);
        while let Some(event) = gateway.poll_event() {
            if let hedgerow_leg::Event::Readable(stream) = event {
                while let Ok(hedgerow_leg::Read::Bytes(_)) = gateway.read(stream, &mut [0; 100]) {}
            }
        }
        if round == 1 {
            step(&mut script, WRITE, b"answer");
            step(&mut script, FINISH, &[]);
            let _ = gateway.write(stream, b"answer");
            let _ = gateway.finish(stream);
        }
        let mut has_sent = false;
        while let Some(len) = gateway
            .poll_transmit(&mut Env::new(now, &mut rng), &mut out)
            .unwrap()
        {
            has_sent = true;
            device.handle_segment(now, &out[..len]);
        }
        if has_sent {
            continue;
        }
        if let Some(at) = gateway.poll_timeout() {
            step(&mut script, TIMEOUT, &[]);
            now = now.max(at);
            gateway.handle_timeout(now);
        } else if let Some(at) = device.poll_timeout() {
            now = now.max(at);
        }
        device.handle_timeout(now);
    }
    script
}

fn own_stream() -> Vec<u8> {
    let mut script = Vec::new();
    step(&mut script, WRITE, &[0x16; 200]);
    step(&mut script, PING, &[]);
    for _ in 0..12 {
        step(&mut script, TIMEOUT, &[]);
    }
    step(&mut script, TAKE, &[]);
    script
}

fn given_up() -> Vec<u8> {
    let mut script = conversation(|n| n > 2);
    script.truncate(3 * 66);
    step(&mut script, TAKE, &[]);
    for reason in [ResetReason::Application, ResetReason::Acknowledged] {
        let mut out = [0; 64];
        let segment = Segment {
            stream: StreamId::from_bits(u32::from_be_bytes(script[3..7].try_into().unwrap())),
            body: Body::Reset(reason),
        };
        let len = segment.encode(&mut out).unwrap();
        step(&mut script, ARRIVES, &out[..len]);
    }
    step(&mut script, WRITE, b"late");
    step(&mut script, RESET, &[]);
    step(&mut script, TAKE, &[]);
    script
}

fn anew() -> Vec<u8> {
    let mut script = Vec::new();
    for seed in 2..5 {
        let mut rng = TestRng::new(seed);
        let mut env = Env::new(Instant::ZERO, &mut rng);
        let mut device = FixedLeg::<4, 512, _>::new(Role::Device, LEG_CONFIG, &mut env).unwrap();
        for n in 0..2 {
            let stream = device.open(env.now, &offer()).unwrap();
            device.write(stream, &[n; 40]).unwrap();
            device.finish(stream).unwrap();
        }
        let mut out = [0; 64];
        while let Some(len) = device.poll_transmit(&mut env, &mut out).unwrap() {
            step(&mut script, ARRIVES, &out[..len]);
        }
        step(&mut script, TAKE, &[]);
        step(&mut script, TIMEOUT, &[]);
    }
    script
}

fn offer() -> Offer<'static> {
    Offer {
        name: Name::new(b"api").unwrap(),
        ..Offer::default()
    }
}
