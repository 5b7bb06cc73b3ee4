//! What came to the ends of a session in mode `auto`, and why it was dropped.

#![allow(unreachable_pub)]

use std::collections::BTreeSet;

use hedgerow_core::DropReason;

use super::carriers::{GATEWAY_UDP, Given, Net};
use super::records::is_protected;

/// Why each protected record and each alert in clear has to be dropped, if it has to.
pub fn check_reasons(given: &[Given], genuine: &BTreeSet<Vec<u8>>, by_connection_id: bool) {
    let mut taken = BTreeSet::new();
    // Some came together in one datagram.
    let is_genuine = |record: &[u8]| {
        let mut sent = genuine.iter();
        sent.any(|datagram| datagram.windows(record.len()).any(|part| part == record))
    };
    for Given {
        from,
        record,
        dropped,
    } in given
    {
        if !is_protected(record) {
            let is_alert = record[0] == 21;
            assert!(!is_alert || *dropped == Some(DropReason::IgnoredAlert));
            continue;
        }
        // Epoch and sequence number.
        let number = &record[3..11];
        let expected = if *from == GATEWAY_UDP && !by_connection_id {
            // A session without a connection ID is its address's, and nothing at another one.
            Some(DropReason::UnknownPeer)
        } else if taken.contains(number) {
            // Whatever it is: the window judges before the tag does.
            Some(DropReason::Replayed)
        } else if !is_genuine(record) {
            Some(DropReason::AuthenticationFailed)
        } else {
            taken.insert(number);
            None
        };
        match expected {
            Some(_) => assert_eq!(*dropped, expected),
            // What CoAP has no use for is none of the record's.
            None => assert!(matches!(
                dropped,
                None | Some(DropReason::Unmatched | DropReason::Duplicate)
            )),
        }
    }
}

/// Asserts that what was put in came to its end each time, to the device or to the client.
pub fn assert_given(net: &Net<'_>, injected: &[Vec<Vec<u8>>; 2]) {
    for (given, injected) in net.given.iter().zip(injected) {
        let foreign = given
            .iter()
            .filter(|given| injected.contains(&given.record));
        assert_eq!(foreign.count(), injected.len());
    }
}
