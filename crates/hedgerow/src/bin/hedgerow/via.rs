//! A request through a gateway that isn't trusted: how it is asked for, and what is said of its failures.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::{env, fs};

use clap::{Args, ValueEnum};
use hedgerow_coap::{CoapUri, Scheme};
use hedgerow_core::{ChannelError, PeerFault, WayRefusal};
use hedgerow_endpoint::TranslateError;
use hedgerow_net::{
    AdaptedGateway, Authorities, CarrierFailure, CertificateReason, ForwardSecrecy, GatewayTls,
    GatewayUri, GatewayUser, ItlsConfig, NodeConfig, Passage, PassageNode, RequestFailure,
    SecurityPolicy, TranslateGateway, TunnelConfig, TunnelTarget,
};
use hedgerow_record::TranslateForm;
use tokio::time::Duration;
use zeroize::Zeroizing;

use crate::exit::{Class, Failure};
use crate::{private_file, via_itls};

/// Which gateway is asked, as whom, and in which mode.
#[derive(Debug, Args)]
pub(crate) struct ViaArguments {
    /// Ask the device through this gateway, which can't read it: https://HOST:PORT, or http:// on this host;
    /// in modes translate and translate-device tcp://HOST:PORT, in mode itls https:// with the port that it has for
    /// this mode
    ///
    /// The URI then names the device as the gateway's configuration does, by name or by address, and
    /// with the port from there; in modes translate and itls by name, and no port counts. In mode
    /// translate-device it is the name that the gateway's port for this has among others, and any where it leads
    /// to one device.
    #[arg(long, value_name = "GATEWAY", requires = "mode")]
    pub(crate) via: Option<String>,

    /// How the gateway hands on what it can't read
    #[arg(long, value_name = "MODE", requires = "via")]
    pub(crate) mode: Option<Mode>,

    /// How records stand between here and a gateway that translates
    #[arg(long, value_name = "FORM", requires = "via")]
    pub(crate) form: Option<Form>,

    /// A file with the token that the gateway knows this user by, or the password with --gateway-user
    ///
    /// Without it the environment's HEDGEROW_TOKEN is taken, if there is one.
    #[arg(long, value_name = "FILE", requires = "via")]
    pub(crate) token_file: Option<PathBuf>,

    /// The user's name, for a gateway that wants name and password
    #[arg(long, value_name = "NAME", requires = "via")]
    pub(crate) gateway_user: Option<String>,

    /// Trust these authorities for the gateway's certificate, and not the system's
    #[arg(long, value_name = "FILE", requires = "via")]
    pub(crate) gateway_authority: Option<PathBuf>,

    /// Speak plain HTTP with a gateway on another host: whoever is on the way reads the token
    #[arg(long, requires = "via")]
    pub(crate) gateway_in_clear: bool,

    /// Do with a device that has no suite with forward secrecy: recordings of the gateway's are readable
    /// once the key is known
    #[arg(long, requires = "via")]
    pub(crate) allow_no_forward_secrecy: bool,
}

/// The modes of end-to-end security.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// DTLS datagrams inside HTTP to the gateway, UDP behind it (docs/specs/tunnel.md)
    Tunnel,
    /// DTLS records under other headers over TCP to the gateway, UDP behind it (docs/specs/translate.md;
    /// experimental)
    Translate,
    /// A TLS connection that the gateway hands on to a device which adapts to it, over TCP
    /// (docs/specs/translate-device.md; experimental)
    TranslateDevice,
    /// Messages sealed for the device inside TLS to the gateway, and inside DTLS behind it
    /// (docs/specs/itls.md; experimental)
    Itls,
    /// A tunnel with a second carrier over UDP, of which the better one is taken while the session goes on
    /// (docs/specs/auto.md; experimental)
    Auto,
}

/// The forms of records in mode `translate`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    /// Headers of 5 bytes, for suites with AES-CCM; what is meant if nothing is said
    Short,
    /// Headers of 13 bytes, for all suites
    Long,
}

impl Mode {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Tunnel => "tunnel",
            Self::Translate => "translate",
            Self::TranslateDevice => "translate-device",
            Self::Itls => "itls",
            Self::Auto => "auto",
        }
    }
}

/// What is known of the way through a gateway.
#[derive(Clone, Debug)]
pub(crate) struct Way {
    pub(crate) mode: Mode,
    pub(crate) gateway: String,
    pub(crate) address: Option<SocketAddr>,
    /// What carries the datagrams, once something does.
    pub(crate) carrier: Option<&'static str>,
}

