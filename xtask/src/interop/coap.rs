//! CoAP against libcoap's example programs, in clear and over DTLS, both directions.

use std::fs;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hedgerow_coap::{Code, OptionNumber};
use hedgerow_core::{PeerId, Psk, SecurityMode};
use hedgerow_handshake::{DEFAULT_SUITES, Settings, Timers};
use hedgerow_net::{
    Credentials, KeyStore, Node, NodeConfig, RequestFailure, RequestMessage, ResponseMessage,
    SecurityPolicy, ServerRequest, Target,
};
use hedgerow_record::CipherSuite;
use tokio::time::timeout;

use super::cell::enter;
use super::peers::{SUITES, Transport, free_address, wait_for_port};
use crate::child::{Echo, Running};
use crate::table::Table;

pub(super) const IDENTITY: &str = "Client_identity";
pub(super) const PSK: &str = "secretPSK";
pub(super) const WRONG_PSK: &str = "otherwise";

/// For one request, block-wise transfers included.
pub(super) const LIMIT: Duration = Duration::from_secs(20);

/// Longer than one message: libcoap sends and takes it in blocks.
pub(super) const BODY_LEN: usize = 30_000;

/// Builds of libcoap 4.3 with their TLS library.
#[derive(Clone, Copy)]
pub(super) enum Build {
    OpenSsl,
    GnuTls,
    NoTls,
}

impl Build {
    pub(super) const SECURE: [Self; 2] = [Self::OpenSsl, Self::GnuTls];

    pub(super) const fn suffix(self) -> &'static str {
        match self {
            Self::OpenSsl => "openssl",
            Self::GnuTls => "gnutls",
            Self::NoTls => "notls",
        }
    }
}

/// Enters every cell.
pub(super) fn run(table: &mut Table) {
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            enter(table, "tokio runtime", || Err(error.to_string()));
            return;
        }
    };
    enter(table, "client -> libcoap coap", || {
        runtime.block_on(as_client(Build::NoTls, None))
    });
    for build in Build::SECURE {
        for suite in SUITES {
            let name = format!("client -> libcoap/{} coaps {suite}", build.suffix());
            enter(table, &name, || {
                runtime.block_on(as_client(build, Some(suite)))
            });
            let name = format!("server <- libcoap/{} coaps {suite}", build.suffix());
            enter(table, &name, || runtime.block_on(as_server(build, suite)));
        }
        let name = format!("client -> libcoap/{} wrong key", build.suffix());
        enter(table, &name, || runtime.block_on(client_refused(build)));
        let name = format!("server <- libcoap/{} wrong key", build.suffix());
        enter(table, &name, || runtime.block_on(server_refuses(build)));
    }
}

pub(super) fn config(suite: Option<CipherSuite>) -> NodeConfig {
    let mut config = NodeConfig::default();
    let suites = suite.map_or_else(|| DEFAULT_SUITES.to_vec(), |suite| vec![suite]);
    config.endpoint.handshake = Settings::new(&suites).with_timers(Timers {
        deadline: Duration::from_secs(5),
        ..Timers::default()
    });
    config
}

/// The same where nothing need protect a peer.
pub(super) fn clear_config() -> NodeConfig {
    config(None).with_security(SecurityPolicy::new(SecurityMode::NoSec))
}

/// Starts libcoap's example server; its secure port is the one above the plain one.
pub(super) fn start_server(build: Build) -> Result<(Running, SocketAddr, SocketAddr), String> {
    start_server_at(build, free_address()?)
}

/// The same on a port that is known to be free.
pub(super) fn start_server_at(
    build: Build,
    plain: SocketAddr,
) -> Result<(Running, SocketAddr, SocketAddr), String> {
    start_server_with_key(build, plain, PSK)
}

/// The same with a key of the caller's.
pub(super) fn start_server_with_key(
    build: Build,
    plain: SocketAddr,
    psk: &str,
) -> Result<(Running, SocketAddr, SocketAddr), String> {
    let mut command = Command::new(format!("coap-server-{}", build.suffix()));
    command
        .args([
            "-A",
            "127.0.0.1",
            "-p",
            &plain.port().to_string(),
            "-d",
            "10",
        ])
        .stdin(Stdio::null());
    if !matches!(build, Build::NoTls) {
        command.args(["-k", psk, "-h", "hint"]);
    }
    let server = Running::start(&mut command, Echo::Hidden)?;
    wait_for_port(Transport::Dtls, plain.port(), &server)?;
    wait_for_port(Transport::Tls, plain.port(), &server)?;
    let secure = SocketAddr::new(plain.ip(), plain.port().saturating_add(1));
    Ok((server, plain, secure))
}

