//! `hedgerow` and `hedgerow gateway` from start to end.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
#![cfg(unix)]

mod support;

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use hedgerow::devices::Thermometer;
use hedgerow_core::{PeerId, Psk};
use hedgerow_handshake::Settings;
use hedgerow_net::{Credentials, ForwardSecrecy, SecurityPolicy, TlsStream};
use support::facade::facade;
use support::http::http_get;
use support::{IDENTITY, KEY, Server, hedgerow, loopback};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A program that runs until it is told to end. Dropping it kills it.
struct Running(Child);

impl Running {
    fn start(arguments: &[&str], runtime_folder: &Path) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_hedgerow"))
            .args(arguments)
            .env("XDG_RUNTIME_DIR", runtime_folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self(child)
    }

    /// Asks it to end as `signal` does, and returns its exit code.
    fn end(&mut self, signal: &str) -> Option<i32> {
        let kill = ["-c", "kill -s \"$1\" \"$2\"", "sh", signal];
        let id = self.0.id().to_string();
        let status = Command::new("sh").args(kill).arg(id).status().unwrap();
        assert!(status.success());
        self.0.wait().unwrap().code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// An empty folder of this test's own.
fn folder(name: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&path);
    fs::create_dir(&path).unwrap();
    path
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// What a TLS client that knows of no gateway gets for `text`.
fn over_tls(at: &str, key: &Path, text: &[u8]) -> Vec<u8> {
    let psk = Psk::new(&fs::read(key).unwrap()).and_then(Psk::into_end_to_end);
    let shown = Credentials::new("demo-end-to-end", psk.unwrap(), PeerId(1)).unwrap();
    let policy = SecurityPolicy::default().for_end_to_end(ForwardSecrecy::Required);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(at).await.unwrap();
        let (shown, policy) = (Arc::new(shown), Arc::new(policy));
        let stream = TlsStream::connect(stream, shown, Settings::default(), &policy).await;
        let mut stream = stream.unwrap();
        stream.write_all(text).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        answer
    })
}

/// Asks as the commands for TLS clients say, by a client of our own at their addresses and with their key.
fn ask_as_tls_clients_do(said: &[String]) {
    let line = |with: &str| said.iter().find(|line| line.contains(with)).unwrap();
    let word = |line: &str, before: &str| {
        let rest = line.split_once(before).unwrap().1;
        rest.split([' ', '/']).next().unwrap().to_owned()
    };
    let http = line("s_client -quiet -tls1_2 -connect");
    let coap = word(
        line("coap-client-openssl -m get -u demo-end-to-end"),
        "coaps+tcp://",
    );
    // The folder's name has a space in it, so that paths are quoted.
    let key = http.split("-tx1 '").nth(1).unwrap().split('\'').next();
    let key = Path::new(key.unwrap());
    let get = b"GET /temperature HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let answer = String::from_utf8(over_tls(&word(http, "-connect "), key, get)).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!((18.0..=24.0).contains(&body.parse::<f64>().unwrap()));
    // An empty CSM, GET /temperature under a token, a Release (RFC 8323 §3.2, §5); and 2.05 for the token.
    let get = b"\x00\xe1\xc1\x01\x07\xbbtemperature\x00\xe4";
    let answer = over_tls(&coap, key, get);
    let is_content = answer.windows(2).any(|it| it == [0x45, 0x07]);
    assert!(is_content, "{answer:02x?}");
}

