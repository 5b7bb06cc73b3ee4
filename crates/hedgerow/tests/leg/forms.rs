//! What the forms have of their own (docs/specs/translate-device.md): above all headers of form `dtls` that the device
//! reads and TLS hasn't.

use hedgerow_core::{ChannelError, PeerFault};
use hedgerow_record::LegForm;

use crate::setup::{Setup, assert_resisted, request, response};
use crate::tampering::{Tampering, Way};
use crate::{FORMS, attacked, calm};

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

/// In each TLS record's header: that of a way's first record may have any minor version (RFC 5246 §E.1).
#[test]
fn flipped_minor_version_of_any_tls_record_is_found_out() {
    let refused = ChannelError::Peer(PeerFault::AlertSent { description: 70 });
    let mut found_out = [0; 2];
    for form in FORMS {
        let calm = calm(form);
        for way in [Way::ToServer, Way::ToClient] {
            // Those of form `dtls` have a test of their own.
            if (form, way) == (LegForm::Dtls, Way::ToClient) {
                continue;
            }
            let records = calm.gateway.starts.iter().filter(|(of, _)| *of == way);
            for (number, (_, start)) in records.enumerate() {
                let outcome = attacked(form, Tampering::Flip(start + 2));
                assert!(outcome.gateway.tampered.is_some());
                let (client, server) = (&outcome.client, &outcome.server);
                let failure = match way {
                    Way::ToServer => server.failure,
                    Way::ToClient => client.failure,
                };
                if number == 0 {
                    outcome.assert_whole();
                } else if server.plaintext == request() && client.plaintext == response() {
                    // Behind all that was said.
                    assert!(failure.is_none() || failure == Some(refused));
                } else {
                    assert_eq!(failure, Some(refused), "{form:?} {way:?} {number}");
                    found_out[usize::from(way == Way::ToClient)] += 1;
                }
            }
        }
    }
    println!("found out {found_out:?}");
    assert!(found_out.iter().all(|count| *count > 5), "{found_out:?}");
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
