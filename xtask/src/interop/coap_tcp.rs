//! CoAP over TCP and TLS (RFC 8323) against libcoap's example programs, both directions.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hedgerow_coap::{Code, OptionNumber};
use hedgerow_core::{ChannelError, PeerFault, PeerId, Psk, SecurityMode};
use hedgerow_handshake::{DEFAULT_SUITES, Settings, Timers};
use hedgerow_net::{
    KeyStore, ProtocolName, RequestFailure, RequestMessage, ResponseMessage, SecurityPolicy,
    ServerRequest, StreamClient, StreamConfig, StreamServer, Target,
};
use hedgerow_record::CipherSuite;
use tokio::time::timeout;

use super::cell::{enter, suite_text};
use super::clock::Clock;
use super::coap::{
    BODY_LEN, Build, IDENTITY, LIMIT, PSK, WRONG_PSK, answer, body, expect_code, start_server,
    start_server_at, target,
};
use super::peers::{SUITES, free_address};
use crate::child::{Echo, Running};
use crate::table::Table;

/// Enters every cell.
pub(super) fn run(table: &mut Table) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return enter(table, "tokio runtime", || Err(error.to_string())),
    };
    let clear = Mode::Clear;
    for build in [Build::NoTls, Build::OpenSsl, Build::GnuTls] {
        let name = format!("client -> libcoap/{} coap+tcp", build.suffix());
        enter(table, &name, || runtime.block_on(as_client(build, clear)));
        let name = format!("server <- libcoap/{} coap+tcp", build.suffix());
        enter(table, &name, || runtime.block_on(as_server(build, clear)));
    }
    for build in Build::SECURE {
        let modes = SUITES.map(|suite| Mode::Tls(Some(suite)));
        for mode in modes.into_iter().chain([Mode::Tls(None)]) {
            let what = mode.name();
            let name = format!("client -> libcoap/{} coaps+tcp {what}", build.suffix());
            enter(table, &name, || runtime.block_on(as_client(build, mode)));
            let name = format!("server <- libcoap/{} coaps+tcp {what}", build.suffix());
            enter(table, &name, || runtime.block_on(as_server(build, mode)));
        }
        let name = format!("client -> libcoap/{} coaps+tcp wrong key", build.suffix());
        enter(table, &name, || runtime.block_on(client_refused(build)));
        let name = format!("server <- libcoap/{} coaps+tcp wrong key", build.suffix());
        enter(table, &name, || runtime.block_on(server_refuses(build)));
        let name = format!(
            "client -> libcoap/{} coaps+tcp without ALPN",
            build.suffix()
        );
        enter(table, &name, || runtime.block_on(without_a_name(build)));
        let name = format!("client -> libcoap/{} ping and release", build.suffix());
        enter(table, &name, || runtime.block_on(ping_and_release(build)));
    }
}

/// What protects a cell's connection.
#[derive(Clone, Copy)]
enum Mode {
    Clear,
    /// One suite, or all that there are by default.
    Tls(Option<CipherSuite>),
}

impl Mode {
    fn name(self) -> String {
        match self {
            Self::Clear => "in clear".to_owned(),
            Self::Tls(None) => "default suites".to_owned(),
            Self::Tls(Some(suite)) => suite.to_string(),
        }
    }
}

/// libcoap's programs name no application protocol, and most cells are at other ports than 5684.
fn config(suite: Option<CipherSuite>) -> StreamConfig {
    let suites = suite.map_or_else(|| DEFAULT_SUITES.to_vec(), |suite| vec![suite]);
    let mut config = StreamConfig {
        protocol_name: ProtocolName::Optional,
        ..StreamConfig::default()
    };
    config.endpoint.handshake = Settings::new(&suites)
        .with_application_protocols(&[b"coap"])
        .with_timers(Timers {
            deadline: Duration::from_secs(5),
            ..Timers::default()
        });
    // Only the cells in clear have no suite and no credentials.
    config.with_security(SecurityPolicy::new(SecurityMode::NoSec))
}

async fn ask(
    client: &StreamClient,
    target: &Target,
    request: RequestMessage,
) -> Result<ResponseMessage, String> {
    let what = format!("{}", request.method);
    match timeout(LIMIT, client.request(target, request)).await {
        Ok(Ok(response)) => Ok(response),
        Ok(Err(error)) => Err(format!("{what}: {error}")),
        Err(_) => Err(format!("{what}: nothing within {LIMIT:?}")),
    }
}

