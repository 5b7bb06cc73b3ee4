//! The seeds of the handshake machine bring it into every state. In a file of its own, since the
//! counts are a process's.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use hedgerow_fuzz_bodies::{handshake_machine, handshake_machine_reached};

#[test]
fn seeds_reach_every_state() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../seeds/handshake_machine");
    for entry in fs::read_dir(folder).unwrap() {
        handshake_machine(&fs::read(entry.unwrap().path()).unwrap());
    }
    let reached = handshake_machine_reached();
    for (name, count) in &reached {
        println!("{name:44} {count:6}");
    }
    let never: Vec<&str> = reached
        .iter()
        .filter_map(|(name, count)| (*count == 0).then_some(*name))
        .collect();
    assert_eq!(never, [""; 0], "no seed reaches these");
}
