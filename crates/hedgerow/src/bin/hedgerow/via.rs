//! A request through a gateway that isn't trusted: how it is asked for, and what is said of its failures.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::{env, fs};

use clap::{Args, ValueEnum};
use hedgerow_coap::{CoapUri, Scheme};
use hedgerow_core::{ChannelError, PeerFault};
use hedgerow_net::{
    Authorities, CarrierFailure, CertificateReason, ForwardSecrecy, GatewayTls, GatewayUri,
    GatewayUser, LinkedNode, NodeConfig, RequestFailure, SecurityPolicy, Tunnel, TunnelConfig,
    TunnelTarget,
};
use hedgerow_proxy::TunnelForm;
use tokio::time::Duration;
use zeroize::Zeroizing;

use crate::exit::{Class, Failure};
use crate::private_file;

/// Which gateway is asked, as whom, and in which mode.
#[derive(Debug, Args)]
pub(crate) struct ViaArguments {
    /// Ask the device through this gateway, which can't read it: https://HOST:PORT, or http:// on this host
    ///
    /// The URI then names the device as the gateway's configuration does, by name or by address, and
    /// with the port from there.
    #[arg(long, value_name = "GATEWAY", requires = "mode")]
    pub(crate) via: Option<String>,

    /// How the gateway hands on what it can't read
    #[arg(long, value_name = "MODE", requires = "via")]
    pub(crate) mode: Option<Mode>,

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
}

impl Mode {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Tunnel => "tunnel",
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

/// A way through a gateway that is to be opened.
#[derive(Debug)]
pub(crate) struct Via {
    config: TunnelConfig,
    target: TunnelTarget,
    forward_secrecy: ForwardSecrecy,
    pub(crate) way: Way,
}

impl Via {
    /// Reads what the command line says, if it names a gateway.
    pub(crate) fn choose(
        arguments: &ViaArguments,
        uri: &CoapUri<'_>,
        limit: Duration,
    ) -> Result<Option<Self>, Failure> {
        let Some((mut config, mode)) = configure(arguments)? else {
            return Ok(None);
        };
        if uri.scheme() != Scheme::Coaps {
            return Err(Failure::usage(format!(
                "mode {} leads to coaps:// devices alone: what isn't secured end to end the gateway \
                 reads",
                mode.name()
            )));
        }
        let target = TunnelTarget::new(&uri.host().to_string(), uri.port())
            .map_err(|error| Failure::usage(format!("{uri}: {error}")))?;
        let way = Way {
            mode,
            gateway: config.gateway.to_string(),
            address: None,
            carrier: None,
        };
        config.connect_timeout = config.connect_timeout.min(limit);
        Ok(Some(Self {
            config,
            target,
            forward_secrecy: forward_secrecy(arguments),
            way,
        }))
    }

    /// Reads what the command line says of the gateway before all devices.
    pub(crate) fn for_all(arguments: &ViaArguments) -> Result<hedgerow_gateway::Via, Failure> {
        let Some((tunnel, Mode::Tunnel)) = configure(arguments)? else {
            return Err(Failure::usage(
                "expected --via GATEWAY and --mode MODE: devices that are asked straight need no facade",
            ));
        };
        Ok(hedgerow_gateway::Via {
            tunnel,
            forward_secrecy: forward_secrecy(arguments),
        })
    }

    /// Opens the way.
    pub(crate) async fn open(&mut self, config: NodeConfig) -> Result<LinkedNode, Failure> {
        let tunnel = Tunnel::open(&self.config, &self.target)
            .await
            .map_err(|failure| self.explain(failure))?;
        self.way.address = Some(tunnel.gateway);
        self.way.carrier = Some(match (self.config.gateway.is_https(), tunnel.form) {
            (true, TunnelForm::Upgrade) => "https/1.1",
            (true, TunnelForm::ExtendedConnect) => "https/2",
            (false, TunnelForm::Upgrade) => "http/1.1",
            (false, TunnelForm::ExtendedConnect) => "http/2",
        });
        let policy = SecurityPolicy::default().for_end_to_end(self.forward_secrecy);
        Ok(LinkedNode::new(tunnel.link, config.with_security(policy)))
    }

    /// Says what became of the way, and what to do about it.
    pub(crate) fn explain(&self, failure: CarrierFailure) -> Failure {
        let gateway = &self.way.gateway;
        let target = &self.target;
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
            CarrierFailure::UserRefused { .. } if self.config.user.is_none() => told(
                Class::Credentials,
                "the gateway wants to know who asks: --token-file FILE, or HEDGEROW_TOKEN"
                    .to_owned(),
            ),
            CarrierFailure::UserRefused { .. } => told(
                Class::Credentials,
                "the gateway doesn't know this token, or name and password".to_owned(),
            ),
            CarrierFailure::TargetDenied => told(
                Class::Denied,
                format!(
                    "it has no device at {target}, or not in mode {}: name and port are those of \
                     the gateway's configuration",
                    self.way.mode.name()
                ),
            ),
            CarrierFailure::Busy { .. } | CarrierFailure::Unreachable { .. } => {
                told(Class::Protocol, failure.to_string())
            }
            other => told(Class::Protocol, other.to_string()),
        }
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
        told
    }

    /// Returns how the device is called where failures are told.
    pub(crate) fn name(&self) -> String {
        format!("{} behind {}", self.target, self.way.gateway)
    }
}

/// Reads how the gateway is reached, if one is named.
fn configure(arguments: &ViaArguments) -> Result<Option<(TunnelConfig, Mode)>, Failure> {
    let (Some(gateway), Some(mode)) = (&arguments.via, arguments.mode) else {
        return Ok(None);
    };
    let gateway: GatewayUri = gateway
        .parse()
        .map_err(|error| Failure::usage(format!("--via: {error}")))?;
    let tls = tls(arguments, &gateway)?;
    let mut config = TunnelConfig::new(gateway, tls);
    config.user = user(arguments)?;
    config.allows_clear = arguments.gateway_in_clear;
    Ok(Some((config, mode)))
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

/// RFC 5246 §7.2.2: what a server sends that has no suite in common.
const HANDSHAKE_FAILURE: u8 = 40;

/// Where a token may stand that is in no file. Other processes of this user can read it.
const TOKEN_VARIABLE: &str = "HEDGEROW_TOKEN";