fn get(path: &str) -> RequestMessage {
    RequestMessage::new(Code::GET).path(path)
}

async fn as_client(build: Build, mode: Mode) -> Result<String, String> {
    let (_server, plain, secure) = start_server(build)?;
    let (target, suite) = match mode {
        Mode::Clear => (target(plain, None)?, None),
        Mode::Tls(suite) => (target(secure, Some(PSK))?, suite),
    };
    let client = StreamClient::new(config(suite));
    let time = ask(&client, &target, get("/time")).await?;
    expect_code(&time, Code::CONTENT)?;
    let separate = get("/async").option(OptionNumber::URI_QUERY, "1");
    expect_code(&ask(&client, &target, separate).await?, Code::CONTENT)?;
    let missing = ask(&client, &target, get("/not/here")).await?;
    expect_code(&missing, Code::NOT_FOUND)?;
    let request = RequestMessage::new(Code::PUT)
        .path("/example_data")
        .payload(body());
    let written = ask(&client, &target, request).await?;
    if !matches!(written.code, Code::CHANGED | Code::CREATED) {
        return Err(format!("PUT: {}", written.code));
    }
    let read = ask(&client, &target, get("/example_data")).await?;
    expect_code(&read, Code::CONTENT)?;
    if read.payload != body() {
        return Err(format!("{} bytes came back changed", read.payload.len()));
    }
    let negotiated = match mode {
        Mode::Clear => "in clear".to_owned(),
        Mode::Tls(_) => suite_text(client.suite(&target)),
    };
    let connections = client.statistics().established;
    client.close().await;
    Ok(format!(
        "{negotiated}: GET, separate response, 4.04, {BODY_LEN} bytes written and read, over \
         {connections} connection"
    ))
}

async fn client_refused(build: Build) -> Result<String, String> {
    let (_server, _, secure) = start_server(build)?;
    let target = target(secure, Some(WRONG_PSK))?;
    let client = StreamClient::new(config(None));
    match timeout(LIMIT, client.request(&target, get("/time"))).await {
        Ok(Err(RequestFailure::Channel(error))) => Ok(error.to_string()),
        Ok(Err(error)) => Err(format!("unclear: {error}")),
        Ok(Ok(_)) => Err("answered under a wrong key".to_owned()),
        Err(_) => Err(format!("nothing within {LIMIT:?}")),
    }
}

/// RFC 8323 §8.2: a server without a name is left off port 5684, and spoken to there.
async fn without_a_name(build: Build) -> Result<String, String> {
    let strict = StreamConfig {
        protocol_name: ProtocolName::ByPort,
        ..config(None)
    };
    let client = StreamClient::new(strict);
    let (server, _, secure) = start_server(build)?;
    let left = client
        .request(&target(secure, Some(PSK))?, get("/time"))
        .await;
    let unnamed = ChannelError::Peer(PeerFault::ProtocolNotNamed);
    if left != Err(RequestFailure::Channel(unnamed)) {
        return Err(format!("at {secure}: {left:?}"));
    }
    drop(server);
    let (_server, _, secure) =
        start_server_at(build, SocketAddr::from((Ipv4Addr::LOCALHOST, 5_683)))?;
    let time = ask(&client, &target(secure, Some(PSK))?, get("/time")).await?;
    expect_code(&time, Code::CONTENT)?;
    client.close().await;
    Ok("left at another port, answered at 5684".to_owned())
}

/// RFC 8323 §5.4, §5.5. A response that comes later than a Pong would have to shows the Pong; a close
/// well before the time for it is over shows that the Release was understood.
async fn ping_and_release(build: Build) -> Result<String, String> {
    let (_server, _, secure) = start_server(build)?;
    let target = target(secure, Some(PSK))?;
    let mut config = config(None);
    config.shutdown_timeout = Duration::from_secs(8);
    let connection = Arc::make_mut(&mut config.endpoint.connection);
    connection.ping_after = Some(Duration::from_millis(300));
    connection.pong_timeout = Duration::from_secs(2);
    let client = StreamClient::new(config);
    let late = get("/async").option(OptionNumber::URI_QUERY, "3");
    expect_code(&ask(&client, &target, late).await?, Code::CONTENT)?;
    let clock = Clock::start();
    client.close().await;
    let took = clock.elapsed();
    if took > Duration::from_secs(4) {
        return Err(format!("released only after {took:?}"));
    }
    Ok(format!(
        "pinged while it waited 3 s, closed {} ms after the Release",
        took.as_millis()
    ))
}

