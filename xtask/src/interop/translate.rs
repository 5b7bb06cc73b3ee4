//! Mode `translate` with peers as the device that know nothing of it: libcoap, OpenSSL, GnuTLS.
//!
//! Between our client and the peer stand the Internet end's framing, a TCP connection over loopback
//! and the program `hedgerow gateway`. Where the peer speaks CoAP, the program is the Internet end too.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use hedgerow_coap::Code;
use hedgerow_core::PeerId;
use hedgerow_endpoint::{TranslateError, TranslatedEvent, TranslatedStream};
use hedgerow_net::{AcceptedServer, Credentials, Node, RequestMessage};
use hedgerow_record::{CipherSuite, TranslateForm};

use super::cell::enter;
use super::certificate_files::{Files, SERVER_NAME};
use super::certificate_peers::{self, Kind};
use super::coap::{self, Build, ask, expect_code, target};
use super::dtls_end::{Losses, Report, run_client, run_client_with};
use super::gateway::start_gateway;
use super::handshakes::{
    FROM_US, IDENTITY, LIMIT, check_success, dialogue_with, expect_output, settings,
};
use super::peers::{Peer, Transport, free_address};
use super::program;
use crate::child::{self, Echo, Finished, Running};
use crate::table::Table;

/// The suites whose nonce is the record's number, and the others.
const CELLS: [(TranslateForm, CipherSuite); 5] = [
    (
        TranslateForm::Short,
        CipherSuite::TLS_PSK_WITH_AES_128_CCM_8,
    ),
    (TranslateForm::Short, CipherSuite::TLS_PSK_WITH_AES_128_CCM),
    (
        TranslateForm::Long,
        CipherSuite::TLS_PSK_WITH_AES_128_GCM_SHA256,
    ),
    (
        TranslateForm::Long,
        CipherSuite::TLS_PSK_WITH_CHACHA20_POLY1305_SHA256,
    ),
    (
        TranslateForm::Long,
        CipherSuite::TLS_ECDHE_PSK_WITH_CHACHA20_POLY1305_SHA256,
    ),
];

/// The same with certificates.
const CERTIFICATE_CELLS: [(TranslateForm, CipherSuite); 3] = [
    (
        TranslateForm::Short,
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8,
    ),
    (
        TranslateForm::Short,
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_CCM,
    ),
    (
        TranslateForm::Long,
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    ),
];

/// What the two ends have, and the gateway hasn't.
const END_TO_END_KEY: &str = "of both ends, not the gateway's";

/// Enters every cell.
pub(super) fn run(table: &mut Table) {
    let ready = program::build().and_then(|program| Ok((program, Files::make()?)));
    let (program, files) = match ready {
        Ok(ready) => ready,
        Err(error) => {
            enter(table, "translate", || Err(error));
            return;
        }
    };
    for (form, suite) in CELLS {
        for peer in Peer::ALL {
            let name = format!("{} {suite}, {}", peer.name(), form_name(form));
            enter(table, &name, || with_peer(&program, peer, form, suite));
        }
        for build in Build::SECURE {
            let name = format!("libcoap/{} {suite}, {}", build.suffix(), form_name(form));
            enter(table, &name, || with_libcoap(&program, build, form, suite));
        }
    }
    for (form, suite) in CERTIFICATE_CELLS {
        for peer in Peer::ALL {
            let name = format!("{} {suite}, {}", peer.name(), form_name(form));
            enter(table, &name, || {
                with_certificates(&program, &files, peer, form, suite)
            });
        }
    }
    for build in Build::SECURE {
        for form in [TranslateForm::Short, TranslateForm::Long] {
            let name = format!(
                "hedgerow get -> gateway -> libcoap/{}, {}",
                build.suffix(),
                form_name(form)
            );
            enter(table, &name, || through_the_program(&program, build, form));
        }
    }
    let suite = CipherSuite::TLS_PSK_WITH_AES_128_GCM_SHA256;
    enter(table, "OpenSSL's GCM in the short form is named", || {
        let (report, end) = converse(&program, Peer::OpenSsl, TranslateForm::Short, suite)?;
        match (report.outcome, end) {
            (Err(_), Some(TranslateError::NonceNotRecordNumber)) => {
                Ok(TranslateError::NonceNotRecordNumber.to_string())
            }
            (outcome, end) => Err(format!("{outcome:?}, {end:?}")),
        }
    });
}

const fn form_name(form: TranslateForm) -> &'static str {
    match form {
        TranslateForm::Short => "short form",
        TranslateForm::Long => "long form",
    }
}

