//! Both handshakes of `hedgerow-handshake` and the sessions after them, under an attacker who sits
//! on the path.
//!
//! All ends hold the right keys, or in some scripts wrong ones; the attacker holds none. The input
//! is a script for two pairs of client and server side by side:
//!
//! ```text
//! config(1)  suite (2 bits), EMS not required (bit 2), small datagrams (bit 3), wrong key (bit 4),
//!            unknown identity (bit 5), no suite in common (bit 6), connection IDs (bit 7)
//! resumption(1)  by ticket (1) or by session ID (2) in the lowest 2 bits; the pair meets again after a
//!            first session (bit 2), the server has restarted since (bit 3)
//! then steps, each with what it takes:
//! op(1)      what to do (4 bits), pair (bit 4), way: 0 to the server, 1 to the client (bit 5)
//! ```
//!
//! | op | takes | does |
//! | --- | --- | --- |
//! | 0 | | delivers the way's first datagram |
//! | 1 | | drops it |
//! | 2 | | delivers a copy of it |
//! | 3 | | puts it behind the others |
//! | 4 | tenths of a second, 0: until the next timer | lets time pass |
//! | 5 | bit(2) | changes a bit of it |
//! | 6 | n(1) | delivers the n-th last datagram of all that were ever sent |
//! | 7 | type(1) epoch(1) number(1) length(1) bytes | delivers a record in clear |
//! | 8 | msg_type(1) message_seq(1) length(1) bytes | delivers a handshake message in clear |
//! | 9 | | swaps the first datagrams of both pairs |
//! | 10 | length(1) | the way's sender sends application data |
//! | 11 | | the way's sender closes |
//! | 12 | | takes the first datagram apart into its records |
//! | 13 | | puts the first two datagrams together |
//! | 14 | | delivers everything between the pair, as often as something comes back |
//! | 15 | place(2) byte(1) | overwrites a byte of the first datagram |
//!
//! Then the attacker leaves and time passes. What must hold stands with each assertion.

mod pair;
mod reached;
mod script;

use hedgerow_core::Reader;

pub use self::reached::{Reached, handshake_machine_reached, report_reached};
use self::script::World;

/// Runs the script.
pub fn handshake_machine(input: &[u8]) {
    let mut script = Reader::new(input);
    let (Ok(config), Ok(resumption)) = (script.u8(), script.u8()) else {
        return;
    };
    let mut world = World::new(config, resumption);
    // A script is as long as the attacker likes, but an input should not take long.
    for _ in 0..MAX_STEPS {
        if world.step(&mut script).is_none() {
            break;
        }
    }
    world.conclude();
    reached::count_run();
}

const MAX_STEPS: usize = 200;
