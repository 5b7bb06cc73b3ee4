//! `hedgerow fetch --mode itls`: a device that asks an Internet end by CoAP, inside its own session with a gateway that
//! can't read it (`docs/specs/itls.md`). `hedgerow listen` is such an end.

use std::sync::Arc;
use std::time::Duration;

use hedgerow_coap::{CoapUri, Code, OptionNumber, Scheme};
use hedgerow_core::{ChannelError, PeerFault, WayRefusal};
use hedgerow_net::{
    Credentials, InnerTarget, Node, RequestFailure, RequestMessage, ResponseMessage, Target,
};
use tokio::time::timeout;

use super::{FetchArguments, GATEWAY, end_to_end, gateway, told_of_hop, wildcard, write_body};
use crate::exit::{Class, Failure};
use crate::{key_text, report};

/// Asks, writes the payload of the response, and returns the exit code that its code stands for.
pub(super) async fn run(arguments: &FetchArguments) -> Result<u8, Failure> {
    let limit = Duration::from_secs(arguments.seconds.into());
    let uri = CoapUri::parse(&arguments.uri)
        .map_err(|error| Failure::usage(format!("{}: {error}: {EXPECTED_URI}", arguments.uri)))?;
    if uri.scheme() != Scheme::Coaps {
        return Err(Failure::usage(EXPECTED_URI));
    }
    let is_of_tls = arguments.authority.is_some()
        || arguments.form.is_some()
        || arguments.allow_no_forward_secrecy;
    if is_of_tls {
        return Err(Failure::usage(
            "-C, --form and --allow-no-forward-secrecy are for TLS to a server: mode itls has -u and -k, and \
             always forward secrecy",
        ));
    }
    let hop_key = key_text::parse_argument("--hop-key", &arguments.hop_key)?;
    let credentials = end_to_end(arguments, &hop_key)?
        .ok_or_else(|| Failure::usage("expected -u and -k: the Internet end is known by a key"))?;
    let name = match &arguments.service {
        Some(name) => name.clone(),
        None => uri.host().to_string(),
    };
    let hop = Credentials::new(arguments.hop_user.as_bytes(), hop_key, GATEWAY)
        .map_err(|error| Failure::usage(format!("--hop-user: {error}")))?;
    let request = request(&uri, arguments.payload.as_deref())?;
    let address = gateway(&arguments.via).await?;
    let mut config = hedgerow::presets::client(limit);
    let device = hedgerow::presets::device().endpoint;
    (config.endpoint.inner, config.endpoint.light_layer) = (device.inner, device.light_layer);
    let node = Node::bind_client(wildcard(address), config).await;
    let node = node.map_err(|error| Failure::new(Class::Local, format!("no socket: {error}")))?;
    let target = InnerTarget {
        gateway: Target {
            address,
            credentials: Some(Arc::new(hop)),
        },
        name,
        credentials: Arc::new(credentials),
    };
    let asked = timeout(limit, node.request_inside(&target, request)).await;
    let has_hop = node.peer(address).await.is_some();
    node.close().await;
    let told = Told {
        via: &arguments.via,
        name: &target.name,
        has_hop,
    };
    match asked {
        Ok(Ok(response)) => conclude(arguments, &target.name, &response),
        Ok(Err(failure)) => Err(told.explain(failure)),
        Err(_) => Err(told.silence(limit)),
    }
}

/// Makes the request: GET, or POST of a text.
fn request(uri: &CoapUri<'_>, payload: Option<&str>) -> Result<RequestMessage, Failure> {
    let method = match payload {
        Some(_) => Code::POST,
        None => Code::GET,
    };
    let mut request = RequestMessage::new(method);
    let options = crate::client::uri_options(uri, method, None, &[])?;
    for (number, value) in options {
        // The name is the gateway's for the end that is asked, and none that this one needs.
        if !matches!(number, OptionNumber::URI_HOST | OptionNumber::URI_PORT) {
            request = request.option(number, value);
        }
    }
    Ok(request.payload(payload.unwrap_or_default()))
}

fn conclude(
    arguments: &FetchArguments,
    name: &str,
    response: &ResponseMessage,
) -> Result<u8, Failure> {
    write_body(arguments, &response.payload)?;
    let code = response.code;
    if !code.is_success() {
        report::tell(&format!("{name}: {code}"));
    }
    Ok(match code.class() {
        2 => 0,
        4 => Class::ClientError.code(),
        5 => Class::ServerError.code(),
        _ => Class::Protocol.code(),
    })
}

/// Who is spoken of where failures are told.
struct Told<'a> {
    via: &'a str,
    name: &'a str,
    /// Whether there is a session with the gateway, so that what failed is inside.
    has_hop: bool,
}

impl Told<'_> {
    fn explain(&self, failure: RequestFailure) -> Failure {
        let Self { via, name, has_hop } = self;
        match failure {
            RequestFailure::Channel(ChannelError::Peer(PeerFault::WayRefused { reason })) => {
                match reason {
                    WayRefusal::Refused => Failure::new(
                        Class::Denied,
                        format!(
                            "{via}: this device may call nobody named {name:?}: the gateway's configuration has \
                             the users that it may call in its `calls`"
                        ),
                    ),
                    WayRefusal::Gone => Failure::new(
                        Class::Protocol,
                        format!(
                            "{via}: {name:?} isn't there now: does `hedgerow listen` run as this user of the gateway?"
                        ),
                    ),
                    reason => Failure::new(Class::Protocol, format!("{via}: the gateway {reason}")),
                }
            }
            RequestFailure::Channel(ChannelError::Peer(
                PeerFault::CredentialsRefused | PeerFault::HandshakeTimeout,
            )) if *has_hop => Failure::new(
                Class::Credentials,
                format!(
                    "{name:?} behind {via} refuses -u and -k, or doesn't answer: the identity is unknown there, or \
                     the key is another one"
                ),
            ),
            RequestFailure::Channel(ChannelError::Peer(PeerFault::CredentialsRefused)) => {
                Failure::new(
                    Class::Credentials,
                    format!(
                        "{via} refuses --hop-user and --hop-key, or doesn't answer: the gateway's configuration has \
                         them in [[itls.caller]]"
                    ),
                )
            }
            failure if *has_hop => {
                Failure::new(Class::Protocol, format!("{name:?} behind {via}: {failure}"))
            }
            failure => told_of_hop(via, failure),
        }
    }

    /// Nothing has come of it in time.
    fn silence(&self, limit: Duration) -> Failure {
        let Self { via, name, has_hop } = self;
        let text = match has_hop {
            true => format!(
                "no answer from {name:?} behind {via} within {limit:?}: are -u and -k those that it has for this device?"
            ),
            false => format!(
                "no session with {via} within {limit:?}: is it the address of listen_devices, and are --hop-user \
                 and --hop-key those of [[itls.caller]]?"
            ),
        };
        Failure::new(Class::Timeout, text)
    }
}

const EXPECTED_URI: &str =
    "expected coaps://NAME/path for mode itls, which asks an Internet end by CoAP";
