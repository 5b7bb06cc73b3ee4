//! Writes under a condition and a new association.
#![cfg(feature = "alloc")]
#![allow(clippy::unwrap_used)]

use hedgerow_coap::{Code, MessageOption, OptionNumber};
use hedgerow_core::{Env, Instant};
use hedgerow_exchange::{Config, Event, HeapExchange, Request, RequestError};
use hedgerow_sim::TestRng;

/// Carried out before the restart, a write under If-Match would be refused the second time, and the
/// application told that it had failed. One that never went out is sent all the same.
#[test]
fn conditional_write_that_was_sent_is_not_sent_anew() {
    for (code, option, is_sent, ends) in [
        (Code::PUT, OptionNumber::IF_MATCH, true, true),
        (Code::DELETE, OptionNumber::IF_MATCH, true, true),
        (Code::PUT, OptionNumber::IF_NONE_MATCH, true, true),
        (Code::PUT, OptionNumber::IF_MATCH, false, false),
        (Code::PUT, OptionNumber::URI_PATH, true, false),
        (Code::GET, OptionNumber::URI_PATH, true, false),
    ] {
        let mut rng = TestRng::new(1);
        let env = &mut Env::new(Instant::ZERO, &mut rng);
        let mut exchange = HeapExchange::new(Config::default(), env);
        let value: &[u8] = if option == OptionNumber::IF_NONE_MATCH {
            &[]
        } else {
            b"tag"
        };
        let options = [MessageOption::new(option, value)];
        exchange
            .request(env, &Request::new(code).options(&options))
            .unwrap();
        let mut out = [0; 1_200];
        if is_sent {
            exchange.poll_transmit(env, &mut out).unwrap().unwrap();
        }
        exchange.restart_association(env);
        let is_over = matches!(
            exchange.poll_event(),
            Some(Event::RequestFailed {
                error: RequestError::AssociationRestarted,
                ..
            })
        );
        assert_eq!(is_over, ends, "{code} with {option}");
        let is_sent_anew = exchange.poll_transmit(env, &mut out).unwrap().is_some();
        assert_eq!(is_sent_anew, !ends, "{code} with {option}");
    }
}