pub(super) fn target(address: SocketAddr, psk: Option<&str>) -> Result<Target, String> {
    let credentials = psk
        .map(|psk| {
            let psk = Psk::new(psk.as_bytes()).map_err(|error| error.to_string())?;
            Credentials::new(IDENTITY, psk, PeerId(1))
                .map(Arc::new)
                .map_err(|error| error.to_string())
        })
        .transpose()?;
    Ok(Target {
        address,
        credentials,
    })
}

pub(super) async fn ask(
    node: &Node,
    target: &Target,
    request: RequestMessage,
) -> Result<ResponseMessage, String> {
    let what = format!("{}", request.method);
    match timeout(LIMIT, node.request(target, request)).await {
        Ok(Ok(response)) => Ok(response),
        Ok(Err(error)) => Err(format!("{what}: {error}")),
        Err(_) => Err(format!("{what}: nothing within {LIMIT:?}")),
    }
}

pub(super) fn expect_code(response: &ResponseMessage, expected: Code) -> Result<(), String> {
    if response.code == expected {
        Ok(())
    } else {
        Err(format!("{} where {expected} was expected", response.code))
    }
}

/// What libcoap's example server offers: a small resource, a separate response, discovery, a
/// resource that is written and read in blocks, and codes for what isn't there.
async fn as_client(build: Build, suite: Option<CipherSuite>) -> Result<String, String> {
    let (_server, plain, secure) = start_server(build)?;
    let (target, config) = match suite {
        Some(_) => (target(secure, Some(PSK))?, config(suite)),
        None => (target(plain, None)?, clear_config()),
    };
    let local = SocketAddr::from(([127, 0, 0, 1], 0));
    let node = Node::bind_client(local, config)
        .await
        .map_err(|error| error.to_string())?;

    let time = ask(&node, &target, RequestMessage::new(Code::GET).path("/time")).await?;
    expect_code(&time, Code::CONTENT)?;
    let request = RequestMessage::new(Code::GET)
        .path("/async")
        .option(OptionNumber::URI_QUERY, "1");
    let separate = ask(&node, &target, request).await?;
    expect_code(&separate, Code::CONTENT)?;
    let request = RequestMessage::new(Code::GET).path("/.well-known/core");
    let links = ask(&node, &target, request).await?;
    if hedgerow_coap::Links::decode(&links.payload).is_err() {
        return Err("links don't decode".to_owned());
    }
    let missing = ask(
        &node,
        &target,
        RequestMessage::new(Code::GET).path("/not/here"),
    )
    .await?;
    expect_code(&missing, Code::NOT_FOUND)?;

    let body = body();
    let request = RequestMessage::new(Code::PUT)
        .path("/example_data")
        .payload(body.clone());
    let written = ask(&node, &target, request).await?;
    if !matches!(written.code, Code::CHANGED | Code::CREATED) {
        return Err(format!("PUT in blocks: {}", written.code));
    }
    let request = RequestMessage::new(Code::GET).path("/example_data");
    let read = ask(&node, &target, request).await?;
    expect_code(&read, Code::CONTENT)?;
    if read.payload != body {
        return Err(format!("{} bytes came back changed", read.payload.len()));
    }
    node.close().await;
    Ok(format!(
        "GET, separate response, {} bytes of links, 4.04, {BODY_LEN} bytes written and read in blocks",
        links.payload.len()
    ))
}

async fn client_refused(build: Build) -> Result<String, String> {
    let (_server, _, secure) = start_server(build)?;
    let target = target(secure, Some(WRONG_PSK))?;
    let local = SocketAddr::from(([127, 0, 0, 1], 0));
    let node = Node::bind_client(local, config(None))
        .await
        .map_err(|error| error.to_string())?;
    let request = RequestMessage::new(Code::GET).path("/time");
    match timeout(LIMIT, node.request(&target, request)).await {
        Ok(Err(RequestFailure::Channel(error))) => Ok(error.to_string()),
        Ok(Err(error)) => Err(format!("unclear: {error}")),
        Ok(Ok(_)) => Err("answered under a wrong key".to_owned()),
        Err(_) => Err(format!("nothing within {LIMIT:?}")),
    }
}

