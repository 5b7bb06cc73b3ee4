//! `hedgerow get|put|post|delete` over TCP and TLS, against devices in this process.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::thread;

use hedgerow::devices::{Lamp, Meter, Thermometer};
use support::{Finished, IDENTITY, KEY, Server, hedgerow, loopback};

/// Runs a command with the right credentials.
fn ask(arguments: &[&str]) -> Finished {
    hedgerow(&[arguments, &["-u", IDENTITY, "-k", KEY]].concat())
}

#[test]
fn devices_are_read_and_written_in_both_modes() {
    let server = Server::device(Lamp::new());
    let put = ask(&["put", "-e", "on", "-t", "text", &server.tls_uri("/state")]);
    assert_eq!((put.code(), put.stdout()), (0, ""));
    assert!(put.stderr().contains("2.04 Changed (TLS with"), "{put:?}");
    assert!(put.stderr().contains("TLS_ECDHE_PSK_"), "{put:?}");
    let read = hedgerow(&["get", &server.tcp_uri("/state")]);
    assert_eq!((read.code(), read.stdout(), read.stderr()), (0, "on", ""));
    // It has no meaning, and does no harm.
    let read = hedgerow(&["get", "-N", &server.tcp_uri("/state")]);
    assert_eq!((read.code(), read.stdout()), (0, "on"));
    let toggled = hedgerow(&["post", &server.tcp_uri("/toggle")]);
    assert_eq!(toggled.stdout(), "off");
    assert_eq!(hedgerow(&["get", &server.tcp_uri("/no")]).code(), 14);
}

#[test]
fn large_bodies_travel_both_ways() {
    let server = Server::device(Meter::new());
    let image: Vec<u8> = (0..100_000_u32).map(|n| n.to_le_bytes()[1]).collect();
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("tcp-image");
    fs::write(&path, image).unwrap();
    let firmware = server.tls_uri("/firmware");
    let path = path.to_str().unwrap();
    let put = ask(&["put", "-f", path, "-t", "binary", &firmware]);
    assert!(put.stderr().contains("2.01 Created"), "{put:?}");
    assert!(ask(&["get", &firmware]).stdout().ends_with(" 100000"));
    let history = hedgerow(&["get", &server.tcp_uri("/history")]);
    assert!(history.stdout().len() > 30_000);
}

#[test]
fn json_names_the_mode_and_the_suite() {
    let server = Server::device(Thermometer);
    let json = ask(&["get", "--json", &server.tls_uri("/temperature")]).json();
    assert_eq!(json["security"]["mode"], "tls-psk");
    assert_eq!(json["security"]["identity"], IDENTITY);
    let suite = json["security"]["suite"].as_str().unwrap().to_owned();
    assert!(suite.starts_with("TLS_ECDHE_PSK"), "{suite}");
    assert_eq!(json["payload"]["data"], "21.0");
    let json = hedgerow(&["get", "--json", &server.tcp_uri("/temperature")]).json();
    assert_eq!(json["security"]["mode"], "nosec");
    assert!(json["security"]["suite"].is_null());
}

#[test]
fn keys_of_a_file_belong_to_a_scheme() {
    let server = Server::device(Thermometer);
    let root = server.tls_uri("");
    let table = format!("[[key]]\nuri = \"{root}\"\nidentity = \"{IDENTITY}\"\nkey = \"{KEY}\"\n");
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("tcp-keys.toml");
    fs::write(&path, table).unwrap();
    let keys = path.to_str().unwrap();
    let read = hedgerow(&["get", "--keys", keys, &server.tls_uri("/temperature")]);
    assert_eq!(read.stdout(), "21.0");
    let other = root.replace("coaps+tcp", "coaps");
    let refused = hedgerow(&["get", "--keys", keys, &other]);
    assert_eq!(refused.code(), 2);
}

#[test]
fn failures_have_their_class_and_say_what_to_look_at() {
    let server = Server::device(Thermometer);
    let uri = server.tls_uri("/temperature");
    for (user, key) in [(IDENTITY, "nobody's key"), ("stranger", KEY)] {
        let refused = hedgerow(&["get", "-u", user, "-k", key, &uri]);
        assert_eq!((refused.code(), refused.stdout()), (5, ""));
        assert!(
            refused.stderr().contains("credentials refused"),
            "{refused:?}"
        );
    }
    let nobody = TcpListener::bind(loopback()).unwrap().local_addr().unwrap();
    for uri in [
        format!("coap+tcp://{nobody}/"),
        format!("coaps+tcp://{nobody}/"),
    ] {
        let arguments: &[&str] = match uri.starts_with("coaps") {
            true => &["get", &uri, "-u", IDENTITY, "-k", KEY],
            false => &["get", &uri],
        };
        let refused = hedgerow(arguments);
        assert_eq!(refused.code(), 6);
        assert!(
            refused
                .stderr()
                .contains("nothing listens at this TCP port"),
            "{refused:?}"
        );
    }
    // A port of the other mode.
    let clear = server.tcp_uri("/temperature");
    let not_tls = ask(&["get", &clear.replace("coap+tcp", "coaps+tcp")]);
    assert_eq!(not_tls.code(), 6);
    assert!(
        not_tls
            .stderr()
            .contains("is it a coaps+tcp server's port?"),
        "{not_tls:?}"
    );
    let not_clear = hedgerow(&["get", &uri.replace("coaps+tcp", "coap+tcp")]);
    assert_eq!(not_clear.code(), 6);
    assert!(
        not_clear.stderr().contains("NoSec, in clear"),
        "{not_clear:?}"
    );
}

/// A listener that hangs up, and one that says nothing.
#[test]
fn cut_off_and_silent_servers_are_told_apart() {
    let listener = TcpListener::bind(loopback()).unwrap();
    let address = listener.local_addr().unwrap();
    let serving = thread::spawn(move || {
        let (mut first, _) = listener.accept().unwrap();
        let _ = first.read(&mut [0; 1_024]);
        drop(first);
        // The second waits for its client to give up.
        let (mut second, _) = listener.accept().unwrap();
        let _ = second.read_to_end(&mut Vec::new());
        let (mut third, _) = listener.accept().unwrap();
        let _ = third.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        let _ = third.read_to_end(&mut Vec::new());
    });
    let uri = format!("coaps+tcp://{address}/");
    let cut_off = ask(&["get", &uri]);
    assert_eq!(cut_off.code(), 6);
    assert!(cut_off.stderr().contains("cut off"), "{cut_off:?}");
    let silent = ask(&["get", "-B", "1", &uri]);
    assert_eq!(silent.code(), 4);
    assert!(silent.stderr().contains("no answer from"), "{silent:?}");
    let other = hedgerow(&["get", &format!("coap+tcp://{address}/")]);
    assert_eq!(other.code(), 6);
    assert!(other.stderr().contains("doesn't speak CoAP"), "{other:?}");
    serving.join().unwrap();
}
