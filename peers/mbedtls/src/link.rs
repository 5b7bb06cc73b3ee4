//! The datagram socket below an association, as Mbed TLS calls it.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use core::ffi::{c_int, c_uchar, c_void};
use mbedtls_rs_sys::{
    MBEDTLS_ERR_SSL_INTERNAL_ERROR, MBEDTLS_ERR_SSL_TIMEOUT, MBEDTLS_ERR_SSL_WANT_READ,
};

/// How long this end waits for anything; longer than the other end's own limit for a handshake, so
/// that it is the one to give up.
pub(crate) const LIMIT: Duration = Duration::from_secs(8);

/// A socket, where its datagrams go, and where the last one came from.
pub(crate) struct Link {
    socket: UdpSocket,
    peer: Option<SocketAddr>,
    last_from: Option<SocketAddr>,
}

impl Link {
    pub(crate) fn new(socket: UdpSocket, peer: Option<SocketAddr>) -> Self {
        Self {
            socket,
            peer,
            last_from: None,
        }
    }

    /// Goes on from another address.
    pub(crate) fn replace_socket(&mut self, socket: UdpSocket) {
        self.socket = socket;
    }

    /// Says where the next datagrams go: to whom an authentic record came from (RFC 9146 §6).
    pub(crate) fn follow(&mut self) {
        self.peer = self.last_from.or(self.peer);
    }

    /// Names the peer for the cookie.
    pub(crate) fn peer_name(&self) -> String {
        self.last_from
            .map(|from| from.to_string())
            .unwrap_or_default()
    }

    fn receive(&mut self, buffer: &mut [u8], limit: Duration) -> c_int {
        let limit = limit.clamp(Duration::from_millis(1), LIMIT);
        if self.socket.set_read_timeout(Some(limit)).is_err() {
            return MBEDTLS_ERR_SSL_INTERNAL_ERROR;
        }
        match self.socket.recv_from(buffer) {
            Ok((len, from)) => {
                self.peer = self.peer.or(Some(from));
                self.last_from = Some(from);
                c_int::try_from(len).unwrap_or(MBEDTLS_ERR_SSL_INTERNAL_ERROR)
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                MBEDTLS_ERR_SSL_TIMEOUT
            }
            // An ICMP error of an earlier datagram.
            Err(_) => MBEDTLS_ERR_SSL_WANT_READ,
        }
    }
}

/// `mbedtls_ssl_send_t`
///
/// # Safety
///
/// `link` is a [`Link`] that nothing else refers to, and `bytes` is `len` bytes that can be read.
pub(crate) unsafe extern "C" fn send(
    link: *mut c_void,
    bytes: *const c_uchar,
    len: usize,
) -> c_int {
    // SAFETY: what the caller promises.
    let (link, bytes) = unsafe {
        (
            &mut *link.cast::<Link>(),
            core::slice::from_raw_parts(bytes, len),
        )
    };
    if let Some(peer) = link.peer {
        // A peer that is gone is silence to DTLS.
        let _ = link.socket.send_to(bytes, peer);
    }
    c_int::try_from(len).unwrap_or(MBEDTLS_ERR_SSL_INTERNAL_ERROR)
}

/// `mbedtls_ssl_recv_timeout_t`
///
/// # Safety
///
/// `link` is a [`Link`] that nothing else refers to, and `bytes` is `len` bytes that can be written
/// and are initialised.
pub(crate) unsafe extern "C" fn receive(
    link: *mut c_void,
    bytes: *mut c_uchar,
    len: usize,
    timeout_millis: u32,
) -> c_int {
    // SAFETY: what the caller promises.
    let (link, buffer) = unsafe {
        (
            &mut *link.cast::<Link>(),
            core::slice::from_raw_parts_mut(bytes, len),
        )
    };
    let limit = match timeout_millis {
        0 => LIMIT,
        millis => Duration::from_millis(u64::from(millis)),
    };
    link.receive(buffer, limit)
}