#[test]
fn demonstration_can_be_used_as_it_says_and_leaves_nothing_behind() {
    for signal in ["INT", "TERM"] {
        let place = folder(&format!("demonstration {signal}"));
        let mut running = Running::start(&["--listen", "127.0.0.1:0"], &place);
        let stdout = BufReader::new(running.0.stdout.take().unwrap());
        let mut lines = stdout.lines().map(Result::unwrap);
        let said: Vec<_> = lines
            .by_ref()
            .take_while(|it| it != "Ctrl-C ends it.")
            .collect();
        let word_after = |name: &str| {
            let line = said.iter().find(|line| line.trim_start().starts_with(name));
            let word = line
                .unwrap()
                .trim_start()
                .strip_prefix(name)
                .unwrap()
                .trim();
            word.trim_matches('\'').to_owned()
        };

        let http: SocketAddr = word_after("gateway")
            .trim_start_matches("http://")
            .trim_end_matches('/')
            .parse()
            .unwrap();
        let read = http_get(http, "/devices/thermometer/temperature");
        assert_eq!(read.status, 200);
        let degrees: f64 = read.text().parse().unwrap();
        assert!((18.0..=24.0).contains(&degrees));
        assert_eq!(http_get(http, "/devices/lamp/state").text(), "off");
        assert!(http_get(http, "/devices/meter/history").body.len() > 30_000);

        let keys = PathBuf::from(word_after("keys"));
        assert_eq!(mode(&keys), 0o600);
        assert_eq!(mode(keys.parent().unwrap()), 0o700);
        assert_eq!(keys.parent().unwrap().parent().unwrap(), place);
        let uri = format!("{}/temperature", word_after("thermometer"));
        let direct = hedgerow(&["get", "--keys", keys.to_str().unwrap(), &uri]);
        assert_eq!((direct.code(), direct.stderr()), (0, ""));
        // What the gateway saw in each mode.
        let row = |mode: &str| {
            let start = format!("  {mode} ");
            let at = said.iter().position(|line| line.starts_with(&start));
            let (first, below) = said[at.unwrap()..].split_first().unwrap();
            let below = below.iter().take_while(|line| line.starts_with("    "));
            below.fold(first.clone(), |row, line| row + "\n" + line.trim())
        };
        let terminated = row("terminate");
        assert!(terminated.contains("GET /temperature, status 200"));
        assert!(terminated.ends_with("\nplaintext: all of it"));
        for (mode, command, sealed) in [
            ("tunnel", "--mode tunnel ", " application_data\n"),
            ("translate", "--mode translate ", " application_data\n"),
            (
                "translate-device",
                "--mode translate-device ",
                " application_data\n",
            ),
            ("auto", "--mode auto ", " application_data\n"),
            ("itls", "--mode itls ", " sealed\n"),
            ("TLS inside DTLS", " fetch ", " application_data\n"),
        ] {
            let seen = row(mode);
            assert!(seen.contains(sealed), "{seen}");
            let plaintext = "\nplaintext: none of it found; the PSK identity was";
            assert!(seen.ends_with(plaintext), "{seen}");
            let asked = said.iter().find(|line| line.contains(command));
            // The folder's name has a space in it, so that paths are quoted.
            let parts = asked.unwrap().split('\'').enumerate();
            let words: Vec<_> = parts
                .flat_map(|(index, part)| match index % 2 {
                    0 => part.split_whitespace().collect(),
                    _ => vec![part],
                })
                .skip(1)
                .collect();
            let through = hedgerow(&words);
            assert_eq!((through.code(), through.stderr()), (0, ""), "{words:?}");
            assert!(!through.stdout().is_empty(), "{words:?}");
            if mode == "translate-device" {
                // Any HTTP program on the user's own machine asks in the same way.
                let [_get, way @ .., _uri] = words.as_slice() else {
                    panic!("{words:?}");
                };
                let (_child, http, _) = facade(way, 1);
                let read = http_get(http, "/devices/thermometer/temperature");
                assert_eq!(read.status, 200, "{}", read.text());
            }
        }
        let seen = row("translate-device");
        assert!(seen.contains("1 TLS connection to thermometer, "), "{seen}");
        ask_as_tls_clients_do(&said);
        // What is printed ends up in scroll-back and logs: no key is in it.
        let text = fs::read_to_string(&keys).unwrap();
        let key_of = |line: &str| {
            line.strip_prefix("key = \"")?
                .strip_suffix('"')
                .map(str::to_owned)
        };
        let mut drawn: Vec<_> = text.lines().filter_map(key_of).collect();
        // One for each device over UDP, and the same over TCP; and one that the gateway hasn't.
        assert_eq!(drawn.len(), 9);
        for bare in [
            "token",
            "hop.key",
            "tariff.key",
            "thermometer.key",
            "thermometer.end-to-end.key",
            "lamp.end-to-end.key",
        ] {
            let path = keys.with_file_name(bare);
            assert_eq!(mode(&path), 0o600, "{bare}");
            drawn.push(fs::read_to_string(path).unwrap());
        }
        assert!(
            drawn
                .iter()
                .all(|key| !said.iter().any(|line| line.contains(key.as_str())))
        );

        assert_eq!(running.end(signal), Some(0));
        assert_eq!(fs::read_dir(&place).unwrap().count(), 0);
    }
}

