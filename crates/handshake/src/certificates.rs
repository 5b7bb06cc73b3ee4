//! What both ends of a handshake do with certificates and raw public keys: show their own, identify
//! the peer's, sign, and verify what it signed (RFC 5246 §7.4.2, §7.4.8, RFC 8422 §5.4, RFC 7250).

use hedgerow_core::{
    CertificateCredentials, CertificateFault, CertificateOwner, CertificateType, ChainRequest,
    CryptoError, EncodeError, Identity, IdentityRequest, P256_PUBLIC_KEY_LEN, Peer,
    RawPublicKeyRequest, SHA256_LEN, ServerName, SignatureScheme, Signatures, SigningKey, UnixTime,
    Writer,
};
use hedgerow_record::{
    AlertDescription, DigitallySigned, Random, ServerEcdhParams, SignatureAndHashAlgorithm,
    decode_certificates, decode_p256_spki, decode_raw_public_key, encode_certificates,
    encode_p256_spki, encode_raw_public_key,
};

use crate::Settings;
use crate::buffers::{MIN_CHAIN_LEN, MIN_LEN};
use crate::key_exchange::PublicKey;

/// The one scheme of certificate mode (RFC 7925 §4.3).
const SCHEME: SignatureScheme = SignatureScheme::EcdsaSecp256r1Sha256;

const MAX_SIGNATURE_LEN: usize = SCHEME.max_signature_len();

/// Both random bytes and the parameters of the longest key that there is.
const MAX_SIGNED_PARAMS_LEN: usize = 2 * 32 + 4 + hedgerow_core::MAX_PUBLIC_KEY_LEN;

/// Whom a Certificate message names. It proves nothing before a signature with the key has verified.
pub(crate) struct Owner {
    peer: Peer,
    public_key: [u8; P256_PUBLIC_KEY_LEN],
}

/// Who has signed, and with which key.
pub(crate) type Proof = (Peer, [u8; P256_PUBLIC_KEY_LEN]);

/// What the peer's certificate is looked at for.
pub(crate) struct Sought<'a> {
    pub(crate) certificate_type: CertificateType,
    pub(crate) owner: CertificateOwner,
    pub(crate) server_name: Option<ServerName<'a>>,
    pub(crate) unix_time: Option<UnixTime>,
}

impl Owner {
    /// Finds out whom a Certificate message names; `None` if it carries no certificate.
    pub(crate) fn identify(
        credentials: &dyn CertificateCredentials,
        sought: &Sought<'_>,
        body: &[u8],
    ) -> Result<Option<Self>, AlertDescription> {
        let malformed = |_| AlertDescription::DECODE_ERROR;
        if sought.certificate_type == CertificateType::RawPublicKey {
            let spki = decode_raw_public_key(body).map_err(malformed)?;
            let refused = UNKNOWN_RAW_PUBLIC_KEY;
            let public_key = decode_p256_spki(spki).ok_or(refused)?;
            let request = RawPublicKeyRequest::new(spki, sought.owner, sought.server_name);
            let peer = credentials
                .peer_of_raw_public_key(&request)
                .ok_or(refused)?;
            return Ok(Some(Self {
                peer: Peer::RawPublicKey(peer),
                public_key: *public_key,
            }));
        }
        let chain = decode_certificates(body).map_err(malformed)?;
        if chain.is_empty() {
            return Ok(None);
        }
        let request = ChainRequest::new(chain, sought.owner, sought.server_name, sought.unix_time);
        let verified = credentials.verify_chain(&request).map_err(alert_for)?;
        Ok(Some(Self {
            peer: Peer::Certificate(verified.peer),
            public_key: verified.public_key,
        }))
    }

    /// Returns who it says it is.
    pub(crate) const fn peer(&self) -> Peer {
        self.peer
    }

