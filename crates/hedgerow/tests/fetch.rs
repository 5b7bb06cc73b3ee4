//! `hedgerow fetch`: the program as a device, a gateway that carries its stream, and an HTTPS server.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    dead_code,
    unreachable_pub
)]

#[path = "../../net/tests/support/authority.rs"]
mod authority;
mod support;

use std::fs;
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;

use authority::{Authority, Owner, Purpose, Time};
use hedgerow::core::{PeerId, Psk};
use hedgerow::gateway::{Config, Gateway, Leg, LegPeer, LegService, Running};
use hedgerow::handshake::Settings;
use hedgerow::net::{ForwardSecrecy, KeyStore, SecurityPolicy, TlsStream};
use rcgen::KeyPair;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConfig, SupportedProtocolVersion};
use support::{Finished, hedgerow, loopback};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;

const HOP_KEY: &str = "the hop's own key";
const KEY: &str = "sixteen end bytes";

/// What the server answers, and whether it ends TLS in order.
#[derive(Clone, Copy)]
struct Answer {
    text: &'static str,
    closes: bool,
}

const HELLO: Answer = Answer {
    text: "HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\nhello, device\n",
    closes: true,
};

struct Setup {
    runtime: Runtime,
    gateway: Running,
}

impl Setup {
    fn new(answer: Answer) -> Self {
        Self::with(|listener| serve(listener, answer))
    }

    /// A server with an RSA certificate of an authority, which speaks one version of TLS.
    fn certified(
        owner: &Owner,
        version: &'static SupportedProtocolVersion,
        answer: Answer,
    ) -> Self {
        let acceptor = acceptor(owner, version);
        Self::with(|listener| serve_certified(listener, acceptor, answer))
    }

    fn with<F>(serve: impl FnOnce(TcpListener) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let runtime = Runtime::new().unwrap();
        let gateway = runtime.block_on(async {
            let listener = TcpListener::bind(loopback()).await.unwrap();
            let at = listener.local_addr().unwrap();
            tokio::spawn(serve(listener));
            let psk = Psk::new(HOP_KEY.as_bytes()).unwrap();
            let mut leg = Leg::new(loopback());
            leg.peers.push(LegPeer {
                name: "meter".to_owned(),
                psk_identity: b"meter".to_vec(),
                psk,
                services: vec!["backend".to_owned(), "dead".to_owned()],
            });
            leg.services.push(service("backend", at));
            leg.services.push(service("other", at));
            leg.services
                .push(service("dead", "127.0.0.1:1".parse().unwrap()));
            let config = Config::default().with_http(loopback()).with_leg(leg);
            Gateway::start(config).await.unwrap()
        });
        Self { runtime, gateway }
    }

    fn fetch(&self, service: &str, flags: &[&str]) -> Finished {
        let via = format!("coaps://{}", self.gateway.leg_addr().unwrap());
        let mut line = vec!["fetch", "--via", &via, "--service", service];
        line.extend(["--hop-user", "meter", "--hop-key", HOP_KEY]);
        line.extend_from_slice(flags);
        line.push("https://backend.example/state?a=b");
        hedgerow(&line)
    }
}

fn service(name: &str, at: SocketAddr) -> LegService {
    LegService {
        name: name.to_owned(),
        host: at.ip().to_string(),
        port: at.port(),
    }
}

async fn serve(listener: TcpListener, answer: Answer) {
    let keys = KeyStore::new();
    let psk = Psk::new(KEY.as_bytes()).unwrap().into_end_to_end().unwrap();
    keys.insert("device", psk, PeerId(1)).unwrap();
    let policy = SecurityPolicy::default().for_end_to_end(ForwardSecrecy::Required);
    let policy = Arc::new(policy);
    while let Ok((tcp, _)) = listener.accept().await {
        let settings = Settings::default().with_application_protocols(&[b"http/1.1"]);
        let Ok(mut tls) = TlsStream::accept(tcp, &keys, settings, &policy).await else {
            continue;
        };
        answer_once(&mut tls, answer).await;
        match answer.closes {
            true => {
                let _ = tls.shutdown().await;
                let _ = tls.read(&mut [0]).await;
            }
            false => {
                // TCP in order, TLS not.
                let mut tcp = tls.into_inner();
                tcp.shutdown().await.unwrap();
                let _ = tcp.read(&mut [0]).await;
            }
        }
    }
}

/// Reads a request and writes the answer.
async fn answer_once(tls: &mut (impl AsyncRead + AsyncWrite + Unpin), answer: Answer) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(tls.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    assert!(head.starts_with("GET /state?a=b HTTP/1.1\r\n"), "{head}");
    assert!(head.contains("host: backend.example\r\n"), "{head}");
    tls.write_all(answer.text.as_bytes()).await.unwrap();
    tls.flush().await.unwrap();
}

