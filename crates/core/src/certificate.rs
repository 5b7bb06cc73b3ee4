//! Where certificates and raw public keys come in: what an end signs with, and whom it accepts.

use crate::{DecodeError, EncodeError, Misuse, PeerId, Reader, SigningKey, UnixTime, Writer};

/// Length of a P-256 public key as an uncompressed point, in bytes.
pub const P256_PUBLIC_KEY_LEN: usize = 65;

/// What a Certificate message carries (RFC 7250 §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CertificateType {
    /// A chain of X.509 certificates.
    X509,
    /// A SubjectPublicKeyInfo and nothing else.
    RawPublicKey,
}

impl CertificateType {
    /// Every type, the one that costs least first.
    pub const ALL: [Self; 2] = [Self::RawPublicKey, Self::X509];

    /// Returns the type's code point (RFC 7250 §7).
    pub const fn code_point(self) -> u8 {
        match self {
            Self::X509 => 0,
            Self::RawPublicKey => 2,
        }
    }

    /// Returns the type of a code point, if it is one of these.
    pub fn from_code_point(code_point: u8) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|certificate_type| certificate_type.code_point() == code_point)
    }
}

/// X.509 certificates in DER, the owner's first, each with its length in three bytes before it: as
/// a Certificate message lists them (RFC 5246 §7.4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CertificateChain<'a> {
    list: &'a [u8],
}

impl<'a> CertificateChain<'a> {
    /// No certificate at all: what a client without one shows.
    pub const EMPTY: CertificateChain<'static> = CertificateChain { list: &[] };

    /// Takes a list, which may be empty.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] if a certificate is cut off or empty.
    pub fn decode_exact(list: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(list);
        while !reader.is_empty() {
            if reader.vector24()?.is_empty() {
                return Err(DecodeError::UnexpectedEnd {
                    needed: 1,
                    available: 0,
                });
            }
        }
        Ok(Self { list })
    }

    /// Writes `certificates`, the owner's first, as a list to keep.
    ///
    /// # Errors
    ///
    /// [`EncodeError`] if they don't fit.
    pub fn encode<'c>(
        certificates: impl IntoIterator<Item = &'c [u8]>,
        out: &mut Writer<'_>,
    ) -> Result<(), EncodeError> {
        certificates
            .into_iter()
            .try_for_each(|certificate| out.vector24(certificate))
    }

    /// Returns the list's bytes.
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.list
    }

    /// Says whether there is no certificate in it.
    pub const fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Walks through the certificates, the owner's first.
    pub fn iter(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let mut reader = Reader::new(self.list);
        core::iter::from_fn(move || reader.vector24().ok())
    }
}

/// A DNS name of a server, without trailing dot; never an IP address (RFC 6066 §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ServerName<'a>(&'a str);

impl<'a> ServerName<'a> {
    /// The longest name, in bytes.
    pub const MAX_LEN: usize = 253;

    /// Takes a name of letters, digits, `-` and `_` in labels of 1 to 63 bytes.
    ///
    /// # Errors
    ///
    /// [`Misuse::ServerName`] for anything else: an IP address, a port, a trailing dot, a wildcard, a
    /// name that isn't ASCII (RFC 5890's A-labels are).
    pub fn new(name: &'a str) -> Result<Self, Misuse> {
        let is_label = |label: &str| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        };
        // No top-level domain is a number; all spellings of IPv4 addresses end in one.
        let is_address = name.rsplit('.').next().is_none_or(is_number);
        if name.len() > Self::MAX_LEN || is_address || !name.split('.').all(is_label) {
            return Err(Misuse::ServerName);
        }
        Ok(Self(name))
    }

    /// Returns the name as it was given.
    pub const fn as_str(&self) -> &'a str {
        self.0
    }

    /// Says whether both are the same name; letters count alike in either case.
    pub const fn is_same(&self, other: &ServerName<'_>) -> bool {
        self.0.eq_ignore_ascii_case(other.0)
    }
}

