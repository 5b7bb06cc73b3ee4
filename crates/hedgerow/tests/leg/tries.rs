//! With the tries that the RFCs and docs/specs/leg.md say: five transmissions of each of the hop's flights (RFC 6347
//! §4.2.4.1), and of each segment nine, or RFC 7252's five. Some connections fail then, in time and by name.

use hedgerow_core::PeerFault;
use hedgerow_handshake::Settings;
use hedgerow_leg::{Config, Recovery, ResetReason};
use hedgerow_record::LegForm;
use hedgerow_sim::for_each_seed;

use crate::setup::{Setup, assert_resisted};

/// Runs a connection a seed at 20 % loss each way, checks that each ends as it may, and returns how many failed.
fn failures(form: LegForm, leg: Config) -> u32 {
    let [mut of_handshakes, mut of_legs] = [0, 0];
    for_each_seed(0..1_000, |seed| {
        let setup = Setup {
            hop: Settings::default(),
            leg,
            ..Setup::new(form, seed, 0.2)
        };
        let outcome = setup.with_a_psk();
        let truncated = Some(PeerFault::Truncated.into());
        match (outcome.hop_failure, outcome.reset) {
            (None, None) => outcome.assert_whole(),
            (Some(error), None) => {
                // The other one is silence behind this end's Finished.
                let silence = [PeerFault::HandshakeTimeout, PeerFault::CredentialsRefused];
                assert!(silence.map(Into::into).contains(&error), "{error:?}");
                assert!(outcome.gateway.copied.is_empty());
                assert_eq!(outcome.client.failure, truncated);
                of_handshakes += 1;
            }
            (None, Some(reason)) => {
                assert_eq!(reason, ResetReason::Timeout);
                assert_resisted("tries", 0, &outcome);
                assert!(outcome.client.failure == truncated || outcome.client.is_closed);
                of_legs += 1;
            }
            both => panic!("{both:?}"),
        }
    });
    println!("{form:?}: {of_handshakes} handshakes of the hop, {of_legs} legs");
    of_handshakes + of_legs
}

/// At 20 % loss each way a transmission is in vain with 1 - 0.8 * 0.8 = 0.36. The hop's handshake has three exchanges
/// of five transmissions, and the leg no more than `segments` both ways: the bound is what is expected of 1,000, and
/// four standard deviations.
fn bound(segments: i32, transmissions: i32) -> f64 {
    let p = 1.0
        - (1.0 - 0.36_f64.powi(5)).powi(3) * (1.0 - 0.36_f64.powi(transmissions)).powi(segments);
    1_000.0 * p + 4.0 * (1_000.0 * p * (1.0 - p)).sqrt()
}

#[test]
fn with_default_tries_failures_stay_within_the_bound() {
    for form in [LegForm::Tls, LegForm::Dtls] {
        let (failed, bound) = (failures(form, Config::default()), bound(30, 9));
        println!("{failed} of 1000 failed; bound {bound:.0}");
        assert!(f64::from(failed) <= bound, "{failed} of 1000 failed");
    }
}

/// ACK_TIMEOUT, ACK_RANDOM_FACTOR, MAX_RETRANSMIT and NSTART of RFC 7252 §4.8.
#[test]
fn with_rfc_7252_s_parameters_failures_stay_within_the_bound() {
    let leg = Config {
        recovery: Recovery::CONSTRAINED,
        max_retransmit: 4,
        ..Config::default()
    };
    let (failed, bound) = (failures(LegForm::Dtls, leg), bound(30, 5));
    println!("{failed} of 1000 failed; bound {bound:.0}");
    assert!(f64::from(failed) <= bound, "{failed} of 1000 failed");
}
