//! Stateless cookies (RFC 6347 §4.2.1).

use core::time::Duration;

use hedgerow_core::{CryptoProvider, CryptoRng, HmacSha256, Instant, Secret, ct_eq};
use hedgerow_record::ClientHello;

/// Length of a cookie, in bytes: one for its period, the rest of an HMAC.
pub(crate) const COOKIE_LEN: usize = 16;

/// How long one cookie key is used. A cookie is accepted in its own period and the one after it.
const PERIOD: Duration = Duration::from_secs(60);

/// Makes and checks cookies without remembering any.
pub(crate) struct CookieKey(Secret<32>);

impl CookieKey {
    pub(crate) fn draw(rng: &mut dyn CryptoRng) -> Self {
        Self(Secret::fill_with(|bytes| rng.fill_bytes(bytes)))
    }

    /// Makes the cookie for a ClientHello from `peer` at `now`.
    pub(crate) fn make<P: CryptoProvider>(
        &self,
        provider: &P,
        now: Instant,
        peer: &[u8],
        hello: &ClientHello<'_>,
    ) -> [u8; COOKIE_LEN] {
        self.make_in_period(provider, period(now), peer, hello)
    }

    /// Checks the cookie of a ClientHello from `peer` at `now`.
    pub(crate) fn check<P: CryptoProvider>(
        &self,
        provider: &P,
        now: Instant,
        peer: &[u8],
        hello: &ClientHello<'_>,
    ) -> bool {
        let current = period(now);
        let previous = current.wrapping_sub(1);
        let cookie = hello.cookie.unwrap_or_default();
        let Some(&first) = cookie.first() else {
            return false;
        };
        // The cookie's first byte only says which period to compute for; the HMAC covers it.
        let claimed = [current, previous]
            .into_iter()
            .find(|&period| low_byte(period) == first);
        claimed.is_some_and(|period| {
            let expected = self.make_in_period(provider, period, peer, hello);
            ct_eq(&expected, cookie)
        })
    }

    /// The key of a period is derived, so that a rotation needs no state that changes.
    fn make_in_period<P: CryptoProvider>(
        &self,
        provider: &P,
        period: u64,
        peer: &[u8],
        hello: &ClientHello<'_>,
    ) -> [u8; COOKIE_LEN] {
        let mut hmac = provider.hmac_sha256(self.0.expose());
        hmac.update(b"cookie period");
        hmac.update(&period.to_be_bytes());
        let period_key = Secret::<32>::fill_with(|bytes| *bytes = hmac.finish());

        // RFC 6347 §4.2.1: the cookie covers the address and the client's parameters, so that a
        // second ClientHello with other parameters is not taken for the first one's.
        let mut hmac = provider.hmac_sha256(period_key.expose());
        let mut part = |bytes: &[u8]| {
            let len = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
            hmac.update(&len.to_be_bytes());
            hmac.update(bytes);
        };
        part(peer);
        part(&hello.client_version.0.to_be_bytes());
        part(hello.random);
        part(hello.session_id);
        part(hello.cipher_suites.as_bytes());
        part(hello.compression_methods);
        part(hello.extensions.as_bytes());
        let mac = hmac.finish();

        let mut cookie = [0; COOKIE_LEN];
        if let Some((first, rest)) = cookie.split_first_mut() {
            *first = low_byte(period);
            rest.copy_from_slice(mac.get(..rest.len()).unwrap_or_default());
        }
        cookie
    }
}

fn period(now: Instant) -> u64 {
    let micros = u64::try_from(PERIOD.as_micros()).unwrap_or(u64::MAX);
    now.as_micros() / micros
}

fn low_byte(period: u64) -> u8 {
    let [.., low] = period.to_be_bytes();
    low
}
