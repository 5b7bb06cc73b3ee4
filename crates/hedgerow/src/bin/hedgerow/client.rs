//! One request: from the command line to a response or a failure.

use std::fs;
use std::io::{self, Read};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use hedgerow_coap::{
    CoapUri, Code, Message, MessageId, MessageOption, MessageType, MessageWriter, OptionNumber,
    Token,
};
use hedgerow_core::{ChannelError, PeerFault, SecurityMode};
use hedgerow_endpoint::{ConnectionIds, Error as EndpointError};
use hedgerow_exchange::{Error as ExchangeError, RequestError};
use hedgerow_net::{
    InnerSession, KeyLogFile, Node, NodeConfig, RequestFailure, RequestMessage, ResponseMessage,
    SecurityPolicy, StreamClient, StreamConfig, Target,
};
use hedgerow_record::CipherSuite;
use tokio::time::{Instant, timeout_at};

use crate::arguments::RequestLine;
use crate::exit::{Class, Failure};
use crate::target::{self, Security};
use crate::via::{Mode, Via, Way};
use crate::via_itls;

/// What a request was about, as far as it got.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// The URI in normal form.
    pub(crate) uri: Option<String>,
    pub(crate) security: Option<Security>,
    /// The suite that was negotiated.
    pub(crate) suite: Option<CipherSuite>,
    /// The inner session, in mode `itls`.
    pub(crate) inner: Option<InnerSession>,
    pub(crate) address: Option<SocketAddr>,
    /// The way through a gateway, if there is one.
    pub(crate) way: Option<Way>,
    pub(crate) resolving: Option<Duration>,
    pub(crate) requesting: Option<Duration>,
}

/// Sends the request that the command line asks for, and waits no longer than it allows.
pub(crate) async fn run(
    line: &RequestLine,
    progress: &mut Progress,
) -> Result<ResponseMessage, Failure> {
    let uri = CoapUri::parse(&line.common.uri)
        .map_err(|error| Failure::usage(format!("{}: {error}", line.common.uri)))?;
    progress.uri = Some(uri.to_string());
    let security = Security::choose(&uri, &line.common)?;
    progress.security = Some(security.clone());
    let payload = read_payload(line)?;

    let started = Instant::now();
    let deadline = started + line.common.limit();
    let via = Via::choose(&line.common.via, &uri, line.common.limit())?;
    if let Some(via) = via {
        return run_via(line, progress, &uri, &security, via, payload, deadline).await;
    }
    let addresses = timeout_at(deadline, target::resolve(&uri)).await;
    progress.resolving = Some(started.elapsed());
    let addresses = addresses.unwrap_or_else(|_| {
        let message = format!(
            "{}: not resolved within {} s",
            uri.host(),
            line.common.seconds
        );
        Err(Failure::new(Class::Timeout, message))
    })?;
    let address = *addresses
        .first()
        .ok_or_else(|| Failure::new(Class::Name, format!("{} has no address", uri.host())))?;
    progress.address = Some(address);

    let request = RequestMessage {
        method: line.method,
        options: options(line, &uri, Some(address))?,
        payload,
        is_confirmable: !line.common.non_confirmable,
        answers_challenges: true,
    };
    let key_log = open_key_log(line.common.key_log.as_deref())?;
    // The scheme says whether there is to be security, and the user whose the key is.
    let least = security.security_mode();
    let limit = line.common.limit();
    let connection_ids = match line.common.connection_id {
        true => ConnectionIds::SendOnly,
        false => ConnectionIds::Off,
    };
    let carrier = Carrier::open(&uri, address, limit, least, connection_ids, key_log).await?;
    let target = Target {
        address,
        credentials: security.credentials(),
    };
    let asked = Instant::now();
    let outcome = timeout_at(deadline, carrier.request(&target, request)).await;
    let waited = asked.elapsed();
    progress.requesting = Some(waited);
    progress.suite = carrier.suite(&target).await;
    let is_established = carrier.is_established();
    carrier.close().await;

    let peer = Peer {
        place: address.to_string(),
        others: addresses.len().saturating_sub(1),
        security: &security,
        way: None,
        waited,
        is_established,
    };
    match outcome {
        Ok(Ok(response)) => Ok(response),
        Ok(Err(failure)) => Err(peer.explain(failure)),
        Err(_) if is_established => Err(peer.no_response()),
        Err(_) => Err(peer.silence()),
    }
}