/// Says whether a label is a number as in an IPv4 address: decimal, octal or hexadecimal.
fn is_number(label: &str) -> bool {
    let hexadecimal = label
        .strip_prefix("0x")
        .or_else(|| label.strip_prefix("0X"));
    match hexadecimal {
        Some(digits) => digits.bytes().all(|byte| byte.is_ascii_hexdigit()),
        None => label.bytes().all(|byte| byte.is_ascii_digit()),
    }
}

/// What an end is asked to show.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct IdentityRequest<'a> {
    /// The type that the other end takes.
    pub certificate_type: CertificateType,
    /// For a server: the name under which the client looks for it, if it said one (RFC 6066 §3). A
    /// client's own credentials are asked with the name that they gave.
    pub server_name: Option<ServerName<'a>>,
}

impl<'a> IdentityRequest<'a> {
    /// Asks for a certificate of a type, under a name if there is one.
    pub const fn new(
        certificate_type: CertificateType,
        server_name: Option<ServerName<'a>>,
    ) -> Self {
        Self {
            certificate_type,
            server_name,
        }
    }
}

/// What an end shows, and the key that goes with it. The key's scheme is
/// [`SignatureScheme::EcdsaSecp256r1Sha256`](crate::SignatureScheme::EcdsaSecp256r1Sha256).
#[derive(Clone, Copy)]
#[non_exhaustive]
pub enum Identity<'a> {
    /// The key's own public key.
    RawPublicKey(&'a dyn SigningKey),
    /// Certificates, the first of which is for the key.
    Certificate(&'a dyn SigningKey, CertificateChain<'a>),
}

impl<'a> Identity<'a> {
    /// Returns what the Certificate message carries.
    pub const fn certificate_type(&self) -> CertificateType {
        match self {
            Self::RawPublicKey(_) => CertificateType::RawPublicKey,
            Self::Certificate(..) => CertificateType::X509,
        }
    }

    /// Returns the certificates, where they are what is shown.
    pub const fn chain(&self) -> Option<CertificateChain<'a>> {
        match self {
            Self::RawPublicKey(_) => None,
            Self::Certificate(_, chain) => Some(*chain),
        }
    }

    /// Returns the key that signs.
    pub const fn key(&self) -> &'a dyn SigningKey {
        match self {
            Self::RawPublicKey(key) | Self::Certificate(key, _) => *key,
        }
    }
}

impl core::fmt::Debug for Identity<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Identity({:?}, ..)", self.certificate_type())
    }
}

/// Which end of a connection shows a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CertificateOwner {
    /// The client.
    Client,
    /// The server.
    Server,
}

/// A raw public key to be looked up, and what for.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct RawPublicKeyRequest<'a> {
    /// The key as a SubjectPublicKeyInfo in DER: 91 bytes for one of P-256, and nothing else gets
    /// here.
    pub subject_public_key_info: &'a [u8],
    /// The end that showed it. Whoever may come as a client isn't a server for that.
    pub owner: CertificateOwner,
    /// For a server's key: the name that the client wants, as its credentials gave it.
    pub server_name: Option<ServerName<'a>>,
}

impl<'a> RawPublicKeyRequest<'a> {
    /// Asks whose key it is that `owner` has shown, under a name if one is wanted.
    pub const fn new(
        subject_public_key_info: &'a [u8],
        owner: CertificateOwner,
        server_name: Option<ServerName<'a>>,
    ) -> Self {
        Self {
            subject_public_key_info,
            owner,
            server_name,
        }
    }
}

/// A chain to be verified, and what it takes.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct ChainRequest<'a> {
    /// The chain as the peer sent it: not empty, and nothing more is known of it.
    pub chain: CertificateChain<'a>,
    /// The end that showed it, which decides what the certificate has to be for.
    pub owner: CertificateOwner,
    /// For a server's chain: the name that the client wants, as its credentials gave it.
    pub server_name: Option<ServerName<'a>>,
    /// The time, where the caller knows it.
    pub unix_time: Option<UnixTime>,
}

