//! The key exchange messages: plain PSK (RFC 4279 §2), PSK with an ephemeral agreement (RFC 5489
//! §2), and an ephemeral agreement that the server signs (RFC 8422 §5.4, §5.7).

use hedgerow_core::{
    AgreementKey, EncodeError, Env, KeyAgreement, MAX_PUBLIC_KEY_LEN, NamedGroup, Reader,
    SHARED_SECRET_LEN, Secret, Writer,
};
use hedgerow_record::{
    AlertDescription, DigitallySigned, KeyExchange, ServerEcdhParams, decode_public_key,
};

/// A peer's ephemeral public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PublicKey {
    pub(crate) group: NamedGroup,
    bytes: [u8; MAX_PUBLIC_KEY_LEN],
    len: usize,
}

impl PublicKey {
    /// Takes over the bytes of a key of `group`; `None` if there are not as many as it has.
    pub(crate) fn new(group: NamedGroup, key: &[u8]) -> Option<Self> {
        let mut bytes = [0; MAX_PUBLIC_KEY_LEN];
        if key.len() != group.public_key_len() {
            return None;
        }
        bytes.get_mut(..key.len())?.copy_from_slice(key);
        Some(Self {
            group,
            bytes,
            len: key.len(),
        })
    }

    /// Returns the public key that belongs to `key`.
    pub(crate) fn of(key: &impl AgreementKey) -> Option<Self> {
        let mut bytes = [0; MAX_PUBLIC_KEY_LEN];
        let len = key.write_public_key(&mut bytes).ok()?;
        Some(Self {
            group: key.group(),
            bytes,
            len,
        })
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

/// Draws an ephemeral key in the group of `peer_key` and agrees with its owner on a secret.
pub(crate) fn agree<P: KeyAgreement>(
    provider: &P,
    env: &mut Env<'_>,
    peer_key: &PublicKey,
) -> Result<(PublicKey, Secret<SHARED_SECRET_LEN>), AlertDescription> {
    let key = provider
        .generate_agreement_key(peer_key.group, env.rng)
        .map_err(|_| AlertDescription::INTERNAL_ERROR)?;
    let public_key = PublicKey::of(&key).ok_or(AlertDescription::INTERNAL_ERROR)?;
    Ok((public_key, agree_with(&key, peer_key)?))
}

/// Agrees on a secret with the owner of `peer_key`.
pub(crate) fn agree_with(
    key: &impl AgreementKey,
    peer_key: &PublicKey,
) -> Result<Secret<SHARED_SECRET_LEN>, AlertDescription> {
    // MUST (RFC 8422 §5.11): a point that isn't on the curve, or a secret of zeros, ends the
    // handshake.
    key.agree(peer_key.as_bytes())
        .map_err(|_| AlertDescription::ILLEGAL_PARAMETER)
}

/// Decodes a ServerKeyExchange: an identity hint, which may be any bytes and is not used, and in
/// an ephemeral exchange the server's public key in a group that `is_offered`.
pub(crate) fn decode_server_key_exchange(
    key_exchange: KeyExchange,
    is_offered: impl Fn(NamedGroup) -> bool,
    body: &[u8],
) -> Result<Option<PublicKey>, AlertDescription> {
    let mut reader = Reader::new(body);
    // RFC 4279 §5.2: the hint helps to choose among identities; the caller has chosen.
    let _hint = reader.vector16().map_err(malformed)?;
    let public_key = match key_exchange {
        KeyExchange::Psk => None,
        _ => Some(decode_params(is_offered, &mut reader)?),
    };
    reader.finish().map_err(malformed)?;
    Ok(public_key)
}

/// A ServerKeyExchange that the server signs.
pub(crate) struct SignedParams<'a> {
    pub(crate) public_key: PublicKey,
    /// The parameters' bytes, which the signature covers.
    pub(crate) params: &'a [u8],
    pub(crate) signed: DigitallySigned<'a>,
}

/// Decodes a ServerKeyExchange that is signed: the server's public key in a group that `is_offered`,
/// and the signature, which isn't verified here.
pub(crate) fn decode_signed_params(
    is_offered: impl Fn(NamedGroup) -> bool,
    body: &[u8],
) -> Result<SignedParams<'_>, AlertDescription> {
    let mut reader = Reader::new(body);
    let public_key = decode_params(is_offered, &mut reader)?;
    let params_len = body.len().saturating_sub(reader.len());
    let signed = DigitallySigned::decode(&mut reader).map_err(malformed)?;
    reader.finish().map_err(malformed)?;
    Ok(SignedParams {
        public_key,
        params: body.get(..params_len).unwrap_or_default(),
        signed,
    })
}

/// Decodes a server's parameters at the front: its public key in a group that `is_offered`.
fn decode_params(
    is_offered: impl Fn(NamedGroup) -> bool,
    reader: &mut Reader<'_>,
) -> Result<PublicKey, AlertDescription> {
    let params = ServerEcdhParams::decode(reader).map_err(|error| match error {
        hedgerow_record::Error::Decode(error) => malformed(error),
        // MUST (RFC 8422 §5.4): no curve but a named one.
        _ => AlertDescription::ILLEGAL_PARAMETER,
    })?;
    // MUST (RFC 8422 §5.4): the server takes a group that was offered.
    let group = NamedGroup::from_code_point(params.group)
        .filter(|&group| is_offered(group))
        .ok_or(AlertDescription::ILLEGAL_PARAMETER)?;
    PublicKey::new(group, params.public_key).ok_or(AlertDescription::ILLEGAL_PARAMETER)
}