/// Has a dialogue with a peer through the way, as with one that is reached directly.
fn converse(
    program: &Path,
    peer: Peer,
    form: TranslateForm,
    suite: CipherSuite,
) -> Result<(Report, Option<TranslateError>), String> {
    let (mut server, address) = peer.start_server(Transport::Dtls, suite, IDENTITY)?;
    let dialogue = dialogue_with(peer, &mut server)?;
    let way = Way::start(program, form, address)?;
    let (settings, losses) = (settings(suite), Losses::default());
    let report = run_client(way.address, IDENTITY, settings, &dialogue, losses, LIMIT)?;
    if report.outcome.is_ok() && peer == Peer::OpenSsl {
        expect_output(&mut server, FROM_US)?;
    }
    server.kill();
    Ok((report, way.end()))
}

fn with_peer(
    program: &Path,
    peer: Peer,
    form: TranslateForm,
    suite: CipherSuite,
) -> Result<String, String> {
    let (report, end) = converse(program, peer, form, suite)?;
    concluded(&report, end, suite)
}

fn concluded(
    report: &Report,
    end: Option<TranslateError>,
    suite: CipherSuite,
) -> Result<String, String> {
    let said = check_success(report, suite)?;
    match end {
        None => Ok(said),
        Some(error) => Err(error.to_string()),
    }
}

/// Both ends show a certificate and verify the other's.
fn with_certificates(
    program: &Path,
    files: &Files,
    peer: Peer,
    form: TranslateForm,
    suite: CipherSuite,
) -> Result<String, String> {
    let (transport, kind) = (Transport::Dtls, Kind::X509);
    let (mut server, address) =
        certificate_peers::start_server(peer, transport, kind, suite, files)?;
    let dialogue = dialogue_with(peer, &mut server)?;
    let way = Way::start(program, form, address)?;
    let accepted = AcceptedServer::Certificate {
        authorities: files.authority("ca")?,
        name: SERVER_NAME.to_owned(),
    };
    let shown = files.identity("client", false)?;
    let credentials = Credentials::certificates(Some(shown), accepted, PeerId(0))
        .map_err(|error| error.to_string())?;
    let report = run_client_with(
        way.address,
        credentials,
        settings(suite),
        &dialogue,
        Losses::default(),
        LIMIT,
        1,
    )?;
    if report.outcome.is_ok() && peer == Peer::OpenSsl {
        expect_output(&mut server, FROM_US)?;
    }
    server.kill();
    concluded(&report, way.end(), suite)
}

/// The program asks a libcoap server through the program: a resource, and one that is written and read in blocks.
fn through_the_program(
    program: &Path,
    build: Build,
    form: TranslateForm,
) -> Result<String, String> {
    let (_server, _, secure) = coap::start_server_with_key(build, free_address()?, END_TO_END_KEY)?;
    let gateway = Gateway::start(program, secure)?;
    let (name, more) = match form {
        // libcoap's TLS libraries have no suite with an ephemeral key whose nonce is the record's number.
        TranslateForm::Short => ("short", Some("--allow-no-forward-secrecy")),
        TranslateForm::Long => ("long", None),
    };
    let ask = |method: &str, path: &str, key: &str, payload: &[&str]| -> Result<Finished, String> {
        let mut command = Command::new(program);
        command
            .args([method, "--mode", "translate", "--form", name])
            .args(["--via", &format!("tcp://{}", gateway.listen)])
            .args(["-u", coap::IDENTITY, "-k", key, "-B", "20", "--end-to-end"])
            .args(more)
            .args(payload)
            .arg(format!("coaps://{DEVICE}/{path}"))
            .stdin(Stdio::null());
        child::run(&mut command, PROGRAM_LIMIT, Echo::Hidden)
    };
    let asked = |method: &str, path: &str, payload: &[&str]| -> Result<String, String> {
        let finished = ask(method, path, END_TO_END_KEY, payload)?;
        match finished.is_success() {
            true => Ok(finished.output),
            false => Err(format!("{method} {path}: {}", finished.tail(4))),
        }
    };
    let time = asked("get", "time", &[])?;
    if !time.contains(':') {
        return Err(format!("no time of day: {time}"));
    }
    let body: String = "hedgerow ".chars().cycle().take(BODY_LEN).collect();
    asked("put", "example_data", &["-e", &body])?;
    let read = asked("get", "example_data", &[])?;
    if !read.contains(&body) {
        return Err(format!("{} bytes came back changed", read.len()));
    }
    let refused = ask("get", "time", "another key of enough bytes.", &[])?;
    if refused.is_success() {
        return Err(format!("answered under another key: {}", refused.output));
    }
    let log = gateway.running.output();
    if log.contains(END_TO_END_KEY) || log.contains(&body) {
        return Err(format!("a secret in the gateway's log: {log}"));
    }
    Ok(format!(
        "GET, {BODY_LEN} bytes written and read in blocks, another key refused"
    ))
}

/// The program as the gateway, which has no key of the device.
struct Gateway {
    running: Running,
    listen: SocketAddr,
}

