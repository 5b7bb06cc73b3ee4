//! The buffers that a handshake borrows.

use hedgerow_core::Misuse;

/// The two buffers of one handshake, of at least [`Self::MIN_LEN`] bytes each.
///
/// They come from a pool of the caller's, which bounds how many handshakes are under way, and go
/// back to it with the session. `B` is whatever lends bytes: `&mut [u8]`, `[u8; N]`, a box.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buffers<B> {
    /// Parts of messages that are not whole yet.
    pub incoming: B,
    /// The flight that is sent until it is answered.
    pub outgoing: B,
}

impl<B: AsRef<[u8]>> Buffers<B> {
    /// Length of each buffer, in bytes: a ClientHello with a cookie of 255 bytes, or a
    /// ServerHello, a hint of 128 bytes and what stands beside them.
    pub const MIN_LEN: usize = 512;

    pub(crate) fn checked(self) -> Result<Self, Misuse> {
        let available = self
            .incoming
            .as_ref()
            .len()
            .min(self.outgoing.as_ref().len());
        if available < Self::MIN_LEN {
            return Err(Misuse::BufferTooSmall {
                needed: Self::MIN_LEN,
                available,
            });
        }
        Ok(self)
    }
}
