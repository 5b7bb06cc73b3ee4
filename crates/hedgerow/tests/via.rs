//! `hedgerow get --via`: what is refused before anything is sent, and what is said of gateways that open
//! no way.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, dead_code)]

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::thread::{self, JoinHandle};

use support::{Finished, IDENTITY, KEY, hedgerow, loopback};

const DEVICE: &str = "coaps://thermometer/temperature";
const TOKEN: &str = "0123456789abcdef";

/// A private file of this test's own.
fn file(name: &str, content: &str) -> String {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, content).unwrap();
    #[cfg(unix)]
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    path.to_str().unwrap().to_owned()
}

/// Asks for a device through a gateway, with a key that the gateway hasn't.
fn ask(gateway: &str, more: &[&str]) -> Finished {
    let key = ["-u", IDENTITY, "-k", KEY, "--end-to-end"];
    let way = ["get", DEVICE, "--via", gateway, "--mode", "tunnel"];
    hedgerow(&[&way, &key[..], more].concat())
}

/// Answers one request so, and returns its head.
fn answering(response: &'static str) -> (SocketAddr, JoinHandle<String>) {
    let listener = TcpListener::bind(loopback()).unwrap();
    let address = listener.local_addr().unwrap();
    let answering = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let lines = BufReader::new(stream.try_clone().unwrap()).lines();
        let head: Vec<_> = lines
            .map_while(Result::ok)
            .take_while(|line| !line.is_empty())
            .collect();
        stream.write_all(response.as_bytes()).unwrap();
        head.join("\n")
    });
    (address, answering)
}

#[test]
fn what_a_gateway_may_have_is_not_shown_through_it() {
    let way = ["--via", "http://127.0.0.1:1", "--mode", "tunnel"];
    let refused = |arguments: &[&str], told: &str| {
        let finished = hedgerow(&[&["get"], arguments, &way[..]].concat());
        assert_eq!(finished.code(), 2, "{finished:?}");
        assert!(finished.stderr().contains(told), "{finished:?}");
        assert!(!finished.stderr().contains(KEY), "{finished:?}");
    };
    refused(
        &[DEVICE, "-u", IDENTITY, "-k", KEY],
        "expected --end-to-end",
    );
    let short = ["-u", IDENTITY, "-k", "0x0011", "--end-to-end"];
    refused(&[&[DEVICE], &short[..]].concat(), "2 bytes: 16 random ones");
    let shared = ["-u", IDENTITY, "-k", KEY, "--end-to-end", "--shared-key"];
    refused(&[&[DEVICE], &shared[..]].concat(), "cannot be used with");
    refused(&["coap://thermometer/"], "coaps:// devices alone");
    refused(&["coaps://fe80::1%251/"], "coaps");
    let hop =
        format!("[[key]]\nuri = \"coaps://thermometer\"\nidentity = \"i\"\nkey = \"{KEY}\"\n");
    let keys = file("via-hop.toml", &hop);
    refused(
        &[DEVICE, "--keys", &keys],
        "expected an entry with end_to_end",
    );
    refused(&[DEVICE], "needs credentials");
}

#[test]
fn end_to_end_key_is_not_shown_straight() {
    let entry = format!(
        "[[key]]\nuri = \"coaps://127.0.0.1:1\"\nidentity = \"i\"\nkey = \"{KEY}\"\nend_to_end = true\n"
    );
    let keys = file("via-straight.toml", &entry);
    let finished = hedgerow(&["get", "coaps://127.0.0.1:1/", "--keys", &keys]);
    assert_eq!(finished.code(), 2);
    assert!(
        finished.stderr().contains("goes straight to it"),
        "{finished:?}"
    );
}

