//! SHA-256 and HMAC-SHA-256 over input that comes in pieces.

use core::fmt;

use hedgerow_core::{HmacSha256, SHA256_LEN, Sha256};
use ring::{digest, hmac};

/// SHA-256 of [`RingCrypto`](crate::RingCrypto).
#[derive(Clone)]
pub struct RingSha256(digest::Context);

impl RingSha256 {
    /// Starts a digest.
    pub(crate) fn new() -> Self {
        Self(digest::Context::new(&digest::SHA256))
    }
}

impl Sha256 for RingSha256 {
    fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(self) -> [u8; SHA256_LEN] {
        whole(self.0.finish().as_ref())
    }
}

impl fmt::Debug for RingSha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RingSha256(..)")
    }
}

/// HMAC-SHA-256 of [`RingCrypto`](crate::RingCrypto).
#[derive(Clone)]
pub struct RingHmacSha256(hmac::Context);

impl RingHmacSha256 {
    /// Starts a tag under a key of any length.
    pub(crate) fn new(key: &[u8]) -> Self {
        Self(hmac::Context::with_key(&hmac::Key::new(
            hmac::HMAC_SHA256,
            key,
        )))
    }
}

impl HmacSha256 for RingHmacSha256 {
    fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(self) -> [u8; SHA256_LEN] {
        whole(self.0.sign().as_ref())
    }
}

impl fmt::Debug for RingHmacSha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RingHmacSha256(..)")
    }
}

/// Copies a digest, whose length ring gives by algorithm and not by type.
#[expect(
    clippy::expect_used,
    reason = "SHA-256 gives 32 bytes; padding or cutting a digest of another length would be worse"
)]
fn whole(digest: &[u8]) -> [u8; SHA256_LEN] {
    digest.try_into().expect("SHA-256 gives 32 bytes")
}

#[cfg(test)]
mod tests {
    use super::{RingHmacSha256, RingSha256};

    #[test]
    #[cfg(target_pointer_width = "64")]
    fn states_have_room_for_sha_512() {
        assert_eq!(size_of::<RingSha256>(), 224);
        assert_eq!(size_of::<RingHmacSha256>(), 312);
    }
}