/// Sends the request through a gateway that hands on what it can't read.
async fn run_via(
    line: &RequestLine,
    progress: &mut Progress,
    uri: &CoapUri<'_>,
    security: &Security,
    mut via: Via,
    payload: Vec<u8>,
    deadline: Instant,
) -> Result<ResponseMessage, Failure> {
    progress.way = Some(via.way.clone());
    let request = RequestMessage {
        method: line.method,
        // The gateway's place stands for what the URI names.
        options: options(line, uri, None)?,
        payload,
        is_confirmable: !line.common.non_confirmable,
        answers_challenges: true,
    };
    if via.way.mode == Mode::Itls {
        via_itls::check(security, line.common.connection_id)?;
    }
    let mut config = NodeConfig {
        key_log: open_key_log(line.common.key_log.as_deref())?,
        ..hedgerow::presets::client(line.common.limit())
    };
    if line.common.connection_id {
        if matches!(via.way.mode, Mode::Translate | Mode::TranslateDevice) {
            return Err(Failure::usage(format!(
                "--connection-id: in mode {} records carry none",
                via.way.mode.name()
            )));
        }
        config.endpoint.connection_ids = ConnectionIds::SendOnly;
    }
    let asked = Instant::now();
    let opened = via.open(config).await;
    progress.way = Some(via.way.clone());
    let node = opened?;
    let credentials = security.credentials();
    let outcome = timeout_at(deadline, node.request(credentials.as_ref(), request)).await;
    let waited = asked.elapsed();
    progress.requesting = Some(waited);
    progress.suite = node.suite(credentials.as_ref()).await;
    progress.inner = node.inner_session().await;
    let is_established = node.established() > 0;
    node.close().await;
    let peer = Peer {
        place: via.name(),
        others: 0,
        security,
        way: Some(&via.way),
        waited,
        is_established,
    };
    match outcome {
        Ok(Ok(response)) => Ok(response),
        Ok(Err(RequestFailure::Carrier(failure))) => Err(via.explain(failure)),
        Ok(Err(RequestFailure::Channel(ChannelError::Peer(PeerFault::WayRefused { reason })))) => {
            Err(via.refused(reason))
        }
        Ok(Err(failure)) if is_established => Err(behind_gateway(peer.explain(failure), &via.way)),
        Ok(Err(failure)) => {
            let told = behind_gateway(peer.explain(failure), &via.way);
            Err(via.hint(told, failure))
        }
        Err(_) if is_established => Err(peer.no_response()),
        Err(_) => Err(behind_gateway(peer.silence(), &via.way)),
    }
}

/// Says of a device's silence that it isn't the gateway's.
fn behind_gateway(failure: Failure, way: &Way) -> Failure {
    let known = match way.is_inside() {
        // Whether the gateway has reached the device, it doesn't say before it has given up.
        true => "The session with the gateway is there",
        false => "The gateway answered, and opened the way",
    };
    match failure.class {
        Class::Timeout => Failure {
            message: format!("{} {known}; the device didn't answer.", failure.message),
            ..failure
        },
        _ => failure,
    }
}

/// The other end of a request, for what is said about failures.
#[derive(Clone, Debug)]
struct Peer<'a> {
    /// Its address, or how a gateway knows it.
    place: String,
    others: usize,
    security: &'a Security,
    /// Through which gateway it is asked, if through one.
    way: Option<&'a Way>,
    waited: Duration,
    is_established: bool,
}

/// Opens the key log, and says so loudly: it ends all secrecy of what follows.
fn open_key_log(path: Option<&Path>) -> Result<Option<KeyLogFile>, Failure> {
    let Some(path) = path else {
        return Ok(None);
    };
    match KeyLogFile::open(path) {
        Ok(log) => {
            eprintln!(
                "hedgerow: KEY LOG IS ON: whoever reads {} reads this connection",
                path.display()
            );
            Ok(Some(log))
        }
        Err(error) => {
            let message = format!("key log {}: {error}", path.display());
            Err(Failure::new(Class::Local, message))
        }
    }
}

/// What carries a request, as the URI's scheme says.
enum Carrier {
    Datagrams(Node),
    Streams(StreamClient),
}

impl Carrier {
    async fn open(
        uri: &CoapUri<'_>,
        address: SocketAddr,
        limit: Duration,
        least: SecurityMode,
        connection_ids: ConnectionIds,
        key_log: Option<KeyLogFile>,
    ) -> Result<Self, Failure> {
        let policy = SecurityPolicy::new(least);
        if uri.scheme().is_tcp() {
            let config = StreamConfig {
                key_log,
                ..hedgerow::presets::stream_client(limit).with_security(policy)
            };
            return Ok(Self::Streams(StreamClient::new(config)));
        }
        let local = match address {
            SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
        };
        let mut config = NodeConfig {
            key_log,
            ..hedgerow::presets::client(limit).with_security(policy)
        };
        config.endpoint.connection_ids = connection_ids;
        let node = Node::bind_client(local, config).await;
        let node = node.map_err(|error| Failure::new(Class::Local, format!("no socket: {error}")));
        node.map(Self::Datagrams)
    }

