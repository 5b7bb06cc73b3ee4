//! Mode `translate`, the device adapts, in the demonstration: TLS clients that know of no gateway, and what it saw of one.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use hedgerow_core::{PeerId, Psk};
use hedgerow_gateway::TlsListener;
use hedgerow_handshake::Settings;
use hedgerow_net::{Credentials, ForwardSecrecy, SecurityPolicy, TlsStream};
use hedgerow_record::StreamApplication;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::demo_leg::Observed;
use crate::demo_modes::{CONTENT_TYPES, Exchange, Line, PATH, Stage, counted, failure_of, told};
use crate::exit::{Class, Failure};

/// Where the gateway listens for TLS clients.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Listeners {
    /// Of those that name no application and speak HTTP.
    pub(crate) http: SocketAddr,
    /// Of those that speak CoAP.
    pub(crate) coap: SocketAddr,
}

impl Listeners {
    /// Says where the gateway is to listen, and for whom: clients that ask for no name, or for this host's, are led to
    /// the first device, as they would be by a port of its own.
    pub(crate) fn configure(devices: &[&str]) -> [TlsListener; 2] {
        [StreamApplication::Http, StreamApplication::Coap].map(|application| {
            let mut listener = TlsListener::new((Ipv4Addr::LOCALHOST, 0).into(), application);
            listener.device = devices.first().map(|device| (*device).to_owned());
            let host = listener.device.clone().map(|it| (HOST.to_owned(), it));
            let named = devices
                .iter()
                .map(|name| ((*name).to_owned(), (*name).to_owned()));
            listener.names = named.chain(host).collect();
            listener
        })
    }

    /// Finds where it listens.
    pub(crate) const fn of(addresses: &[SocketAddr]) -> Option<Self> {
        match *addresses {
            [http, coap] => Some(Self { http, coap }),
            _ => None,
        }
    }
}

/// The names under which clients look for a device; the first one also under this host's.
pub(crate) fn names(device: &str) -> Vec<String> {
    vec![device.to_owned(), HOST.to_owned()]
}

/// An HTTP client on TLS, as any is, whose records the gateway carries to a device that adapts.
pub(crate) async fn adapted(stage: &Stage<'_>) -> Result<Line, Failure> {
    let failed = failure_of(MODE);
    let stream = TcpStream::connect(stage.tls.http).await;
    let stream = Observed::new(stream.map_err(|error| failed(&error))?);
    let key = Psk::new(stage.key.as_bytes())
        .and_then(Psk::into_end_to_end)
        .and_then(|psk| Credentials::new(stage.identity, psk, PeerId(0)))
        .map_err(|error| failed(&error))?;
    let asked = async {
        let policy = SecurityPolicy::default().for_end_to_end(ForwardSecrecy::Required);
        let (key, policy) = (Arc::new(key), Arc::new(policy));
        let mut tls = TlsStream::connect(stream, key, Settings::default(), &policy).await?;
        let request = format!(
            "GET {PATH} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
            stage.device
        );
        tls.write_all(request.as_bytes()).await?;
        let mut response = String::new();
        tls.read_to_string(&mut response).await?;
        tls.shutdown().await?;
        let stream = tls.into_inner();
        Ok::<_, std::io::Error>((vec![stream.sent, stream.received], response))
    };
    let (carried, response) = asked.await.map_err(|error| failed(&error))?;
    let payload = response
        .strip_prefix("HTTP/1.1 200 ")
        .and_then(|rest| Some(rest.split_once("\r\n\r\n")?.1.as_bytes().to_vec()))
        .ok_or_else(|| Failure::new(Class::Protocol, format!("mode {MODE}: {response}")))?;
    let exchange = Exchange { carried, payload };
    Ok(describe(&exchange, stage.device, stage.identity))
}

fn describe(exchange: &Exchange, device: &str, identity: &str) -> Line {
    let carried = &exchange.carried;
    let bytes: usize = carried.iter().map(Vec::len).sum();
    let types = exchange.tls_records();
    Line {
        mode: MODE,
        saw: vec![
            format!("1 TLS connection to {device}, {bytes} bytes"),
            format!("records: {}", counted(&CONTENT_TYPES, types)),
        ],
        plaintext: told(carried, exchange.secrets(), identity),
    }
}

/// How the table calls it.
const MODE: &str = "translate-device";

/// What clients call this host, and ask for then: RFC 6066 §3 has them name whom they were told to reach.
const HOST: &str = "localhost";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plaintext_and_identity_in_records_are_found() {
        // Of handshake with an identity, and of application_data in clear.
        let sent = b"\x16\x03\x03\0\x02me\x17\x03\x03\0\x05/temp".to_vec();
        let received = b"\x17\x03\x03\0\x0421.5".to_vec();
        let exchange = Exchange {
            carried: vec![sent, received],
            payload: b"21.5".to_vec(),
        };
        let line = describe(&exchange, "it", "me");
        assert_eq!(
            line.saw,
            [
                "1 TLS connection to it, 26 bytes",
                "records: 1 handshake, 2 application_data"
            ]
        );
        assert_eq!(line.plaintext, "FOUND; the PSK identity was");
    }

    #[test]
    fn host_leads_to_the_first_device_and_each_name_to_its_own() {
        let [http, coap] = Listeners::configure(&["one", "other"]);
        let pair = |name: &str, device: &str| (name.to_owned(), device.to_owned());
        let expected = [
            pair("one", "one"),
            pair("other", "other"),
            pair(HOST, "one"),
        ];
        for (listener, application) in [
            (http, StreamApplication::Http),
            (coap, StreamApplication::Coap),
        ] {
            assert_eq!(listener.application, application);
            assert_eq!(listener.names, expected);
            assert_eq!(listener.device.as_deref(), Some("one"));
        }
    }
}