fn acceptor(owner: &Owner, version: &'static SupportedProtocolVersion) -> TlsAcceptor {
    let chain = vec![CertificateDer::from_pem_slice(owner.certificate.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(owner.key.as_bytes()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

async fn serve_certified(listener: TcpListener, acceptor: TlsAcceptor, answer: Answer) {
    while let Ok((tcp, _)) = listener.accept().await {
        let Ok(mut tls) = acceptor.accept(tcp).await else {
            continue;
        };
        answer_once(&mut tls, answer).await;
        if answer.closes {
            let _ = tls.shutdown().await;
            let _ = tls.read(&mut [0]).await;
        } else {
            // TCP in order, TLS not.
            let (mut tcp, _) = tls.into_inner();
            tcp.shutdown().await.unwrap();
            let _ = tcp.read(&mut [0]).await;
        }
    }
}

const SHOWN: &[&str] = &["-u", "device", "-k", KEY];

#[test]
fn body_of_an_https_server_comes_through_a_gateway_without_the_key() {
    let setup = Setup::new(HELLO);
    let finished = setup.fetch("backend", SHOWN);
    assert_eq!(finished.code(), 0, "{}", finished.stderr());
    assert_eq!(finished.stdout(), "hello, device\n");
    // The gateway carried it, and both sides ended in order.
    let mut statistics = setup.gateway.follow_leg_statistics().unwrap();
    let closed = statistics.wait_for(|statistics| statistics.closed > 0);
    let limit = std::time::Duration::from_secs(60);
    let closed = setup
        .runtime
        .block_on(async { tokio::time::timeout(limit, closed).await.is_ok() });
    assert!(closed, "not closed in order");
    assert_eq!(setup.gateway.leg_statistics().broken, 0);
}

#[test]
fn each_failure_says_who_failed() {
    let setup = Setup::new(HELLO);
    for (service, flags, code, message) in [
        ("other", SHOWN, 7, "no service \"other\" for this device"),
        ("dead", SHOWN, 6, "can't connect to the service \"dead\""),
        ("two words", SHOWN, 2, "not a name of a service"),
        (
            "backend",
            &["-u", "device", "-k", "some other end key"],
            5,
            "the server behind",
        ),
        ("backend", &["-u", "device", "-k", "too short"], 2, "-k:"),
    ] {
        let finished = setup.fetch(service, flags);
        assert_eq!(finished.code(), code, "{service}: {}", finished.stderr());
        assert!(finished.stderr().contains(message), "{}", finished.stderr());
        assert!(finished.stdout().is_empty());
    }
}

/// docs/specs/end-to-end-keys.md, rule 2. With the hop's key the gateway could be the server itself.
#[test]
fn one_key_for_the_hop_and_end_to_end_is_refused_before_anything_is_sent() {
    let hex: String = HOP_KEY.bytes().map(|byte| format!("{byte:02x}")).collect();
    let gateway = UdpSocket::bind(loopback()).unwrap();
    gateway.set_nonblocking(true).unwrap();
    let via = format!("coaps://{}", gateway.local_addr().unwrap());
    for key in [HOP_KEY, &format!("0x{hex}")] {
        let mut line = vec!["fetch", "--via", &via, "--service", "backend", "-B", "5"];
        line.extend(["--hop-user", "meter", "--hop-key", HOP_KEY]);
        line.extend(["-u", "device", "-k", key, "https://backend.example/"]);
        let finished = hedgerow(&line);
        assert_eq!(finished.code(), 2, "{}", finished.stderr());
        let message = "-k and --hop-key are one key";
        assert!(finished.stderr().contains(message), "{}", finished.stderr());
        assert!(!finished.stderr().contains(key), "{}", finished.stderr());
        let received = gateway.recv(&mut [0; 2_048]).unwrap_err();
        assert_eq!(received.kind(), ErrorKind::WouldBlock);
    }
}

/// There are two keys on the line.
#[test]
fn unreadable_key_is_named_by_its_option() {
    for (hop_key, key, option) in [
        ("0xfedg", "sixteen bytes of", "--hop-key: "),
        ("sixteen bytes of", "0xfedg", "-k: "),
    ] {
        let mut line = vec![
            "fetch",
            "--via",
            "coaps://127.0.0.1:1",
            "--service",
            "backend",
        ];
        line.extend(["--hop-user", "meter", "--hop-key", hop_key]);
        line.extend(["-u", "device", "-k", key, "https://backend.example/"]);
        let finished = hedgerow(&line);
        assert_eq!(finished.code(), 2, "{}", finished.stderr());
        let message = format!("hedgerow: {option}");
        assert!(
            finished.stderr().starts_with(&message),
            "{}",
            finished.stderr()
        );
        assert!(!finished.stderr().contains("fedg"), "{}", finished.stderr());
    }
}

#[test]
fn uri_with_user_information_is_refused() {
    let gateway = UdpSocket::bind(loopback()).unwrap();
    let via = format!("coaps://{}", gateway.local_addr().unwrap());
    let mut line = vec!["fetch", "--via", &via, "--service", "backend", "-B", "5"];
    line.extend(["--hop-user", "meter", "--hop-key", HOP_KEY]);
    line.extend(SHOWN);
    line.push("https://me:secret@backend.example/state");
    let finished = hedgerow(&line);
    assert_eq!(finished.code(), 2, "{}", finished.stderr());
    let message = "no user information (@)";
    assert!(finished.stderr().contains(message), "{}", finished.stderr());
    assert!(
        !finished.stderr().contains("secret"),
        "{}",
        finished.stderr()
    );
}

#[test]
fn status_is_the_exit_code_and_what_is_cut_off_is_no_body() {
    let text = "HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\ngone";
    let setup = Setup::new(Answer { text, closes: true });
    let finished = setup.fetch("backend", SHOWN);
    assert_eq!(finished.code(), 14, "{}", finished.stderr());
    assert_eq!(finished.stdout(), "gone");

    // As long as the connection lasts: only TLS's own end says that this is all.
    let text = "HTTP/1.1 200 OK\r\n\r\nhalf of i";
    for (closes, code) in [(true, 0), (false, 6)] {
        let setup = Setup::new(Answer { text, closes });
        let finished = setup.fetch("backend", SHOWN);
        assert_eq!(finished.code(), code, "{}", finished.stderr());
        assert_eq!(finished.stdout().is_empty(), !closes);
    }
}

#[test]
fn body_goes_to_a_file() {
    let setup = Setup::new(HELLO);
    let path = std::env::temp_dir().join(format!("hedgerow-fetch-{}", std::process::id()));
    let flags = [SHOWN, &["-o", path.to_str().unwrap()]].concat();
    let finished = setup.fetch("backend", &flags);
    assert_eq!(finished.code(), 0, "{}", finished.stderr());
    assert_eq!(fs::read(&path).unwrap(), b"hello, device\n");
    fs::remove_file(path).unwrap();
}

fn rsa() -> KeyPair {
    KeyPair::from_pem(include_str!("../../net/tests/support/rsa.key")).unwrap()
}

/// A file with an authority's certificate.
struct AuthorityFile(PathBuf);

impl AuthorityFile {
    fn new(authority: &Authority, name: &str) -> Self {
        let file = format!("hedgerow-fetch-{}-{name}.pem", std::process::id());
        let path = std::env::temp_dir().join(file);
        fs::write(&path, &authority.pem).unwrap();
        Self(path)
    }

    fn flags(&self) -> [&str; 2] {
        ["-C", self.0.to_str().unwrap()]
    }
}

impl Drop for AuthorityFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn server_with_an_rsa_certificate_is_reached_and_what_is_cut_off_is_no_body() {
    let authority = Authority::with_key("rsa", rsa());
    let file = AuthorityFile::new(&authority, "rsa");
    let owner = authority.owner_with_key(rsa(), "backend.example", Purpose::Server, Time::Now);
    for version in [&TLS12, &TLS13] {
        let setup = Setup::certified(&owner, version, HELLO);
        let finished = setup.fetch("backend", &file.flags());
        assert_eq!(finished.code(), 0, "{}", finished.stderr());
        assert_eq!(finished.stdout(), "hello, device\n");

        // As long as the connection lasts: only TLS's own end says that this is all.
        let text = "HTTP/1.1 200 OK\r\n\r\nhalf of i";
        for (closes, code) in [(true, 0), (false, 6)] {
            let setup = Setup::certified(&owner, version, Answer { text, closes });
            let finished = setup.fetch("backend", &file.flags());
            assert_eq!(finished.code(), code, "{}", finished.stderr());
            assert_eq!(finished.stdout().is_empty(), !closes);
            assert_eq!(finished.stderr().contains("cut off"), !closes);
        }
    }
}

#[test]
fn certificate_that_is_not_accepted_says_why() {
    let authority = Authority::new("ca");
    let file = AuthorityFile::new(&authority, "ca");
    let other = Authority::new("other");
    for (owner, reason) in [
        (
            authority.owner("elsewhere.example", Purpose::Server),
            "it is for another name",
        ),
        (
            other.owner("backend.example", Purpose::Server),
            "no authority that is trusted",
        ),
        (
            authority.owner_in("backend.example", Purpose::Server, Time::Over),
            "not valid at this time",
        ),
    ] {
        let setup = Setup::certified(&owner, &TLS12, HELLO);
        let finished = setup.fetch("backend", &file.flags());
        assert_eq!(finished.code(), 5, "{}", finished.stderr());
        assert!(finished.stderr().contains(reason), "{}", finished.stderr());
        assert!(finished.stdout().is_empty());
    }
    // A server that knows keys alone.
    let finished = Setup::new(HELLO).fetch("backend", &file.flags());
    assert_eq!(finished.code(), 6, "{}", finished.stderr());
    let reason = "no suite in common";
    assert!(finished.stderr().contains(reason), "{}", finished.stderr());
}
