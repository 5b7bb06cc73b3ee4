//! SHA-256 and HMAC-SHA-256 over input that comes in pieces.

use core::fmt;

use hedgerow_core::{HmacSha256, SHA256_LEN, Sha256};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Digest;

/// SHA-256 of [`SoftCrypto`](crate::SoftCrypto). Its state is zeroed on drop.
#[derive(Clone, Default)]
pub struct SoftSha256(sha2::Sha256);

impl Sha256 for SoftSha256 {
    fn update(&mut self, bytes: &[u8]) {
        Digest::update(&mut self.0, bytes);
    }

    fn finish(self) -> [u8; SHA256_LEN] {
        self.0.finalize().into()
    }
}

impl fmt::Debug for SoftSha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SoftSha256(..)")
    }
}

/// HMAC-SHA-256 of [`SoftCrypto`](crate::SoftCrypto). Its state is zeroed on drop.
#[derive(Clone)]
pub struct SoftHmacSha256(Hmac<sha2::Sha256>);

impl SoftHmacSha256 {
    /// Starts a tag under a key of any length.
    #[expect(
        clippy::expect_used,
        reason = "RFC 2104 §2: HMAC takes keys of every length, and so does this constructor"
    )]
    pub(crate) fn new(key: &[u8]) -> Self {
        Self(Hmac::new_from_slice(key).expect("HMAC takes keys of every length"))
    }
}

impl HmacSha256 for SoftHmacSha256 {
    fn update(&mut self, bytes: &[u8]) {
        Mac::update(&mut self.0, bytes);
    }

    fn finish(self) -> [u8; SHA256_LEN] {
        self.0.finalize().into_bytes().into()
    }
}

impl fmt::Debug for SoftHmacSha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SoftHmacSha256(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::{SoftHmacSha256, SoftSha256};

    #[test]
    #[cfg(target_pointer_width = "64")]
    fn states_are_no_larger_than_their_halves() {
        assert_eq!(size_of::<SoftSha256>(), 104);
        assert_eq!(size_of::<SoftHmacSha256>(), 144);
    }
}
