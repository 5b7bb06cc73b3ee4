//! The devices: where each is, what it is shown, and how many requests are under way.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use hedgerow_coap::{Code, OptionNumber};
use hedgerow_core::{ChannelError, KeyScope, PeerFault, PeerId, SecurityMode};
use hedgerow_net::{
    Credentials, Identity, Node, RequestFailure, RequestMessage, ResponseMessage, StreamClient,
};
use hedgerow_proxy::{
    CoapRequest, Destination, Failure, HcProxy, Host, Target, TargetError, UdpTarget,
};
use tokio::sync::{Mutex, Semaphore};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::config::{ConfigError, Device, Mode, Security, unchecked};
use crate::failure::{broke_off, map_request_failure};
use crate::ways::Ways;

/// Every configured device.
pub(crate) struct Registry {
    entries: Vec<Entry>,
    by_name: HashMap<String, usize>,
    by_destination: HashMap<Destination, usize>,
    /// Which entry is at which address. An association is found by its address alone, so two
    /// devices at one address would be asked under one key; a device over TCP is elsewhere.
    places: Mutex<HashMap<Place, usize>>,
    proxy: Arc<HcProxy>,
    carriers: Carriers,
    look_up: LookUp,
    max_response: usize,
}

/// An address, and whether it is one of TCP.
type Place = (bool, SocketAddr);

/// What carries requests to devices.
#[derive(Clone, Debug)]
pub(crate) struct Carriers {
    /// How devices behind another gateway are asked, all of them if any.
    pub(crate) via: Option<Arc<Ways>>,
    pub(crate) node: Node,
    pub(crate) streams: StreamClient,
}

impl Carriers {
    async fn request(
        &self,
        is_tcp: bool,
        target: &hedgerow_net::Target,
        request: RequestMessage,
    ) -> Result<ResponseMessage, RequestFailure> {
        match is_tcp {
            true => self.streams.request(target, request).await,
            false => self.node.request(target, request).await,
        }
    }

    /// Closes all sessions in order.
    pub(crate) async fn close(&self) {
        if let Some(ways) = &self.via {
            ways.close().await;
        }
        tokio::join!(self.node.close(), self.streams.close());
    }
}

#[cfg(test)]
impl From<Node> for Carriers {
    fn from(node: Node) -> Self {
        let streams = StreamClient::new(hedgerow_net::StreamConfig::default());
        Self {
            via: None,
            node,
            streams,
        }
    }
}

/// Asks for the addresses of a name, with a port.
type LookUp = Box<dyn Fn(&str, u16) -> LookedUp<'_> + Send + Sync>;

type LookedUp<'n> = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'n>>;

/// A device with what changes about it.
pub(crate) struct Entry {
    pub(crate) index: usize,
    pub(crate) device: Device,
    destination: Destination,
    credentials: Option<Arc<Credentials>>,
    /// Requests that may still begin.
    pub(crate) places: Arc<Semaphore>,
    /// Where the device is, if that is known; held while a name is resolved, so that one look-up
    /// serves all who wait for it.
    address: Mutex<Option<SocketAddr>>,
}

impl Registry {
    /// Takes over devices from a checked configuration.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if it wasn't checked.
    pub(crate) fn new(
        devices: Vec<Device>,
        proxy: Arc<HcProxy>,
        carriers: impl Into<Carriers>,
        requests_per_device: usize,
        certificate: Option<&Arc<Identity>>,
    ) -> Result<Self, ConfigError> {
        let mut registry = Self {
            entries: Vec::new(),
            by_name: HashMap::new(),
            by_destination: HashMap::new(),
            places: Mutex::new(HashMap::new()),
            max_response: proxy.limits().response_body,
            proxy,
            carriers: carriers.into(),
            look_up: Box::new(ask_system),
        };
        for (index, mut device) in devices.into_iter().enumerate() {
            let destination = registry.proxy.device_destination(&device.name).cloned();
            let destination = destination.ok_or_else(|| unchecked("unknown to the proxy"))?;
            let credentials = take_credentials(&mut device, index, certificate)?;
            registry.by_name.insert(device.name.clone(), index);
            registry.by_destination.insert(destination.clone(), index);
            registry.entries.push(Entry {
                index,
                device,
                destination,
                credentials,
                places: Arc::new(Semaphore::new(requests_per_device)),
                address: Mutex::new(None),
            });
        }
        Ok(registry)
    }