impl<'a> ChainRequest<'a> {
    /// Asks whether `owner` may show `chain`, under a name if one is wanted, at a time if it is
    /// known.
    pub const fn new(
        chain: CertificateChain<'a>,
        owner: CertificateOwner,
        server_name: Option<ServerName<'a>>,
        unix_time: Option<UnixTime>,
    ) -> Self {
        Self {
            chain,
            owner,
            server_name,
            unix_time,
        }
    }
}

/// What a verified chain says. Its owner has yet to prove that it has the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifiedChain {
    /// The application's own number for the owner.
    pub peer: PeerId,
    /// The owner's public key: an uncompressed point on P-256, which whoever verified the chain has
    /// taken from the first certificate.
    pub public_key: [u8; P256_PUBLIC_KEY_LEN],
}

/// Why a certificate was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateFault {
    /// It doesn't decode, or a signature in the chain doesn't fit.
    #[error("certificate is malformed or a signature in its chain does not fit")]
    Malformed,
    /// A kind of certificate, key or signature that isn't taken here, or one for another purpose.
    #[error("certificate, key or purpose of a kind that is not accepted")]
    Unsupported,
    /// Its time is over, or hasn't come.
    #[error("certificate is not valid at this time")]
    NotValidNow,
    /// This end knows no time to compare with.
    #[error("certificate's time can't be checked without a clock")]
    TimeUnknown,
    /// No trusted authority stands at the chain's end.
    #[error("certificate's authority is unknown")]
    UnknownAuthority,
    /// It is for another name.
    #[error("certificate is for another name")]
    OtherName,
    /// It is in order, but its owner isn't let in.
    #[error("certificate's owner has no access")]
    NoAccess,
}

/// Whether a server has its clients prove themselves by a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum ClientCertificates {
    /// A client without one is refused.
    #[default]
    Required,
    /// None is asked for: every client is [`Peer::Anonymous`](crate::Peer::Anonymous).
    NotRequested,
}

/// How an end proves itself by signing, and whom it accepts by what: certificate mode, with raw
/// public keys, X.509 chains or both.
///
/// The methods without a body are all that raw public keys need.
pub trait CertificateCredentials {
    /// Returns what this end shows; `None` if it has nothing of the type, or nothing under the name.
    fn identity(&self, request: &IdentityRequest<'_>) -> Option<Identity<'_>>;

    /// Returns the application's own number for the owner of a raw public key; `None` if it isn't
    /// accepted from that end. A client's credentials are for one server: they accept its key and no
    /// other server's.
    fn peer_of_raw_public_key(&self, request: &RawPublicKeyRequest<'_>) -> Option<PeerId>;

    /// Says whether the peer may show a certificate of this type: raw public keys alone, if nothing
    /// else is said.
    fn accepts(&self, certificate_type: CertificateType) -> bool {
        certificate_type == CertificateType::RawPublicKey
    }

    /// Verifies a chain: its signatures up to an authority that is trusted, its time, what it is for,
    /// and whose it is.
    ///
    /// # Errors
    ///
    /// [`CertificateFault`]; always [`CertificateFault::UnknownAuthority`] if nothing else is said.
    fn verify_chain(&self, request: &ChainRequest<'_>) -> Result<VerifiedChain, CertificateFault> {
        let _ = request;
        Err(CertificateFault::UnknownAuthority)
    }

    /// Returns the name under which a client looks for the server; it goes out in clear (RFC 6066
    /// §3). There is none if nothing else is said.
    fn server_name(&self) -> Option<ServerName<'_>> {
        None
    }

    /// Says what a server wants of its clients: a certificate, if nothing else is said.
    fn client_certificates(&self) -> ClientCertificates {
        ClientCertificates::Required
    }

    /// Says whether others show the same and accept the same, by each key and each authority: `false`
    /// if nothing else is said.
    fn is_same(&self, other: &Self) -> bool
    where
        Self: Sized,
    {
        let _ = other;
        false
    }
}

impl<C: CertificateCredentials + ?Sized> CertificateCredentials for &C {
    fn identity(&self, request: &IdentityRequest<'_>) -> Option<Identity<'_>> {
        (**self).identity(request)
    }

    fn peer_of_raw_public_key(&self, request: &RawPublicKeyRequest<'_>) -> Option<PeerId> {
        (**self).peer_of_raw_public_key(request)
    }

    fn accepts(&self, certificate_type: CertificateType) -> bool {
        (**self).accepts(certificate_type)
    }

    fn verify_chain(&self, request: &ChainRequest<'_>) -> Result<VerifiedChain, CertificateFault> {
        (**self).verify_chain(request)
    }

    fn server_name(&self) -> Option<ServerName<'_>> {
        (**self).server_name()
    }