impl Way {
    /// Says whether the request goes inside sessions with the gateway, in a session of its own kind.
    pub(crate) fn is_inside(&self) -> bool {
        self.mode == Mode::Itls
    }

    /// Says whether the session with the device is TLS, and not DTLS.
    pub(crate) fn is_tls(&self) -> bool {
        self.mode == Mode::TranslateDevice
    }
}

/// A way through a gateway that is to be opened.
#[derive(Debug)]
pub(crate) struct Via {
    passage: Passage,
    /// The device as the gateway knows it.
    host: String,
    port: u16,
    pub(crate) forward_secrecy: ForwardSecrecy,
    pub(crate) way: Way,
}

impl Via {
    /// Reads what the command line says, if it names a gateway.
    pub(crate) fn choose(
        arguments: &ViaArguments,
        uri: &CoapUri<'_>,
        limit: Duration,
    ) -> Result<Option<Self>, Failure> {
        let (Some(gateway), Some(mode)) = (&arguments.via, arguments.mode) else {
            return Ok(None);
        };
        if uri.scheme() != Scheme::Coaps {
            return Err(Failure::usage(format!(
                "mode {} leads to coaps:// devices alone: what isn't secured end to end the gateway \
                 reads",
                mode.name()
            )));
        }
        let host = uri.host().to_string();
        let (mut passage, gateway) = passage(arguments, gateway, mode)?;
        if let Passage::Tunnel(_) = passage {
            TunnelTarget::new(&host, uri.port())
                .map_err(|error| Failure::usage(format!("{uri}: {error}")))?;
        }
        passage.set_connect_timeout(passage.connect_timeout().min(limit));
        let way = Way {
            mode,
            gateway,
            address: None,
            carrier: None,
        };
        Ok(Some(Self {
            passage,
            host,
            port: uri.port(),
            forward_secrecy: forward_secrecy(arguments),
            way,
        }))
    }

    /// Reads what the command line says of the gateway before all devices.
    pub(crate) fn for_all(arguments: &ViaArguments) -> Result<hedgerow_gateway::Via, Failure> {
        let (Some(gateway), Some(mode)) = (&arguments.via, arguments.mode) else {
            return Err(Failure::usage(
                "expected --via GATEWAY and --mode MODE: devices that are asked straight need no \
                 facade",
            ));
        };
        let (passage, _) = passage(arguments, gateway, mode)?;
        Ok(hedgerow_gateway::Via {
            passage,
            forward_secrecy: forward_secrecy(arguments),
        })
    }

    /// Reads what the command line says of the gateway through which devices call.
    pub(crate) fn for_devices(arguments: &ViaArguments) -> Result<(Self, ItlsConfig), Failure> {
        let (Some(gateway), Some(Mode::Itls)) = (&arguments.via, arguments.mode) else {
            return Err(Failure::usage(
                "expected --via GATEWAY and --mode itls: in no other mode does a device that is a DTLS client call \
                 through a gateway",
            ));
        };
        let (uri, tls, user) = gateway_over_http(arguments, gateway)?;
        let config = via_itls::config(uri, tls, user)?;
        let via = Self {
            host: String::new(),
            port: 0,
            forward_secrecy: forward_secrecy(arguments),
            way: Way {
                mode: Mode::Itls,
                gateway: config.gateway.to_string(),
                address: None,
                carrier: None,
            },
            passage: Passage::Itls(Box::new(config.clone())),
        };
        Ok((via, config))
    }

    /// Opens the way.
    pub(crate) async fn open(&mut self, config: NodeConfig) -> Result<PassageNode, Failure> {
        let policy = SecurityPolicy::default().for_end_to_end(self.forward_secrecy);
        let config = config.with_security(policy);
        let opened = self.passage.open(&self.host, self.port, config).await;
        let opened = opened.map_err(|failure| self.explain(failure))?;
        self.way.address = Some(opened.gateway);
        self.way.carrier = Some(opened.carrier);
        Ok(opened.node)
    }

