//! `hedgerow fetch`: a device that asks an HTTPS server through a gateway which can't read it
//! (`docs/specs/leg.md`), or an Internet end by CoAP (`docs/specs/itls.md`).

mod itls;

use std::fs;
use std::io::{self, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use hedgerow_coap::{CoapUri, Scheme};
use hedgerow_core::{ChannelError, PeerFault, PeerId, Psk};
use hedgerow_handshake::{Settings, Timers};
use hedgerow_leg::Role;
use hedgerow_net::{
    AdaptedStream, Authorities, Credentials, ForwardSecrecy, LegConfig, LegStream, Node,
    RequestFailure, ResetReason, SecurityPolicy, ServerTls, ServerTlsFailure, ServerTlsStream,
    StreamFailure, StreamOffer, Target, TlsStream,
};
use hedgerow_record::LegForm;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HOST};
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout, timeout_at};

use crate::exit::{Class, Failure};
use crate::{key_text, report, target};

#[derive(Debug, Args)]
pub(crate) struct FetchArguments {
    /// An https:// URI. Its host is the name that a certificate has to carry; where it leads is the
    /// gateway's business. In mode itls coaps://NAME/path, with the gateway's name for the user that is asked
    uri: String,

    /// The gateway: coaps://HOST:PORT, where [leg] of its configuration listens, or listen_devices of [itls]
    #[arg(long, value_name = "URI")]
    via: String,

    /// How the gateway carries what it can't read
    #[arg(long, value_name = "MODE", default_value = "tunnel")]
    mode: FetchMode,

    /// What the gateway calls the server; in mode itls the user, if it isn't the URI's host
    #[arg(long, value_name = "NAME")]
    service: Option<String>,

    /// Mode itls: ask by POST, with this text; without it by GET
    #[arg(short = 'e', long, value_name = "TEXT")]
    payload: Option<String>,

    /// The identity to show the gateway
    #[arg(long, value_name = "IDENTITY")]
    hop_user: String,

    /// The key that goes with it: text, hexadecimal digits behind 0x, or @FILE
    #[arg(long, value_name = "KEY")]
    hop_key: String,

    /// The identity to show the server
    #[arg(short, long, value_name = "IDENTITY", requires = "key")]
    user: Option<String>,

    /// The key that goes with it, which the gateway hasn't got: at least 16 bytes
    #[arg(short, long, value_name = "KEY", requires = "user")]
    key: Option<String>,

    /// The certificates of the authorities, one of which has to vouch for the server
    #[arg(short = 'C', long, value_name = "FILE", conflicts_with_all = ["user", "key"], required_unless_present = "key")]
    authority: Option<PathBuf>,

    /// Take a suite without ephemeral keys too: who records it and has the key one day can read it
    #[arg(long, requires = "key")]
    allow_no_forward_secrecy: bool,

    /// The form of the records to the gateway: "tls", as without this, or "dtls" as a device has it whose engine reads DTLS's headers.
    /// The server sees no difference
    #[arg(long, value_name = "FORM", value_parser = form, requires = "key")]
    form: Option<LegForm>,

    /// Give up after this many seconds, whatever is under way
    #[arg(
        short = 'B',
        long,
        value_name = "SECONDS",
        default_value = "90",
        value_parser = clap::value_parser!(u32).range(1..=86_400)
    )]
    seconds: u32,

    /// Write the body to a file
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// In which mode a device asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum FetchMode {
    /// A TLS connection in a stream of the session with the gateway, TCP behind it (docs/specs/leg.md)
    Tunnel,
    /// Messages sealed for the Internet end inside the session with the gateway, and inside TLS behind it
    /// (docs/specs/itls.md)
    Itls,
}

/// What stands below the options.
pub(crate) const HELP: &str = "\
The request is GET in HTTP/1.1 over TLS: TLS 1.2 with a pre-shared key (-u, -k), or TLS 1.2 or 1.3 with a
server that has a certificate for RSA or ECDSA (-C). The gateway sees the service's name, sizes and times, and the handshake's clear part.

With --mode itls the request is CoAP, to a user of the gateway that waits for devices (hedgerow listen), with a key of the two (-u, -k).

Exit codes are those of the other commands; 7 if the gateway hasn't this service, or this user, for this device.";

impl FetchArguments {
    /// Returns what the gateway calls the server.
    fn service(&self) -> &str {
        self.service.as_deref().unwrap_or_default()
    }
}