/// Our server with a small resource, a large one, and one that is written.
async fn start(mode: Mode) -> Result<(StreamServer, Arc<Mutex<Vec<u8>>>), String> {
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
    let server = match mode {
        Mode::Clear => StreamServer::bind_without_security(address, config(None), handler).await,
        Mode::Tls(suite) => StreamServer::bind(address, config(suite), keys, handler).await,
    };
    Ok((server.map_err(|error| error.to_string())?, written))
}

/// libcoap's client as a child: `coap-client -m METHOD URI`.
async fn libcoap(
    build: Build,
    server: &StreamServer,
    psk: Option<&str>,
    path: &str,
    more: &[&str],
) -> Result<String, String> {
    let mut command = Command::new(format!("coap-client-{}", build.suffix()));
    let scheme = match psk {
        Some(psk) => {
            command.args(["-u", IDENTITY, "-k", psk]);
            "coaps+tcp"
        }
        None => "coap+tcp",
    };
    command
        .args(["-B", "8"])
        .args(more)
        .arg(format!("{scheme}://{}/{path}", server.local_addr()))
        .stdin(Stdio::null());
    let client = Running::start(&mut command, Echo::Hidden)?;
    // The server runs on this thread, so that the child is waited for on another.
    let finished = tokio::task::spawn_blocking(move || client.wait(LIMIT))
        .await
        .map_err(|error| error.to_string())??;
    Ok(finished.output)
}

async fn as_server(build: Build, mode: Mode) -> Result<String, String> {
    let (server, written) = start(mode).await?;
    let psk = match mode {
        Mode::Clear => None,
        Mode::Tls(_) => Some(PSK),
    };
    let small = libcoap(build, &server, psk, "small", &[]).await?;
    if !small.contains("hedgerow") {
        return Err(format!("GET small: {small}"));
    }
    let files = std::env::temp_dir().join(format!("hedgerow-{}", server.local_addr().port()));
    fs::create_dir_all(&files).map_err(|error| error.to_string())?;
    let (sent, received) = (files.join("sent"), files.join("received"));
    fs::write(&sent, body()).map_err(|error| error.to_string())?;
    let received_text = received.to_string_lossy().into_owned();
    let output = libcoap(build, &server, psk, "large", &["-o", &received_text]).await?;
    let got = fs::read(&received).unwrap_or_default();
    if got != body() {
        return Err(format!(
            "GET large: {} bytes, or changed: {output}",
            got.len()
        ));
    }
    let sent_text = sent.to_string_lossy().into_owned();
    let put = ["-m", "put", "-f", &sent_text];
    let output = libcoap(build, &server, psk, "large", &put).await?;
    let kept = written
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    if kept != body() {
        return Err(format!(
            "PUT large: {} bytes, or changed: {output}",
            kept.len()
        ));
    }
    let missing = libcoap(build, &server, psk, "nowhere", &[]).await?;
    if !missing.contains("4.04") {
        return Err(format!("GET nowhere: {missing}"));
    }
    let _ = fs::remove_dir_all(&files);
    let connections = server.statistics().established;
    server.close().await;
    Ok(format!(
        "GET, 4.04, {BODY_LEN} bytes read and written, {connections} connections"
    ))
}

async fn server_refuses(build: Build) -> Result<String, String> {
    let (server, _) = start(Mode::Tls(None)).await?;
    let output = libcoap(build, &server, Some(WRONG_PSK), "small", &[]).await?;
    if output.contains("hedgerow") {
        return Err("answered under a wrong key".to_owned());
    }
    if server.statistics().established > 0 {
        return Err("established under a wrong key".to_owned());
    }
    let last = output.lines().last().unwrap_or("nothing").to_owned();
    Ok(format!("peer says: {last}"))
}
