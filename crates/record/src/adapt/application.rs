//! Which application is spoken on a stream to a device.

/// The application on a stream, as the gateway's configuration has it for a port. The device takes it as a
/// hint where the client names no protocol by ALPN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StreamApplication {
    /// CoAP over TCP (RFC 8323).
    Coap,
    /// HTTP/1.1.
    Http,
}

impl StreamApplication {
    /// Returns the application's default port, which stands for it as a tag (RFC 8323 §8.2, RFC 9110 §4.2.2).
    pub const fn port_tag(self) -> u16 {
        match self {
            Self::Coap => 5_684,
            Self::Http => 443,
        }
    }

    /// Chooses the application of an established connection: by the name that was agreed on (RFC 7301), by
    /// the port's tag if there is none. `None`: nothing is spoken that could be meant.
    pub fn choose(protocol_name: Option<&[u8]>, port_tag: u16) -> Option<Self> {
        match (protocol_name, port_tag) {
            (Some(b"coap"), _) | (None, 5_684) => Some(Self::Coap),
            (Some(b"http/1.1"), _) | (None, 443) => Some(Self::Http),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocol_name_comes_before_the_port() {
        use StreamApplication::{Coap, Http};
        for (name, tag, application) in [
            (Some(&b"coap"[..]), 443, Some(Coap)),
            (Some(b"http/1.1"), 5_684, Some(Http)),
            (Some(b"h2"), 443, None),
            (None, 443, Some(Http)),
            (None, 5_684, Some(Coap)),
            (None, 0, None),
        ] {
            assert_eq!(StreamApplication::choose(name, tag), application);
        }
        for application in [Coap, Http] {
            let chosen = StreamApplication::choose(None, application.port_tag());
            assert_eq!(chosen, Some(application));
        }
    }
}
