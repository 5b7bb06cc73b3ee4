//! Writes the seeds of the targets from real messages of our own encoders: run it where an encoder
//! or a script's meaning has changed, and look at what differs.
//!
//! `cargo run -p hedgerow-fuzz-bodies --example write_seeds`. Seeds of inputs that once found
//! something have other names and stay.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

#[path = "write_seeds/adapt.rs"]
mod adapt;
#[path = "write_seeds/codecs.rs"]
mod codecs;
#[path = "write_seeds/connections.rs"]
mod connections;
#[path = "write_seeds/datagrams.rs"]
mod datagrams;
#[path = "write_seeds/flows.rs"]
mod flows;
#[path = "write_seeds/legs.rs"]
mod legs;
#[path = "write_seeds/scripts.rs"]
mod scripts;
#[path = "write_seeds/streams.rs"]
mod streams;

use std::fs;
use std::path::Path;

/// A target's seeds: name and input.
type Seeds = Vec<(String, Vec<u8>)>;

fn main() {
    let targets: [(&str, Seeds); 16] = [
        ("acceptor", datagrams::acceptor()),
        ("adapt", adapt::adapt()),
        ("cid_record", datagrams::cid_record()),
        ("coap_frame", codecs::coap_frame()),
        ("coap_link_format", codecs::coap_link_format()),
        ("coap_message", codecs::coap_message()),
        ("coap_uri", codecs::coap_uri()),
        ("connection", connections::connection()),
        ("device_http", adapt::device_http()),
        ("dtls_record", datagrams::dtls_record()),
        ("handshake_fragment", datagrams::handshake_fragment()),
        ("handshake_machine", scripts::handshake_machine()),
        ("hellos", datagrams::hellos()),
        ("itls_forwarder", flows::itls_forwarder()),
        ("leg", legs::leg()),
        ("tls_machine", streams::tls_machine()),
    ];
    for (target, seeds) in targets {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../seeds")
            .join(target);
        fs::create_dir_all(&folder).unwrap();
        for (name, input) in seeds {
            fs::write(folder.join(name), input).unwrap();
        }
    }
}