#[test]
fn gateways_that_open_no_way_are_told_apart() {
    let token = file("via-token", &format!("{TOKEN}\n"));
    let shown = ["--token-file", token.as_str()];
    let prohibited = "HTTP/1.1 403 Forbidden\r\nProxy-Status: g; error=destination_ip_prohibited\r\n\
                      Content-Length: 0\r\n\r\n";
    for (response, arguments, code, class, told) in [
        (
            "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n",
            &[][..],
            5,
            "credentials",
            "wants to know who asks",
        ),
        (
            "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n",
            &shown[..],
            5,
            "credentials",
            "doesn't know this token",
        ),
        (
            prohibited,
            &shown[..],
            7,
            "denied",
            "no device at thermometer:5684",
        ),
        (
            "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
            &shown[..],
            6,
            "protocol",
            "no gateway with tunnels",
        ),
        (
            "220 mail.example ESMTP\r\n",
            &shown[..],
            6,
            "protocol",
            "speaks no HTTP",
        ),
    ] {
        let (address, answering) = answering(response);
        let gateway = format!("http://{address}");
        let finished = ask(&gateway, &[arguments, &["--json"]].concat());
        assert_eq!(finished.code(), code, "{finished:?}");
        let json = finished.json();
        assert_eq!(json["error"]["class"], class);
        let message = json["error"]["message"].as_str().unwrap();
        assert!(message.contains(told), "{message}");
        assert!(!message.contains(TOKEN) && !message.contains(KEY));
        assert_eq!(json["via"]["mode"], "tunnel");
        assert_eq!(json["via"]["gateway"], gateway.as_str());
        assert!(json["via"]["carrier"].is_null());
        let head = answering.join().unwrap();
        let path = "GET /.well-known/masque/udp/thermometer/5684/ HTTP/1.1";
        assert_eq!(head.lines().next(), Some(path));
        assert_eq!(
            head.contains(&format!("authorization: Bearer {TOKEN}")),
            !arguments.is_empty()
        );
    }
}

#[test]
fn gateway_that_is_not_there_is_told() {
    let free = TcpListener::bind(loopback()).unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let finished = ask(&format!("http://{address}"), &[]);
    assert_eq!(finished.code(), 6);
    assert!(
        finished.stderr().contains("no gateway listens"),
        "{finished:?}"
    );
    // RFC 5737: an address for documents. Nothing is sent there.
    let finished = ask("http://192.0.2.1", &[]);
    assert_eq!(finished.code(), 2);
    assert!(
        finished.stderr().contains("--gateway-in-clear"),
        "{finished:?}"
    );
    let finished = ask("gateway.example", &[]);
    assert_eq!(finished.code(), 2);
    assert!(
        finished.stderr().contains("https://HOST:PORT"),
        "{finished:?}"
    );
}

/// Asks for a device in mode `itls`.
fn ask_inside(gateway: &str, more: &[&str]) -> Finished {
    let way = ["get", DEVICE, "--via", gateway, "--mode", "itls"];
    hedgerow(&[&way, more].concat())
}

#[test]
fn mode_itls_says_what_it_has_no_use_for() {
    let key = ["-u", IDENTITY, "-k", KEY, "--end-to-end"];
    for (gateway, more, told) in [
        ("http://127.0.0.1:1", &key[..], "expected https://HOST:PORT"),
        ("tcp://127.0.0.1:1", &key[..], "expected https://HOST:PORT"),
        (
            "https://127.0.0.1:1",
            &[&key[..], &["--form", "long"]].concat(),
            "only mode translate has forms",
        ),
        (
            "https://127.0.0.1:1",
            &[&key[..], &["--connection-id"]].concat(),
            "no DTLS records",
        ),
        (
            "https://127.0.0.1:1",
            &["-u", IDENTITY, "-k", KEY],
            "expected --end-to-end",
        ),
    ] {
        let authority = file("via-itls-authority.pem", &certificate());
        let more = [more, &["--gateway-authority", &authority]].concat();
        let finished = ask_inside(gateway, &more);
        assert_eq!(finished.code(), 2, "{finished:?}");
        assert!(finished.stderr().contains(told), "{finished:?}");
        assert!(!finished.stderr().contains(KEY), "{finished:?}");
    }
}

#[test]
fn gateway_that_is_not_there_in_mode_itls_is_told() {
    let listener = TcpListener::bind(loopback()).unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let authority = file("via-itls-nobody.pem", &certificate());
    let key = ["-u", IDENTITY, "-k", KEY, "--end-to-end"];
    let more = [&key[..], &["--gateway-authority", &authority]].concat();
    let finished = ask_inside(&format!("https://{address}"), &more);
    assert_eq!(finished.code(), 6, "{finished:?}");
    assert!(
        finished.stderr().contains("no gateway listens"),
        "{finished:?}"
    );
}

fn certificate() -> String {
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    pair.cert.pem()
}