    /// Says what became of the way, and what to do about it.
    pub(crate) fn explain(&self, failure: CarrierFailure) -> Failure {
        let gateway = &self.way.gateway;
        let told = |class, text: String| Failure::new(class, format!("{gateway}: {text}"));
        match failure {
            CarrierFailure::GatewayName => told(Class::Name, "the host has no address".to_owned()),
            CarrierFailure::ConnectTimeout => told(
                Class::Timeout,
                "the gateway doesn't answer: is it there, and is the port right?".to_owned(),
            ),
            CarrierFailure::InClear => Failure::usage(format!(
                "{gateway}: {failure}: expected https://, or --gateway-in-clear"
            )),
            CarrierFailure::Connect {
                kind: std::io::ErrorKind::ConnectionRefused,
            } => told(
                Class::Protocol,
                "connection refused: no gateway listens at this port".to_owned(),
            ),
            CarrierFailure::GatewayCertificate { reason } => {
                let hint = match reason {
                    CertificateReason::Authority => {
                        ": --gateway-authority FILE names its authority"
                    }
                    _ => "",
                };
                told(Class::Credentials, format!("{failure}{hint}"))
            }
            CarrierFailure::Tls => told(
                Class::Protocol,
                "no TLS came about: is it the gateway's HTTPS port?".to_owned(),
            ),
            CarrierFailure::UserRefused { .. } | CarrierFailure::UserUnknown
                if !self.shows_user() => told(
                Class::Credentials,
                "the gateway wants to know who asks: --token-file FILE, or HEDGEROW_TOKEN"
                    .to_owned(),
            ),
            CarrierFailure::NoItls => told(
                Class::Protocol,
                "what answers there doesn't speak mode itls: is it the address that [itls] listens at?"
                    .to_owned(),
            ),
            CarrierFailure::UserRefused { .. } | CarrierFailure::UserUnknown => told(
                Class::Credentials,
                "the gateway doesn't know this token, or name and password".to_owned(),
            ),
            CarrierFailure::TargetDenied => told(
                Class::Denied,
                format!(
                    "it has no device at {}, or not in mode {}: name and port are those of the \
                     gateway's configuration",
                    self.target(),
                    self.way.mode.name()
                ),
            ),
            CarrierFailure::Translate(TranslateError::Refused) => told(
                Class::Denied,
                format!(
                    "it has no device called {}, or not in mode translate: the name is the one in \
                     the gateway's configuration",
                    self.target()
                ),
            ),
            CarrierFailure::Translate(
                error @ (TranslateError::NotAnswered | TranslateError::Http | TranslateError::Tls),
            ) => told(
                Class::Protocol,
                format!("{error}: is it the address that [translate] listens at?"),
            ),
            CarrierFailure::Translate(TranslateError::Unanswered) => told(
                Class::Protocol,
                "it closed without an answer: is it the address that [translate] listens at, and \
                 has it room for one more?"
                    .to_owned(),
            ),
            CarrierFailure::Translate(TranslateError::NonceNotRecordNumber) => told(
                Class::Protocol,
                "the device's nonces are not its record numbers: --form long does without that"
                    .to_owned(),
            ),
            CarrierFailure::Busy { .. } | CarrierFailure::Unreachable { .. } => {
                told(Class::Protocol, failure.to_string())
            }
            other => told(Class::Protocol, other.to_string()),
        }
    }

    /// Says what became of a way that the gateway didn't give, or closed before the device answered.
    pub(crate) fn refused(&self, reason: WayRefusal) -> Failure {
        via_itls::refused(&self.way.gateway, &self.target(), reason)
    }

    /// Says what may help where the device refused the handshake for want of a common suite.
    pub(crate) fn hint(&self, mut told: Failure, failure: RequestFailure) -> Failure {
        let is_refused = matches!(
            failure,
            RequestFailure::Channel(ChannelError::Peer(PeerFault::AlertReceived {
                description: HANDSHAKE_FAILURE,
                ..
            }))
        );
        if is_refused && self.forward_secrecy == ForwardSecrecy::Required {
            told.message.push_str(
                ": if the device has no suite with forward secrecy, --allow-no-forward-secrecy does \
                 without",
            );
        }
        let refused_by_gateway = match failure {
            RequestFailure::Channel(ChannelError::Peer(fault)) if self.way.is_tls() => {
                adapt_refusal(fault)
            }
            _ => None,
        };
        if let Some(reason) = refused_by_gateway {
            let gateway = &self.way.gateway;
            return Failure::new(Class::Denied, format!("{gateway}: {reason}"));
        }
        let is_short = matches!(
            &self.passage,
            Passage::Translate(gateway) if gateway.form == TranslateForm::Short
        );
        if is_refused && is_short {
            told.message
                .push_str(": if it has no suite with AES-CCM, --form long carries the others");
        }
        told
    }

