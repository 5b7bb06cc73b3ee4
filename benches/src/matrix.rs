//! Handshakes of each key exchange over DTLS and TLS, both ends in memory, with the time of each end:
//! ours, and OpenSSL's.
//!
//! With ECDHE_ECDSA both ends prove themselves: ours by raw public keys (RFC 7250), which OpenSSL 3.0
//! hasn't, OpenSSL's by a self-signed certificate that the other end trusts, so that neither verifies a
//! chain.

use std::time::{Duration, Instant as Clock};

use getrandom::SysRng;
use hedgerow_core::{
    Aead, CertificateCredentials, CertificateType, Credentials, CryptoProvider, Env, Event,
    Identity, IdentityRequest, Instant, P256_PUBLIC_KEY_LEN, PeerId, Psk, PskAndCertificates,
    RawPublicKeyRequest, SecureChannel as _, SecureStream as _, SignatureScheme, SigningKey,
    UnixTime,
};
use hedgerow_handshake::{
    Acceptance, Acceptor, Buffers, ClientHandshake, ResumableSession, ServerHandshake,
    ServerResumption, Session, Settings, TicketKeys, TlsClientHandshake, TlsServerHandshake,
    TlsSession,
};
use hedgerow_record::{CipherSuite, encode_p256_spki};
use openssl::asn1::Asn1Time;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::ssl::{
    Ssl, SslContext, SslContextBuilder, SslMethod, SslMode, SslOptions, SslSessionCacheMode,
    SslStream, SslVerifyMode, SslVersion,
};
use openssl::x509::{X509, X509Name};
use rand_core::UnwrapErr;

use crate::handshake::{IDENTITY, PSK};
use crate::openssl_dtls::{Pipe, Queue, Step};

/// What records travel in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// With a cookie round trip.
    Dtls,
    /// In order, without a cookie.
    Tls,
}

/// A handshake that is measured.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// The suite's short name in tables.
    pub name: &'static str,
    /// Our name for it.
    pub suite: CipherSuite,
    /// OpenSSL's, if it has it.
    pub openssl: Option<&'static str>,
}

/// A suite of each key exchange and cipher.
pub const KINDS: [Kind; 11] = [
    kind(
        "PSK CCM_8",
        CipherSuite::TLS_PSK_WITH_AES_128_CCM_8,
        "PSK-AES128-CCM8",
    ),
    kind(
        "PSK CCM",
        CipherSuite::TLS_PSK_WITH_AES_128_CCM,
        "PSK-AES128-CCM",
    ),
    kind(
        "PSK GCM",
        CipherSuite::TLS_PSK_WITH_AES_128_GCM_SHA256,
        "PSK-AES128-GCM-SHA256",
    ),
    kind(
        "PSK ChaCha20",
        CipherSuite::TLS_PSK_WITH_CHACHA20_POLY1305_SHA256,
        "PSK-CHACHA20-POLY1305",
    ),
    kind(
        "ECDHE_PSK CCM_8",
        CipherSuite::TLS_ECDHE_PSK_WITH_AES_128_CCM_8_SHA256,
        "",
    ),
    kind(
        "ECDHE_PSK CCM",
        CipherSuite::TLS_ECDHE_PSK_WITH_AES_128_CCM_SHA256,
        "",
    ),
    kind(
        "ECDHE_PSK GCM",
        CipherSuite::TLS_ECDHE_PSK_WITH_AES_128_GCM_SHA256,
        "",
    ),
    kind(
        "ECDHE_PSK ChaCha20",
        CipherSuite::TLS_ECDHE_PSK_WITH_CHACHA20_POLY1305_SHA256,
        "ECDHE-PSK-CHACHA20-POLY1305",
    ),
    kind(
        "ECDHE_ECDSA CCM_8",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8,
        "ECDHE-ECDSA-AES128-CCM8",
    ),
    kind(
        "ECDHE_ECDSA CCM",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_CCM,
        "ECDHE-ECDSA-AES128-CCM",
    ),
    kind(
        "ECDHE_ECDSA GCM",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        "ECDHE-ECDSA-AES128-GCM-SHA256",
    ),
];

