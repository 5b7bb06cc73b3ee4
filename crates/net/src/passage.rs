//! Ways to devices behind a gateway that isn't trusted, one for each mode.

use std::net::SocketAddr;
use std::time::Duration;

use hedgerow_proxy::TunnelForm;
use hedgerow_record::TranslateForm;
use tokio::time::Instant;

use crate::connect::{end_of, find_gateway, try_in_turn};
use crate::keep_alive::SILENCE_TIMEOUT;
use crate::link::CarrierFailure;
use crate::tunnel::{Tunnel, TunnelConfig, TunnelTarget};
use crate::{
    ItlsConfig, LinkedNode, NodeConfig, PassageNode, TranslateConfig, itls_link, translated_link,
};

/// How devices behind a gateway are reached, in one of the modes in which it can't read what passes.
///
/// Whoever asks devices so, the program's client and the facade alike, knows no more of a mode than this.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Passage {
    /// Datagrams in capsules over HTTP (`docs/specs/tunnel.md`), and over a second carrier where the
    /// configuration asks for one (`docs/specs/auto.md`; experimental).
    Tunnel(TunnelConfig),
    /// Records under other headers over TCP (`docs/specs/translate.md`; experimental).
    Translate(TranslateGateway),
    /// Messages sealed for the device inside TLS to the gateway (`docs/specs/itls.md`; experimental).
    Itls(Box<ItlsConfig>),
    /// A TLS connection that the gateway hands on to a device that adapts to it (`docs/specs/translate-device.md`;
    /// experimental).
    Adapted(AdaptedGateway),
}

/// A gateway that hands TLS connections on, and knows the device by the port or by the name that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdaptedGateway {
    /// The gateway's name or address; an IPv6 address may stand in brackets.
    pub host: String,
    /// Where it listens for this device, or for all that have a name.
    pub port: u16,
    /// How long it may take until the gateway has accepted, its name's look-up and all of its addresses
    /// included.
    pub connect_timeout: Duration,
}

/// A gateway that translates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TranslateGateway {
    /// The gateway's name or address; an IPv6 address may stand in brackets.
    pub host: String,
    /// Where it listens for this mode.
    pub port: u16,
    /// How records stand on the stream.
    pub form: TranslateForm,
    /// How long it may take until the gateway has accepted, its name's look-up and all of its addresses
    /// included.
    pub connect_timeout: Duration,
    /// How long a gateway that gives no sign of life is taken for there, in whole seconds.
    pub silence_timeout: Duration,
}

/// A way that is open.
#[derive(Debug)]
pub struct OpenPassage {
    /// What asks the device.
    pub node: PassageNode,
    /// Where the gateway was found.
    pub gateway: SocketAddr,
    /// What carries the datagrams, such as `https/2`.
    pub carrier: &'static str,
}

impl Passage {
    /// Opens a way to a device, as the gateway knows it: by the name or the host of its configuration, and
    /// by the port from there, which doesn't count in modes `translate`, `translate-device` and `itls`. What the node begins is for one hop
    /// or end to end as its configuration says; the rest of that is changed to fit the mode.
    ///
    /// It has to run within a tokio runtime with I/O and time.
    ///
    /// # Errors
    ///
    /// Each [`CarrierFailure`] has its condition.
    pub async fn open(
        &self,
        host: &str,
        port: u16,
        node: NodeConfig,
    ) -> Result<OpenPassage, CarrierFailure> {
        match self {
            Self::Tunnel(config) => {
                let target =
                    TunnelTarget::new(host, port).map_err(|_| CarrierFailure::TargetDenied)?;
                let tunnel = Tunnel::open(config, &target).await?;
                Ok(OpenPassage {
                    gateway: tunnel.gateway,
                    carrier: match (config.gateway.is_https(), tunnel.form, &tunnel.carriers) {
                        (true, TunnelForm::Upgrade, None) => "https/1.1",
                        (true, TunnelForm::ExtendedConnect, None) => "https/2",
                        (false, TunnelForm::Upgrade, None) => "http/1.1",
                        (false, TunnelForm::ExtendedConnect, None) => "http/2",
                        // A UDP carrier was offered, and is taken once it has shown to be good.
                        (true, TunnelForm::Upgrade, Some(_)) => "https/1.1, udp",
                        (true, TunnelForm::ExtendedConnect, Some(_)) => "https/2, udp",
                        (false, TunnelForm::Upgrade, Some(_)) => "http/1.1, udp",
                        (false, TunnelForm::ExtendedConnect, Some(_)) => "http/2, udp",
                    },
                    node: PassageNode::linked(LinkedNode::new(tunnel.link, node)),
                })
            }
            Self::Translate(gateway) => gateway.open(host, node).await,
            Self::Itls(config) => {
                let opened = itls_link(config, host).await?;
                Ok(OpenPassage {
                    node: PassageNode::linked(LinkedNode::new(opened.link, node)),
                    gateway: opened.gateway,
                    carrier: "tls",
                })
            }
            Self::Adapted(gateway) => gateway.open(host, node).await,
        }
    }