    fn client_certificates(&self) -> ClientCertificates {
        (**self).client_certificates()
    }

    /// Those that stand in one place are the same.
    fn is_same(&self, other: &Self) -> bool {
        core::ptr::addr_eq(*self, *other)
    }
}

/// A key, and whose raw public keys are accepted in which role: enough for a device.
#[derive(Clone, Copy, Debug)]
pub struct RawPublicKeys<'a, K> {
    /// The key that this end signs with.
    pub key: K,
    /// For a client: the public key of the one server that it is for, as a SubjectPublicKeyInfo in
    /// DER, and the application's own number for it.
    pub server: Option<(&'a [u8], PeerId)>,
    /// For a server: the public keys of the clients that it lets in, in the same form, and whose they
    /// are.
    pub clients: &'a [(&'a [u8], PeerId)],
}

impl<'a, K> RawPublicKeys<'a, K> {
    /// What a client has for the server whose public key is given as a SubjectPublicKeyInfo in DER.
    pub const fn client(key: K, server: &'a [u8], peer: PeerId) -> Self {
        Self {
            key,
            server: Some((server, peer)),
            clients: &[],
        }
    }

    /// What a server has for the clients whose public keys are given, each as a SubjectPublicKeyInfo
    /// in DER.
    pub const fn server(key: K, clients: &'a [(&'a [u8], PeerId)]) -> Self {
        Self {
            key,
            server: None,
            clients,
        }
    }
}