    /// Returns how the device is called where failures are told.
    pub(crate) fn name(&self) -> String {
        format!("{} behind {}", self.target(), self.way.gateway)
    }

    /// Returns the device as the gateway is asked for it.
    fn target(&self) -> String {
        match &self.passage {
            Passage::Tunnel(_) => format!("{}:{}", self.host, self.port),
            _ => self.host.clone(),
        }
    }

    const fn shows_user(&self) -> bool {
        match &self.passage {
            Passage::Tunnel(config) => config.user.is_some(),
            Passage::Itls(config) => config.user.is_some(),
            _ => false,
        }
    }
}

/// Reads how a gateway is reached in a mode, and what it is called where failures are told.
fn passage(
    arguments: &ViaArguments,
    gateway: &str,
    mode: Mode,
) -> Result<(Passage, String), Failure> {
    Ok(match mode {
        Mode::Tunnel | Mode::Auto => {
            let mut config = tunnel_config(arguments, gateway)?;
            config.wants_udp_carrier = mode == Mode::Auto;
            let gateway = config.gateway.to_string();
            (Passage::Tunnel(config), gateway)
        }
        Mode::Itls => {
            let (uri, tls, user) = gateway_over_http(arguments, gateway)?;
            let config = via_itls::config(uri, tls, user)?;
            let gateway = config.gateway.to_string();
            (Passage::Itls(Box::new(config)), gateway)
        }
        Mode::TranslateDevice => {
            if arguments.form.is_some() {
                return Err(Failure::usage(
                    "--form: the gateway's configuration says which form goes to the device",
                ));
            }
            let (host, port) = gateway_over_tcp(arguments, gateway, mode)?;
            (
                Passage::Adapted(AdaptedGateway::new(host, port)),
                gateway.to_owned(),
            )
        }
        Mode::Translate => {
            let form = match arguments.form {
                Some(Form::Long) => TranslateForm::Long,
                Some(Form::Short) | None => TranslateForm::Short,
            };
            let (host, port) = gateway_over_tcp(arguments, gateway, mode)?;
            let translating = TranslateGateway::new(host, port, form);
            (Passage::Translate(translating), gateway.to_owned())
        }
    })
}

/// Reads where a gateway is that asks for no user, by host and port.
fn gateway_over_tcp(
    arguments: &ViaArguments,
    gateway: &str,
    mode: Mode,
) -> Result<(String, u16), Failure> {
    for (flag, is_there) in [
        ("--token-file", arguments.token_file.is_some()),
        ("--gateway-user", arguments.gateway_user.is_some()),
        ("--gateway-authority", arguments.gateway_authority.is_some()),
        ("--gateway-in-clear", arguments.gateway_in_clear),
    ] {
        if is_there {
            return Err(Failure::usage(format!(
                "{flag}: in mode {} a gateway asks for no user and speaks no TLS itself",
                mode.name()
            )));
        }
    }
    let parsed = gateway.strip_prefix("tcp://").and_then(|place| {
        let uri = format!("coap+tcp://{place}");
        let uri = CoapUri::parse(&uri).ok()?;
        let is_place = !place.contains(['/', '?', '#', '@']);
        (is_place && place.ends_with(&format!(":{}", uri.port())))
            .then(|| (uri.host().to_string(), uri.port()))
    });
    parsed.ok_or_else(|| {
        Failure::usage(format!(
            "--via: {gateway}: expected tcp://HOST:PORT for mode {}",
            mode.name()
        ))
    })
}

/// Reads how a gateway with tunnels is reached.
fn tunnel_config(arguments: &ViaArguments, gateway: &str) -> Result<TunnelConfig, Failure> {
    let (gateway, tls, user) = gateway_over_http(arguments, gateway)?;
    let mut config = TunnelConfig::new(gateway, tls);
    config.user = user;
    config.allows_clear = arguments.gateway_in_clear;
    Ok(config)
}

/// Reads where a gateway is that asks for a user, whom to trust in it, and who asks.
fn gateway_over_http(
    arguments: &ViaArguments,
    gateway: &str,
) -> Result<(GatewayUri, GatewayTls, Option<GatewayUser>), Failure> {
    if arguments.form.is_some() {
        return Err(Failure::usage("--form: only mode translate has forms"));
    }
    let gateway: GatewayUri = gateway
        .parse()
        .map_err(|error| Failure::usage(format!("--via: {error}")))?;
    let tls = tls(arguments, &gateway)?;
    Ok((gateway, tls, user(arguments)?))
}

