//! Stateless cookies (RFC 6347 §4.2.1).

use hedgerow_core::{AddressProofKey, CryptoProvider, CryptoRng, Instant, ProofPeriod, ct_eq};
use hedgerow_record::ClientHello;

/// Length of a cookie, in bytes: one for its period, the rest of an HMAC.
pub(crate) const COOKIE_LEN: usize = 16;

/// Makes and checks cookies without remembering any.
pub(crate) struct CookieKey(AddressProofKey);

impl CookieKey {
    pub(crate) fn draw(rng: &mut dyn CryptoRng) -> Self {
        Self(AddressProofKey::draw(rng))
    }

    /// Makes the cookie for a ClientHello from `peer` at `now`.
    pub(crate) fn make<P: CryptoProvider>(
        &self,
        provider: &P,
        now: Instant,
        peer: &[u8],
        hello: &ClientHello<'_>,
    ) -> [u8; COOKIE_LEN] {
        self.make_in_period(provider, ProofPeriod::at(now), peer, hello)
    }

    /// Checks the cookie of a ClientHello from `peer` at `now`.
    pub(crate) fn check<P: CryptoProvider>(
        &self,
        provider: &P,
        now: Instant,
        peer: &[u8],
        hello: &ClientHello<'_>,
    ) -> bool {
        let cookie = hello.cookie.unwrap_or_default();
        let Some(&first) = cookie.first() else {
            return false;
        };
        // The cookie's first byte only says which period to compute for; the HMAC covers it.
        let claimed = ProofPeriod::accepted(now)
            .into_iter()
            .find(|period| period.low_byte() == first);
        claimed.is_some_and(|period| {
            let expected = self.make_in_period(provider, period, peer, hello);
            ct_eq(&expected, cookie)
        })
    }

    fn make_in_period<P: CryptoProvider>(
        &self,
        provider: &P,
        period: ProofPeriod,
        peer: &[u8],
        hello: &ClientHello<'_>,
    ) -> [u8; COOKIE_LEN] {
        // RFC 6347 §4.2.1: the cookie covers the address and the client's parameters, so that a
        // second ClientHello with other parameters is not taken for the first one's.
        let parts: [&[u8]; 7] = [
            peer,
            &hello.client_version.0.to_be_bytes(),
            hello.random,
            hello.session_id,
            hello.cipher_suites.as_bytes(),
            hello.compression_methods,
            hello.extensions.as_bytes(),
        ];
        let digest = self.0.digest(provider, b"cookie period", period, &parts);
        let mut cookie = [0; COOKIE_LEN];
        if let Some((first, rest)) = cookie.split_first_mut() {
            *first = period.low_byte();
            rest.copy_from_slice(digest.get(..rest.len()).unwrap_or_default());
        }
        cookie
    }
}