/// Encodes a ServerKeyExchange without a hint.
pub(crate) fn encode_server_key_exchange(
    public_key: &PublicKey,
    out: &mut Writer<'_>,
) -> Result<(), EncodeError> {
    out.vector16(&[])?;
    ServerEcdhParams {
        group: public_key.group.code_point(),
        public_key: public_key.as_bytes(),
    }
    .encode(out)
}

/// Decodes a ClientKeyExchange: the PSK identity, which may be any bytes, and in an ephemeral
/// exchange in `group` the client's public key.
pub(crate) fn decode_client_key_exchange(
    group: Option<NamedGroup>,
    body: &[u8],
) -> Result<(&[u8], Option<PublicKey>), AlertDescription> {
    let mut reader = Reader::new(body);
    let psk_identity = reader.vector16().map_err(malformed)?;
    let public_key = match group {
        None => None,
        Some(group) => {
            let bytes = decode_public_key(&mut reader).map_err(malformed)?;
            let public_key =
                PublicKey::new(group, bytes).ok_or(AlertDescription::ILLEGAL_PARAMETER)?;
            Some(public_key)
        }
    };
    reader.finish().map_err(malformed)?;
    Ok((psk_identity, public_key))
}

/// Decodes a ClientKeyExchange without an identity: the client's public key in `group`.
pub(crate) fn decode_client_public_key(
    group: NamedGroup,
    body: &[u8],
) -> Result<PublicKey, AlertDescription> {
    let mut reader = Reader::new(body);
    let bytes = decode_public_key(&mut reader).map_err(malformed)?;
    reader.finish().map_err(malformed)?;
    PublicKey::new(group, bytes).ok_or(AlertDescription::ILLEGAL_PARAMETER)
}

/// Encodes a ClientKeyExchange.
pub(crate) fn encode_client_key_exchange(
    psk_identity: &[u8],
    public_key: Option<&PublicKey>,
    out: &mut Writer<'_>,
) -> Result<(), EncodeError> {
    out.vector16(psk_identity)?;
    match public_key {
        Some(public_key) => out.vector8(public_key.as_bytes()),
        None => Ok(()),
    }
}

pub(crate) const fn malformed(_: hedgerow_core::DecodeError) -> AlertDescription {
    AlertDescription::DECODE_ERROR
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identity_is_a_vector_and_nothing_behind_it() {
        let mut out = [0; 8];
        let mut writer = Writer::new(&mut out);
        encode_client_key_exchange(b"ab", None, &mut writer).unwrap();
        assert_eq!(writer.written(), [0, 2, b'a', b'b']);
        let decoded = decode_client_key_exchange(None, &[0, 2, b'a', b'b']);
        assert_eq!(decoded, Ok((b"ab".as_slice(), None)));
        assert!(decode_client_key_exchange(None, &[0, 2, b'a']).is_err());
        let psk = |body: &[u8]| decode_server_key_exchange(KeyExchange::Psk, |_| false, body);
        assert!(psk(&[0, 1, b'a', 0]).is_err());
        assert_eq!(psk(&[0, 0]), Ok(None));
    }

    #[test]
    fn public_key_is_of_a_group_that_was_offered_and_of_its_length() {
        let group = NamedGroup::X25519;
        let key = PublicKey::new(group, &[7; 32]).unwrap();
        let mut out = [0; 64];
        let mut writer = Writer::new(&mut out);
        encode_server_key_exchange(&key, &mut writer).unwrap();
        let body = writer.written();
        let decode = |groups: &[NamedGroup], body: &[u8]| {
            decode_server_key_exchange(KeyExchange::EcdhePsk, |group| groups.contains(&group), body)
        };
        assert_eq!(decode(&[group], body), Ok(Some(key)));
        let refused = Err(AlertDescription::ILLEGAL_PARAMETER);
        assert_eq!(decode(&[NamedGroup::Secp256r1], body), refused);
        assert_eq!(decode(&[group], &[0, 0, 3, 0, 0x1d, 1, 7]), refused);
        assert_eq!(decode(&[group], &[0, 0, 1, 0, 0x1d, 1, 7]), refused);
        let malformed = Err(AlertDescription::DECODE_ERROR);
        assert_eq!(decode(&[group], &body[..body.len() - 1]), malformed);
        assert_eq!(decode(&[group], &[body, &[0]].concat()), malformed);
        let malformed = Err(AlertDescription::DECODE_ERROR);
        assert_eq!(
            decode_client_key_exchange(Some(group), &[0, 1, b'a']),
            malformed
        );
        let refused = Err(AlertDescription::ILLEGAL_PARAMETER);
        assert_eq!(
            decode_client_key_exchange(Some(group), &[0, 0, 1, 7]),
            refused
        );
    }
}
