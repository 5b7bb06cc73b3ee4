//! `hedgerow get|put|post|delete` against devices in this process.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod support;

use std::fs;
use std::net::UdpSocket;
use std::path::PathBuf;
use std::thread;

use hedgerow::coap::{Code, Message, MessageType, MessageWriter, OptionNumber};
use hedgerow::devices::{Lamp, Meter, Thermometer};
use hedgerow::net::{ResponseMessage, ServerRequest};
use support::{Finished, IDENTITY, KEY, Server, hedgerow, hedgerow_with_input, loopback};

/// Runs a command with the right credentials.
fn ask(arguments: &[&str]) -> Finished {
    hedgerow(&[arguments, &["-u", IDENTITY, "-k", KEY]].concat())
}

/// A file of this test's own.
fn file(name: &str, content: &[u8]) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, content).unwrap();
    path
}

#[test]
fn payload_goes_to_standard_output_and_nothing_else_does() {
    let server = Server::device(Thermometer);
    let read = ask(&["get", &server.uri("/temperature")]);
    assert_eq!((read.code(), read.stdout(), read.stderr()), (0, "21.0", ""));
    let json = ask(&["get", "-A", "json", &server.uri("/temperature")]);
    assert_eq!(json.stdout(), r#"{"temperature":21.0,"unit":"Cel"}"#);
    let non = ask(&["get", "-N", &server.uri("/temperature")]);
    assert_eq!((non.code(), non.stdout()), (0, "21.0"));
}

#[test]
fn lamp_is_written_from_the_command_line_a_file_and_standard_input() {
    let server = Server::device(Lamp::new());
    let (state, brightness) = (server.uri("/state"), server.uri("/brightness"));
    let put = ask(&["put", "-e", "on", "-t", "text", &state]);
    assert_eq!((put.code(), put.stdout()), (0, ""));
    assert!(put.stderr().contains("2.04 Changed (DTLS"), "{put:?}");
    assert_eq!(ask(&["get", &state]).stdout(), "on");
    let content = file("brightness", b"40");
    ask(&["put", "-f", content.to_str().unwrap(), &brightness]);
    assert_eq!(ask(&["get", &brightness]).stdout(), "40");
    let put = ["put", "-f", "-", &brightness, "-u", IDENTITY, "-k", KEY];
    assert_eq!(hedgerow_with_input(&put, b"70\n").code(), 0);
    assert_eq!(ask(&["get", &brightness]).stdout(), "70");
    assert_eq!(ask(&["post", &server.uri("/toggle")]).stdout(), "off");
}

/// Type 25 is tls12_cid (RFC 9146 §4): what the client sends behind its ChangeCipherSpec carries the ID that
/// the device has named, and what the device sends carries none.
#[test]
fn connection_id_travels_where_the_client_asks_for_one() {
    let server = Server::device(Thermometer);
    for (flags, expected) in [(&["--connection-id"][..], true), (&[], false)] {
        let relay = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = relay.local_addr().unwrap();
        let target = server.address();
        let watching = thread::spawn(move || {
            let mut seen = [false; 2];
            let mut client = None;
            let mut buffer = [0; 2_048];
            while let Ok((len @ 1.., from)) = relay.recv_from(&mut buffer) {
                let (to, direction) = match from == target {
                    true => (client.unwrap(), 1),
                    false => (target, 0),
                };
                if direction == 0 {
                    client = Some(from);
                }
                seen[direction] |= buffer[0] == 25;
                relay.send_to(&buffer[..len], to).unwrap();
            }
            seen
        });
        let uri = format!("coaps://{address}/temperature");
        let read = ask(&[&["get", &uri], flags].concat());
        // A datagram without a byte is the last one.
        let over = UdpSocket::bind(loopback()).unwrap();
        over.send_to(&[], address).unwrap();
        assert_eq!((read.code(), read.stdout()), (0, "21.0"));
        assert_eq!(watching.join().unwrap(), [expected, false]);
    }
}

#[test]
fn bodies_that_need_blocks_travel_both_ways() {
    let server = Server::device(Meter::new());
    let history = ask(&["get", &server.uri("/history")]);
    assert_eq!(history.code(), 0);
    assert!(history.stdout().len() > 30_000);
    assert!(history.stdout().starts_with("seconds,energy_wh,power_w\n"));
    let image: Vec<u8> = (0..100_000_u32).map(|n| n.to_le_bytes()[1]).collect();
    let image = file("image", &image);
    let firmware = server.uri("/firmware");
    let put = ask(&[
        "put",
        "-f",
        image.to_str().unwrap(),
        "-t",
        "binary",
        &firmware,
    ]);
    assert!(put.stderr().contains("2.01 Created"), "{put:?}");
    assert!(ask(&["get", &firmware]).stdout().ends_with(" 100000"));
    let copy = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("copy");
    let read = ask(&["get", "-o", copy.to_str().unwrap(), &server.uri("/history")]);
    assert_eq!((read.code(), read.stdout()), (0, ""));
    assert_eq!(fs::read(copy).unwrap(), history.0.stdout);
    assert_eq!(ask(&["delete", &firmware]).code(), 0);
}

#[test]
fn error_responses_have_exit_codes_and_their_diagnostic_is_no_output() {
    let server = Server::device(Thermometer);
    let missing = ask(&["get", &server.uri("/humidity")]);
    assert_eq!((missing.code(), missing.stdout()), (14, ""));
    assert!(
        missing
            .stderr()
            .contains("4.04 Not Found: no such resource")
    );
    assert_eq!(
        ask(&["put", "-e", "x", &server.uri("/temperature")]).code(),
        14
    );
    let broken = Server::handler(|_: ServerRequest| async {
        ResponseMessage::new(Code::SERVICE_UNAVAILABLE).payload("\u{1b}[2Jgone")
    });
    let refused = ask(&["get", &broken.uri("/")]);
    assert_eq!(refused.code(), 15);
    assert!(
        refused
            .stderr()
            .ends_with("5.03 Service Unavailable: \u{fffd}[2Jgone\n")
    );
}

#[test]
fn wrong_key_and_unknown_identity_look_the_same() {
    let server = Server::device(Thermometer);
    let uri = server.uri("/temperature");
    // Long enough for a busy machine between the handshake's end and the program's.
    let ask = |identity, key| hedgerow(&["get", "-B", "5", "-u", identity, "-k", key, &uri]);
    let (wrong_key, unknown) = thread::scope(|scope| {
        let unknown = scope.spawn(|| ask("stranger", KEY));
        (ask(IDENTITY, "nobody's key"), unknown.join().unwrap())
    });
    for refused in [&wrong_key, &unknown] {
        assert_eq!((refused.code(), refused.stdout()), (5, ""));
        assert!(
            refused
                .stderr()
                .contains("credentials refused or not answered")
        );
        assert!(!refused.stderr().contains("nobody"), "a key in {refused:?}");
    }
}

#[test]
fn silence_is_a_timeout() {
    let asleep = UdpSocket::bind(loopback()).unwrap();
    let address = asleep.local_addr().unwrap();
    let secured = ask(&["get", "-B", "1", &format!("coaps://{address}/")]);
    assert_eq!(secured.code(), 4);
    assert!(
        secured
            .stderr()
            .contains(&format!("no answer from {address} (DTLS"))
    );
    let clear = hedgerow(&["get", "-B", "1", &format!("coap://{address}/")]);
    assert_eq!(clear.code(), 4);
    assert!(
        clear
            .stderr()
            .contains(&format!("no answer from {address} (NoSec"))
    );
}

#[test]
fn server_that_is_there_but_answers_nothing_is_told_apart() {
    let server = Server::handler(|_: ServerRequest| std::future::pending::<ResponseMessage>());
    let waited = ask(&["get", "-B", "5", &server.uri("/")]);
    assert_eq!(waited.code(), 4);
    assert!(
        waited.stderr().contains("is there, but sent no response"),
        "{waited:?}"
    );
}

#[test]
fn name_without_an_address_has_its_own_exit_code() {
    // A label of 64 letters is no name (RFC 1035 §2.3.4), which a resolver knows without asking.
    let host = "a".repeat(64);
    let unknown = hedgerow(&["get", &format!("coap://{host}/")]);
    assert_eq!(unknown.code(), 3);
    assert!(unknown.stderr().contains(&format!("{host} has no address")));
}

#[test]
fn coap_without_security_is_asked_in_clear() {
    let server = UdpSocket::bind(loopback()).unwrap();
    let uri = format!("coap://{}/a%20b?c=d", server.local_addr().unwrap());
    let answering = thread::spawn(move || {
        let (mut datagram, mut out) = ([0; 1_500], [0; 100]);
        let (len, from) = server.recv_from(&mut datagram).unwrap();
        let request = Message::decode(&datagram[..len]).unwrap();
        let options: Vec<_> = request
            .options()
            .map(|option| (option.number(), option.value().to_vec()))
            .collect();
        let (id, token) = (request.message_id(), request.token());
        let ack = MessageType::Acknowledgement;
        let writer = MessageWriter::new(&mut out, ack, Code::CONTENT, id, token).unwrap();
        let len = writer.payload(&[0xff, 0x00]).unwrap();
        server.send_to(&out[..len], from).unwrap();
        options
    });
    let read = hedgerow(&["get", "--json", "-A", "42", &uri]);
    let options = answering.join().unwrap();
    assert_eq!(
        options,
        [
            (OptionNumber::URI_PATH, b"a b".to_vec()),
            (OptionNumber::URI_QUERY, b"c=d".to_vec()),
            (OptionNumber::ACCEPT, vec![42]),
        ]
    );
    assert_eq!(read.code(), 0);
    let json = read.json();
    let in_clear = serde_json::json!({ "mode": "nosec", "security_mode": "NoSec" });
    assert_eq!(json["security"], in_clear);
    assert_eq!(json["payload"]["encoding"], "base64");
    assert_eq!(json["payload"]["data"], "/wA=");
}

#[test]
fn json_describes_a_response() {
    let server = Server::device(Thermometer);
    let uri = server.uri("/temperature");
    let read = ask(&["get", "--json", "-A", "json", &uri]);
    assert_eq!((read.code(), read.stderr()), (0, ""));
    let json = read.json();
    assert_eq!(json["uri"], uri);
    assert_eq!(json["security"]["mode"], "dtls-psk");
    assert_eq!(json["security"]["security_mode"], "MultiKey");
    assert_eq!(json["security"]["identity"], IDENTITY);
    assert_eq!(
        json["security"]["suite"],
        "TLS_ECDHE_PSK_WITH_AES_128_GCM_SHA256"
    );
    assert_eq!(json["code"], "2.05");
    assert_eq!(json["code_name"], "Content");
    assert_eq!(json["content_format"], "application/json");
    assert_eq!(json["payload"]["encoding"], "text");
    assert_eq!(
        json["payload"]["data"],
        r#"{"temperature":21.0,"unit":"Cel"}"#
    );
    assert_eq!(json["payload_len"], 33);
    let options: Vec<_> = json["options"].as_array().unwrap().iter().collect();
    let names: Vec<_> = options.iter().map(|option| &option["name"]).collect();
    assert_eq!(names, ["ETag", "Content-Format", "Max-Age"]);
    assert_eq!(
        (&options[1]["number"], &options[1]["value"]),
        (&12.into(), &50.into())
    );
    assert!(json["timings"]["request_ms"].as_f64().unwrap() > 0.0);
    let missing = ask(&["get", "--json", &server.uri("/x")]);
    assert_eq!(
        (missing.code(), &missing.json()["code"]),
        (14, &"4.04".into())
    );
}

#[test]
fn json_describes_a_failure() {
    let server = Server::device(Thermometer);
    let uri = server.uri("/temperature");
    let refused = hedgerow(&["get", "--json", "-B", "1", "-u", "me", "-k", "other", &uri]);
    let json = refused.json();
    assert_eq!((refused.code(), refused.stderr()), (5, ""));
    assert_eq!(json["error"]["class"], "credentials");
    assert_eq!(json["error"]["exit_code"], 5);
    assert_eq!(json["security"]["mode"], "dtls-psk");
    let unreadable = hedgerow(&["get", "--json", "--no-such-flag", &uri]);
    assert_eq!(unreadable.code(), 2);
    assert_eq!(unreadable.json()["error"]["class"], "usage");
}

#[test]
fn mistakes_on_the_command_line_are_told_and_nothing_is_sent() {
    for (arguments, text) in [
        (["get", "coaps://127.0.0.1/", "", ""], "needs credentials"),
        (
            ["get", "127.0.0.1/temperature", "", ""],
            "URI without a scheme",
        ),
        (["get", "http://127.0.0.1/", "", ""], "not one of CoAP's"),
        (["get", "coap:///x", "", ""], "without a host"),
        (["get", "coap://127.0.0.1:99999/", "", ""], "invalid port"),
        (["get", "coap://127.0.0.1/a b", "", ""], "percent-encoded"),
        (
            ["get", "coaps+tcp://127.0.0.1/", "", ""],
            "a coaps+tcp URI needs credentials",
        ),
        (
            ["put", "coap://127.0.0.1/", "-t", "unheard/of"],
            "expected a number",
        ),
        (["get", "coaps://127.0.0.1/", "-u", "me"], "--key"),
    ] {
        let arguments: Vec<_> = arguments.into_iter().filter(|it| !it.is_empty()).collect();
        let refused = hedgerow(&arguments);
        assert_eq!((refused.code(), refused.stdout()), (2, ""), "{arguments:?}");
        assert!(refused.stderr().contains(text), "{refused:?}");
    }
    let useless = ask(&["get", "coap://127.0.0.1/"]);
    assert_eq!(useless.code(), 2);
    assert!(useless.stderr().contains("did you mean coaps?"));
    let useless = ask(&["get", "coap+tcp://127.0.0.1/"]);
    assert_eq!(useless.code(), 2);
    assert!(useless.stderr().contains("did you mean coaps+tcp?"));
    assert_eq!(
        hedgerow(&["get", "-u", "me", "-k", "0x0", "coaps://h"]).code(),
        2
    );
}

#[test]
fn keys_come_from_files() {
    let server = Server::device(Thermometer);
    let uri = server.uri("/temperature");
    let bare = file("bare.key", format!("{KEY}\n").as_bytes());
    let bare = format!("@{}", bare.display());
    let read = hedgerow(&["get", "-u", IDENTITY, "-k", &bare, &uri]);
    assert_eq!((read.code(), read.stdout()), (0, "21.0"));
    let digits: String = KEY.bytes().map(|byte| format!("{byte:02x}")).collect();
    let read = hedgerow(&["get", "-u", IDENTITY, "-k", &format!("0x{digits}"), &uri]);
    assert_eq!(read.stdout(), "21.0");
    let root = server.uri("");
    let table = format!("[[key]]\nuri = \"{root}\"\nidentity = \"{IDENTITY}\"\nkey = \"{KEY}\"\n");
    let keys = file("keys.toml", table.as_bytes());
    let keys = keys.to_str().unwrap();
    assert_eq!(hedgerow(&["get", "--keys", keys, &uri]).stdout(), "21.0");
    let other = hedgerow(&["get", "--keys", keys, "coaps://127.0.0.1:1/"]);
    assert_eq!(other.code(), 2);
    assert!(other.stderr().contains("no key for coaps://127.0.0.1:1"));
    let absent = hedgerow(&["get", "--keys", "no-such-file", &uri]);
    assert_eq!(absent.code(), 1);
}

#[cfg(unix)]
#[test]
fn key_file_that_others_may_read_is_warned_of() {
    use std::os::unix::fs::PermissionsExt;
    let server = Server::device(Thermometer);
    let path = file("mode.key", KEY.as_bytes());
    for (mode, is_warned) in [(0o644, true), (0o600, false)] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let key = format!("@{}", path.display());
        let read = hedgerow(&[
            "get",
            "-u",
            IDENTITY,
            "-k",
            &key,
            &server.uri("/temperature"),
        ]);
        assert_eq!(read.stdout(), "21.0");
        assert_eq!(read.stderr().contains("not for its owner alone"), is_warned);
    }
}