const fn kind(name: &'static str, suite: CipherSuite, openssl: &'static str) -> Kind {
    Kind {
        name,
        suite,
        openssl: if openssl.is_empty() {
            None
        } else {
            Some(openssl)
        },
    }
}

/// The time that client and server took.
pub type Split = [Duration; 2];

#[expect(clippy::disallowed_methods, reason = "measuring is reading a clock")]
pub(crate) fn timed<T>(spent: &mut Duration, job: impl FnOnce() -> T) -> T {
    let start = Clock::now();
    let result = job();
    *spent += start.elapsed();
    result
}

/// A key that is read once, and the peer's public key.
struct LongTerm<'k> {
    key: &'k dyn SigningKey,
    peer: &'k [u8],
}

impl CertificateCredentials for LongTerm<'_> {
    fn identity(&self, request: &IdentityRequest<'_>) -> Option<Identity<'_>> {
        (request.certificate_type == CertificateType::RawPublicKey)
            .then_some(Identity::RawPublicKey(self.key))
    }

    fn peer_of_raw_public_key(&self, request: &RawPublicKeyRequest<'_>) -> Option<PeerId> {
        (request.subject_public_key_info == self.peer).then_some(PeerId(3))
    }
}

/// Hands over what both ends of a handshake have to say. The end that is established first has its
/// last flight from its session.
macro_rules! pump_until_established {
    ($handle:ident, $last:ident, $client:ident, $server:ident, $env:ident, $spent:ident, $served:ident, $up:ident, $down:ident, $self:ident, $resumes:ident) => {{
        while !($client.is_established() || $server.is_established()) {
            while let Some(len) = timed($spent, || $client.poll_transmit($env, &mut $up)).unwrap() {
                timed($served, || $handle!($server, $env, &mut $up[..len]));
            }
            while let Some(len) =
                timed($served, || $server.poll_transmit($env, &mut $down)).unwrap()
            {
                timed($spent, || $handle!($client, $env, &mut $down[..len]));
            }
        }
        // The end that has just been established may have sent only a part.
        while let Some(len) = timed($spent, || $client.poll_transmit($env, &mut $up)).unwrap() {
            timed($served, || $handle!($server, $env, &mut $up[..len]));
        }
        while let Some(len) = timed($served, || $server.poll_transmit($env, &mut $down)).unwrap() {
            timed($spent, || $handle!($client, $env, &mut $down[..len]));
        }
        if $server.is_established() {
            let end = timed($served, || $server.into_session());
            let mut end = end.expect("the server is established");
            while let Some(len) = timed($served, || $last!(end, $env, &mut $down)).unwrap() {
                timed($spent, || $handle!($client, $env, &mut $down[..len]));
            }
            let client = timed($spent, || $client.into_session());
            let client = client.expect("the client is established too");
            assert_eq!([client.is_resumed, end.is_resumed], [$resumes; 2]);
            $self.session = client.resumable;
            [client.session, end.session]
        } else {
            let end = timed($spent, || $client.into_session());
            let mut end = end.expect("the client is established");
            while let Some(len) = timed($spent, || $last!(end, $env, &mut $up)).unwrap() {
                timed($served, || $handle!($server, $env, &mut $up[..len]));
            }
            $self.session = end.resumable;
            let server = timed($served, || $server.into_session());
            let server = server.expect("the server is established too");
            assert_eq!([end.is_resumed, server.is_resumed], [$resumes; 2]);
            [end.session, server.session]
        }
    }};
}

macro_rules! last_of_stream {
    ($end:ident, $env:ident, $out:expr) => {
        $end.session.poll_transmit($env, $out)
    };
}

/// Over datagrams a server's last flight may have to be sent again, with its ticket.
macro_rules! last_of_datagrams {
    ($end:ident, $env:ident, $out:expr) => {
        $end.session.poll_transmit_with($end.ticket.as_ref(), $out)
    };
}