    async fn request(
        &self,
        target: &Target,
        request: RequestMessage,
    ) -> Result<ResponseMessage, RequestFailure> {
        match self {
            Self::Datagrams(node) => node.request(target, request).await,
            Self::Streams(client) => client.request(target, request).await,
        }
    }

    async fn suite(&self, target: &Target) -> Option<CipherSuite> {
        match self {
            Self::Datagrams(node) => node.suite(target.address).await,
            Self::Streams(client) => client.suite(target),
        }
    }

    fn is_established(&self) -> bool {
        match self {
            Self::Datagrams(node) => node.statistics().established > 0,
            Self::Streams(client) => client.statistics().established > 0,
        }
    }

    async fn close(&self) {
        match self {
            Self::Datagrams(node) => node.close().await,
            Self::Streams(client) => client.close().await,
        }
    }
}

impl Peer<'_> {
    fn explain(&self, failure: RequestFailure) -> Failure {
        let name = self.name();
        match failure {
            RequestFailure::Channel(ChannelError::Peer(PeerFault::CredentialsRefused)) => {
                Failure::new(
                    Class::Credentials,
                    format!(
                        "credentials refused or not answered by {name}: the identity is unknown \
                         there, the key is another one, or the server fell silent; a server \
                         doesn't say which"
                    ),
                )
            }
            RequestFailure::Channel(ChannelError::Peer(PeerFault::HandshakeTimeout)) => {
                self.silence()
            }
            RequestFailure::Exchange(RequestError::AcknowledgementTimeout)
            | RequestFailure::ConnectTimeout => self.silence(),
            RequestFailure::Connect {
                kind: io::ErrorKind::ConnectionRefused,
            } => Failure::new(
                Class::Protocol,
                format!("{name}: connection refused: nothing listens at this TCP port"),
            ),
            RequestFailure::Channel(ChannelError::Peer(fault))
                if !self.is_established && self.is_about_certificates(fault) =>
            {
                Failure::new(Class::Credentials, format!("{name}: {}", self.told(fault)))
            }
            RequestFailure::Channel(ChannelError::Peer(
                fault @ (PeerFault::AlertSent { .. }
                | PeerFault::AlertReceived { .. }
                | PeerFault::Truncated),
            )) if !self.is_established && self.is_tls() => Failure::new(
                Class::Protocol,
                format!(
                    "{name}: no TLS 1.2 with {} came about ({fault}): is it a {} port?",
                    self.security.means(),
                    match self.way {
                        Some(_) => "gateway's [[tls_listener]]",
                        None => "coaps+tcp server's",
                    }
                ),
            ),
            RequestFailure::Exchange(RequestError::ConnectionAborted) if !self.is_established => {
                Failure::new(
                    Class::Protocol,
                    format!("{name}: what answers there doesn't speak CoAP, or not in this mode"),
                )
            }
            RequestFailure::Exchange(RequestError::ResponseTimeout) => self.no_response(),
            RequestFailure::Refused(EndpointError::Exchange(
                error @ (ExchangeError::BodyTooLong { .. } | ExchangeError::OptionsTooLong { .. }),
            )) => Failure::usage(error.to_string()),
            RequestFailure::UnusableAddress { .. } | RequestFailure::NodeStopped => {
                Failure::new(Class::Local, failure.to_string())
            }
            other => Failure::new(Class::Protocol, format!("{name}: {other}")),
        }
    }

    /// Says whether the channel is TLS over TCP.
    fn is_tls(&self) -> bool {
        self.security.is_tls() || self.way.is_some_and(Way::is_tls)
    }

    /// Says whether one end refused the other's certificate or raw public key.
    fn is_about_certificates(&self, fault: PeerFault) -> bool {
        if self.security.security_mode() != SecurityMode::Certificate {
            return false;
        }
        match fault {
            PeerFault::AlertSent { description } => {
                is_about_certificate(description) || description == HANDSHAKE_FAILURE
            }
            PeerFault::AlertReceived { description, .. } => {
                is_about_certificate(description)
                    || matches!(description, HANDSHAKE_FAILURE | CERTIFICATE_REQUIRED)
            }
            _ => false,
        }
    }

    /// Says what came of the certificates.
    fn told(&self, fault: PeerFault) -> String {
        match (fault, self.security) {
            // RFC 7925 §6: raw public keys have no alert of their own.
            (
                PeerFault::AlertSent {
                    description: HANDSHAKE_FAILURE,
                },
                _,
            ) => "the server's raw public key is another one, or it lacks the extended master \
                  secret"
                .to_owned(),
            (
                PeerFault::AlertReceived {
                    description: HANDSHAKE_FAILURE | CERTIFICATE_REQUIRED,
                    ..
                },
                _,
            ) => format!(
                "the server doesn't take what it was shown ({fault}): it may want a certificate or \
                 raw public key, not know this one, or have no cipher suite in common"
            ),
            (
                PeerFault::AlertSent { .. },
                Security::Certificate {
                    name: Some(name), ..
                },
            ) => {
                format!("the server's {fault}; expected one for {name:?}")
            }
            _ => fault.to_string(),
        }
    }

    /// Nobody was heard at all.
    fn silence(&self) -> Failure {
        let (name, seconds) = (self.name(), self.waited.as_secs_f64());
        let others = match self.others {
            0 => String::new(),
            others => format!("; {others} more addresses of this name were not asked"),
        };
        let question = match self.way.map(|way| way.mode) {
            // The device is known by its name there, and no port counts.
            Some(Mode::Itls | Mode::Translate) => {
                "is the device awake, and are identity and key those that it has for its users?"
            }
            _ => "is the device there and awake, and is the port right?",
        };
        Failure::new(
            Class::Timeout,
            format!("no answer from {name} within {seconds:.0} s: {question}{others}"),
        )
    }

    /// The peer was heard, but didn't answer the request.
    fn no_response(&self) -> Failure {
        let (name, seconds) = (self.name(), self.waited.as_secs_f64());
        Failure::new(
            Class::Timeout,
            format!("{name} is there, but sent no response within {seconds:.0} s"),
        )
    }

    fn name(&self) -> String {
        format!("{} ({})", self.place, self.security.describe(self.way))
    }
}

