//! Both TLS handshakes of `hedgerow-handshake` and the sessions after them, under an attacker who
//! sits on the path.
//!
//! Both ends hold the right keys, or in some scripts the client a wrong one; the attacker holds none.
//! The input is a script:
//!
//! ```text
//! config(1)  suite (4 bits), wrong key (bit 4), no suite in common (bit 5), the server asks for no
//!            certificate (bit 6), extended master secret not required (bit 7)
//! then steps, each with what it takes:
//! op(1)      what to do (4 bits), way: 0 to the server, 1 to the client (bit 4)
//! ```
//!
//! | op | takes | does |
//! | --- | --- | --- |
//! | 0 | | delivers all that is on the way |
//! | 1 | n(1) | delivers n bytes |
//! | 2 | | takes the first record out |
//! | 3 | bit(2) | changes a bit |
//! | 4 | type(1) length(1) bytes | puts a record in clear before the others |
//! | 5 | msg_type(1) length(1) bytes | puts a handshake message in clear before the others |
//! | 6 | | puts a copy of the first record behind it |
//! | 7 | | swaps the first two records |
//! | 8 | length(1) | the way's sender sends application data |
//! | 9 | | the way's sender closes |
//! | 10 | | ends the stream |
//! | 11 | tenths of a second | lets time pass |
//! | 12 | | delivers everything between the ends, as often as something comes back |
//! | 13 | place(2) byte(1) | overwrites a byte |
//! | 14 | n(1) | cuts the first record in two, which changes nothing in clear |
//!
//! What must hold stands with each assertion.

mod ends;
mod reached;

use std::time::Duration;

use hedgerow_core::{Instant, Reader};

use self::ends::Ends;
pub use self::reached::{report_tls_reached, tls_machine_reached};

/// Runs the script.
pub fn tls_machine(input: &[u8]) {
    let mut script = Reader::new(input);
    let Ok(config) = script.u8() else {
        return;
    };
    let mut ends = Ends::new(config);
    // A script is as long as the attacker likes, but an input should not take long.
    for _ in 0..MAX_STEPS {
        if step(&mut ends, &mut script).is_none() {
            break;
        }
    }
    ends.conclude();
    reached::count_run();
}

/// Does the next step; `None` at the script's end.
fn step(ends: &mut Ends, script: &mut Reader<'_>) -> Option<()> {
    let op = script.u8().ok()?;
    let way = usize::from(op >> 4 & 1);
    match op & 0x0f {
        0 => ends.deliver(way, usize::MAX),
        1 => ends.deliver(way, usize::from(script.u8().ok()?)),
        2 => ends.change(way, |records| drop(records.pop_front())),
        3 => {
            let at = usize::from(script.u16().ok()?);
            ends.overwrite(way, at / 8, |byte| byte ^ (1 << (at % 8)));
        }
        4 => {
            let content_type = script.u8().ok()?;
            let record = record(content_type, script.vector8().ok()?);
            ends.change(way, |records| records.push_front(record));
        }
        5 => {
            let msg_type = script.u8().ok()?;
            let body = script.vector8().ok()?;
            let len = u8::try_from(body.len()).ok()?;
            let message = [&[msg_type, 0, 0, len], body].concat();
            let record = record(22, &message);
            ends.change(way, |records| records.push_front(record));
        }
        6 => ends.change(way, |records| {
            if let Some(first) = records.front().cloned() {
                records.push_front(first);
            }
        }),
        7 => ends.change(way, |records| {
            if records.len() > 1 {
                records.swap(0, 1);
            }
        }),
        8 => ends.say(way, usize::from(script.u8().ok()?)),
        9 => ends.close(way),
        10 => ends.end(way),
        11 => {
            let tenths = u32::from(script.u8().ok()?);
            ends.pass(Duration::from_millis(100).saturating_mul(tenths));
        }
        12 => ends.deliver_everything(),
        13 => {
            let at = usize::from(script.u16().ok()?);
            let value = script.u8().ok()?;
            ends.overwrite(way, at, |_| value);
        }
        _ => {
            let at = usize::from(script.u8().ok()?);
            ends.cut(way, at);
        }
    }
    Some(())
}

/// Puts a header before a fragment.
fn record(content_type: u8, fragment: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(fragment.len())
        .unwrap_or_default()
        .to_be_bytes();
    [&[content_type, 3, 3, high, low], fragment].concat()
}

const START: Instant = Instant::ZERO;
const MAX_STEPS: usize = 200;