    /// Changes how long it may take until a way is open.
    pub const fn set_connect_timeout(&mut self, timeout: Duration) {
        match self {
            Self::Tunnel(config) => config.connect_timeout = timeout,
            Self::Translate(gateway) => gateway.connect_timeout = timeout,
            Self::Itls(config) => config.connect_timeout = timeout,
            Self::Adapted(gateway) => gateway.connect_timeout = timeout,
        }
    }

    /// Returns how long it may take until a way is open.
    pub const fn connect_timeout(&self) -> Duration {
        match self {
            Self::Tunnel(config) => config.connect_timeout,
            Self::Translate(gateway) => gateway.connect_timeout,
            Self::Itls(config) => config.connect_timeout,
            Self::Adapted(gateway) => gateway.connect_timeout,
        }
    }
}

impl AdaptedGateway {
    /// Asks within 10 s.
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self {
            host: host.into(),
            port,
            connect_timeout: Duration::from_secs(10),
        }
    }

    /// Finds the gateway. The connection is opened by the first request.
    async fn open(&self, device: &str, node: NodeConfig) -> Result<OpenPassage, CarrierFailure> {
        let end = end_of(self.connect_timeout);
        let addresses = find_gateway(&self.host, self.port, end).await?;
        let gateway = *addresses.first().ok_or(CarrierFailure::GatewayName)?;
        Ok(OpenPassage {
            node: PassageNode::streams(addresses, device, self.connect_timeout, node)?,
            gateway,
            carrier: "tcp",
        })
    }
}

impl TranslateGateway {
    /// Asks within 10 s.
    pub fn new(host: impl Into<String>, port: u16, form: TranslateForm) -> Self {
        Self {
            host: host.into(),
            port,
            form,
            connect_timeout: Duration::from_secs(10),
            silence_timeout: SILENCE_TIMEOUT,
        }
    }

    async fn open(&self, device: &str, node: NodeConfig) -> Result<OpenPassage, CarrierFailure> {
        let end = end_of(self.connect_timeout);
        let addresses = find_gateway(&self.host, self.port, end).await?;
        self.open_at(addresses, end, device, node).await
    }

    /// Opens a way by the first of some addresses that leads to a gateway.
    async fn open_at(
        &self,
        addresses: Vec<SocketAddr>,
        end: Instant,
        device: &str,
        node: NodeConfig,
    ) -> Result<OpenPassage, CarrierFailure> {
        let opened = try_in_turn(addresses, end, |gateway| async move {
            let config = TranslateConfig {
                connect_timeout: self.connect_timeout,
                silence_timeout: self.silence_timeout,
                ..TranslateConfig::new(gateway, device, self.form)
            };
            let opened = translated_link(&config).await;
            opened.map(|link| (link, config))
        });
        let (link, config) = opened.await?;
        Ok(OpenPassage {
            node: PassageNode::linked(LinkedNode::new(link, config.fit(node))),
            gateway: config.gateway,
            carrier: match self.form {
                TranslateForm::Short => "tcp/short",
                TranslateForm::Long => "tcp/long",
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    async fn listener() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    #[tokio::test]
    async fn addresses_share_the_time() {
        let mut silent = Vec::new();
        for _ in 0..8 {
            silent.push(listener().await);
        }
        let mut addresses: Vec<_> = silent.iter().map(|(_, address)| *address).collect();
        let mut gateway = TranslateGateway::new("gateway", 1, TranslateForm::Short);
        gateway.connect_timeout = Duration::from_millis(400);
        let begun = Instant::now();
        let end = begun + gateway.connect_timeout;
        let opened = gateway.open_at(addresses.clone(), end, "lamp", NodeConfig::default());
        assert_eq!(opened.await.unwrap_err(), CarrierFailure::ConnectTimeout);
        // Eight times as long would be 3.2 s.
        assert!(begun.elapsed() < Duration::from_millis(1_600));

        // Silent ones before it don't hide a gateway.
        let (there, address) = listener().await;
        addresses.push(address);
        let answer = async {
            let (mut stream, _) = there.accept().await.unwrap();
            stream.read_exact(&mut [0; 11]).await.unwrap();
            stream.write_all(b"HGTR\x01\x01\x00").await.unwrap();
            stream
        };
        let end = Instant::now() + Duration::from_secs(3);
        let opened = gateway.open_at(addresses, end, "lamp", NodeConfig::default());
        let (opened, _stream) = tokio::join!(opened, answer);
        let opened = opened.unwrap();
        assert_eq!((opened.gateway, opened.carrier), (address, "tcp/short"));
        opened.node.close().await;
    }
}
