//! One HTTP request: from its head to the answer.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use hedgerow_coap::{Code, MessageOption};
use hedgerow_core::PeerId;
use hedgerow_net::{ResponseMessage, Shares, UdpCarriers};
use hedgerow_proxy::{
    CoapResponse, ConnectUdp, ConnectUdpError, ConnectUdpRequest, Failure, HcProxy, HttpRequest,
    MappedRequest, ReasonPhrase, TargetError, TunnelRefusal, UDP_CARRIER, asks_for_udp_carrier,
};
use http::uri::Authority;
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};

use crate::access_log::AccessRecord;
use crate::config::{DeviceAddress, Mode, Timeouts};
use crate::device_side::DeviceSide;
use crate::failure::TOO_MANY;
use crate::page::page;
use crate::problem::{Answer, Refusal, own_answer};
use crate::progress::hold;
use crate::registry::Registry;
use crate::site::{HostNames, check_site, is_cross_site};
use crate::tunnel::Tunnel;
use crate::tunnels::Tunnels;

/// What all listeners share.
pub(crate) struct Service {
    pub(crate) registry: Arc<Registry>,
    pub(crate) tunnels: Arc<Tunnels>,
    pub(crate) timeouts: Timeouts,
    /// Requests that may still begin. Each keeps its place until its answer has been read.
    pub(crate) places: Arc<Semaphore>,
    /// Request bodies that may still begin to be read. They have no place among the requests yet,
    /// so whoever is slow with them keeps none from the others.
    pub(crate) bodies: Semaphore,
    /// What each client may still begin.
    pub(crate) clients: Arc<Shares>,
}

/// What a listener's own requests have in common.
pub(crate) struct Front {
    pub(crate) is_https: bool,
    /// Whether a tunnel's credentials may come in here.
    pub(crate) opens_tunnels: bool,
    /// The decisions for requests that come in here.
    pub(crate) proxy: Arc<HcProxy>,
    pub(crate) host_names: HostNames,
    /// Scheme and address, for a client that didn't say whom it asks.
    pub(crate) base: String,
}

/// Who asks, and whether the gateway knows that it is just now.
#[derive(Clone, Copy)]
pub(crate) struct Asker {
    pub(crate) client: IpAddr,
    /// Which of the clients with a pre-shared key it is, if it has proved that.
    pub(crate) psk_client: Option<PeerId>,
    /// Whether the request is the first one on a connection that has just been made: it was written
    /// after that (RFC 9175 §2.3).
    pub(crate) is_fresh: bool,
}

/// Why no device's response is the answer.
enum Ended {
    /// The proxy's decisions say so.
    Failed(Failure),
    /// The gateway doesn't even ask.
    Refused(Refusal),
}

impl From<Failure> for Ended {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<Refusal> for Ended {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl Service {
    /// Answers a request, and leaves one line in the log.
    pub(crate) async fn answer(
        &self,
        front: &Front,
        asker: Asker,
        mut request: Request<Incoming>,
    ) -> (Answer, Option<Tunnel>) {
        let start = Instant::now();
        let mut record = AccessRecord::new(&request);
        let mut tunnel = None;
        let answer = match check_site(&request, &front.host_names) {
            Err(refusal) => refuse(refusal, &mut record),
            Ok(host) if let Some(asked) = self.tunnel_asked_for(&request) => {
                let opened = self.open_tunnel(
                    front,
                    asker,
                    host.as_ref(),
                    asked,
                    &mut request,
                    &mut record,
                );
                match opened.await {
                    Ok((answer, opened)) => {
                        tunnel = Some(opened);
                        answer
                    }
                    Err(refusal) => {
                        self.tunnels.count_refusal();
                        record.tunnel_refusal(refusal);
                        to_answer(refusal.to_response(request.method(), request.uri().path()))
                    }
                }
            }
            Ok(host) => {
                let host = host.map(|host| host.to_string());
                match own_resource(&request) {
                    Some(resource) => {
                        let answer =
                            self.answer_itself(resource, front, host, asker.client, &request);
                        answer.unwrap_or_else(|refusal| refuse(refusal, &mut record))
                    }
                    None => self.forward(front, asker, request, &mut record).await,
                }
            }
        };
        record.write(answer.status(), start.elapsed());
        (answer, tunnel)
    }

    /// Returns the tunnel that a request is for, if it is for one and there are any.
    fn tunnel_asked_for(
        &self,
        request: &Request<Incoming>,
    ) -> Option<Result<ConnectUdp, ConnectUdpError>> {
        if !self.tunnels.are_offered() {
            return None;
        }
        let protocol = request.extensions().get::<hyper::ext::Protocol>();
        let asked = ConnectUdpRequest {
            method: request.method(),
            uri: request.uri(),
            version: request.version(),
            headers: request.headers(),
            protocol: protocol.map(hyper::ext::Protocol::as_str),
        };
        asked.decide()
    }

