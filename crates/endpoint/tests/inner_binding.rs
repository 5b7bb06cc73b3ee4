//! Outer sessions that nothing can be bound to: without the extended master secret (RFC 7627 §5.4) there is no mode
//! `itls` in them.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod common;
#[path = "common/inner.rs"]
mod inner;

use common::{Driver, Known, Place, Shown, defaults};
use hedgerow_core::{
    AeadAlgorithm, CryptoError, CryptoProvider, CryptoRng, DropReason, Env, Instant, KeyAgreement,
    NamedGroup, SHA256_LEN, Sha256, SignatureScheme, Signatures,
};
use hedgerow_crypto_soft::SoftCrypto;
use hedgerow_endpoint::{Config, Endpoint, Error, Event};
use hedgerow_handshake::{ExtendedMasterSecret, Settings};
use hedgerow_itls::{Control, End, Open};
use hedgerow_sim::TestRng;
use inner::{DEVICE, END_KEY, GATEWAY, HOP_KEY, USER, control, reverse, with_inner};

/// The extension that offers it, and what stands in its place where somebody has taken it out: nobody knows that.
const OFFER: [u8; 4] = [0, 23, 0, 0];
const NOTHING: [u8; 4] = [0, 0x99, 0, 0];

/// Takes the offer out of what is sent in clear.
fn strip(bytes: &mut [u8]) {
    let found = bytes.windows(4).position(|window| window == OFFER);
    if let Some(at) = found {
        bytes[at..at + 4].copy_from_slice(&NOTHING);
    }
}

/// Hashes what was stripped and what was not alike, so that a Finished shows no difference: two ends of which
/// neither has the extension say the same.
#[derive(Clone)]
struct Old;

#[derive(Clone)]
struct OldSha256(<SoftCrypto as CryptoProvider>::Sha256);

impl Sha256 for OldSha256 {
    fn update(&mut self, bytes: &[u8]) {
        let mut bytes = bytes.to_vec();
        strip(&mut bytes);
        self.0.update(&bytes);
    }

    fn finish(self) -> [u8; SHA256_LEN] {
        self.0.finish()
    }
}

impl CryptoProvider for Old {
    type Aead = <SoftCrypto as CryptoProvider>::Aead;
    type Sha256 = OldSha256;
    type HmacSha256 = <SoftCrypto as CryptoProvider>::HmacSha256;

    fn aead(&self, algorithm: AeadAlgorithm, key: &[u8]) -> Result<Self::Aead, CryptoError> {
        SoftCrypto.aead(algorithm, key)
    }

    fn sha256(&self) -> Self::Sha256 {
        OldSha256(SoftCrypto.sha256())
    }

    fn hmac_sha256(&self, key: &[u8]) -> Self::HmacSha256 {
        SoftCrypto.hmac_sha256(key)
    }

    fn hkdf_extract(&self, salt: &[u8], input_key: &[u8], key: &mut [u8; SHA256_LEN]) {
        SoftCrypto.hkdf_extract(salt, input_key, key);
    }

    fn hkdf_expand(
        &self,
        key: &[u8; SHA256_LEN],
        info: &[u8],
        output: &mut [u8],
    ) -> Result<(), CryptoError> {
        SoftCrypto.hkdf_expand(key, info, output)
    }
}

impl KeyAgreement for Old {
    type AgreementKey = <SoftCrypto as KeyAgreement>::AgreementKey;

    fn offers_group(&self, group: NamedGroup) -> bool {
        SoftCrypto.offers_group(group)
    }

    fn generate_agreement_key(
        &self,
        group: NamedGroup,
        rng: &mut dyn CryptoRng,
    ) -> Result<Self::AgreementKey, CryptoError> {
        SoftCrypto.generate_agreement_key(group, rng)
    }

    fn agreement_key(
        &self,
        group: NamedGroup,
        private_key: &[u8],
    ) -> Result<Self::AgreementKey, CryptoError> {
        SoftCrypto.agreement_key(group, private_key)
    }
}

impl Signatures for Old {
    type SigningKey = <SoftCrypto as Signatures>::SigningKey;

    fn generate_signing_key(
        &self,
        scheme: SignatureScheme,
        rng: &mut dyn CryptoRng,
    ) -> Result<Self::SigningKey, CryptoError> {
        SoftCrypto.generate_signing_key(scheme, rng)
    }

