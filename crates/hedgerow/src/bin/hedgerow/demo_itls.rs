//! Mode `itls` in the demonstration: the gateway's certificate for it, and what the gateway saw.

use std::net::{Ipv4Addr, SocketAddr};

use hedgerow_gateway::Itls;
use hedgerow_itls::{Control, RoutingHeader, is_initiator_hello, is_responder_hello};
use hedgerow_net::{Authorities, GatewayTls, GatewayUser, ItlsConfig, itls_link};
use zeroize::{Zeroize, Zeroizing};

use crate::demo_modes::{Exchange, Line, Stage, ask, counted, local, told};
use crate::exit::Failure;

/// The certificate that the gateway has for clients of this mode, drawn for one run, and its key.
pub(crate) struct Certificate {
    /// The certificate as PEM, which nobody has vouched for: whoever is to trust it is given it.
    pub(crate) pem: String,
    key: Zeroizing<String>,
}

impl Certificate {
    /// Draws a key, and has it vouch for itself at the loopback address.
    pub(crate) fn draw() -> Result<Self, Failure> {
        let drawn = rcgen::generate_simple_self_signed([Ipv4Addr::LOCALHOST.to_string()]);
        let drawn = drawn.map_err(|error| local(&format!("no certificate: {error}")))?;
        let rcgen::CertifiedKey {
            cert,
            mut signing_key,
        } = drawn;
        let key = Zeroizing::new(signing_key.serialize_pem());
        signing_key.zeroize();
        Ok(Self {
            pem: cert.pem(),
            key,
        })
    }

    /// Says where the gateway is to listen for this mode.
    pub(crate) fn listener(&self) -> Result<Itls, Failure> {
        let at = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listener = Itls::from_pem(at, self.pem.as_bytes(), self.key.as_bytes());
        listener.map_err(|error| local(&error.to_string()))
    }
}

/// Messages that are sealed for the device, inside a session of each end with the gateway.
pub(crate) async fn itls(stage: &Stage<'_>) -> Result<Line, Failure> {
    let failed = |what: &dyn std::fmt::Display| local(&format!("mode {MODE}: {what}"));
    let gateway = format!("https://{}", stage.itls).parse();
    let gateway = gateway.map_err(|error| failed(&error))?;
    let authorities = Authorities::new(stage.certificate.as_bytes());
    let authorities = authorities.map_err(|error| failed(&error))?;
    let tls = GatewayTls::authorities(&authorities).map_err(|error| failed(&error))?;
    let user = GatewayUser::with_token(stage.token).map_err(|error| failed(&error))?;
    let mut config = ItlsConfig::new(gateway, tls);
    config.user = Some(user);
    let opened = itls_link(&config, stage.device).await;
    let opened = opened.map_err(|error| failed(&error))?;
    let exchange = ask(stage, MODE, opened.link, |node| node).await?;
    Ok(describe(&exchange, stage.device, stage.identity))
}

/// Says what is in messages: by what the gateway reads of them, and by a search for what was said in them.
fn describe(exchange: &Exchange, device: &str, identity: &str) -> Line {
    let carried = &exchange.carried;
    let bytes: usize = carried.iter().map(Vec::len).sum();
    let kinds = carried.iter().flat_map(|message| kinds(message));
    Line {
        mode: MODE,
        saw: vec![
            format!("{} messages with {device}, {bytes} bytes", carried.len()),
            format!(
                "in them: {}",
                counted(&KINDS.map(|kind| (kind, kind)), kinds)
            ),
        ],
        plaintext: told(carried, exchange.secrets(), identity),
    }
}

/// Names what the gateway knows of a message: what it says to the gateway, and what is for the device.
fn kinds(message: &[u8]) -> impl Iterator<Item = &'static str> {
    let [open, close, other, first, second, sealed] = KINDS;
    let for_device = |inner: &[u8]| match inner {
        inner if is_initiator_hello(inner) => first,
        inner if is_responder_hello(inner) => second,
        _ => sealed,
    };
    let (control, inner) = match RoutingHeader::decode(message) {
        Ok((header, inner)) if !header.is_control => (None, Some(for_device(inner))),
        Ok((_, control)) => match Control::decode(control) {
            Ok(Control::Open(it)) if it.message.is_empty() => (Some(open), None),
            Ok(Control::Open(it)) => (Some(open), Some(for_device(it.message))),
            Ok(Control::Close(_)) => (Some(close), None),
            _ => (Some(other), None),
        },
        Err(_) => (Some(other), None),
    };
    control.into_iter().chain(inner)
}

const MODE: &str = "itls";

/// What there is (docs/specs/itls.md).
const KINDS: [&str; 6] = [
    "OPEN",
    "CLOSE",
    "other",
    "initiator hello",
    "responder hello",
    "sealed",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_told_apart_as_the_gateway_does_it() {
        // OPEN of flow 2 for `it` with an initiator's hello, one for nobody with nothing, and CLOSE.
        let open = b"\xe2\x01\x00\x02it\x01\x01rest";
        let bare = b"\xe2\x01\x00\x00";
        let close = b"\xe2\x02\x00";
        let data = b"\xc2\x8121.5";
        let exchange = Exchange {
            carried: [&open[..], bare, close, data, b"?"]
                .map(<[u8]>::to_vec)
                .into(),
            payload: b"21.5".to_vec(),
        };
        let line = describe(&exchange, "it", "rest");
        assert_eq!(
            line.saw,
            [
                "5 messages with it, 26 bytes",
                "in them: 2 OPEN, 1 CLOSE, 1 other, 1 initiator hello, 1 sealed"
            ]
        );
        assert_eq!(line.plaintext, "FOUND; the PSK identity was");
    }
}
