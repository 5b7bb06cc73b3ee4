//! How records stand on a stream of a leg.

use crate::{DTLS_1_2, TLS_1_2};

/// The form of records on a stream to a device that adapts to TLS clients (docs/specs/translate-device.md).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LegForm {
    /// As the client sends them.
    Tls,
    /// Under DTLS's headers.
    Dtls,
}

impl LegForm {
    /// Tells the form from the first two bytes of a stream; `None` if it is neither.
    pub const fn of_first(first: [u8; 2]) -> Option<Self> {
        let [tls, _] = TLS_1_2.0.to_be_bytes();
        let [dtls, _] = DTLS_1_2.0.to_be_bytes();
        match first {
            [_, major] if major == tls => Some(Self::Tls),
            [_, major] if major == dtls => Some(Self::Dtls),
            _ => None,
        }
    }
}
