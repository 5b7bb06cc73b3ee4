//! Chains of X.509 certificates as `hedgerow-handshake` has them verified, before their sender has
//! proved anything.

use std::sync::OnceLock;

use hedgerow_core::{
    CertificateChain, CertificateCredentials, CertificateOwner, ChainRequest, PeerId, ServerName,
    UnixTime,
};
use hedgerow_crypto_soft::SoftCrypto;
use hedgerow_handshake::{CertificateName, X509Credentials, certificate_public_key};
use hedgerow_record::decode_p256_spki;

/// Takes a list of certificates behind a byte that says whose they are to be (bit 0: the client's) and
/// what time it is (bits 1 and 2: unknown, long past their end).
///
/// The authority below which two chains were made has no key any more. Whatever is accepted is for the
/// key of one of those two certificates, and for the one that is its owner's.
pub fn x509_chain(input: &[u8]) {
    let Some((flags, list)) = input.split_first() else {
        return;
    };
    let Ok(chain) = CertificateChain::decode_exact(list) else {
        return;
    };
    let is_client = flags & 1 == 1;
    let owner = match is_client {
        true => CertificateOwner::Client,
        false => CertificateOwner::Server,
    };
    let unix_time = match flags >> 1 & 3 {
        0 => Some(VALID),
        1 => None,
        _ => Some(TOO_LATE),
    };
    let name = ServerName::new(SERVER_NAME).expect("a name");
    let request = ChainRequest::new(chain, owner, (!is_client).then_some(name), unix_time);
    let accepted = credentials().verify_chain(&request);
    for certificate in chain.iter() {
        // Reading alone must not panic either.
        let _ = certificate_public_key(certificate);
    }
    if let Ok(verified) = accepted {
        assert_eq!(unix_time, Some(VALID));
        let (certificate, peer) = match is_client {
            true => (CLIENT, PeerId(1)),
            false => (SERVER, PeerId(2)),
        };
        assert_eq!(verified.peer, peer);
        let spki = certificate_public_key(certificate).expect("a certificate");
        assert_eq!(decode_p256_spki(&spki), Some(&verified.public_key));
    }
}

fn credentials() -> &'static X509Credentials<SoftCrypto> {
    static CREDENTIALS: OnceLock<X509Credentials<SoftCrypto>> = OnceLock::new();
    CREDENTIALS.get_or_init(|| {
        let server = ServerName::new(SERVER_NAME).expect("a name");
        X509Credentials::new(SoftCrypto, [ROOT])
            .expect("a certificate")
            .with_server(CertificateName::Dns(server), PeerId(2))
            .with_client(CertificateName::CoapAuthority(CLIENT_NAME), PeerId(1))
    })
}

const ROOT: &[u8] = include_bytes!("x509_chain/root.der");
const SERVER: &[u8] = include_bytes!("x509_chain/server.der");
const CLIENT: &[u8] = include_bytes!("x509_chain/client.der");
const SERVER_NAME: &str = "6lbr.example";
const CLIENT_NAME: &str = "lamp.example";
/// January 2027, and the year 2200, after all of them have ended.
const VALID: UnixTime = UnixTime::from_secs(1_800_000_000);
const TOO_LATE: UnixTime = UnixTime::from_secs(7_258_118_400);