    /// Lists the devices in the order of the configuration.
    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Finds the device that a target is at.
    pub(crate) fn entry(&self, target: &Target) -> Option<&Entry> {
        let index = match target.device() {
            Some(name) => self.by_name.get(name),
            None => self.by_destination.get(target.destination()),
        };
        self.entries.get(*index?)
    }

    /// Finds the device that a tunnel may be opened to: by its name, or by the host of its URI.
    pub(crate) fn tunnel_entry(&self, target: &UdpTarget) -> Option<&Entry> {
        let tunnels = || {
            let mut entries = self.entries.iter();
            std::iter::from_fn(move || entries.find(|entry| entry.device.has(Mode::Tunnel)))
        };
        let is_named = |entry: &&Entry| target.is_device(&entry.device.name, &entry.destination);
        let named = tunnels().find(is_named);
        named.or_else(|| tunnels().find(|entry| target.is_at(&entry.destination)))
    }

    /// Finds the device that a connection in mode `translate` may be for. All others look alike.
    pub(crate) fn translate_entry(&self, name: &str) -> Option<&Entry> {
        let entry = self.entries.get(*self.by_name.get(name)?)?;
        entry.device.has(Mode::Translate).then_some(entry)
    }

    /// Finds a device that adapts to TLS clients.
    pub(crate) fn adapt_entry(&self, name: &str) -> Option<&Entry> {
        let entry = self.entries.get(*self.by_name.get(name)?)?;
        entry.device.has(Mode::TranslateDevice).then_some(entry)
    }

    /// Looks for every device, and says in the log where it is. A name that doesn't resolve now is
    /// looked up again when the device is asked.
    pub(crate) async fn locate_all(self: &Arc<Self>) {
        if self.carriers.via.is_some() {
            return;
        }
        let is_name = |entry: &Entry| matches!(entry.destination.host(), Host::Name(_));
        // Addresses that the configuration names come first: no name can take one of them.
        for entry in self.entries.iter().filter(|entry| !is_name(entry)) {
            self.locate_and_log(entry).await;
        }
        let mut lookups = JoinSet::new();
        for entry in self.entries.iter().filter(|entry| is_name(entry)) {
            let (registry, index) = (Arc::clone(self), entry.index);
            lookups.spawn(async move {
                if let Some(entry) = registry.entries.get(index) {
                    registry.locate_and_log(entry).await;
                }
            });
        }
        lookups.join_all().await;
    }

    async fn locate_and_log(&self, entry: &Entry) {
        let device = &entry.device;
        let found = self.locate(entry).await;
        let address = match found {
            Ok(address) => address.to_string(),
            Err(failure) => failure.to_string(),
        };
        let (modes, security) = (device.mode_names(), device.security_name);
        let mode = modes.as_str();
        let security_mode = device.security_mode_name();
        let (name, destination) = (&device.name, &entry.destination);
        info!(device = %name, mode, security, %security_mode, %destination, %address, "device configured");
        match device.security_mode {
            _ if !device.has_hop() => {}
            SecurityMode::NoSec => {
                warn!(device = %name, "NoSec: device without security: whoever is on the path can read and change everything");
            }
            SecurityMode::SharedKey => {
                warn!(device = %name, "SharedKey: whoever has the key, which others have too, can play this device and the gateway");
            }
            _ => {}
        }
    }

    /// Returns where a device is and what it is shown, for a session without a request.
    pub(crate) async fn hop_target(&self, entry: &Entry) -> Result<hedgerow_net::Target, Failure> {
        Ok(hedgerow_net::Target {
            address: self.locate(entry).await?,
            credentials: entry.credentials.clone(),
        })
    }