/// Reads a form of records.
fn form(text: &str) -> Result<LegForm, String> {
    match text {
        "tls" => Ok(LegForm::Tls),
        "dtls" => Ok(LegForm::Dtls),
        _ => Err("expected tls or dtls".to_owned()),
    }
}

/// Asks, writes the body, and returns the exit code that the response's status stands for.
pub(crate) async fn run(arguments: &FetchArguments) -> Result<u8, Failure> {
    if arguments.mode == FetchMode::Itls {
        return itls::run(arguments).await;
    }
    if arguments.payload.is_some() {
        return Err(Failure::usage(
            "-e: a server is asked by GET, which has no payload; mode itls has one",
        ));
    }
    if arguments.service.is_none() {
        return Err(Failure::usage(
            "expected --service NAME: what the gateway calls the server",
        ));
    }
    let limit = Duration::from_secs(arguments.seconds.into());
    let uri: Uri = arguments
        .uri
        .parse()
        .map_err(|error| Failure::usage(format!("{}: {error}", arguments.uri)))?;
    let host = match (uri.scheme_str(), uri.host()) {
        (Some("https"), Some(host)) => host.trim_start_matches('[').trim_end_matches(']'),
        _ => return Err(Failure::usage("expected an https:// URI")),
    };
    if uri
        .authority()
        .is_some_and(|authority| authority.as_str().contains('@'))
    {
        // It would go to the server in Host, which has no place for it (RFC 9110 §4.2.4, §7.2).
        return Err(Failure::usage(
            "expected no user information (@) in the URI",
        ));
    }
    let hop_key = key_text::parse_argument("--hop-key", &arguments.hop_key)?;
    let server = server(arguments, host, &hop_key)?;
    let deadline = Instant::now() + limit;
    let fetched = timeout_at(deadline, fetch(arguments, &uri, hop_key, server, limit)).await;
    let late = || Failure::new(Class::Timeout, format!("no answer within {limit:?}"));
    let (status, body) = fetched.map_err(|_| late())??;
    write_body(arguments, &body)?;
    if !status.is_success() {
        report::tell(&format!("{host}: {status}"));
    }
    Ok(match status.as_u16() {
        200..=299 => 0,
        400..=499 => Class::ClientError.code(),
        500..=599 => Class::ServerError.code(),
        _ => Class::Protocol.code(),
    })
}

/// Writes what has come where the command line wants it.
fn write_body(arguments: &FetchArguments, body: &[u8]) -> Result<(), Failure> {
    match &arguments.output {
        Some(path) => fs::write(path, body).map_err(|error| Failure::file(path, &error)),
        None => io::stdout()
            .lock()
            .write_all(body)
            .map_err(|error| Failure::new(Class::Local, format!("standard output: {error}"))),
    }
}

/// How the two ends know each other.
enum Server {
    /// By a key that the gateway hasn't got.
    Key(Box<Credentials>),
    /// The server by a certificate for this name.
    Certificate(ServerTls, String),
}

/// Reads what the server is shown, and how it is known: for two ends, and so never for the gateway, which has the
/// hop's key.
fn server(arguments: &FetchArguments, host: &str, hop_key: &Psk) -> Result<Server, Failure> {
    if let Some(credentials) = end_to_end(arguments, hop_key)? {
        return Ok(Server::Key(Box::new(credentials)));
    }
    let path = arguments.authority.as_ref();
    let path = path.ok_or_else(|| Failure::usage("expected -u and -k, or -C"))?;
    let content = fs::read(path).map_err(|error| Failure::file(path, &error))?;
    let tls = Authorities::new(&content)
        .and_then(|authorities| ServerTls::new(&authorities, PROTOCOLS))
        .map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
    Ok(Server::Certificate(tls, host.to_owned()))
}

/// Reads the key of the two ends, if there is one.
fn end_to_end(arguments: &FetchArguments, hop_key: &Psk) -> Result<Option<Credentials>, Failure> {
    let (Some(user), Some(key)) = (&arguments.user, &arguments.key) else {
        return Ok(None);
    };
    let psk = key_text::parse_argument("-k", key)?
        .into_end_to_end()
        .map_err(|error| Failure::usage(format!("-k: {error}")))?;
    if psk.has_same_bytes(hop_key) {
        return Err(Failure::usage(
            "-k and --hop-key are one key: the gateway has the hop's, so expected two keys",
        ));
    }
    Credentials::new(user.as_bytes(), psk, SERVER)
        .map(Some)
        .map_err(|error| Failure::usage(error.to_string()))
}