    /// Returns the alert for an owner that policy doesn't permit: the one for whom nobody knows.
    pub(crate) const fn refusal(&self) -> AlertDescription {
        match self.peer {
            Peer::Certificate(_) => alert_for(CertificateFault::NoAccess),
            _ => UNKNOWN_RAW_PUBLIC_KEY,
        }
    }

    /// Verifies a server's signature over both random bytes and its parameters, and returns who has
    /// proved itself by it.
    pub(crate) fn prove_params(
        self,
        provider: &impl Signatures,
        randoms: [&Random; 2],
        params: &[u8],
        signed: &DigitallySigned<'_>,
    ) -> Result<Proof, AlertDescription> {
        check_algorithm(signed)?;
        let mut message = [0; MAX_SIGNED_PARAMS_LEN];
        let message = write_signed_params(randoms, params, &mut message)
            .map_err(|_| AlertDescription::ILLEGAL_PARAMETER)?;
        provider
            .verify(SCHEME, &self.public_key, message, signed.signature)
            .map_err(refused_signature)?;
        Ok((self.peer, self.public_key))
    }

    /// Verifies a client's signature over all messages so far, and returns who has proved itself by
    /// it.
    pub(crate) fn prove_transcript(
        self,
        provider: &impl Signatures,
        transcript_hash: &[u8; SHA256_LEN],
        signed: &DigitallySigned<'_>,
    ) -> Result<Proof, AlertDescription> {
        check_algorithm(signed)?;
        provider
            .verify_digest(SCHEME, &self.public_key, transcript_hash, signed.signature)
            .map_err(refused_signature)?;
        Ok((self.peer, self.public_key))
    }
}

/// The peer signs with what it was told to (RFC 5246 §7.4.3, §7.4.8).
fn check_algorithm(signed: &DigitallySigned<'_>) -> Result<(), AlertDescription> {
    // MUST (RFC 5246 §7.4.3): the algorithm is one of those offered, which is one.
    if signed.algorithm == SignatureAndHashAlgorithm::ECDSA_SHA256 {
        Ok(())
    } else {
        Err(AlertDescription::ILLEGAL_PARAMETER)
    }
}

const fn refused_signature(error: CryptoError) -> AlertDescription {
    match error {
        CryptoError::NotOffered => AlertDescription::INTERNAL_ERROR,
        // RFC 5246 §7.2.2: a signature that doesn't verify is a decrypt_error.
        _ => AlertDescription::DECRYPT_ERROR,
    }
}

/// RFC 5246 §7.2.2.
const fn alert_for(fault: CertificateFault) -> AlertDescription {
    match fault {
        CertificateFault::Malformed => AlertDescription::BAD_CERTIFICATE,
        CertificateFault::Unsupported => AlertDescription::UNSUPPORTED_CERTIFICATE,
        CertificateFault::NotValidNow => AlertDescription::CERTIFICATE_EXPIRED,
        CertificateFault::UnknownAuthority => AlertDescription::UNKNOWN_CA,
        CertificateFault::NoAccess => AlertDescription::ACCESS_DENIED,
        _ => AlertDescription::CERTIFICATE_UNKNOWN,
    }
}

/// Returns what this end shows of a type, if it has it.
pub(crate) fn identity_of<'a>(
    credentials: &'a dyn CertificateCredentials,
    certificate_type: CertificateType,
    server_name: Option<ServerName<'_>>,
) -> Option<Identity<'a>> {
    credentials
        .identity(&IdentityRequest::new(certificate_type, server_name))
        .filter(|identity| identity.certificate_type() == certificate_type)
        .filter(|identity| identity.key().scheme() == SCHEME)
}

/// Encodes a Certificate message: the one that `identity` shows.
pub(crate) fn encode_certificate(
    identity: &Identity<'_>,
    out: &mut Writer<'_>,
) -> Result<(), EncodeError> {
    match identity.chain() {
        Some(chain) => encode_certificates(&chain, out),
        None => {
            let mut public_key = [0; P256_PUBLIC_KEY_LEN];
            identity
                .key()
                .write_public_key(&mut public_key)
                .map_err(|_| NO_SIGNATURE)?;
            encode_raw_public_key(&encode_p256_spki(&public_key), out)
        }
    }
}

