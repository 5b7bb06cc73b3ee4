//! One association of Mbed TLS, with all that its context points to.

use core::ffi::{c_int, c_uchar, c_void};
use core::ptr;

use mbedtls_rs_sys as c;

use crate::link::{self, LIMIT, Link};
use crate::timer::{self, Timer};

/// What an association is to be.
pub(crate) struct Config {
    pub(crate) is_client: bool,
    pub(crate) suite: u16,
    pub(crate) group: u16,
    pub(crate) identity: Vec<u8>,
    pub(crate) key: Vec<u8>,
    /// The connection ID to receive; without one the extension is left out.
    pub(crate) cid: Option<Vec<u8>>,
}

/// Owns each part at an address that doesn't change. Dropping it frees them.
pub(crate) struct Association {
    ssl: *mut c::mbedtls_ssl_context,
    config: *mut c::mbedtls_ssl_config,
    cookies: *mut c::mbedtls_ssl_cookie_ctx,
    link: *mut Link,
    timer: *mut Timer,
    suites: *mut [c_int; 2],
    groups: *mut [u16; 2],
}

impl Association {
    pub(crate) fn new(config: &Config, link: Link) -> Result<Self, String> {
        // SAFETY: the contexts are plain C structures, for which all zeros is a value.
        let (ssl, ssl_config, cookies) = unsafe {
            (
                Box::into_raw(Box::new(core::mem::zeroed())),
                Box::into_raw(Box::new(core::mem::zeroed())),
                Box::into_raw(Box::new(core::mem::zeroed())),
            )
        };
        let own = Self {
            ssl,
            config: ssl_config,
            cookies,
            link: Box::into_raw(Box::new(link)),
            timer: Box::into_raw(Box::new(Timer::default())),
            suites: Box::into_raw(Box::new([c_int::from(config.suite), 0])),
            groups: Box::into_raw(Box::new([config.group, 0])),
        };
        // SAFETY: every pointer is to what `own` has just allocated and keeps until its end; they are
        // initialised before anything else is done with them.
        unsafe {
            c::mbedtls_ssl_init(own.ssl);
            c::mbedtls_ssl_config_init(own.config);
            c::mbedtls_ssl_cookie_init(own.cookies);
        }
        own.configure(config)?;
        Ok(own)
    }

    fn configure(&self, config: &Config) -> Result<(), String> {
        // SAFETY: the table of suites is constant.
        if unsafe { c::mbedtls_ssl_ciphersuite_from_id(c_int::from(config.suite)) }.is_null() {
            return Err("no such suite in this library".to_owned());
        }
        let role = if config.is_client {
            c::MBEDTLS_SSL_IS_CLIENT
        } else {
            c::MBEDTLS_SSL_IS_SERVER
        };
        let limit_millis = u32::try_from(LIMIT.as_millis()).unwrap_or(u32::MAX);
        // SAFETY: as in `new`; the callbacks are given the link and the timer that they ask for, and
        // keys, names and connection IDs are copied by the calls that take them.
        unsafe {
            ok(c::mbedtls_ssl_config_defaults(
                self.config,
                int(role)?,
                int(c::MBEDTLS_SSL_TRANSPORT_DATAGRAM)?,
                int(c::MBEDTLS_SSL_PRESET_DEFAULT)?,
            ))?;
            c::mbedtls_ssl_conf_rng(self.config, Some(random), ptr::null_mut());
            c::mbedtls_ssl_conf_ciphersuites(self.config, self.suites.cast());
            c::mbedtls_ssl_conf_groups(self.config, self.groups.cast());
            c::mbedtls_ssl_conf_read_timeout(self.config, limit_millis);
            c::mbedtls_ssl_conf_handshake_timeout(self.config, 500, limit_millis / 2);
            ok(c::mbedtls_ssl_conf_psk(
                self.config,
                config.key.as_ptr(),
                config.key.len(),
                config.identity.as_ptr(),
                config.identity.len(),
            ))?;
            if !config.is_client {
                ok(c::mbedtls_ssl_cookie_setup(
                    self.cookies,
                    Some(random),
                    ptr::null_mut(),
                ))?;
                c::mbedtls_ssl_conf_dtls_cookies(
                    self.config,
                    Some(c::mbedtls_ssl_cookie_write),
                    Some(c::mbedtls_ssl_cookie_check),
                    self.cookies.cast(),
                );
            }
            if let Some(cid) = &config.cid {
                ok(c::mbedtls_ssl_conf_cid(
                    self.config,
                    cid.len(),
                    int(c::MBEDTLS_SSL_UNEXPECTED_CID_IGNORE)?,
                ))?;
            }
            ok(c::mbedtls_ssl_setup(self.ssl, self.config))?;
            if let Some(cid) = &config.cid {
                ok(c::mbedtls_ssl_set_cid(
                    self.ssl,
                    int(c::MBEDTLS_SSL_CID_ENABLED)?,
                    cid.as_ptr(),
                    cid.len(),
                ))?;
            }
            c::mbedtls_ssl_set_bio(
                self.ssl,
                self.link.cast(),
                Some(link::send),
                None,
                Some(link::receive),
            );
            c::mbedtls_ssl_set_timer_cb(
                self.ssl,
                self.timer.cast(),
                Some(timer::set),
                Some(timer::get),
            );
        }
        if !config.is_client {
            self.name_peer("nobody yet")?;
        }
        Ok(())
    }