    /// Opens a tunnel in the order of `docs/specs/tunnel.md`: whoever isn't known learns nothing of
    /// targets, and takes neither place nor socket.
    async fn open_tunnel(
        &self,
        front: &Front,
        asker: Asker,
        host: Option<&Authority>,
        asked: Result<ConnectUdp, ConnectUdpError>,
        request: &mut Request<Incoming>,
        record: &mut AccessRecord,
    ) -> Result<(Answer, Tunnel), TunnelRefusal> {
        let ConnectUdp { form, target } = asked?;
        if !front.opens_tunnels {
            return Err(TunnelRefusal::HttpsNeeded);
        }
        // GET changes nothing elsewhere, but a tunnel isn't for a stranger's page.
        if is_cross_site(request.headers(), host) {
            return Err(TunnelRefusal::CrossSite);
        }
        let headers = request.headers();
        let user = self.tunnels.user(headers, asker.client, asker.psk_client)?;
        record.user(self.tunnels.user_name(user));
        let entry = self.registry.tunnel_entry(&target);
        let entry = entry.ok_or(TunnelRefusal::TargetDenied)?;
        record.device(&entry.device, Mode::Tunnel);
        let place = self.tunnels.enter(user)?;
        let address = self.registry.locate(entry).await;
        let address = address.map_err(|failure| match failure {
            Failure::NameNotResolved => TunnelRefusal::NameNotResolved,
            _ => TunnelRefusal::TargetDenied,
        })?;
        let udp = self.tunnels.udp.as_ref();
        let udp = udp.filter(|_| asks_for_udp_carrier(request.headers()));
        let limits = self.tunnels.limits;
        // Nothing that was refused so far has a key drawn for it; what is refused below gives the place back.
        let udp = udp.and_then(UdpCarriers::offer);
        let has_udp_side = udp.is_some() && limits.device_address == DeviceAddress::Carrier;
        let device_side = DeviceSide::connect(address, has_udp_side);
        let device_side = device_side.map_err(|_| TunnelRefusal::Unroutable)?;
        let mut answer = form.to_response().map(|()| Bytes::new());
        if let Some(udp) = &udp {
            answer
                .headers_mut()
                .insert(UDP_CARRIER, udp.field().clone());
        }
        let tunnel = Tunnel {
            upgrade: hyper::upgrade::on(request),
            device_side,
            udp,
            place,
            limits,
            user: self.tunnels.user_name(user).to_owned(),
            registry: Arc::clone(&self.registry),
            device: entry.device.name().to_owned(),
            device_index: entry.index,
            patience: self.timeouts.head,
        };
        Ok((answer, tunnel))
    }

    fn answer_itself(
        &self,
        resource: OwnResource,
        front: &Front,
        host: Option<String>,
        client: IpAddr,
        request: &Request<Incoming>,
    ) -> Result<Answer, Refusal> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return Ok(Refusal::OwnPageMethod.to_answer());
        }
        match resource {
            OwnResource::Health => {
                let text = "text/plain;charset=utf-8";
                Ok(own_answer(StatusCode::OK, text, "ok\n"))
            }
            OwnResource::Page => {
                // A page is as long as the configuration makes it, so it counts as a device's
                // answer does.
                let entered = self.clients.enter(client).ok_or(Refusal::ClientBusy)?;
                let place = self.take_place()?;
                let scheme = if front.is_https { "https" } else { "http" };
                let base = host.map_or(front.base.clone(), |host| format!("{scheme}://{host}"));
                let devices = self.registry.entries().iter().map(|entry| &entry.device);
                let html = page(&base, devices);
                let answer = own_answer(StatusCode::OK, "text/html;charset=utf-8", html);
                Ok(answer.map(|body| hold(body, (entered, place))))
            }
        }
    }

    fn take_place(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        let taken = Arc::clone(&self.places).try_acquire_owned();
        taken.map_err(|_| Refusal::Busy)
    }

    async fn forward(
        &self,
        front: &Front,
        asker: Asker,
        request: Request<Incoming>,
        record: &mut AccessRecord,
    ) -> Answer {
        let Some(entered) = self.clients.enter(asker.client) else {
            return refuse(Refusal::ClientBusy, record);
        };
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let answer = match self.try_forward(front, asker, request, record).await {
            Ok(answer) => answer,
            Err(Ended::Refused(refusal)) => refuse(refusal, record),
            Err(Ended::Failed(failure)) => {
                record.failure(failure);
                to_answer(failure.to_response(&method, &path))
            }
        };
        answer.map(|body| hold(body, entered))
    }