#[test]
fn port_that_is_taken_is_told_with_a_way_out() {
    let taken = TcpListener::bind(loopback()).unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let place = folder("taken");
    let refused = Running::start(&["--listen", &address], &place);
    let mut child = refused;
    assert_eq!(child.0.wait().unwrap().code(), Some(1));
    let mut stderr = String::new();
    let pipe = child.0.stderr.take().unwrap();
    std::io::Read::read_to_string(&mut { pipe }, &mut stderr).unwrap();
    assert!(stderr.contains(&format!("{address} is taken")), "{stderr}");
    assert!(stderr.contains("--listen 127.0.0.1:"), "{stderr}");
    assert_eq!(fs::read_dir(&place).unwrap().count(), 0);
}

/// Writes a configuration with one device, for its owner alone.
fn configuration(place: &Path, listen: &str, uri: &str) -> String {
    let path = place.join("hedgerow.toml");
    let text = format!(
        "[http]\nlisten = \"{listen}\"\n\n[[device]]\nname = \"thermometer\"\nuri = \"{uri}\"\n\
         mode = \"terminate\"\nsecurity = \"psk\"\npsk_identity = \"{IDENTITY}\"\npsk = \"{KEY}\"\n"
    );
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn gateway_serves_what_its_file_says_and_ends_in_order() {
    let device = Server::device(Thermometer);
    let place = folder("gateway");
    let file = configuration(&place, "127.0.0.1:0", &device.uri(""));
    let checked = hedgerow(&["gateway", "--config", &file, "--check"]);
    assert_eq!((checked.code(), checked.stdout()), (0, ""), "{checked:?}");
    let mut running = Running::start(&["gateway", "--config", &file], &place);
    let stderr = BufReader::new(running.0.stderr.take().unwrap());
    let mut lines = stderr.lines().map(Result::unwrap);
    let listening = lines
        .find(|line| line.contains("listening for HTTP"))
        .unwrap();
    let address = listening.rsplit("address=").next().unwrap().trim();
    let read = http_get(address.parse().unwrap(), "/devices/thermometer/temperature");
    assert_eq!((read.status, read.text()), (200, "21.0"));
    assert_eq!(running.end("TERM"), Some(0));
    let rest: Vec<_> = lines.collect();
    assert!(!rest.iter().any(|line| line.contains(KEY)), "{rest:?}");
}

#[test]
fn mistakes_in_a_configuration_are_placed_and_nothing_listens() {
    let place = folder("mistakes");
    let file = configuration(&place, "localhost", "coaps://127.0.0.1:1");
    for arguments in [
        vec!["gateway", "--config", &file],
        vec!["gateway", "--config", &file, "--check"],
    ] {
        let refused = hedgerow(&arguments);
        assert_eq!((refused.code(), refused.stdout()), (2, ""));
        assert!(refused.stderr().contains("hedgerow.toml:2:"), "{refused:?}");
        assert!(refused.stderr().contains("http.listen"), "{refused:?}");
        assert!(!refused.stderr().contains(KEY));
    }
    let absent = hedgerow(&["gateway", "--config", "no-such-file.toml"]);
    assert_eq!(absent.code(), 2);
    assert!(absent.stderr().contains("no-such-file.toml"));
}