impl Gateway {
    fn start(program: &Path, device: SocketAddr) -> Result<Self, String> {
        let (http, listen) = (free_address()?, free_address()?);
        let folder = std::env::temp_dir().join(format!("hedgerow-translate-{}", listen.port()));
        let text = format!(
            r#"
[http]
listen = "{http}"

[translate]
listen = "{listen}"

[[device]]
name = "{DEVICE}"
uri = "coaps://{device}"
modes = ["translate"]
"#
        );
        let running = start_gateway(program, &folder, &text, listen.port())?;
        Ok(Self { running, listen })
    }
}

fn with_libcoap(
    program: &Path,
    build: Build,
    form: TranslateForm,
    suite: CipherSuite,
) -> Result<String, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    runtime.block_on(async {
        let (_server, _, secure) = coap::start_server(build)?;
        let way = Way::start(program, form, secure)?;
        let target = target(way.address, Some(coap::PSK))?;
        let local = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let node = Node::bind_client(local, coap::config(Some(suite)))
            .await
            .map_err(|error| error.to_string())?;
        let time = ask(&node, &target, RequestMessage::new(Code::GET).path("/time")).await?;
        expect_code(&time, Code::CONTENT)?;
        let body = vec![b'x'; coap::BODY_LEN];
        let request = RequestMessage::new(Code::PUT).path("/example_data");
        let written = ask(&node, &target, request.payload(body.clone())).await?;
        if !matches!(written.code, Code::CHANGED | Code::CREATED) {
            return Err(format!("PUT in blocks: {}", written.code));
        }
        let request = RequestMessage::new(Code::GET).path("/example_data");
        let read = ask(&node, &target, request).await?;
        if read.payload != body {
            return Err(format!("{} bytes came back changed", read.payload.len()));
        }
        node.close().await;
        match way.end() {
            None => Ok(format!(
                "GET, {} bytes written and read in blocks",
                coap::BODY_LEN
            )),
            Some(error) => Err(error.to_string()),
        }
    })
}

/// A way to a device through a translating gateway, which looks like the device's own address.
struct Way {
    _gateway: Gateway,
    address: SocketAddr,
    failed: Arc<Mutex<Option<TranslateError>>>,
    stream: TcpStream,
}

impl Way {
    fn start(program: &Path, form: TranslateForm, device: SocketAddr) -> Result<Self, String> {
        let text = |error: std::io::Error| error.to_string();
        let gateway = Gateway::start(program, device)?;
        let own = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).map_err(text)?;
        let stream = TcpStream::connect(gateway.listen).map_err(text)?;
        let way = Self {
            _gateway: gateway,
            address: own.local_addr().map_err(text)?,
            failed: Arc::default(),
            stream: stream.try_clone().map_err(text)?,
        };
        let failed = Arc::clone(&way.failed);
        thread::spawn(move || frame(form, own, stream, &failed));
        Ok(way)
    }

    /// Returns why the connection ended before its time, if it did.
    fn end(self) -> Option<TranslateError> {
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

/// The Internet end's framing, between datagrams of the client and the stream.
fn frame(
    form: TranslateForm,
    socket: UdpSocket,
    mut stream: TcpStream,
    failed: &Mutex<Option<TranslateError>>,
) -> Option<()> {
    let mut bytes = Vec::new();
    let mut framing = TranslatedStream::open(DEVICE, form, &mut bytes).ok()?;
    stream.write_all(&bytes).ok()?;
    let _ = stream.set_nodelay(true);
    stream.set_read_timeout(Some(TURN)).ok()?;
    socket.set_read_timeout(Some(TURN)).ok()?;
    let mut client = None;
    let mut part = [0; 4_096];
    loop {
        if let Ok((len, from)) = socket.recv_from(&mut part) {
            client = Some(from);
            bytes.clear();
            framing.datagram_to_stream(part.get(..len)?, &mut bytes);
            stream.write_all(&bytes).ok()?;
        }
        let len = match stream.read(&mut part) {
            Ok(0) => return None,
            Ok(len) => len,
            Err(_) => continue,
        };
        let mut rest = part.get(..len)?;
        loop {
            match framing.stream_to_datagrams(rest) {
                Err(error) => {
                    *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                    return None;
                }
                Ok((_, None)) => break,
                Ok((len, Some(event))) => {
                    if let (TranslatedEvent::Datagram(datagram), Some(client)) = (event, client) {
                        socket.send_to(datagram, client).ok()?;
                    }
                    rest = rest.get(len..)?;
                }
            }
        }
    }
}

/// How long each side is listened to in turn.
const TURN: Duration = Duration::from_millis(2);

/// The device's name at the gateway.
const DEVICE: &str = "real";

/// For one command.
const PROGRAM_LIMIT: Duration = Duration::from_secs(40);

/// What the program writes, in blocks.
const BODY_LEN: usize = 5_000;