async fn fetch(
    arguments: &FetchArguments,
    uri: &Uri,
    hop_key: Psk,
    server: Server,
    limit: Duration,
) -> Result<(hyper::StatusCode, Bytes), Failure> {
    let gateway = gateway(&arguments.via).await?;
    let hop = Credentials::new(arguments.hop_user.as_bytes(), hop_key, GATEWAY)
        .map_err(|error| Failure::usage(format!("--hop-user: {error}")))?;
    let mut config = hedgerow::presets::client(limit);
    config.endpoint.legs = Some(LegConfig::new(Role::Device));
    let node = Node::bind_client(wildcard(gateway), config).await;
    let node = node.map_err(|error| Failure::new(Class::Local, format!("no socket: {error}")))?;
    let target = Target {
        address: gateway,
        credentials: Some(Arc::new(hop)),
    };
    let offer = StreamOffer {
        name: arguments.service().to_owned(),
        ..StreamOffer::default()
    };
    let stream = node.open_stream(&target, offer).await;
    let stream = stream.map_err(|failure| told_of_hop(&arguments.via, failure))?;
    let answered = ask(arguments, uri, stream, server, limit).await;
    node.close().await;
    answered
}

/// Shakes hands with the server and asks it.
async fn ask(
    arguments: &FetchArguments,
    uri: &Uri,
    stream: LegStream,
    server: Server,
    limit: Duration,
) -> Result<(hyper::StatusCode, Bytes), Failure> {
    let told = |error: io::Error| explain(arguments, &error);
    match server {
        Server::Certificate(tls, name) => {
            let tls = tls.connect(&name, stream).await.map_err(told)?;
            if let Some((version, suite)) = tls.suite() {
                tracing::info!(version, suite, "end to end");
            }
            exchange(arguments, uri, tls, ServerTlsStream::into_inner).await
        }
        Server::Key(credentials) => {
            let settings = Settings::default()
                .with_application_protocols(PROTOCOLS)
                .with_timers(Timers {
                    deadline: limit,
                    ..Timers::default()
                });
            let forward_secrecy = match arguments.allow_no_forward_secrecy {
                true => ForwardSecrecy::Optional,
                false => ForwardSecrecy::Required,
            };
            let policy = Arc::new(SecurityPolicy::default().for_end_to_end(forward_secrecy));
            // Only what is ours has records in another form.
            let stream = AdaptedStream::client(stream, arguments.form.unwrap_or(LegForm::Tls));
            let connected = TlsStream::connect(stream, Arc::from(credentials), settings, &policy);
            let tls = connected.await.map_err(told)?;
            let suite = tls.suite();
            tracing::info!(suite = suite.map(tracing::field::display), "end to end");
            let into_stream =
                |tls: TlsStream<AdaptedStream<LegStream>>| tls.into_inner().into_inner();
            exchange(arguments, uri, tls, into_stream).await
        }
    }
}

/// Asks, and ends both TLS and the stream below in order once the response is there.
async fn exchange<S>(
    arguments: &FetchArguments,
    uri: &Uri,
    tls: S,
    into_stream: impl FnOnce(S) -> LegStream,
) -> Result<(hyper::StatusCode, Bytes), Failure>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(tls))
        .await
        .map_err(|error| explain_http(arguments, &error))?;
    let exchange = async {
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        let request = Request::get(path)
            .header(HOST, authority)
            .header(CONNECTION, "close")
            .body(Empty::<Bytes>::new())
            .map_err(|error| Failure::usage(error.to_string()))?;
        let response = sender.send_request(request).await;
        let response = response.map_err(|error| explain_http(arguments, &error))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_BODY_LEN);
        let body =
            body.collect()
                .await
                .map_err(|error| match error.downcast_ref::<hyper::Error>() {
                    Some(error) => explain_http(arguments, error),
                    None => {
                        Failure::new(Class::Protocol, format!("{}: {error}", arguments.service()))
                    }
                })?;
        drop(sender);
        Ok((status, body.to_bytes()))
    };
    let (answered, parts) = tokio::join!(exchange, connection.without_shutdown());
    if let (Ok(_), Ok(parts)) = (&answered, parts) {
        let mut tls = parts.io.into_inner();
        let closing = async {
            tls.shutdown().await?;
            into_stream(tls).close().await
        };
        // The response is there as a whole: whether the server hears of the end changes nothing.
        let _ = timeout(CLOSE_TIMEOUT, closing).await;
    }
    answered
}