    /// Binds the cookie to a peer's address.
    fn name_peer(&self, name: &str) -> Result<(), String> {
        // SAFETY: the context is set up, and the name is copied.
        ok(unsafe { c::mbedtls_ssl_set_client_transport_id(self.ssl, name.as_ptr(), name.len()) })
            .map(drop)
    }

    /// Completes the handshake, of servers with a cookie.
    pub(crate) fn shake_hands(&mut self) -> Result<(), String> {
        loop {
            // SAFETY: the context is set up.
            match unsafe { c::mbedtls_ssl_handshake(self.ssl) } {
                0 => return Ok(()),
                c::MBEDTLS_ERR_SSL_HELLO_VERIFY_REQUIRED => {
                    // SAFETY: as above.
                    ok(unsafe { c::mbedtls_ssl_session_reset(self.ssl) })?;
                    let name = self.link().peer_name();
                    self.name_peer(&name)?;
                }
                c::MBEDTLS_ERR_SSL_WANT_READ | c::MBEDTLS_ERR_SSL_WANT_WRITE => {}
                error => return Err(reason(error)),
            }
        }
    }

    /// Says what was negotiated.
    pub(crate) fn established(&mut self) -> Result<String, String> {
        // SAFETY: the handshake is through.
        let suite = unsafe { c::mbedtls_ssl_get_ciphersuite_id_from_ssl(self.ssl) };
        let own = self.cid(c::mbedtls_ssl_get_own_cid)?;
        let peer = self.cid(c::mbedtls_ssl_get_peer_cid)?;
        // A peer that doesn't take connection IDs leaves the own one unused, and one of length zero
        // counts as none at the end that asked for it.
        let cids = peer.map_or_else(
            || "-".to_owned(),
            |peer| format!("{}/{peer}", own.unwrap_or_default()),
        );
        Ok(format!("established suite={suite:04x} cid={cids}"))
    }

    fn cid(&mut self, get: GetCid) -> Result<Option<String>, String> {
        let mut enabled = 0;
        let mut len = 0;
        let mut bytes = [0; 32];
        // SAFETY: the handshake is through, and a connection ID has at most 32 bytes
        // (`MBEDTLS_SSL_CID_OUT_LEN_MAX`).
        ok(unsafe { get(self.ssl, &mut enabled, bytes.as_mut_ptr(), &mut len) })?;
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok((enabled != 0).then(|| bytes.get(..len).map(hex).unwrap_or_default()))
    }