/// Off unless asked for, and loud when on.
#[test]
fn key_log_is_written_for_its_owner_and_said_aloud() {
    let server = Server::device(Thermometer);
    let uri = server.uri("/temperature");
    let log = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("key_log");
    let _ = fs::remove_file(&log);
    assert_eq!(ask(&["get", &uri]).stderr(), "");
    assert!(!log.exists());
    for lines in 1..3 {
        let read = ask(&["get", "--key-log", log.to_str().unwrap(), &uri]);
        assert_eq!((read.code(), read.stdout()), (0, "21.0"));
        assert!(read.stderr().contains("KEY LOG IS ON"), "{read:?}");
        let text = fs::read_to_string(&log).unwrap();
        assert_eq!(text.lines().count(), lines);
        let fields: Vec<_> = text.lines().last().unwrap().split(' ').collect();
        assert_eq!((fields.len(), fields[0]), (3, "CLIENT_RANDOM"));
        assert_eq!((fields[1].len(), fields[2].len()), (64, 96));
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(&log).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        // What others can read takes no secrets.
        fs::set_permissions(&log, fs::Permissions::from_mode(0o644)).unwrap();
        let refused = ask(&["get", "--key-log", log.to_str().unwrap(), &uri]);
        assert_eq!(refused.code(), 1, "{refused:?}");
        assert!(refused.stderr().contains("chmod 600"), "{refused:?}");
        assert_eq!(fs::read_to_string(&log).unwrap().lines().count(), 2);
    }
    let refused = ask(&["get", "--key-log", "/nowhere/at/all", &uri]);
    assert_eq!(refused.code(), 1, "{refused:?}");
}