/// Returns where a socket is bound that reaches an address.
fn wildcard(to: SocketAddr) -> SocketAddr {
    match to {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    }
}

async fn gateway(via: &str) -> Result<SocketAddr, Failure> {
    let uri = CoapUri::parse(via).map_err(|error| Failure::usage(format!("--via: {error}")))?;
    if uri.scheme() != Scheme::Coaps {
        return Err(Failure::usage("--via: expected coaps://HOST:PORT"));
    }
    let addresses = target::resolve(&uri).await?;
    let first = addresses.first().copied();
    first.ok_or_else(|| Failure::new(Class::Name, format!("{} has no address", uri.host())))
}

fn explain_http(arguments: &FetchArguments, error: &hyper::Error) -> Failure {
    let mut source = std::error::Error::source(error);
    while let Some(found) = source {
        if let Some(error) = found.downcast_ref::<io::Error>() {
            return explain(arguments, error);
        }
        source = found.source();
    }
    Failure::new(
        Class::Protocol,
        format!("{}: no HTTP/1.1: {error}", arguments.service()),
    )
}

/// Says which of the two, the gateway or the server behind it, did what.
fn explain(arguments: &FetchArguments, error: &io::Error) -> Failure {
    let (service, via) = (arguments.service(), &arguments.via);
    let inner = error.get_ref();
    if let Some(failure) = inner.and_then(|inner| inner.downcast_ref::<StreamFailure>()) {
        let StreamFailure::Reset { reason, .. } = *failure else {
            return match *failure {
                StreamFailure::Hop(failure) => told_of_hop(via, failure),
                other => Failure::new(Class::Protocol, format!("{via}: {other}")),
            };
        };
        let (class, text) = match reason {
            ResetReason::Refused => (
                Class::Denied,
                format!("it has no service {service:?} for this device"),
            ),
            ResetReason::ConnectFailed => (
                Class::Protocol,
                format!("it can't connect to the service {service:?}"),
            ),
            ResetReason::Timeout => (Class::Timeout, "it fell silent".to_owned()),
            reason => (Class::Protocol, format!("{service:?}: {reason}")),
        };
        return Failure::new(class, format!("{via}: {text}"));
    }
    if let Some(failure) = inner.and_then(|inner| inner.downcast_ref::<ServerTlsFailure>()) {
        let class = match failure {
            ServerTlsFailure::Certificate { .. } => Class::Credentials,
            ServerTlsFailure::Name => Class::Usage,
            _ => Class::Protocol,
        };
        return Failure::new(class, format!("the server behind {via}: {failure}"));
    }
    let (class, text) = match inner.and_then(|inner| inner.downcast_ref::<ChannelError>()) {
        Some(ChannelError::Peer(PeerFault::CredentialsRefused)) => (
            Class::Credentials,
            "credentials refused or not answered: the identity is unknown there, or the key is \
             another one, or the gateway leads elsewhere"
                .to_owned(),
        ),
        Some(ChannelError::Peer(PeerFault::HandshakeTimeout)) => {
            (Class::Timeout, "no TLS handshake in time".to_owned())
        }
        Some(ChannelError::Peer(PeerFault::Truncated)) => (
            Class::Protocol,
            "cut off: the connection ended without the server's word".to_owned(),
        ),
        Some(error) => (Class::Protocol, error.to_string()),
        None => (Class::Protocol, error.to_string()),
    };
    Failure::new(class, format!("the server behind {via}: {text}"))
}

fn told_of_hop(via: &str, failure: RequestFailure) -> Failure {
    let class = match failure {
        RequestFailure::ServiceName => Class::Usage,
        RequestFailure::Channel(ChannelError::Peer(PeerFault::CredentialsRefused)) => {
            Class::Credentials
        }
        RequestFailure::Channel(ChannelError::Peer(PeerFault::HandshakeTimeout)) => Class::Timeout,
        _ => Class::Protocol,
    };
    Failure::new(class, format!("{via}: {failure}"))
}

/// There is one of each, and nobody asks for their numbers.
const SERVER: PeerId = PeerId(0);
const GATEWAY: PeerId = PeerId(1);

/// What is spoken over TLS.
const PROTOCOLS: &[&[u8]] = &[b"http/1.1"];

/// The longest body, in bytes.
const MAX_BODY_LEN: usize = 16 << 20;

/// How long the orderly end may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
