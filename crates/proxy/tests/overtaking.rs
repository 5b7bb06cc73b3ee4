//! How many datagrams on UDP overtake those on TCP, in virtual time (`docs/specs/auto.md`).
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

#[path = "support/carrier_bench.rs"]
mod carrier_bench;

use std::time::Duration;

use carrier_bench::{Bench, ms, secs, steady};
use hedgerow_proxy::{CarrierChoice, CarrierState};

/// At most 32 datagrams pass one on TCP that may still be on its way, however slow TCP is.
#[test]
fn overtaking_is_bounded() {
    for tcp_delay in [ms(40), secs(1), secs(5)] {
        let mut bench = Bench::new(steady(ms(30)), steady(tcp_delay));
        bench.every = Some(ms(5));
        bench.run(secs(30));
        assert_eq!(bench.state(), CarrierState::UdpActive);
        // A datagram on TCP takes half of the round trip.
        let one_way = tcp_delay / 2;
        let mut arrival = Duration::ZERO;
        for (index, (at, choice)) in bench.chosen.iter().enumerate() {
            if *choice != CarrierChoice::Tcp {
                continue;
            }
            arrival = arrival.max(*at + one_way);
            let passed = bench.chosen[index..]
                .iter()
                .filter(|later| later.1 == CarrierChoice::Udp && later.0 + ms(15) < arrival);
            assert!(passed.count() <= 32, "{tcp_delay:?} at {at:?}");
        }
        if tcp_delay == ms(40) {
            assert_eq!(bench.chosen.last().unwrap().1, CarrierChoice::Udp);
        }
    }
}
