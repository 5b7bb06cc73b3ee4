//! A link through a gateway's UDP tunnel: RFC 9298's client, over HTTP/1.1 and HTTP/2.
//!
//! Each tunnel has a TCP connection of its own: on a common one, what one device's datagrams lose
//! would delay those of all others.

mod capsules;
mod connect;
mod gateway_uri;
mod gateway_user;
mod open;
mod pump;
mod target;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hedgerow_proxy::{CarrierState, MAX_UDP_PAYLOAD_LEN, TunnelDecoder, TunnelForm};
use rustls::{ClientConfig, RootCertStore};
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::info;

pub use gateway_uri::{GatewayUri, GatewayUriError};
pub use gateway_user::{GatewayUser, GatewayUserError};
pub use target::{TunnelTarget, TunnelTargetError};

pub(crate) use capsules::read_capsules;
pub(crate) use connect::explain as explain_tls;

use crate::Authorities;
use crate::auto::{self, AutoTunnel};
use crate::keep_alive::SILENCE_TIMEOUT;
use crate::link::{CarrierFailure, DatagramLink, datagram_link};

/// How a gateway is reached, and who asks it for tunnels.
#[derive(Clone, Debug)]
pub struct TunnelConfig {
    /// The gateway.
    pub gateway: GatewayUri,
    /// How the gateway is known, where it is reached over HTTPS.
    pub tls: GatewayTls,
    /// Who asks; `None` says nothing, which gateways refuse unless they let everybody in.
    pub user: Option<GatewayUser>,
    /// Which version of HTTP is spoken.
    pub http: TunnelHttp,
    /// Whether plain HTTP may leave this host: whoever is on the way then reads the user's credentials,
    /// and may use them. It has no effect on the session inside the tunnel.
    pub allows_clear: bool,
    /// How long it may take until the tunnel is there.
    pub connect_timeout: Duration,
    /// How long a gateway that gives no sign of life is taken for there. Over HTTP/1.1 the system notices
    /// that, in whole seconds and as far as it can.
    pub silence_timeout: Duration,
    /// Whether a second carrier is asked for, over UDP (mode `auto`, `docs/specs/auto.md`). Where a gateway
    /// offers none there is the first alone.
    pub wants_udp_carrier: bool,
    /// Datagrams that wait in each direction.
    pub places: usize,
    /// The longest datagram that is carried, in bytes.
    pub max_datagram_len: usize,
}

impl TunnelConfig {
    /// Asks a gateway as nobody, over HTTP/2 or HTTP/1.1 as it likes, within 10 s, with 128 places for
    /// datagrams of up to 1,500 bytes.
    pub fn new(gateway: GatewayUri, tls: GatewayTls) -> Self {
        Self {
            gateway,
            tls,
            user: None,
            http: TunnelHttp::Any,
            allows_clear: false,
            connect_timeout: Duration::from_secs(10),
            silence_timeout: SILENCE_TIMEOUT,
            wants_udp_carrier: false,
            places: 128,
            max_datagram_len: 1_500,
        }
    }
}

/// Which version of HTTP a tunnel is asked for in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TunnelHttp {
    /// Over TLS HTTP/2 if the gateway has it, and HTTP/1.1 otherwise; over plain TCP HTTP/1.1.
    #[default]
    Any,
    /// HTTP/1.1.
    Http1,
    /// HTTP/2, over plain TCP without asking (RFC 9113 §3.3).
    Http2,
}

/// Whom to trust in who says that it is the gateway.
#[derive(Clone, Debug)]
pub struct GatewayTls(Arc<ClientConfig>);

/// Why no authority can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no certificate of an authority can be used")]
#[non_exhaustive]
pub struct GatewayTlsError;

impl GatewayTls {
    /// Trusts the authorities that the operating system does.
    ///
    /// # Errors
    ///
    /// [`GatewayTlsError`] if none is found.
    pub fn system() -> Result<Self, GatewayTlsError> {
        let mut roots = RootCertStore::empty();
        let found = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(found.certs);
        Self::new(roots)
    }

    /// Trusts these authorities and no others.
    ///
    /// # Errors
    ///
    /// [`GatewayTlsError`] if one of them can't be used.
    pub fn authorities(authorities: &Authorities) -> Result<Self, GatewayTlsError> {
        let mut roots = RootCertStore::empty();
        for certificate in authorities.certificates() {
            roots.add(certificate).map_err(|_| GatewayTlsError)?;
        }
        Self::new(roots)
    }

    /// Trusts nobody: every gateway over HTTPS is refused. It goes with plain HTTP.
    ///
    /// # Errors
    ///
    /// None that can be: [`GatewayTlsError`] if the TLS library had no version of TLS.
    pub fn nobody() -> Result<Self, GatewayTlsError> {
        Self::trusting(RootCertStore::empty())
    }

    pub(crate) const fn config(&self) -> &Arc<ClientConfig> {
        &self.0
    }

    fn new(roots: RootCertStore) -> Result<Self, GatewayTlsError> {
        match roots.is_empty() {
            true => Err(GatewayTlsError),
            false => Self::trusting(roots),
        }
    }

    fn trusting(roots: RootCertStore) -> Result<Self, GatewayTlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|_| GatewayTlsError)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self(Arc::new(config)))
    }
}

/// A tunnel that is there.
#[derive(Debug)]
pub struct Tunnel {
    /// What the node behind it sends and receives by. The tunnel ends when it is dropped.
    pub link: DatagramLink,
    /// Where the gateway was found.
    pub gateway: SocketAddr,
    /// By which version of HTTP it was asked.
    pub form: TunnelForm,
    /// What this end thinks of the two carriers, from now on; `None` if the gateway has offered no
    /// second one, or wasn't asked.
    pub carriers: Option<watch::Receiver<CarrierState>>,
}

impl Tunnel {
    /// Asks a gateway for a tunnel to a device, and carries its datagrams until the link is dropped. It
    /// has to run within a tokio runtime with I/O and time.
    ///
    /// # Errors
    ///
    /// Each [`CarrierFailure`] has its condition.
    pub async fn open(
        config: &TunnelConfig,
        target: &TunnelTarget,
    ) -> Result<Self, CarrierFailure> {
        let opening = Self::try_open(config, target);
        let opened = timeout(config.connect_timeout, opening).await;
        opened.unwrap_or(Err(CarrierFailure::ConnectTimeout))
    }

    async fn try_open(
        config: &TunnelConfig,
        target: &TunnelTarget,
    ) -> Result<Self, CarrierFailure> {
        let connection = connect::connect(config).await?;
        let gateway = connection.address;
        let (form, stream, offer) = open::open(connection, config, target).await?;
        let max_len = config.max_datagram_len.min(MAX_UDP_PAYLOAD_LEN);
        let (link, carrier) = datagram_link(config.places, max_len);
        let carriers = match offer {
            None => {
                let decoder = TunnelDecoder::new(max_len);
                tokio::spawn(pump::pump(stream, carrier, decoder));
                None
            }
            Some(offer) => {
                let (state, carriers) = watch::channel(CarrierState::TcpOnly);
                let tunnel = AutoTunnel {
                    offer,
                    gateway,
                    max_datagram_len: max_len,
                    places: config.places,
                    state,
                };
                tokio::spawn(auto::carry(stream, carrier, tunnel));
                Some(carriers)
            }
        };
        let has_offer = carriers.is_some();
        info!(%gateway, ?form, %target, has_offer, "tunnel open");
        Ok(Self {
            link,
            gateway,
            form,
            carriers,
        })
    }
}
