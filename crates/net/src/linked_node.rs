//! The handle of a node that speaks with one peer, over a link.

use std::sync::Arc;

use hedgerow_core::{Peer, ServerCredentials};
use hedgerow_endpoint::InnerConfig;
use hedgerow_itls::End;
use hedgerow_record::CipherSuite;

use crate::handler::NoResources;
use crate::link::{CarrierFailure, DatagramLink, LinkDrops, LinkShared};
use crate::path::Remote;
use crate::{
    Credentials, ForwardSecrecy, Handler, InnerSession, KeyStore, Node, NodeConfig, RequestFailure,
    RequestMessage, ResponseMessage, Statistics,
};

/// A CoAP client of one peer that is behind a [`DatagramLink`], such as a tunnel, and has no address
/// here.
///
/// This is a handle; clones of it are the same node. What it begins is for one hop or end to end, as
/// the configuration's [`SecurityPolicy`](crate::SecurityPolicy) says; what is behind a gateway
/// that isn't trusted wants one made by
/// [`for_end_to_end`](crate::SecurityPolicy::for_end_to_end). What the peer asks of it is refused.
#[derive(Clone, Debug)]
pub struct LinkedNode {
    node: Node,
    link: Arc<LinkShared>,
}

impl LinkedNode {
    /// Makes a node over a link. It has to run within a tokio runtime with time. No datagram of a
    /// handshake is longer than the link takes.
    pub fn new(link: DatagramLink, config: NodeConfig) -> Self {
        Self::serving(link, config, KeyStore::new(), NoResources)
    }

    /// Makes a node as [`Self::new`] does, which in mode `itls` also takes what devices begin: those whose end-to-end
    /// keys `store` has, and whom the gateway lets come here. Their requests go to `handler`, each with the gateway's
    /// address as where it comes from. The link is one of a configuration with
    /// [`takes_flows`](crate::ItlsConfig::takes_flows).
    pub fn serving<S, H>(link: DatagramLink, mut config: NodeConfig, store: S, handler: H) -> Self
    where
        S: ServerCredentials + Clone + Send + 'static,
        H: Handler,
    {
        let shared = link.shared();
        let handshake = config.endpoint.handshake;
        let len = handshake.max_datagram_len().min(link.max_datagram_len());
        config.endpoint.handshake = handshake.with_max_datagram_len(len);
        if link.outer().is_some() && config.endpoint.inner.is_none() {
            let settings = hedgerow_itls::Settings::new(End::Internet);
            let settings = match config.endpoint.security.forward_secrecy() {
                ForwardSecrecy::Required => settings,
                ForwardSecrecy::Optional => settings.without_forward_secrecy(),
            };
            config.endpoint.inner = Some(InnerConfig::new(settings));
        }
        Self {
            node: Node::over(link, config, store, handler),
            link: shared,
        }
    }

    /// Sends a request and waits for the whole response, as [`Node::request`] does; `None` for
    /// credentials speaks in clear.
    ///
    /// # Errors
    ///
    /// Each [`RequestFailure`] has its condition; [`RequestFailure::Carrier`] once the link has ended,
    /// also for what is under way then.
    pub async fn request(
        &self,
        credentials: Option<&Arc<Credentials>>,
        request: RequestMessage,
    ) -> Result<ResponseMessage, RequestFailure> {
        self.node
            .request_to(Remote::Linked, credentials.cloned(), request)
            .await
    }

    /// Returns the suite of the session with the peer: `None` if there is none, or nothing protects
    /// it.
    pub async fn suite(&self) -> Option<CipherSuite> {
        let (suite, _) = self.node.session(Remote::Linked).await?;
        Some(suite)
    }

    /// Returns what is known of the inner session with the peer, in mode `itls`.
    pub async fn inner_session(&self) -> Option<InnerSession> {
        self.node.inner_session(Remote::Linked).await
    }

    /// Returns who the peer has proved to be, if there is a session with it.
    pub async fn peer(&self) -> Option<Peer> {
        match self.node.session(Remote::Linked).await {
            Some((_, peer)) => Some(peer),
            None => self.inner_session().await.map(|session| session.peer),
        }
    }

    /// Says whether the link has ended, so that nothing can be asked any more.
    pub fn has_ended(&self) -> bool {
        self.link.has_ended()
    }

    /// Waits until the link has ended, and returns why. What is resumed over another one is kept by then.
    pub async fn ended(&self) -> CarrierFailure {
        self.link.left().await
    }

    /// Returns the node's counters.
    pub fn statistics(&self) -> Statistics {
        self.node.statistics()
    }

    /// Returns what the link has dropped.
    pub fn link_drops(&self) -> LinkDrops {
        self.link.drops()
    }

    /// Closes the session in order, as [`Node::close`] does, and lets go of the link.
    pub async fn close(&self) {
        self.node.close().await;
    }
}