    /// Seals `text` and sends it.
    pub(crate) fn write(&mut self, text: &[u8]) -> Result<(), String> {
        // SAFETY: the context is set up, and the text is as long as is said.
        ok(unsafe { c::mbedtls_ssl_write(self.ssl, text.as_ptr(), text.len()) }).map(drop)
    }

    /// Waits for data; none if the peer has closed.
    pub(crate) fn read(&mut self) -> Result<Option<String>, String> {
        let mut text = [0; 1_500];
        loop {
            // SAFETY: the context is set up, and the buffer is as long as is said.
            match unsafe { c::mbedtls_ssl_read(self.ssl, text.as_mut_ptr(), text.len()) } {
                0 | c::MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY => return Ok(None),
                c::MBEDTLS_ERR_SSL_WANT_READ | c::MBEDTLS_ERR_SSL_WANT_WRITE => {}
                len => {
                    let len = usize::try_from(len).map_err(|_| reason(len))?;
                    self.link().follow();
                    let text = text.get(..len).unwrap_or_default();
                    return Ok(Some(String::from_utf8_lossy(text).into_owned()));
                }
            }
        }
    }

    /// Tells the peer that it is over.
    pub(crate) fn close(&mut self) {
        // SAFETY: the context is set up.
        let _ = unsafe { c::mbedtls_ssl_close_notify(self.ssl) };
    }

    /// Returns the socket's side. Mbed TLS refers to it only while it is called.
    pub(crate) fn link(&mut self) -> &mut Link {
        // SAFETY: it is there until `self` is dropped, and `self` is borrowed for as long as this.
        unsafe { &mut *self.link }
    }
}

impl Drop for Association {
    fn drop(&mut self) {
        // SAFETY: each was allocated by `new` as a box, and nothing refers to it any more once the
        // context that points to the others is freed.
        unsafe {
            c::mbedtls_ssl_free(self.ssl);
            c::mbedtls_ssl_config_free(self.config);
            c::mbedtls_ssl_cookie_free(self.cookies);
            drop(Box::from_raw(self.ssl));
            drop(Box::from_raw(self.config));
            drop(Box::from_raw(self.cookies));
            drop(Box::from_raw(self.link));
            drop(Box::from_raw(self.timer));
            drop(Box::from_raw(self.suites));
            drop(Box::from_raw(self.groups));
        }
    }
}

type GetCid = unsafe extern "C" fn(
    *mut c::mbedtls_ssl_context,
    *mut c_int,
    *mut c_uchar,
    *mut usize,
) -> c_int;

/// `mbedtls_f_rng_t`
///
/// # Safety
///
/// `bytes` is `len` bytes that can be written.
unsafe extern "C" fn random(_: *mut c_void, bytes: *mut c_uchar, len: usize) -> c_int {
    // SAFETY: what the caller promises; zeros first, since they may not be initialised.
    let bytes = unsafe {
        ptr::write_bytes(bytes, 0, len);
        core::slice::from_raw_parts_mut(bytes, len)
    };
    getrandom::fill(bytes).map_or(c::MBEDTLS_ERR_SSL_INTERNAL_ERROR, |()| 0)
}

fn int(value: u32) -> Result<c_int, String> {
    c_int::try_from(value).map_err(|error| error.to_string())
}

fn ok(code: c_int) -> Result<c_int, String> {
    if code < 0 {
        Err(reason(code))
    } else {
        Ok(code)
    }
}

fn reason(code: c_int) -> String {
    match code {
        c::MBEDTLS_ERR_SSL_TIMEOUT => "nothing heard".to_owned(),
        c::MBEDTLS_ERR_SSL_FATAL_ALERT_MESSAGE => "alert of the other end".to_owned(),
        c::MBEDTLS_ERR_SSL_INVALID_MAC => "record not authentic".to_owned(),
        c::MBEDTLS_ERR_SSL_UNKNOWN_IDENTITY => "unknown identity".to_owned(),
        c::MBEDTLS_ERR_SSL_BAD_CONFIG => "not built in, or a contradiction".to_owned(),
        _ => format!("Mbed TLS error -0x{:04x}", code.unsigned_abs()),
    }
}