/// Encodes a ServerKeyExchange: the parameters and a signature over them and both random bytes.
pub(crate) fn encode_signed_params(
    key: &dyn SigningKey,
    randoms: [&Random; 2],
    public_key: &PublicKey,
    out: &mut Writer<'_>,
) -> Result<(), EncodeError> {
    let mut params = [0; MAX_SIGNED_PARAMS_LEN];
    let mut writer = Writer::new(&mut params);
    ServerEcdhParams {
        group: public_key.group.code_point(),
        public_key: public_key.as_bytes(),
    }
    .encode(&mut writer)?;
    let params: &[u8] = writer.into_written();
    let mut message = [0; MAX_SIGNED_PARAMS_LEN];
    let message = write_signed_params(randoms, params, &mut message)?;
    let mut signature = [0; MAX_SIGNATURE_LEN];
    let len = key
        .sign(message, &mut signature)
        .map_err(|_| NO_SIGNATURE)?;
    out.bytes(params)?;
    encode_signature(&signature, len, out)
}

/// Encodes a CertificateVerify: a signature over all messages so far.
pub(crate) fn encode_certificate_verify(
    key: &dyn SigningKey,
    transcript_hash: &[u8; SHA256_LEN],
    out: &mut Writer<'_>,
) -> Result<(), EncodeError> {
    let mut signature = [0; MAX_SIGNATURE_LEN];
    let len = key
        .sign_digest(transcript_hash, &mut signature)
        .map_err(|_| NO_SIGNATURE)?;
    encode_signature(&signature, len, out)
}

fn encode_signature(signature: &[u8], len: usize, out: &mut Writer<'_>) -> Result<(), EncodeError> {
    DigitallySigned {
        algorithm: SignatureAndHashAlgorithm::ECDSA_SHA256,
        signature: signature.get(..len).unwrap_or_default(),
    }
    .encode(out)
}

/// Writes what a ServerKeyExchange's signature covers (RFC 8422 §5.4): the client's random bytes, the
/// server's, the parameters.
fn write_signed_params<'a>(
    [client_random, server_random]: [&Random; 2],
    params: &[u8],
    out: &'a mut [u8],
) -> Result<&'a [u8], EncodeError> {
    let mut writer = Writer::new(out);
    writer.bytes(client_random)?;
    writer.bytes(server_random)?;
    writer.bytes(params)?;
    Ok(writer.into_written())
}

/// Returns how long the buffers have to be with these credentials, in bytes.
pub(crate) fn needed_buffer_len(
    settings: &Settings,
    credentials: Option<&dyn CertificateCredentials>,
    server_name: Option<ServerName<'_>>,
) -> usize {
    let Some(credentials) = credentials.filter(|_| settings.offers_certificates()) else {
        return MIN_LEN;
    };
    let name_len = server_name.map_or(0, |name| name.as_str().len());
    let own = identity_of(credentials, CertificateType::X509, server_name);
    let own_len = own
        .and_then(|identity| identity.chain())
        .map(|chain| chain.as_bytes().len());
    let for_own = MIN_LEN
        .saturating_add(name_len)
        .saturating_add(own_len.unwrap_or_default());
    if own_len.is_some() || credentials.accepts(CertificateType::X509) {
        for_own.max(MIN_CHAIN_LEN)
    } else {
        for_own
    }
}

// MUST (RFC 7925 §6): the alerts about certificates aren't sent for raw public keys, be they of
// another kind or simply not known.
const UNKNOWN_RAW_PUBLIC_KEY: AlertDescription = AlertDescription::HANDSHAKE_FAILURE;

/// The key signed nothing, or its public key isn't one of P-256: working ones don't do that.
const NO_SIGNATURE: EncodeError = EncodeError::TooLong { len: 0, max: 0 };
