//! Entity tags and conditional requests, RFC 7252 §5.10.6 and §5.10.8.

use hedgerow_coap::{ContentFormat, OptionNumber};
use hedgerow_core::{CryptoProvider, Sha256};
use hedgerow_crypto_soft::SoftCrypto;
use hedgerow_net::RequestMessage;

/// The tag of one representation: as long as an ETag option can be.
pub(super) type EntityTag = [u8; 8];

/// Computes the tag of a representation: eight bytes of a hash over its format and its bytes.
pub(super) fn entity_tag(format: ContentFormat, body: &[u8]) -> EntityTag {
    let mut hash = SoftCrypto.sha256();
    hash.update(&format.0.to_be_bytes());
    hash.update(body);
    let [a, b, c, d, e, f, g, h, ..] = hash.finish();
    [a, b, c, d, e, f, g, h]
}

/// Says whether the client named this representation as one that it has (RFC 7252 §5.10.6.2).
pub(super) fn is_known_to_client(request: &RequestMessage, tag: &EntityTag) -> bool {
    request.values(OptionNumber::ETAG).any(|known| known == tag)
}

/// Says whether If-Match or If-None-Match forbids the request; `tags` are those of the current
/// representations, none while there is nothing.
pub(super) fn unmet_precondition(request: &RequestMessage, tags: &[EntityTag]) -> bool {
    let exists = !tags.is_empty();
    let mut matches = request.values(OptionNumber::IF_MATCH).peekable();
    // MUST (RFC 7252 §5.10.8.1): a request whose If-Match conditions all fail isn't performed.
    // The empty value asks for nothing but existence.
    let unmatched = matches.peek().is_some()
        && !matches.any(|wanted| match wanted {
            [] => exists,
            wanted => tags.iter().any(|tag| tag == wanted),
        });
    // MUST (RFC 7252 §5.10.8.2): nor is one with If-None-Match if its target exists.
    let exists_against_wish =
        exists && request.values(OptionNumber::IF_NONE_MATCH).next().is_some();
    unmatched || exists_against_wish
}
