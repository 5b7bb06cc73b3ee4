//! What asks a device behind a gateway, whichever way leads there.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hedgerow_core::{Peer, ServerName};
use hedgerow_exchange::ConnectionConfig;
use hedgerow_record::CipherSuite;

use crate::link::CarrierFailure;
use crate::{
    Credentials, InnerSession, LinkedNode, NodeConfig, RequestFailure, RequestMessage,
    ResponseMessage, StreamClient, StreamConfig, Target,
};

/// A CoAP client of one device that is behind a gateway: over datagrams that a link carries, or over a TLS stream
/// that the gateway hands on.
///
/// This is a handle; clones of it are the same client.
#[derive(Clone, Debug)]
pub struct PassageNode(Way);

#[derive(Clone, Debug)]
enum Way {
    Linked(LinkedNode),
    Stream(Arc<Streams>),
}

/// A client over streams, and where its gateway is.
#[derive(Debug)]
struct Streams {
    client: StreamClient,
    addresses: Vec<SocketAddr>,
    /// Which of them was connected to last: the next request goes there first.
    last: AtomicUsize,
}

impl PassageNode {
    pub(crate) const fn linked(node: LinkedNode) -> Self {
        Self(Way::Linked(node))
    }

    /// Makes a client that asks for a device by its name, or for none if it is given by an address, at the first of a
    /// gateway's addresses that can be connected to.
    ///
    /// # Errors
    ///
    /// [`CarrierFailure::TargetDenied`] for a name that can't be asked for: without it somebody else might answer.
    pub(crate) fn streams(
        addresses: Vec<SocketAddr>,
        device: &str,
        connect_timeout: std::time::Duration,
        node: NodeConfig,
    ) -> Result<Self, CarrierFailure> {
        let is_address = device.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
        let server_name = match ServerName::new(device) {
            Ok(_) => Some(Arc::from(device)),
            Err(_) if is_address => None,
            Err(_) => return Err(CarrierFailure::TargetDenied),
        };
        let shares = u32::try_from(addresses.len()).unwrap_or(u32::MAX).max(1);
        let mut config = StreamConfig {
            connect_timeout: connect_timeout / shares,
            max_requests: node.max_requests,
            shutdown_timeout: node.shutdown_timeout,
            resumption: node.endpoint.resumption,
            server_name,
            key_log: node.key_log,
            ..StreamConfig::default()
        };
        let endpoint = &mut config.endpoint;
        endpoint.security = node.endpoint.security;
        endpoint.handshake = node
            .endpoint
            .handshake
            .with_application_protocols(&[b"coap"]);
        endpoint.connection = Arc::new(ConnectionConfig {
            exchange: (*node.endpoint.exchange).clone(),
            csm_timeout: connect_timeout,
            ..ConnectionConfig::default()
        });
        Ok(Self(Way::Stream(Arc::new(Streams {
            client: StreamClient::new(config),
            addresses,
            last: AtomicUsize::new(0),
        }))))
    }

    /// Sends a request and waits for the whole response, as [`Node::request`](crate::Node::request) does; `None`
    /// for credentials speaks in clear.
    ///
    /// # Errors
    ///
    /// Each [`RequestFailure`] has its condition; [`RequestFailure::Carrier`] if the gateway can't be reached, or no
    /// more.
    pub async fn request(
        &self,
        credentials: Option<&Arc<Credentials>>,
        request: RequestMessage,
    ) -> Result<ResponseMessage, RequestFailure> {
        match &self.0 {
            Way::Linked(node) => node.request(credentials, request).await,
            Way::Stream(streams) => streams.request(credentials, request).await,
        }
    }

    /// Returns the suite of the session with the device: `None` if there is none, or nothing protects
    /// it. `credentials` are those of the request.
    pub async fn suite(&self, credentials: Option<&Arc<Credentials>>) -> Option<CipherSuite> {
        match &self.0 {
            Way::Linked(node) => node.suite().await,
            Way::Stream(streams) => {
                let mut targets = streams.targets(credentials);
                targets.find_map(|target| streams.client.suite(&target))
            }
        }
    }

    /// Returns who the device has proved to be, if there is a session with it.
    pub async fn peer(&self, credentials: Option<&Arc<Credentials>>) -> Option<Peer> {
        match &self.0 {
            Way::Linked(node) => node.peer().await,
            Way::Stream(streams) => {
                let mut targets = streams.targets(credentials);
                targets.find_map(|target| streams.client.peer(&target))
            }
        }
    }

    /// Returns what is known of the inner session with the device, in mode `itls`.
    pub async fn inner_session(&self) -> Option<InnerSession> {
        match &self.0 {
            Way::Linked(node) => node.inner_session().await,
            Way::Stream(_) => None,
        }
    }

    /// Says whether the way has ended, so that nothing can be asked any more. A stream that has ended is opened
    /// anew by the next request.
    pub fn has_ended(&self) -> bool {
        match &self.0 {
            Way::Linked(node) => node.has_ended(),
            Way::Stream(_) => false,
        }
    }

    /// Returns how many sessions with the device came about.
    pub fn established(&self) -> u64 {
        match &self.0 {
            Way::Linked(node) => node.statistics().established,
            Way::Stream(streams) => streams.client.statistics().established,
        }
    }

    /// Closes the session in order, and lets go of the way.
    pub async fn close(&self) {
        match &self.0 {
            Way::Linked(node) => node.close().await,
            Way::Stream(streams) => streams.client.close().await,
        }
    }
}

impl Streams {
    fn targets(&self, credentials: Option<&Arc<Credentials>>) -> impl Iterator<Item = Target> {
        let credentials = credentials.cloned();
        self.addresses.iter().map(move |&address| Target {
            address,
            credentials: credentials.clone(),
        })
    }

    /// Asks at one address after the other until one can be connected to.
    async fn request(
        &self,
        credentials: Option<&Arc<Credentials>>,
        request: RequestMessage,
    ) -> Result<ResponseMessage, RequestFailure> {
        let mut outcome = Err(RequestFailure::Carrier(CarrierFailure::GatewayName));
        let first = self.last.load(Ordering::Relaxed);
        let targets = self.targets(credentials).enumerate();
        let (before, from_first): (Vec<_>, Vec<_>) = targets.partition(|(index, _)| *index < first);
        for (index, target) in from_first.into_iter().chain(before) {
            // Nothing has gone to an address that can't be connected to, so that another may be asked.
            outcome = match self.client.request(&target, request.clone()).await {
                Err(RequestFailure::Connect { kind }) => {
                    Err(RequestFailure::Carrier(CarrierFailure::Connect { kind }))
                }
                Err(RequestFailure::ConnectTimeout) => {
                    Err(RequestFailure::Carrier(CarrierFailure::ConnectTimeout))
                }
                other => {
                    self.last.store(index, Ordering::Relaxed);
                    return other;
                }
            };
        }
        outcome
    }
}
