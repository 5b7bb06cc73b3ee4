//! Ways to devices through another gateway, which can't read what goes there.

use std::fmt;
use std::sync::Arc;

use hedgerow_core::SecurityMode;
use hedgerow_net::{
    Credentials, ForwardSecrecy, LinkedNode, NodeConfig, RequestFailure, RequestMessage,
    ResponseMessage, SecurityPolicy, Tunnel, TunnelConfig, TunnelTarget,
};
use tokio::sync::Mutex;

/// How all devices are reached, where it isn't straight: by tunnels of another gateway, with
/// end-to-end keys that it hasn't ([`Config::via`](crate::Config::via)).
#[derive(Clone, Debug)]
pub struct Via {
    /// The gateway that opens the tunnels, and who asks it for them.
    pub tunnel: TunnelConfig,
    /// Whether devices without a suite with forward secrecy are spoken to.
    pub forward_secrecy: ForwardSecrecy,
}

/// The tunnels to devices, each opened when it is first needed, and anew when it has ended.
pub(crate) struct Ways {
    tunnel: TunnelConfig,
    node: NodeConfig,
    open: Vec<Mutex<Option<LinkedNode>>>,
}

impl Ways {
    /// Makes room for so many devices; a way has the node's configuration, but for its policy.
    pub(crate) fn new(via: Via, node: NodeConfig, devices: usize) -> Self {
        let policy = SecurityPolicy::new(SecurityMode::MultiKey);
        Self {
            tunnel: via.tunnel,
            node: node.with_security(policy.for_end_to_end(via.forward_secrecy)),
            open: (0..devices).map(|_| Mutex::new(None)).collect(),
        }
    }

    /// Asks the device at an index of the configuration.
    pub(crate) async fn request(
        &self,
        index: usize,
        (host, port): (&str, u16),
        credentials: Option<&Arc<Credentials>>,
        request: RequestMessage,
    ) -> Result<ResponseMessage, RequestFailure> {
        let place = self.open.get(index).ok_or(RequestFailure::NodeStopped)?;
        let node = {
            // Held while a tunnel opens, so that one serves all who wait for it. Other devices have
            // places of their own.
            let mut open = place.lock().await;
            match open.as_ref().filter(|node| !node.has_ended()) {
                Some(node) => node.clone(),
                None => {
                    // The configuration was checked, and names hosts as a gateway does.
                    let target = TunnelTarget::new(host, port)
                        .map_err(|_| hedgerow_net::CarrierFailure::TargetDenied)?;
                    let tunnel = Tunnel::open(&self.tunnel, &target).await?;
                    open.insert(LinkedNode::new(tunnel.link, self.node.clone()))
                        .clone()
                }
            }
        };
        node.request(credentials, request).await
    }

    /// Closes all sessions in order.
    pub(crate) async fn close(&self) {
        for place in &self.open {
            if let Some(node) = place.lock().await.take() {
                node.close().await;
            }
        }
    }
}

impl fmt::Debug for Ways {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut ways = formatter.debug_struct("Ways");
        ways.field("tunnel", &self.tunnel).finish_non_exhaustive()
    }
}
