//! The buffers that a handshake borrows.

use hedgerow_core::{ClientCredentials, Misuse, ServerCredentials};

use crate::Settings;
use crate::certificates::needed_buffer_len;

/// Length of each buffer, in bytes, where certificates are not in use.
pub(crate) const MIN_LEN: usize = 512;

/// Length of each buffer, in bytes, where they are.
pub(crate) const MIN_CHAIN_LEN: usize = 4_096;

/// The two buffers of one handshake, of at least [`Self::MIN_LEN`] bytes each, or of
/// [`Self::MIN_CHAIN_LEN`] where X.509 certificates are in use.
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
    /// ServerHello, a hint of 128 bytes and what stands beside them. Raw public keys need no more,
    /// unless the client says a server's name, by whose length the buffers grow.
    pub const MIN_LEN: usize = MIN_LEN;

    /// Length of each buffer where credentials show or accept X.509 chains, in bytes: three
    /// certificates of 1,200 bytes, which is the chain that RFC 7925 §4.4.4 asks everybody to take,
    /// and the flight around them. An own chain above that needs `MIN_LEN` and its own length. A
    /// peer's that is longer than the buffer is dropped (DTLS) or refused (TLS).
    pub const MIN_CHAIN_LEN: usize = MIN_CHAIN_LEN;

    /// Returns the length of each buffer that a client needs with these credentials, in bytes.
    pub fn client_len<C: ClientCredentials>(settings: &Settings, credentials: &C) -> usize {
        let certificates = credentials.certificates();
        let server_name = certificates.and_then(|certificates| certificates.server_name());
        needed_buffer_len(settings, certificates, server_name)
    }

    /// Returns the length of each buffer that a server over a stream needs with these credentials, in
    /// bytes. Over datagrams [`AcceptedHello::buffer_len`](crate::AcceptedHello::buffer_len) says it.
    pub fn server_len<S: ServerCredentials>(settings: &Settings, credentials: &S) -> usize {
        needed_buffer_len(settings, credentials.certificates(), None)
    }

    /// Compares both lengths with what is needed.
    pub(crate) fn checked(self, needed: usize) -> Result<Self, Misuse> {
        let available = self
            .incoming
            .as_ref()
            .len()
            .min(self.outgoing.as_ref().len());
        if available < needed {
            return Err(Misuse::BufferTooSmall { needed, available });
        }
        Ok(self)
    }
}