/// Says whether an alert is about the other end's certificate (RFC 5246 §7.2.2).
const fn is_about_certificate(description: u8) -> bool {
    matches!(description, 42..=46 | 48 | 49)
}

/// RFC 5246 §7.2.2; also what a server sends that wants a certificate and is shown none (§7.4.6).
const HANDSHAKE_FAILURE: u8 = 40;

/// What some servers send in its place, though it is TLS 1.3's (RFC 8446 §6.2).
const CERTIFICATE_REQUIRED: u8 = 116;

fn read_payload(line: &RequestLine) -> Result<Vec<u8>, Failure> {
    match (&line.payload, &line.file) {
        (Some(text), _) => Ok(text.as_bytes().to_vec()),
        (None, Some(path)) if path == Path::new("-") => {
            let mut payload = Vec::new();
            io::stdin()
                .lock()
                .read_to_end(&mut payload)
                .map_err(|error| Failure::file(Path::new("standard input"), &error))?;
            Ok(payload)
        }
        (None, Some(path)) => fs::read(path).map_err(|error| Failure::file(path, &error)),
        (None, None) => Ok(Vec::new()),
    }
}

/// Writes the options of the request (RFC 7252 §6.4) with the formats among them.
fn options(
    line: &RequestLine,
    uri: &CoapUri<'_>,
    destination: Option<SocketAddr>,
) -> Result<Vec<(OptionNumber, Vec<u8>)>, Failure> {
    let format = line
        .content_format
        .map(hedgerow_coap::ContentFormat::encode);
    let accept = line.common.accept.map(hedgerow_coap::ContentFormat::encode);
    let mut others = Vec::new();
    if let Some(format) = &format {
        others.push(MessageOption::new(
            OptionNumber::CONTENT_FORMAT,
            format.as_bytes(),
        ));
    }
    if let Some(accept) = &accept {
        others.push(MessageOption::new(OptionNumber::ACCEPT, accept.as_bytes()));
    }
    uri_options(uri, line.method, destination, &others)
}

/// Writes the options that stand for a URI, with others among them, in their order.
pub(crate) fn uri_options(
    uri: &CoapUri<'_>,
    method: Code,
    destination: Option<SocketAddr>,
    others: &[MessageOption<'_>],
) -> Result<Vec<(OptionNumber, Vec<u8>)>, Failure> {
    let mut room = vec![0; MAX_OPTIONS_LEN];
    let confirmable = MessageType::Confirmable;
    let written = MessageWriter::new(&mut room, confirmable, method, MessageId(0), Token::EMPTY)
        .and_then(|mut writer| {
            uri.write_options(destination, others, &mut writer)?;
            Ok(writer.finish())
        });
    let too_long = |_| Failure::usage("the URI is too long for a request");
    let len = written.map_err(too_long)?;
    let message = Message::decode(room.get(..len).unwrap_or_default())
        .map_err(|error| Failure::usage(error.to_string()))?;
    Ok(message
        .options()
        .map(|option| (option.number(), option.value().to_vec()))
        .collect())
}

/// More than one message carries: the exchange says how much that is.
const MAX_OPTIONS_LEN: usize = 16_384;
