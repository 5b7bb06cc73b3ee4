use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use tokio::io::duplex;

use super::*;

#[test]
fn node_that_devices_call_has_what_is_configured_for_streams() {
    let mut leg = Leg::new("127.0.0.1:0".parse().unwrap());
    leg.stream_patience = Duration::from_secs(7);
    leg.streams_per_device = 3;
    let config = fit(&leg, 2, NodeConfig::default());
    assert_eq!(config.stream_patience, leg.stream_patience);
    let legs = config.endpoint.legs.unwrap();
    assert_eq!((legs.leg.max_incoming, legs.leg.max_streams), (3, 10));
}

/// No more is read than the other side takes, however long that is, and nothing is lost by it.
#[test]
fn slow_writer_holds_the_reader_up() {
    let sent: Vec<u8> = (0..=u8::MAX).cycle().take(10 * COPY_LEN).collect();
    let room = COPY_LEN + COPY_LEN / 2;
    let (mut writer, mut taker) = duplex(room);
    let mut left = sent.as_slice();
    let count = AtomicUsize::new(0);
    let mut received = Vec::new();
    {
        let map = |bytes: &[u8], out: &mut Vec<u8>| {
            count.fetch_add(bytes.len(), Ordering::Relaxed);
            out.extend_from_slice(bytes);
            Ok(())
        };
        let mut copying = pin!(copy(&mut left, &mut writer, map, |_| ()));
        let mut context = Context::from_waker(Waker::noop());
        loop {
            // It may be asked as often as it likes.
            let mut polled = Poll::Pending;
            for _ in 0..10 {
                if polled.is_pending() {
                    polled = copying.as_mut().poll(&mut context);
                }
            }
            let read = count.load(Ordering::Relaxed);
            let bound = (received.len() + room).next_multiple_of(COPY_LEN);
            assert!(read <= bound, "{read} read, {} taken", received.len());
            if let Poll::Ready(copied) = polled {
                assert!(copied.is_ok());
                break;
            }
            let mut part = [0; 1_000];
            let taking = pin!(taker.read(&mut part));
            let Poll::Ready(Ok(len)) = taking.poll(&mut context) else {
                panic!("held up with nothing to take");
            };
            received.extend_from_slice(&part[..len]);
        }
        let mut rest = vec![0; sent.len()];
        loop {
            let taking = pin!(taker.read(&mut rest));
            match taking.poll(&mut context) {
                Poll::Ready(Ok(0)) => break,
                Poll::Ready(Ok(len)) => received.extend_from_slice(&rest[..len]),
                other => panic!("no end: {other:?}"),
            }
        }
    }
    assert_eq!(received, sent);
}