macro_rules! handle_bytes_of {
    ($end:ident, $env:ident, $bytes:expr) => {{
        let mut rest: &mut [u8] = $bytes;
        while !rest.is_empty() {
            rest = $end.handle_bytes($env, rest).unwrap().unwrap().rest;
        }
    }};
}

macro_rules! handle_datagram_of {
    ($end:ident, $env:ident, $bytes:expr) => {{
        let mut rest: &mut [u8] = $bytes;
        while !rest.is_empty() {
            rest = $end.handle_datagram($env, rest).unwrap().rest;
        }
    }};
}

/// Our two ends, set up for one suite.
pub struct Ours<P: CryptoProvider> {
    provider: P,
    transport: Transport,
    settings: Settings,
    acceptor: Acceptor<P>,
    tickets: Option<TicketKeys>,
    session: Option<ResumableSession>,
    keys: [(P::SigningKey, [u8; 91]); 2],
    psk: Psk,
    known: Psk,
    buffers: [[u8; 1_024]; 4],
}

impl<P: CryptoProvider + Copy> Ours<P> {
    /// Sets both ends up; with `resumes`, each handshake but the first resumes the one before by its
    /// ticket.
    pub fn new(provider: P, transport: Transport, suite: CipherSuite, resumes: bool) -> Self {
        let settings = Settings::new(&[suite]);
        let mut rng = UnwrapErr(SysRng);
        let env = &mut environment(&mut rng);
        let key = |number| {
            let scheme = SignatureScheme::EcdsaSecp256r1Sha256;
            let key = provider.signing_key(scheme, &[number; 32]).unwrap();
            let mut public_key = [0; P256_PUBLIC_KEY_LEN];
            key.write_public_key(&mut public_key).unwrap();
            (key, encode_p256_spki(&public_key))
        };
        let hour = Duration::from_secs(3_600);
        let mut ours = Self {
            acceptor: Acceptor::new(provider, settings, env),
            tickets: resumes.then(|| TicketKeys::draw(hour, env)),
            session: None,
            provider,
            transport,
            settings,
            keys: [key(3), key(4)],
            psk: Psk::new(PSK).unwrap(),
            known: Psk::new(PSK).unwrap(),
            buffers: [[0; _]; 4],
        };
        ours.run();
        assert_eq!(ours.session.is_some(), resumes);
        ours
    }

    /// Runs a handshake and returns what each end took.
    pub fn run(&mut self) -> Split {
        let ([mut spent, mut served], sessions) = self.sessions();
        match sessions {
            Sessions::Dtls([client, server]) => {
                timed(&mut spent, || drop(client));
                timed(&mut served, || drop(server));
            }
            Sessions::Tls([client, server]) => {
                timed(&mut spent, || drop(client));
                timed(&mut served, || drop(server));
            }
        }
        [spent, served]
    }

