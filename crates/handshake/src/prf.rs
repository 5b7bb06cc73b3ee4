//! The TLS 1.2 pseudorandom function with SHA-256 (RFC 5246 §5).

use hedgerow_core::{HmacSha256, SHA256_LEN, Secret};

/// Fills `output` with `PRF(secret, label, seed)`, the secret already put into `keyed` and the seed
/// given in parts.
pub(crate) fn prf<H: HmacSha256>(keyed: &H, label: &[u8], seed: &[&[u8]], output: &mut [u8]) {
    let with_seed = |mut hmac: H| {
        hmac.update(label);
        seed.iter().for_each(|part| hmac.update(part));
        hmac.finish()
    };
    let mut a = Secret::<SHA256_LEN>::fill_with(|bytes| *bytes = with_seed(keyed.clone()));
    let mut rest = output;
    while !rest.is_empty() {
        let mut hmac = keyed.clone();
        hmac.update(a.expose());
        let block = Secret::<SHA256_LEN>::fill_with(|bytes| *bytes = with_seed(hmac));
        let len = rest.len().min(SHA256_LEN);
        let (head, tail) = rest.split_at_mut(len);
        head.copy_from_slice(block.expose().get(..len).unwrap_or_default());
        rest = tail;
        if !rest.is_empty() {
            let mut hmac = keyed.clone();
            hmac.update(a.expose());
            a = Secret::fill_with(|bytes| *bytes = hmac.finish());
        }
    }
}