    fn signing_key(
        &self,
        scheme: SignatureScheme,
        private_key: &[u8],
    ) -> Result<Self::SigningKey, CryptoError> {
        SoftCrypto.signing_key(scheme, private_key)
    }

    fn verify(
        &self,
        scheme: SignatureScheme,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), CryptoError> {
        SoftCrypto.verify(scheme, public_key, message, signature)
    }

    fn verify_digest(
        &self,
        scheme: SignatureScheme,
        public_key: &[u8],
        digest: &[u8; SHA256_LEN],
        signature: &[u8],
    ) -> Result<(), CryptoError> {
        SoftCrypto.verify_digest(scheme, public_key, digest, signature)
    }
}

type Hop = [Driver<Old>; 2];

/// Carries datagrams between gateway and device until there are none. Returns how many sessions came about.
fn carry(hop: &mut Hop, env: &mut Env<'_>, strips: bool) -> usize {
    let addresses = [GATEWAY, DEVICE];
    let (mut established, mut is_quiet) = (0, false);
    while !is_quiet {
        is_quiet = true;
        for from in [0, 1] {
            let mut datagram = [0; 1_500];
            while let Some((_, len)) = hop[from].poll_transmit(env, &mut datagram) {
                is_quiet = false;
                let mut waiting = vec![(1 - from, datagram[..len].to_vec())];
                while let Some((to, mut datagram)) = waiting.pop() {
                    if strips && datagram[0] == 22 {
                        strip(&mut datagram);
                    }
                    let (mut at, mut answer) = (0, [0; 64]);
                    while at < datagram.len() {
                        let address = Place(addresses[1 - to]);
                        let rest = &mut datagram[at..];
                        let handled = hop[to].handle_datagram(env, address, rest, &mut answer);
                        if let Some(Event::Established { .. }) = handled.event {
                            established += 1;
                        }
                        at += handled.consumed;
                        if handled.answer > 0 {
                            waiting.push((1 - to, answer[..handled.answer].to_vec()));
                        }
                    }
                }
            }
        }
    }
    established
}

/// RFC 7627 §5.4. With it the same is taken.
#[test]
fn outer_session_without_the_extended_master_secret_carries_no_inner_one() {
    for strips in [true, false] {
        let mut rng = TestRng::new(3);
        let env = &mut Env::new(Instant::ZERO, &mut rng);
        let settings = Settings::default();
        let config = Config {
            handshake: settings.with_extended_master_secret(ExtendedMasterSecret::Accepted),
            light_layer: true,
            ..defaults()
        };
        let at_gateway = Config {
            forwards: true,
            ..config.clone()
        };
        let known = Known::with_end_to_end(&[(b"gateway", HOP_KEY)], &[(b"end", END_KEY)]);
        let at_device = with_inner(config, End::Device);
        let mut hop = [
            Endpoint::client(Old, Known::new(&[]), at_gateway),
            Endpoint::server(Old, known, at_device, env),
        ];
        let shown = Shown::new(b"gateway", HOP_KEY);
        let connected = hop[0].connect(env, Place(DEVICE), Some(&shown));
        let association = connected.unwrap();
        assert_eq!(carry(&mut hop, env, strips), 2, "{strips}");
        let begun = hop[1].connect_inner(env, Place(GATEWAY), USER, &reverse());
        assert_eq!(matches!(begun, Err(Error::NoOuterSession)), strips);
        assert_eq!(begun.is_ok(), !strips);
        let open = Control::Open(Open {
            wants_light_layer: true,
            name: USER,
            message: &[1; 100],
        });
        let mut datagram = [0; 500];
        let message = control(1, &open);
        let sealed = hop[0].seal_forwarded(env, association, &message, &mut datagram);
        let (_, len) = sealed.unwrap();
        let handled =
            hop[1].handle_datagram(env, Place(GATEWAY), &mut datagram[..len], &mut [0; 64]);
        let Some(Event::Dropped { reason, .. }) = handled.event else {
            panic!("{:?}", handled.event);
        };
        assert_eq!(reason == DropReason::NotAcceptable, strips, "{reason:?}");
        assert_eq!(hop[1].inner_flows(), usize::from(!strips));
    }
}