    /// Runs a handshake and keeps both ends' sessions.
    pub fn sessions(&mut self) -> (Split, Sessions<P::Aead>) {
        let mut split = Split::default();
        let [spent, served] = &mut split;
        let mut rng = UnwrapErr(SysRng);
        let env = &mut environment(&mut rng);
        let [(client_key, client_spki), (server_key, server_spki)] = &self.keys;
        let shown = PskAndCertificates {
            psk: Credentials {
                psk_identity: IDENTITY.as_bytes(),
                psk: &self.psk,
                peer: PeerId(2),
            },
            certificates: LongTerm {
                key: client_key,
                peer: server_spki,
            },
        };
        let known = PskAndCertificates {
            psk: Known(&self.known),
            certificates: LongTerm {
                key: server_key,
                peer: client_spki,
            },
        };
        let [a, b, c, d] = &mut self.buffers;
        let near = Buffers {
            incoming: &mut a[..],
            outgoing: &mut b[..],
        };
        let far = Buffers {
            incoming: &mut c[..],
            outgoing: &mut d[..],
        };
        let (provider, settings, session) = (self.provider, self.settings, self.session.take());
        let resumes = session.is_some();
        let lease = self.tickets.as_mut().map(|tickets| tickets.lease(env));
        let (mut up, mut down) = ([0; 1_200], [0; 1_200]);
        if self.transport == Transport::Tls {
            let mut client = timed(spent, || match &lease {
                Some(_) => {
                    TlsClientHandshake::resuming(provider, shown, settings, session, near, env)
                }
                None => TlsClientHandshake::new(provider, shown, settings, near, env),
            })
            .unwrap();
            let mut server = timed(served, || match lease {
                Some(lease) => {
                    let resumption = ServerResumption::new(lease);
                    TlsServerHandshake::resuming(provider, known, settings, resumption, far, env)
                }
                None => TlsServerHandshake::new(provider, known, settings, far, env),
            })
            .unwrap();
            let sessions = pump_until_established!(
                handle_bytes_of,
                last_of_stream,
                client,
                server,
                env,
                spent,
                served,
                up,
                down,
                self,
                resumes
            );
            return (split, Sessions::Tls(sessions));
        }
        let mut client = timed(spent, || match &lease {
            Some(_) => ClientHandshake::resuming(provider, shown, settings, session, near, env),
            None => ClientHandshake::new(provider, shown, settings, near, env),
        })
        .unwrap();
        let hello = loop {
            let len = timed(spent, || client.poll_transmit(env, &mut up))
                .unwrap()
                .unwrap();
            let answer = timed(served, || {
                self.acceptor.handle_datagram_with(
                    &known,
                    env,
                    b"address",
                    &mut up[..len],
                    &mut down,
                )
            });
            match answer {
                Acceptance::Accept(hello) => break hello,
                Acceptance::Answer(len) => {
                    timed(spent, || {
                        client.handle_datagram(env, &mut down[..len]).map(drop)
                    })
                    .unwrap();
                }
                _ => panic!("the hello was not accepted"),
            }
        };
        let mut server = timed(served, || match lease {
            Some(lease) => {
                let resumption = ServerResumption::new(lease);
                ServerHandshake::resuming(provider, known, settings, resumption, hello, far, env)
            }
            None => ServerHandshake::new(provider, known, settings, hello, far, env),
        })
        .unwrap();
        let sessions = pump_until_established!(
            handle_datagram_of,
            last_of_datagrams,
            client,
            server,
            env,
            spent,
            served,
            up,
            down,
            self,
            resumes
        );
        (split, Sessions::Dtls(sessions))
    }
}

/// The client's session and the server's.
pub enum Sessions<A> {
    /// Over DTLS.
    Dtls([Session<A>; 2]),
    /// Over TLS.
    Tls([TlsSession<A>; 2]),
}

impl<A: Aead> Sessions<A> {
    /// Sends a record of 64 bytes each way, as a request and its response would.
    pub fn exchange(&mut self) {
        let mut rng = UnwrapErr(SysRng);
        let env = &mut environment(&mut rng);
        let mut out = [0; 128];
        for (from, to) in [(0, 1), (1, 0)] {
            let event = match self {
                Self::Dtls(ends) => {
                    let len = ends[from].seal(&TEXT, &mut out).unwrap();
                    let received = ends[to].handle_datagram(env, &mut out[..len]);
                    received.unwrap().event
                }
                Self::Tls(ends) => {
                    let len = ends[from].seal(&TEXT, &mut out).unwrap();
                    let received = ends[to].handle_bytes(env, &mut out[..len]);
                    received.unwrap().unwrap().event
                }
            };
            assert!(matches!(event, Some(Event::Plaintext(text)) if *text == TEXT));
        }
    }
}

/// What [`Sessions::exchange`] and [`OpenSsl::idle_server`] send.
const TEXT: [u8; 64] = [9; 64];

/// The store of one key, lent.
struct Known<'k>(&'k Psk);

impl hedgerow_core::PskStore for Known<'_> {
    fn lookup(
        &self,
        request: &hedgerow_core::PskRequest<'_>,
    ) -> Option<hedgerow_core::PskEntry<'_>> {
        (request.psk_identity == IDENTITY.as_bytes()).then_some(hedgerow_core::PskEntry {
            psk: self.0,
            peer: PeerId(1),
        })
    }
}