    /// Asks a device. The address that was checked is the one that is used.
    pub(crate) async fn request(
        &self,
        entry: &Entry,
        request: &CoapRequest,
        is_fresh: bool,
        deadline: Instant,
    ) -> Result<ResponseMessage, Failure> {
        // Where a device behind another gateway is, that gateway knows, and nobody else is asked.
        let target = match &self.carriers.via {
            Some(_) => None,
            None => Some(hedgerow_net::Target {
                address: self.locate(entry).await?,
                credentials: entry.credentials.clone(),
            }),
        };
        let ask = async || {
            let message = RequestMessage {
                answers_challenges: is_fresh || is_safe(request.method()),
                ..to_message(request)
            };
            match (&self.carriers.via, &target) {
                (Some(ways), _) => {
                    let host = match entry.destination.host() {
                        Host::Address(address) => address.to_string(),
                        Host::Name(name) => name.to_string(),
                    };
                    let place = (host.as_str(), entry.destination.port());
                    let credentials = entry.credentials.as_ref();
                    ways.request(entry.index, place, credentials, message, deadline)
                        .await
                }
                (None, Some(target)) => {
                    self.carriers.request(entry.is_tcp(), target, message).await
                }
                (None, None) => Err(RequestFailure::NodeStopped),
            }
        };
        let mut outcome = ask().await;
        // The device closed its session just then, or had restarted and knew of none. What may be
        // repeated begins a new one.
        if outcome.as_ref().is_err_and(|failure| is_end(*failure)) && request.is_repeatable() {
            outcome = ask().await;
        }
        match outcome {
            // MUST (RFC 9175 §2.3): an unsafe request that isn't known to be fresh isn't repeated. Its
            // client is asked for it again.
            Ok(response) if !is_fresh && is_challenge(request, &response) => {
                Err(Failure::FreshnessUnknown)
            }
            Ok(response) => Ok(response),
            Err(failure) => {
                let ways = self.carriers.via.as_ref();
                let failure = match ways.and_then(|ways| ways.refusal(failure)) {
                    Some(refusal) => refusal.into(),
                    None => map_request_failure(failure, self.max_response),
                };
                if is_doubtful(failure) {
                    self.forget(entry).await;
                }
                Err(failure)
            }
        }
    }

    /// Makes the next request look a name up again, once it led nowhere, and gives the address up
    /// to the device that may have it now.
    pub(crate) async fn forget(&self, entry: &Entry) {
        if let Host::Name(_) = entry.destination.host() {
            // The order of `locate`.
            let mut known = entry.address.lock().await;
            let mut places = self.places.lock().await;
            places.retain(|_, index| *index != entry.index);
            *known = None;
        }
    }

    /// Returns where a device is, and no address that policy doesn't permit it to be at.
    pub(crate) async fn locate(&self, entry: &Entry) -> Result<SocketAddr, Failure> {
        let mut known = entry.address.lock().await;
        if let Some(address) = *known {
            return Ok(address);
        }
        let port = entry.destination.port();
        let candidates = match entry.destination.host() {
            Host::Address(address) => vec![SocketAddr::new(*address, port)],
            Host::Name(name) => self.resolve(name, port).await?,
        };
        let mut places = self.places.lock().await;
        let address = candidates.into_iter().find(|address| {
            let permitted = check_place(&self.proxy, &entry.destination, *address, |address| {
                let index = places.get(&(entry.is_tcp(), address));
                index.is_none_or(|index| *index == entry.index)
            });
            if let Err(reason) = permitted {
                let device = &entry.device.name;
                warn!(target: "hedgerow::audit", %device, %address, reason, "destination denied");
            }
            permitted.is_ok()
        });
        let address = address.ok_or(Failure::Target(TargetError::DestinationDenied))?;
        places.retain(|_, index| *index != entry.index);
        places.insert((entry.is_tcp(), address), entry.index);
        *known = Some(address);
        Ok(address)
    }

