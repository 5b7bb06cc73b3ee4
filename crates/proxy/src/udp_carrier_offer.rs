//! How a tunnel's client learns where and by which key it may open a UDP carrier (`docs/specs/auto.md`).

use core::fmt;
use std::fmt::Write as _;

use hedgerow_core::{CryptoRng, Psk, Secret};
use http::{HeaderMap, HeaderName, HeaderValue};

/// The field by which a client asks for an offer and a gateway makes it.
pub const UDP_CARRIER: HeaderName = HeaderName::from_static("hedgerow-udp-carrier");

/// Length of an offer's identity, in bytes.
pub const UDP_CARRIER_IDENTITY_LEN: usize = 16;

/// Length of an offer's key, in bytes.
pub const UDP_CARRIER_KEY_LEN: usize = 32;

/// A gateway's offer of a UDP carrier: for one tunnel, gone with it.
pub struct UdpCarrierOffer {
    port: u16,
    identity: [u8; UDP_CARRIER_IDENTITY_LEN],
    key: Secret<UDP_CARRIER_KEY_LEN>,
}

impl UdpCarrierOffer {
    /// Draws identity and key at random, for the gateway's `port`, which isn't 0.
    pub fn draw(port: u16, rng: &mut dyn CryptoRng) -> Self {
        let mut identity = [0; UDP_CARRIER_IDENTITY_LEN];
        rng.fill_bytes(&mut identity);
        let mut key = Secret::zeroed();
        rng.fill_bytes(key.expose_mut());
        Self {
            port,
            identity,
            key,
        }
    }

    /// Returns the gateway's UDP port.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Returns the PSK identity.
    pub const fn identity(&self) -> &[u8; UDP_CARRIER_IDENTITY_LEN] {
        &self.identity
    }

    /// Returns the key: that of a hop, between client and gateway.
    pub fn psk(&self) -> Option<Psk> {
        // It has a length that a key may have.
        Psk::new(self.key.expose()).ok()
    }

    /// Writes the field of the response that grants the tunnel. Its value is marked sensitive, so that
    /// HTTP/2 puts it into no table (RFC 7541 §7.1.3) and it isn't printed.
    pub fn to_field(&self) -> Option<HeaderValue> {
        let mut text = Secret::<MAX_FIELD_LEN>::zeroed();
        let mut writer = Writer {
            bytes: text.expose_mut(),
            len: 0,
        };
        write!(writer, "port={}, identity=\"", self.port).ok()?;
        hex(&mut writer, &self.identity)?;
        writer.write_str("\", psk=\"").ok()?;
        hex(&mut writer, self.key.expose())?;
        writer.write_str("\"").ok()?;
        let len = writer.len;
        let mut value = HeaderValue::from_bytes(text.expose().get(..len)?).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// Reads the field of a response; `None` for whatever isn't an offer in just that form.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(UDP_CARRIER).iter();
        let (Some(value), None) = (values.next(), values.next()) else {
            return None;
        };
        let text = value.to_str().ok()?;
        let (port, rest) = text.strip_prefix("port=")?.split_once(", identity=\"")?;
        let (identity, rest) = rest.split_once("\", psk=\"")?;
        let psk = rest.strip_suffix('"')?;
        let is_number = port.bytes().all(|byte| byte.is_ascii_digit()) && !port.starts_with('0');
        let mut offer = Self {
            port: port.parse().ok().filter(|_| is_number)?,
            identity: [0; UDP_CARRIER_IDENTITY_LEN],
            key: Secret::zeroed(),
        };
        unhex(identity, &mut offer.identity)?;
        unhex(psk, offer.key.expose_mut())?;
        Some(offer)
    }
}

impl fmt::Debug for UdpCarrierOffer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "UdpCarrierOffer(port {})", self.port)
    }
}

/// Says whether a client asks for an offer: a true Boolean (RFC 9651 §3.3.6), once.
pub fn asks_for_udp_carrier(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(UDP_CARRIER).iter();
    matches!((values.next(), values.next()), (Some(value), None) if value.as_bytes() == b"?1")
}

/// Writes into an array that is zeroed on drop.
struct Writer<'t> {
    bytes: &'t mut [u8; MAX_FIELD_LEN],
    len: usize,
}

impl fmt::Write for Writer<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.len.checked_add(text.len()).ok_or(fmt::Error)?;
        let room = self.bytes.get_mut(self.len..end).ok_or(fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.len = end;
        Ok(())
    }
}

fn hex(writer: &mut Writer<'_>, bytes: &[u8]) -> Option<()> {
    bytes
        .iter()
        .try_for_each(|byte| write!(writer, "{byte:02x}"))
        .ok()
}

/// Reads lower-case digits that fill `out`.
fn unhex(digits: &str, out: &mut [u8]) -> Option<()> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte.wrapping_sub(b'0')),
        b'a'..=b'f' => Some(byte.wrapping_sub(b'a').wrapping_add(10)),
        _ => None,
    };
    let mut digits = digits.bytes();
    for byte in out {
        *byte = digit(digits.next()?)? << 4 | digit(digits.next()?)?;
    }
    digits.next().is_none().then_some(())
}

/// What the longest field takes: 16 + 5 for the port, the two others with their digits, in bytes.
const MAX_FIELD_LEN: usize = 160;