fn environment(rng: &mut UnwrapErr<SysRng>) -> Env<'_> {
    let mut env = Env::new(Instant::ZERO, rng);
    env.unix_time = Some(UnixTime::from_secs(1_800_000_000));
    env
}

/// OpenSSL's two ends, set up for one suite.
pub struct OpenSsl {
    client: SslContext,
    server: SslContext,
    transport: Transport,
    nowhere: Queue,
}

impl OpenSsl {
    /// Sets both ends up for a suite by OpenSSL's name.
    pub fn new(transport: Transport, suite: &str) -> Self {
        Self::with_mode(transport, suite, SslMode::empty())
    }

    /// Sets both ends up for a suite by OpenSSL's name, in a mode of OpenSSL's.
    pub fn with_mode(transport: Transport, suite: &str, mode: SslMode) -> Self {
        let [of_client, of_server] = &[identity(), identity()];
        let (client, server) = match transport {
            Transport::Dtls => (SslMethod::dtls_client(), SslMethod::dtls_server()),
            Transport::Tls => (SslMethod::tls_client(), SslMethod::tls_server()),
        };
        let mut client = SslContext::builder(client).unwrap();
        set_up(&mut client, transport, suite, [of_client, of_server]);
        set_up_client(&mut client);
        client.set_mode(mode);
        let mut server = SslContext::builder(server).unwrap();
        set_up(&mut server, transport, suite, [of_server, of_client]);
        set_up_server(&mut server, transport);
        server.set_mode(mode);
        Self {
            client: client.build(),
            server: server.build(),
            transport,
            nowhere: Queue::default(),
        }
    }

    /// Runs a handshake and returns what each end took.
    pub fn run(&self) -> Split {
        let ([mut spent, mut served], [client, server]) = self.streams();
        timed(&mut spent, || drop(client));
        timed(&mut served, || drop(server));
        [spent, served]
    }

    /// Runs a handshake and keeps both ends, the client's first.
    pub fn streams(&self) -> (Split, [SslStream<Pipe>; 2]) {
        let mut split = Split::default();
        let (up, down) = (Queue::default(), Queue::default());
        let is_stream = self.transport == Transport::Tls;
        let ssl = |context| {
            let mut ssl = Ssl::new(context).unwrap();
            if !is_stream {
                ssl.set_mtu(1_200).unwrap();
            }
            ssl
        };
        let [spent, served] = &mut split;
        let mut client = timed(spent, || {
            Step::new(ssl(&self.client).connect(Pipe::new(&down, &up, is_stream)))
        });
        let mut server = timed(served, || {
            Step::new(ssl(&self.server).accept(Pipe::new(&up, &down, is_stream)))
        });
        loop {
            client = timed(spent, || client.go_on());
            server = timed(served, || server.go_on());
            (client, server) = match (client, server) {
                (Step::Done(client), Step::Done(server)) => return (split, [*client, *server]),
                unfinished => unfinished,
            };
        }
    }

    /// Runs a handshake, lets a record pass each way, and keeps the server's end without the memory
    /// that it came by.
    pub fn idle_server(&self) -> SslStream<Pipe> {
        let (_, mut ends) = self.streams();
        let mut out = [0; 128];
        for (from, to) in [(0, 1), (1, 0)] {
            assert_eq!(pass(&mut ends, from, to, &TEXT, &mut out), TEXT.len());
            assert_eq!(out[..TEXT.len()], TEXT);
        }
        let [_, mut server] = ends;
        server.get_mut().detach(&self.nowhere);
        server
    }
}

/// Sends `plaintext` from one end to the other and returns the length of what arrived.
pub fn pass(
    ends: &mut [SslStream<Pipe>; 2],
    from: usize,
    to: usize,
    plaintext: &[u8],
    out: &mut [u8],
) -> usize {
    ends[from].ssl_write(plaintext).unwrap();
    ends[to].ssl_read(out).unwrap()
}