/// Our server with a small resource, a large one, and one that is written.
pub(super) async fn start_node(suite: CipherSuite) -> Result<(Node, Arc<Mutex<Vec<u8>>>), String> {
    let keys = KeyStore::new();
    let psk = Psk::new(PSK.as_bytes()).map_err(|error| error.to_string())?;
    keys.insert(IDENTITY, psk, PeerId(7))
        .map_err(|error| error.to_string())?;
    let written = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&written);
    let handler = move |request: ServerRequest| {
        let kept = Arc::clone(&kept);
        async move { answer(&request.message, &kept) }
    };
    let address = free_address()?;
    let node = Node::bind_server(address, config(Some(suite)), keys, handler)
        .await
        .map_err(|error| error.to_string())?;
    Ok((node, written))
}

pub(super) fn answer(request: &RequestMessage, kept: &Mutex<Vec<u8>>) -> ResponseMessage {
    let path = request.values(OptionNumber::URI_PATH).next();
    match (request.method, path) {
        (Code::GET, Some(b"small")) => ResponseMessage::new(Code::CONTENT).payload("hedgerow"),
        (Code::GET, Some(b"large")) => ResponseMessage::new(Code::CONTENT).payload(body()),
        (Code::PUT, Some(b"large")) => {
            *kept.lock().unwrap_or_else(PoisonError::into_inner) = request.payload.clone();
            ResponseMessage::new(Code::CHANGED)
        }
        _ => ResponseMessage::new(Code::NOT_FOUND),
    }
}

/// libcoap's client as a child: `coap-client -m METHOD URI`.
async fn libcoap(
    build: Build,
    node: &Node,
    psk: &str,
    path: &str,
    more: &[&str],
) -> Result<String, String> {
    let mut command = Command::new(format!("coap-client-{}", build.suffix()));
    command
        .args(["-u", IDENTITY, "-k", psk, "-B", "8"])
        .args(more)
        .arg(format!("coaps://{}/{path}", node.local_addr()))
        .stdin(Stdio::null());
    let client = Running::start(&mut command, Echo::Hidden)?;
    // The node runs on this thread, so that the child is waited for on another.
    let finished = tokio::task::spawn_blocking(move || client.wait(LIMIT))
        .await
        .map_err(|error| error.to_string())??;
    Ok(finished.output)
}

async fn as_server(build: Build, suite: CipherSuite) -> Result<String, String> {
    let (node, written) = start_node(suite).await?;
    let small = libcoap(build, &node, PSK, "small", &[]).await?;
    if !small.contains("hedgerow") {
        return Err(format!("GET small: {small}"));
    }
    let files = std::env::temp_dir().join(format!("hedgerow-{}", node.local_addr().port()));
    fs::create_dir_all(&files).map_err(|error| error.to_string())?;
    let (sent, received) = (files.join("sent"), files.join("received"));
    fs::write(&sent, body()).map_err(|error| error.to_string())?;
    let received_text = received.to_string_lossy().into_owned();
    libcoap(build, &node, PSK, "large", &["-o", &received_text]).await?;
    let got = fs::read(&received).unwrap_or_default();
    if got != body() {
        return Err(format!("GET large: {} bytes, or changed", got.len()));
    }
    let sent_text = sent.to_string_lossy().into_owned();
    libcoap(build, &node, PSK, "large", &["-m", "put", "-f", &sent_text]).await?;
    let kept = written
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    if kept != body() {
        return Err(format!("PUT large: {} bytes, or changed", kept.len()));
    }
    let missing = libcoap(build, &node, PSK, "nowhere", &[]).await?;
    if !missing.contains("4.04") {
        return Err(format!("GET nowhere: {missing}"));
    }
    let _ = fs::remove_dir_all(&files);
    node.close().await;
    Ok(format!(
        "GET, 4.04, {BODY_LEN} bytes read and written in blocks"
    ))
}

async fn server_refuses(build: Build) -> Result<String, String> {
    let (node, _) = start_node(CipherSuite::TLS_PSK_WITH_AES_128_CCM_8).await?;
    let output = libcoap(build, &node, WRONG_PSK, "small", &[]).await?;
    if output.contains("hedgerow") {
        return Err("answered under a wrong key".to_owned());
    }
    let statistics = node.statistics();
    if statistics.associations > 0 {
        return Err("established under a wrong key".to_owned());
    }
    let last = output.lines().last().unwrap_or("nothing").to_owned();
    Ok(format!("peer says: {last}"))
}

pub(super) fn body() -> Vec<u8> {
    (0..BODY_LEN)
        .map(|at| match at % 61 {
            60 => b'\n',
            column => b'!'.saturating_add(u8::try_from(column).unwrap_or_default()),
        })
        .collect()
}