    async fn resolve(&self, name: &str, port: u16) -> Result<Vec<SocketAddr>, Failure> {
        match tokio::time::timeout(RESOLVE_TIMEOUT, (self.look_up)(name, port)).await {
            Ok(Ok(addresses)) => {
                let canonical = |at: SocketAddr| SocketAddr::new(at.ip().to_canonical(), at.port());
                Ok(addresses.into_iter().map(canonical).collect())
            }
            _ => Err(Failure::NameNotResolved),
        }
    }
}

impl Entry {
    fn is_tcp(&self) -> bool {
        self.destination.scheme().is_tcp()
    }
}

/// Says whether a session ended, and with it the requests on it.
const fn is_end(failure: RequestFailure) -> bool {
    match failure {
        RequestFailure::Closed => true,
        RequestFailure::Channel(ChannelError::Peer(PeerFault::Truncated)) => true,
        // What carried the session ended, and the session with it.
        RequestFailure::Carrier(failure) => broke_off(failure),
        _ => false,
    }
}

/// Says whether a device may be asked at an address that its host stands for.
fn check_place(
    proxy: &HcProxy,
    destination: &Destination,
    address: SocketAddr,
    is_free: impl FnOnce(SocketAddr) -> bool,
) -> Result<(), &'static str> {
    proxy
        .check_address(destination, address.ip())
        .map_err(|_| "address not permitted")?;
    is_free(address)
        .then_some(())
        .ok_or("another device's address")
}

/// Says whether something else than the device may be where it was thought to be, or nothing at
/// all: another host may have got its address, and may well answer, without the device's key.
const fn is_doubtful(failure: Failure) -> bool {
    matches!(
        failure,
        Failure::DeviceTimeout
            | Failure::HandshakeTimeout
            | Failure::CredentialsRefused
            | Failure::Unreachable
            | Failure::ChannelFailed
            | Failure::DeviceReset
            | Failure::OutcomeUnknown
    )
}

fn ask_system(name: &str, port: u16) -> LookedUp<'_> {
    Box::pin(hedgerow_net::resolve(name, port))
}

/// Returns the number of the device at a place in the configuration.
pub(crate) fn peer_id(index: usize) -> PeerId {
    PeerId(u32::try_from(index).unwrap_or(u32::MAX))
}

/// Moves a device's key to where sessions use it.
fn take_credentials(
    device: &mut Device,
    index: usize,
    certificate: Option<&Arc<Identity>>,
) -> Result<Option<Arc<Credentials>>, ConfigError> {
    match std::mem::replace(&mut device.security, Security::None) {
        Security::None | Security::EndToEnd => Ok(None),
        Security::Psk {
            identity,
            key,
            is_shared,
        } => {
            let scope = match is_shared {
                true => KeyScope::Shared,
                false => KeyScope::OnePeer,
            };
            let credentials = Credentials::new(identity, key.with_scope(scope), peer_id(index));
            let credentials = credentials.map_err(unchecked)?;
            Ok(Some(Arc::new(credentials)))
        }
        Security::Certificate { device } => {
            let credentials =
                Credentials::certificates(certificate.cloned(), device, peer_id(index));
            Ok(Some(Arc::new(credentials.map_err(unchecked)?)))
        }
    }
}

/// Says whether a method changes nothing (RFC 7252 §5.1, RFC 8132 §2).
const fn is_safe(method: Code) -> bool {
    matches!(method, Code::GET | Code::FETCH)
}

fn is_challenge(request: &CoapRequest, response: &ResponseMessage) -> bool {
    !is_safe(request.method())
        && response.code == Code::UNAUTHORIZED
        && response.values(OptionNumber::ECHO).next().is_some()
}

fn to_message(request: &CoapRequest) -> RequestMessage {
    let mut message = RequestMessage::new(request.method()).payload(request.body());
    let gathered = request.try_for_each_option(|option| {
        let value = option.value().to_vec();
        message.options.push((option.number(), value));
        Ok::<(), Infallible>(())
    });
    match gathered {
        Ok(()) => message,
    }
}

/// How long a name's look-up may take.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests;