impl<K: SigningKey> CertificateCredentials for RawPublicKeys<'_, K> {
    fn identity(&self, request: &IdentityRequest<'_>) -> Option<Identity<'_>> {
        (request.certificate_type == CertificateType::RawPublicKey)
            .then_some(Identity::RawPublicKey(&self.key))
    }

    fn peer_of_raw_public_key(&self, request: &RawPublicKeyRequest<'_>) -> Option<PeerId> {
        let accepted = match request.owner {
            CertificateOwner::Server => self.server.as_slice(),
            CertificateOwner::Client => self.clients,
        };
        accepted
            .iter()
            .find(|(accepted, _)| *accepted == request.subject_public_key_info)
            .map(|&(_, peer)| peer)
    }

    fn is_same(&self, other: &Self) -> bool {
        let public_key = |key: &K| {
            let mut out = [0; P256_PUBLIC_KEY_LEN];
            key.write_public_key(&mut out).map(|len| (len, out)).ok()
        };
        let own = public_key(&self.key);
        own.is_some()
            && own == public_key(&other.key)
            && self.server == other.server
            && self.clients == other.clients
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    #[test]
    fn chain_is_certificates_with_lengths_of_three_bytes() {
        let mut out = [0; 16];
        let mut writer = Writer::new(&mut out);
        CertificateChain::encode([&b"own"[..], b"ca"], &mut writer).unwrap();
        assert_eq!(writer.written(), b"\0\0\x03own\0\0\x02ca");
        let chain = CertificateChain::decode_exact(writer.written()).unwrap();
        assert_eq!(chain.iter().collect::<Vec<_>>(), [&b"own"[..], b"ca"]);
        assert!(CertificateChain::decode_exact(&[]).unwrap().is_empty());
        for list in [&b"\0\0"[..], b"\0\0\0", b"\0\0\x02x", b"\0\0\x01xy"] {
            assert!(CertificateChain::decode_exact(list).is_err(), "{list:?}");
        }
    }

    #[test]
    fn server_name_is_a_dns_name_and_no_address() {
        let long = ["x"; 127].join(".");
        let label = "a".repeat(63);
        for name in ["6lbr", "lamp.example", "a-b.c_d.e", &long, &label] {
            assert_eq!(ServerName::new(name).map(|name| name.as_str()), Ok(name));
        }
        let too_long = long.clone() + ".x";
        for name in [
            "",
            ".",
            "lamp.",
            ".lamp",
            "a..b",
            "192.0.2.1",
            "127.1",
            "2130706433",
            "0x7f.0x1",
            "::1",
            "[2001:db8::1]",
            "lamp:5684",
            "*.example",
            "-a.b",
            "a-.b",
            "l\u{e4}mp.example",
            "a b",
            &(label.clone() + "a"),
            &too_long,
        ] {
            assert_eq!(ServerName::new(name), Err(Misuse::ServerName), "{name}");
        }
        let upper = ServerName::new("LAMP.example").unwrap();
        assert!(upper.is_same(&ServerName::new("lamp.EXAMPLE").unwrap()));
    }

    /// A key that says nothing but its number.
    struct Numbered(u8);

    impl SigningKey for Numbered {
        fn scheme(&self) -> crate::SignatureScheme {
            crate::SignatureScheme::EcdsaSecp256r1Sha256
        }

        fn write_public_key(&self, out: &mut [u8]) -> Result<usize, crate::CryptoError> {
            out[0] = self.0;
            Ok(1)
        }

        fn sign(&self, _: &[u8], _: &mut [u8]) -> Result<usize, crate::CryptoError> {
            Err(crate::CryptoError::NotOffered)
        }

        fn sign_digest(
            &self,
            _: &[u8; crate::SHA256_LEN],
            _: &mut [u8],
        ) -> Result<usize, crate::CryptoError> {
            Err(crate::CryptoError::NotOffered)
        }
    }

    #[test]
    fn raw_public_keys_are_accepted_in_their_role_alone() {
        let clients = [(&b"client"[..], PeerId(1))];
        let keys = RawPublicKeys {
            server: Some((&b"server"[..], PeerId(2))),
            ..RawPublicKeys::server(Numbered(1), &clients)
        };
        let peer_of =
            |key, owner| keys.peer_of_raw_public_key(&RawPublicKeyRequest::new(key, owner, None));
        let (client, server) = (CertificateOwner::Client, CertificateOwner::Server);
        assert_eq!(peer_of(b"client", client), Some(PeerId(1)));
        assert_eq!(peer_of(b"server", server), Some(PeerId(2)));
        assert_eq!(peer_of(b"client", server), None);
        assert_eq!(peer_of(b"server", client), None);
    }

    #[test]
    fn raw_public_keys_are_the_same_if_all_of_them_are() {
        let client = |own, server, peer| RawPublicKeys::client(Numbered(own), server, PeerId(peer));
        let one = client(1, b"server", 2);
        assert!(one.is_same(&client(1, b"server", 2)));
        assert!(!one.is_same(&client(3, b"server", 2)));
        assert!(!one.is_same(&client(1, b"other", 2)));
        assert!(!one.is_same(&client(1, b"server", 3)));
        assert!(!one.is_same(&RawPublicKeys::server(Numbered(1), &[])));
    }

    #[test]
    fn code_points_name_their_types() {
        for certificate_type in CertificateType::ALL {
            let code_point = certificate_type.code_point();
            let named = CertificateType::from_code_point(code_point);
            assert_eq!(named, Some(certificate_type));
        }
        // OpenPGP, which RFC 8446 has given up.
        assert_eq!(CertificateType::from_code_point(1), None);
    }
}
