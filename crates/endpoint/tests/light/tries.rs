//! With the tries that the RFCs say: RFC 7252's parameters (§4.8), and five transmissions of each of the hop's flights and
//! of the inner hello. What a datagram beside the records was lost to is sent again, ACK_TIMEOUT later, as a record.

use hedgerow_core::{ChannelError, PeerFault};
use hedgerow_exchange::RequestError;
use hedgerow_sim::{Conditions, World, for_each_seed};

use crate::common::defaults;
use crate::inner::trio;
use crate::{BOTH, ask, light, lights, record};

/// At 20 % loss each way five transmissions are all in vain with 0.36^5 = 0.6 %. Three exchanges of the hop's handshake,
/// one of hellos and three of requests: at most 1 - (1 - 0.36^5)^7 = 4.2 %. Over 1,000 seeds that is 41.5 with a standard
/// deviation of 6.3: 41.5 + 4 x 6.3 is 66.
#[test]
fn with_rfc_parameters_failures_stay_within_the_bound() {
    let mut datagrams = 0;
    let [mut of_requests, mut of_flows] = [0, 0];
    for_each_seed(0..1_000, |seed| {
        let mut world = World::new(seed);
        world.set_conditions(Conditions::rough());
        let trio = trio(&mut world, &light(defaults()));
        let sent = BOTH.map(|way| record(&mut world, way));
        for n in 1..=3 {
            let payload = format!("once {n}").into_bytes();
            ask(&mut world, trio, &payload);
            world
                .run_until(|world| {
                    let internet = trio.internet(world);
                    internet.responses.len() == n
                        || !internet.failures.is_empty()
                        || !internet.failed.is_empty()
                })
                .unwrap();
            let internet = trio.internet(&world);
            if internet.responses.len() < n {
                match (&internet.failures[..], &internet.failed[..]) {
                    ([RequestError::AcknowledgementTimeout], []) => of_requests += 1,
                    // No answer to the hello, or the gateway's word that the hop's handshake has failed.
                    (_, [ChannelError::Peer(fault)]) => {
                        let refused = matches!(fault, PeerFault::WayRefused { .. });
                        assert!(
                            refused || *fault == PeerFault::CredentialsRefused,
                            "{fault}"
                        );
                        of_flows += 1;
                    }
                    both => panic!("{both:?}"),
                }
                break;
            }
            assert_eq!(trio.device(&world).handled[&payload], 1);
        }
        assert!(
            trio.device(&world)
                .handled
                .values()
                .all(|&count| count == 1)
        );
        datagrams += sent.iter().map(|sent| lights(sent).len()).sum::<usize>();
    });
    let failed = of_requests + of_flows;
    println!(
        "{failed} of 1000 failed at 20 % loss each way: {of_requests} requests, {of_flows} flows; bound 66"
    );
    assert!(failed <= 66, "{failed} of 1000 failed");
    // The first request's way there, and what is sent again, are records.
    assert!(datagrams >= 3_000, "{datagrams}");
}
