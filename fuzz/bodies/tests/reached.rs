//! The seeds of the handshake machines bring them into every state. In a file of its own, since the
//! counts are a process's.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use hedgerow_fuzz_bodies::{
    handshake_machine, handshake_machine_reached, resumption, resumption_reached, tls_machine,
    tls_machine_reached,
};

#[test]
fn seeds_reach_every_state() {
    check(
        "handshake_machine",
        handshake_machine,
        handshake_machine_reached,
    );
    check("resumption", resumption, resumption_reached);
    check("tls_machine", tls_machine, tls_machine_reached);
}

fn check(target: &str, run: fn(&[u8]), reached: fn() -> Vec<(&'static str, u64)>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../seeds");
    for entry in fs::read_dir(folder.join(target)).unwrap() {
        run(&fs::read(entry.unwrap().path()).unwrap());
    }
    let reached = reached();
    for (name, count) in &reached {
        println!("{name:44} {count:6}");
    }
    let never: Vec<&str> = reached
        .iter()
        .filter_map(|(name, count)| (*count == 0).then_some(*name))
        .collect();
    assert_eq!(never, [""; 0], "no seed reaches these");
}
