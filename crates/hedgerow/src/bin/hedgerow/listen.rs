//! `hedgerow listen`: an Internet end that devices call through a gateway which can't read them (mode `itls`,
//! `docs/specs/itls.md`).

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use hedgerow_coap::{Code, ContentFormat, OptionNumber};
use hedgerow_core::{Peer, PeerId};
use hedgerow_net::{
    CarrierFailure, ItlsConfig, KeyStore, LinkedNode, ResponseMessage, SecurityPolicy,
    ServerRequest, itls_link,
};
use serde::Serialize;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};

use crate::exit::{Class, Failure};
use crate::report::PayloadReport;
use crate::shutdown::Shutdown;
use crate::via::{Via, ViaArguments};
use crate::{key_text, report};

#[derive(Debug, Args)]
pub(crate) struct ListenArguments {
    #[command(flatten)]
    via: ViaArguments,

    /// The identity that a device shows; with several devices once for each, as often as -k
    #[arg(short, long, value_name = "IDENTITY", required = true)]
    user: Vec<String>,

    /// The key that goes with it, which the gateway hasn't got: text, hexadecimal digits behind 0x, or @FILE
    #[arg(short, long, value_name = "KEY", required = true)]
    key: Vec<String>,

    /// What a device that asks by GET is told, as text; without it that isn't allowed (4.05)
    #[arg(short = 'e', long, value_name = "TEXT")]
    payload: Option<String>,
}

/// What stands below the options.
pub(crate) const HELP: &str = "\
The gateway has to have this user among those that the device calls. What a device puts or posts is written to
standard output, a JSON object on a line for each request, and answered with 2.04 once it is written. A connection that
is lost is opened again.";

/// Serves until it is asked to end, or the gateway doesn't want to know this user.
pub(crate) async fn run(arguments: &ListenArguments) -> Result<(), Failure> {
    let (via, mut config) = Via::for_devices(&arguments.via)?;
    config.takes_flows = true;
    let keys = keys(&arguments.user, &arguments.key)?;
    let writer = Arc::new(Writer {
        identities: arguments.user.clone(),
        answer: arguments.payload.clone(),
    });
    let mut shutdown =
        Shutdown::listen().map_err(|error| Failure::new(Class::Local, error.to_string()))?;
    let mut pause = FIRST_PAUSE;
    // What is wrong at the start stays wrong; later on the gateway may be gone for a while.
    let mut was_there = false;
    loop {
        let begun = Instant::now();
        let failure = tokio::select! {
            ended = serve(&via, &config, &keys, &writer, &mut was_there) => ended,
            () = shutdown.requested() => return Ok(()),
        };
        if !was_there || failure == CarrierFailure::UserUnknown {
            return Err(via.explain(failure));
        }
        report::tell(&format!("{}: {failure}: trying again", via.way.gateway));
        if begun.elapsed() > LONGEST_PAUSE {
            pause = FIRST_PAUSE;
        }
        tokio::select! {
            () = sleep(pause) => {}
            () = shutdown.requested() => return Ok(()),
        }
        pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
    }
}

/// Serves for as long as one connection with the gateway lasts, and returns why it ended.
async fn serve(
    via: &Via,
    config: &ItlsConfig,
    keys: &KeyStore,
    writer: &Arc<Writer>,
    was_there: &mut bool,
) -> CarrierFailure {
    // Nobody is asked from here.
    let opened = match itls_link(config, "").await {
        Ok(opened) => opened,
        Err(failure) => return failure,
    };
    *was_there = true;
    let policy = SecurityPolicy::default().for_end_to_end(via.forward_secrecy);
    let node = hedgerow::presets::client(REQUEST_LIMIT).with_security(policy);
    let writer = Arc::clone(writer);
    let handler = move |request: ServerRequest| {
        let writer = Arc::clone(&writer);
        async move {
            // Whoever reads may be slow, and nobody else is to wait for that.
            let handled = spawn_blocking(move || writer.handle(&request)).await;
            handled.unwrap_or_else(|_| ResponseMessage::new(Code::INTERNAL_SERVER_ERROR))
        }
    };
    let node = LinkedNode::serving(opened.link, node, keys.clone(), handler);
    report::tell(&format!("{}: devices can call", via.way.gateway));
    node.ended().await
}

/// Reads the devices' keys: for two ends, so that none is the gateway's.
fn keys(identities: &[String], keys: &[String]) -> Result<KeyStore, Failure> {
    if identities.len() != keys.len() {
        return Err(Failure::usage("expected one -k for each -u"));
    }
    let store = KeyStore::new();
    for (number, (identity, key)) in (0_u32..).zip(identities.iter().zip(keys)) {
        let psk = key_text::parse_argument("-k", key)?
            .into_end_to_end()
            .map_err(|error| Failure::usage(format!("-k of {identity}: {error}")))?;
        store
            .insert(identity.as_bytes(), psk, PeerId(number))
            .map_err(|error| Failure::usage(format!("-u {identity}: {error}")))?;
    }
    Ok(store)
}

/// Writes down what devices say.
struct Writer {
    /// In the order of the peers' numbers.
    identities: Vec<String>,
    answer: Option<String>,
}

impl Writer {
    fn handle(&self, request: &ServerRequest) -> ResponseMessage {
        let message = &request.message;
        let written = report::write_object(&RequestReport {
            identity: self.identity(request.requester.peer()),
            method: message.method.name(),
            path: joined(message.values(OptionNumber::URI_PATH), "/"),
            query: joined(message.values(OptionNumber::URI_QUERY), "&"),
            content_format: message
                .values(OptionNumber::CONTENT_FORMAT)
                .next()
                .and_then(ContentFormat::decode)
                .and_then(ContentFormat::media_type),
            payload_len: message.payload.len(),
            payload: PayloadReport::of(&message.payload),
        });
        if let Err(error) = written {
            report::tell(&format!("standard output: {error}"));
            return ResponseMessage::new(Code::INTERNAL_SERVER_ERROR);
        }
        match (message.method, &self.answer) {
            (Code::PUT | Code::POST, _) => ResponseMessage::new(Code::CHANGED),
            (Code::GET, Some(answer)) => {
                ResponseMessage::new(Code::CONTENT).payload(answer.as_bytes())
            }
            _ => ResponseMessage::new(Code::METHOD_NOT_ALLOWED),
        }
    }

    /// Returns what a device has shown, and proved.
    fn identity(&self, peer: Peer) -> Option<&str> {
        let Peer::EndToEndPsk(PeerId(number)) = peer else {
            return None;
        };
        let identity = self.identities.get(usize::try_from(number).ok()?)?;
        Some(identity)
    }
}

#[derive(Serialize)]
struct RequestReport<'a> {
    identity: Option<&'a str>,
    method: Option<&'static str>,
    path: String,
    query: String,
    content_format: Option<&'static str>,
    payload_len: usize,
    payload: PayloadReport<'a>,
}

/// Joins the parts of a path or a query as they stand in a URI; what isn't text is replaced.
fn joined<'a>(parts: impl Iterator<Item = &'a [u8]>, by: &str) -> String {
    let parts: Vec<_> = parts.map(String::from_utf8_lossy).collect();
    parts.join(by)
}

/// For answers, which need no handshake from here.
const REQUEST_LIMIT: Duration = Duration::from_secs(90);
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