/// What both ends are told, with their own key and certificate and the other's.
pub(crate) fn set_up(
    context: &mut SslContextBuilder,
    transport: Transport,
    suite: &str,
    [own, other]: [&(PKey<Private>, X509); 2],
) {
    let version = match transport {
        Transport::Dtls => SslVersion::DTLS1_2,
        Transport::Tls => SslVersion::TLS1_2,
    };
    context.set_min_proto_version(Some(version)).unwrap();
    context.set_max_proto_version(Some(version)).unwrap();
    context.set_cipher_list(suite).unwrap();
    context.set_security_level(0);
    // Nor is anything kept by ours.
    context.set_session_cache_mode(SslSessionCacheMode::OFF);
    context.set_options(SslOptions::NO_QUERY_MTU | SslOptions::NO_TICKET);
    context.set_groups_list("X25519:P-256").unwrap();
    if suite.contains("ECDSA") {
        context.set_private_key(&own.0).unwrap();
        context.set_certificate(&own.1).unwrap();
        context.cert_store_mut().add_cert(other.1.clone()).unwrap();
        context.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
    }
}

/// What the client is told besides.
pub(crate) fn set_up_client(client: &mut SslContextBuilder) {
    client.set_psk_client_callback(|_, _, identity, psk| {
        identity[..IDENTITY.len()].copy_from_slice(IDENTITY.as_bytes());
        identity[IDENTITY.len()] = 0;
        psk[..PSK.len()].copy_from_slice(PSK);
        Ok(PSK.len())
    });
}

/// What the server is told besides.
pub(crate) fn set_up_server(server: &mut SslContextBuilder, transport: Transport) {
    if transport == Transport::Dtls {
        server.set_options(SslOptions::COOKIE_EXCHANGE);
    }
    server.set_cookie_generate_cb(|_, cookie| {
        cookie[..16].copy_from_slice(&[0xc0; 16]);
        Ok(16)
    });
    server.set_cookie_verify_cb(|_, cookie| cookie == [0xc0; 16]);
    server.set_psk_server_callback(|_, _, psk| {
        psk[..PSK.len()].copy_from_slice(PSK);
        Ok(PSK.len())
    });
}

/// A key and a certificate that it has signed itself.
pub(crate) fn identity() -> (PKey<Private>, X509) {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    let key = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
    let mut name = X509Name::builder().unwrap();
    name.append_entry_by_text("CN", "end").unwrap();
    let name = name.build();
    let mut certificate = X509::builder().unwrap();
    certificate.set_version(2).unwrap();
    certificate.set_subject_name(&name).unwrap();
    certificate.set_issuer_name(&name).unwrap();
    certificate.set_pubkey(&key).unwrap();
    certificate
        .set_not_before(&Asn1Time::days_from_now(0).unwrap())
        .unwrap();
    certificate
        .set_not_after(&Asn1Time::days_from_now(30).unwrap())
        .unwrap();
    certificate.sign(&key, MessageDigest::sha256()).unwrap();
    (key, certificate.build())
}

#[cfg(test)]
mod tests {
    use hedgerow_crypto_ring::RingCrypto;
    use hedgerow_crypto_soft::SoftCrypto;

    use super::*;

    #[test]
    fn every_handshake_completes_and_resumes() {
        for transport in [Transport::Dtls, Transport::Tls] {
            for kind in KINDS {
                for resumes in [false, true] {
                    for _ in 0..3 {
                        let mut soft = Ours::new(SoftCrypto, transport, kind.suite, resumes);
                        soft.sessions().1.exchange();
                        let mut ring = Ours::new(RingCrypto, transport, kind.suite, resumes);
                        ring.sessions().1.exchange();
                    }
                }
                if let Some(suite) = kind.openssl {
                    let server = OpenSsl::new(transport, suite).idle_server();
                    assert_eq!(server.ssl().current_cipher().unwrap().name(), suite);
                }
            }
        }
    }
}