const fn forward_secrecy(arguments: &ViaArguments) -> ForwardSecrecy {
    match arguments.allow_no_forward_secrecy {
        true => ForwardSecrecy::Optional,
        false => ForwardSecrecy::Required,
    }
}

fn tls(arguments: &ViaArguments, gateway: &GatewayUri) -> Result<GatewayTls, Failure> {
    let Some(path) = &arguments.gateway_authority else {
        // Nobody is to be trusted where no TLS is spoken.
        let tls = match gateway.is_https() {
            true => GatewayTls::system(),
            false => GatewayTls::nobody(),
        };
        return tls.map_err(|_| {
            Failure::new(
                Class::Local,
                "this system names no authorities to trust: --gateway-authority FILE does",
            )
        });
    };
    let content = fs::read(path).map_err(|error| Failure::file(path, &error))?;
    Authorities::new(&content)
        .ok()
        .and_then(|authorities| GatewayTls::authorities(&authorities).ok())
        .ok_or_else(|| {
            Failure::usage(format!(
                "{}: expected certificates of authorities",
                path.display()
            ))
        })
}

fn user(arguments: &ViaArguments) -> Result<Option<GatewayUser>, Failure> {
    let secret = match &arguments.token_file {
        Some(path) => Some(read_line(path)?),
        None => env::var(TOKEN_VARIABLE).ok().map(Zeroizing::new),
    };
    let shown = match (secret, &arguments.gateway_user) {
        (None, None) => return Ok(None),
        (None, Some(_)) => {
            return Err(Failure::usage(format!(
                "--gateway-user: expected the password in --token-file FILE, or in {TOKEN_VARIABLE}"
            )));
        }
        (Some(token), None) => GatewayUser::with_token(&token),
        (Some(password), Some(name)) => GatewayUser::with_password(name, &password),
    };
    shown
        .map(Some)
        .map_err(|error| Failure::usage(format!("the gateway's user: {error}")))
}

/// Reads a file of one line.
fn read_line(path: &Path) -> Result<Zeroizing<String>, Failure> {
    private_file::warn_if_readable_by_others(path);
    let content = fs::read_to_string(path).map_err(|error| Failure::file(path, &error))?;
    let content = Zeroizing::new(content);
    Ok(Zeroizing::new(
        content.trim_end_matches(['\r', '\n']).to_owned(),
    ))
}

/// Says what an alert means with which a gateway refuses to hand a TLS connection on (docs/specs/translate-device.md).
/// It comes in clear, so that whoever is on the way may have sent it; what the gateway can't have sent is verified,
/// and is the device's.
const fn adapt_refusal(fault: PeerFault) -> Option<&'static str> {
    let PeerFault::AlertReceived {
        description,
        authenticated: false,
    } = fault
    else {
        return None;
    };
    match description {
        UNRECOGNIZED_NAME => Some(
            "it hands on to no device of this name at this port: the name is one of those that the \
             gateway's configuration has there",
        ),
        INTERNAL_ERROR => Some(
            "it doesn't reach the device, or has too much to do for it, unless the device itself couldn't go on",
        ),
        _ => None,
    }
}

/// RFC 5246 §7.2.2: what a server sends that has no suite in common.
const HANDSHAKE_FAILURE: u8 = 40;

/// RFC 6066 §3: no server is called so.
const UNRECOGNIZED_NAME: u8 = 112;

/// RFC 5246 §7.2.2: whoever sends it can't go on, whatever the peer did.
const INTERNAL_ERROR: u8 = 80;

/// Where a token may stand that is in no file. Other processes of this user can read it.
const TOKEN_VARIABLE: &str = "HEDGEROW_TOKEN";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verified_alert_is_not_the_gateways() {
        for (description, is_gateways) in [
            (UNRECOGNIZED_NAME, true),
            (INTERNAL_ERROR, true),
            (HANDSHAKE_FAILURE, false),
        ] {
            let told = |authenticated| {
                adapt_refusal(PeerFault::AlertReceived {
                    description,
                    authenticated,
                })
            };
            assert_eq!((told(false).is_some(), told(true)), (is_gateways, None));
        }
    }
}
