//! `hedgerow-leg`: a stream opened, written, read, finished and given up.

use hedgerow_core::{Env, Instant};
use hedgerow_leg::{Config, Event, FixedLeg, Offer, Read, ResetReason, Role};

use crate::counting_rng::CountingRng;

pub(crate) fn enter(bytes: &mut [u8]) -> usize {
    talk(bytes).unwrap_or_default()
}

fn talk(bytes: &mut [u8]) -> Option<usize> {
    let mut rng = CountingRng(0);
    let mut env = Env::new(Instant::ZERO, &mut rng);
    let config = Config::default();
    let mut leg = FixedLeg::<4, 512, _>::new(Role::Device, &config, &mut env).ok()?;
    let stream = leg.open(env.now, &Offer::default()).ok()?;
    let mut done = leg.write(stream, bytes).ok()?;
    leg.finish(stream).ok()?;
    let mut out = [0; 64];
    while let Some(len) = leg.poll_transmit(&mut env, &mut out).ok()? {
        done = done.wrapping_add(len);
    }
    leg.handle_segment(env.now, bytes);
    env.now = leg.poll_timeout()?;
    leg.handle_timeout(env.now);
    while let Some(event) = leg.poll_event() {
        if let Event::Opened(stream) | Event::Readable(stream) = event {
            if let Read::Bytes(len) = leg.read(stream, bytes).ok()? {
                done = done.wrapping_add(len);
            }
            leg.ping(stream).ok()?;
            leg.reset(env.now, stream, ResetReason::Refused).ok()?;
        }
    }
    Some(done)
}