    async fn try_forward(
        &self,
        front: &Front,
        asker: Asker,
        request: Request<Incoming>,
        record: &mut AccessRecord,
    ) -> Result<Answer, Ended> {
        let MappedRequest {
            request: mut coap,
            context,
        } = front.proxy.map_request(&HttpRequest {
            method: request.method(),
            uri: request.uri(),
            headers: request.headers(),
            // A length over the limit is answered while the client still waits with its body
            // (RFC 9110 §10.1.1).
            body_len: request.body().size_hint().exact(),
            is_https: front.is_https,
        })?;
        let denied = Failure::Target(TargetError::DestinationDenied);
        let entry = self.registry.entry(coap.target()).ok_or(denied)?;
        record.device(&entry.device, Mode::Terminate);
        if !entry.device.has(Mode::Terminate) {
            return Err(Refusal::ModeDenied.into());
        }
        if !entry.device.permits(coap.target().uri_path()) {
            return Err(Refusal::PathDenied.into());
        }
        let body = self.read_body(front, request.into_body()).await?;
        // Only now: a client that is slow with its body keeps nobody from asking.
        let place = self.take_place()?;
        // The device's time begins when there is something to ask it.
        let deadline = Instant::now() + self.timeouts.request;
        coap.set_body(body)?;
        let _device_place = entry.places.try_acquire().map_err(|_| TOO_MANY)?;
        let response = loop {
            let asked = self
                .registry
                .request(entry, &coap, asker.is_fresh, deadline);
            let asked = timeout_at(deadline, asked).await;
            // The gateway's own time may be over before the message layer's.
            let Ok(response) = asked else {
                self.registry.forget(entry).await;
                return Err(Failure::DeviceTimeout.into());
            };
            let response = response?;
            // RFC 8075 §6.1: the client may take another format.
            if response.code != Code::NOT_ACCEPTABLE || !coap.next_accept() {
                break response;
            }
        };
        let answer = to_answer(map(front, &context, &response));
        Ok(answer.map(|body| hold(body, place)))
    }

    async fn read_body(&self, front: &Front, body: Incoming) -> Result<Vec<u8>, Ended> {
        if body.is_end_stream() {
            return Ok(Vec::new());
        }
        let _place = self.bodies.try_acquire().map_err(|_| Refusal::Busy)?;
        let max = front.proxy.limits().request_body;
        let read = timeout(self.timeouts.body, collect(body, max)).await;
        read.map_err(|_| Refusal::BodyTimeout)?
    }
}

fn refuse(refusal: Refusal, record: &mut AccessRecord) -> Answer {
    record.refusal(refusal);
    refusal.to_answer()
}

fn map<'r>(
    front: &Front,
    context: &hedgerow_proxy::ResponseContext,
    response: &'r ResponseMessage,
) -> Response<hedgerow_proxy::Body<'r>> {
    let options = response
        .options
        .iter()
        .map(|(number, value)| MessageOption::new(*number, value));
    let coap = CoapResponse::new(response.code, options, &response.payload);
    front.proxy.map_response(context, &coap)
}

/// Takes a response over whose body may be borrowed, with its reason phrase where hyper wants it.
fn to_answer(response: Response<hedgerow_proxy::Body<'_>>) -> Answer {
    let mut answer = response.map(|body| Bytes::from(body.into_owned()));
    let phrase = answer.extensions_mut().remove::<ReasonPhrase>();
    let phrase =
        phrase.and_then(|phrase| hyper::ext::ReasonPhrase::try_from(phrase.0.as_bytes()).ok());
    if let Some(phrase) = phrase {
        answer.extensions_mut().insert(phrase);
    }
    answer
}

/// Reads a body of bounded length. Its bytes are copied out as they come: kept as they are, frames
/// of one byte each would cost many times what they carry.
async fn collect(mut body: Incoming, max: usize) -> Result<Vec<u8>, Ended> {
    let declared = body.size_hint().exact();
    let declared = declared.and_then(|len| usize::try_from(len).ok());
    let mut whole = Vec::with_capacity(declared.unwrap_or_default().min(max));
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Refusal::BodyBroken)?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if data.len() > max.saturating_sub(whole.len()) {
            return Err(Failure::RequestBodyTooLarge { max }.into());
        }
        whole.extend_from_slice(&data);
    }
    Ok(whole)
}

/// What the gateway answers itself.
#[derive(Clone, Copy)]
enum OwnResource {
    Page,
    Health,
}

fn own_resource(request: &Request<Incoming>) -> Option<OwnResource> {
    let uri = request.uri();
    // coap://device/ names the root of a device, not the gateway's page.
    if uri
        .scheme_str()
        .is_some_and(|it| !matches!(it, "http" | "https"))
    {
        return None;
    }
    match uri.path() {
        "/" => Some(OwnResource::Page),
        "/healthz" => Some(OwnResource::Health),
        _ => None,
    }
}
