//! What only form `dtls` has (docs/specs/translate-device.md): headers that the device reads and TLS hasn't.

use hedgerow_core::PeerFault;
use hedgerow_record::LegForm;

use crate::setup::{Setup, assert_resisted};
use crate::tampering::{Tampering, Way};
use crate::{attacked, calm};

/// Each octet of each record's header that the device gets: type, version, epoch, number and length; of the handshake
/// in clear those of the message's too.
#[test]
fn changed_header_of_any_record_is_found_out_by_the_device() {
    let calm = calm(LegForm::Dtls);
    let [mut by_framing, mut by_tls] = [0, 0];
    for &(way, start) in &calm.gateway.starts {
        if way == Way::ToServer {
            continue;
        }
        let is_handshake = calm.gateway.copied[start..].starts_with(b"\x16\xfe\xfd\0\0");
        for at in start..start + if is_handshake { 25 } else { 13 } {
            let outcome = attacked(LegForm::Dtls, Tampering::Flip(at));
            assert!(outcome.gateway.tampered.is_some());
            // Behind the last record that the device waits for nothing is lost any more.
            let is_over = outcome.client.is_closed;
            assert!(
                assert_resisted("header", at, &outcome) || is_over,
                "{start} {at}"
            );
            let has_noticed = outcome.client.failure.is_some() || is_over;
            assert!(has_noticed, "{start} {at}: the device is content");
            // Version, epoch and number.
            if (1..11).contains(&(at - start)) {
                assert!(outcome.framing_fault.is_some() || is_over, "{start} {at}");
            }
            by_framing += u32::from(outcome.framing_fault.is_some());
            by_tls += u32::from(outcome.framing_fault.is_none());
        }
    }
    println!("by the framing {by_framing}, by TLS {by_tls}");
    assert!(by_framing > 100 && by_tls > 5);
}

/// The gateway takes records for what they aren't, and hands them on so.
#[test]
fn one_form_for_the_other_establishes_nothing() {
    for (form, gateway_form) in [(LegForm::Tls, LegForm::Dtls), (LegForm::Dtls, LegForm::Tls)] {
        let setup = Setup {
            gateway_form,
            ..Setup::new(form, 1, 0.0)
        };
        let outcome = setup.with_a_psk();
        assert!(assert_resisted("form", 0, &outcome), "{form:?}");
        let (client, server) = (&outcome.client, &outcome.server);
        assert!(client.plaintext.is_empty() && server.plaintext.is_empty());
        assert!(!client.has_answered && !server.has_answered);
        let truncated = PeerFault::Truncated;
        assert_eq!(client.failure, Some(truncated.into()), "{form:?}");
    }
}
