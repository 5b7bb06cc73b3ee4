//! The server's side where it signs: from the choice of certificate types to the client's proof
//! (RFC 8422 §2.1, RFC 5246 §7.4, RFC 7250).

use hedgerow_core::{
    AgreementKey, CertificateCredentials, CertificateOwner, CertificateType, ClientCertificates,
    CryptoProvider, EncodeError, Env, Misuse, Peer, Reader, SHARED_SECRET_LEN, Secret,
    ServerCredentials, ServerName, Writer,
};
use hedgerow_record::{
    AlertDescription, CertificateRequest, CertificateTypes, ClientHello, DigitallySigned,
    ECDSA_SIGN, ExtensionType, HandshakeType, SignatureAlgorithms, SignatureAndHashAlgorithm,
    SupportedGroups,
};

use crate::ServerState;
use crate::certificates::{Owner, Sought, encode_certificate, encode_signed_params, identity_of};
use crate::key_exchange::{PublicKey, agree_with, decode_client_public_key, malformed};
use crate::key_schedule::{Secrets, SecurityParameters};
use crate::message::Message;
use crate::negotiation::server_name;
use crate::outgoing::{Outgoing, too_small};
use crate::phase::{Keyed, Phase, Role};
use crate::server::{Expect as ServerExpect, Server};
use crate::server_resumption::Authenticated;
use crate::transcript::Transcript;

/// What a server waits for after its ServerHelloDone.
pub(crate) enum Expect<P: CryptoProvider> {
    /// Only where it has asked for one.
    Certificate(Hellos<P>, CertificateType),
    ClientKeyExchange(Hellos<P>, Client),
    CertificateVerify(Shared<P>, Owner),
}

/// What both hellos have settled, the messages so far, and the server's ephemeral key.
pub(crate) struct Hellos<P: CryptoProvider> {
    parameters: SecurityParameters,
    transcript: Transcript<P>,
    key: P::AgreementKey,
}

/// What there is once the client's ephemeral key has come.
pub(crate) struct Shared<P: CryptoProvider> {
    parameters: SecurityParameters,
    transcript: Transcript<P>,
    agreed: Secret<SHARED_SECRET_LEN>,
}

/// Who the client says it is before it has signed.
pub(crate) enum Client {
    /// Nobody: it wasn't asked.
    Anonymous,
    Named(Owner),
}

impl<P: CryptoProvider> Expect<P> {
    pub(crate) const fn state(&self) -> ServerState {
        match self {
            Self::Certificate(..) => ServerState::ExpectCertificate,
            Self::ClientKeyExchange(..) => ServerState::ExpectClientKeyExchange,
            Self::CertificateVerify(..) => ServerState::ExpectCertificateVerify,
        }
    }
}

/// What a server has chosen for a client that takes signatures.
#[derive(Clone, Copy)]
pub(crate) struct CertificateChoice {
    server: CertificateType,
    /// What the client is asked for, if it is.
    client: Option<CertificateType>,
    names_server_type: bool,
    names_client_type: bool,
    has_server_name: bool,
}

impl CertificateChoice {
    /// Chooses from a client's offer. The inner error is why no suite with certificates can be
    /// chosen; the outer one ends the handshake in any case.
    pub(crate) fn negotiate(
        credentials: &dyn CertificateCredentials,
        permits_anonymous: bool,
        hello: &ClientHello<'_>,
    ) -> Result<Result<Self, AlertDescription>, AlertDescription> {
        let find = |extension_type| hello.extensions.find(extension_type);
        // RFC 5246 §7.4.1.4.1: a client that says nothing takes SHA-1 alone, which isn't done here.
        let takes_signature = match find(ExtensionType::SIGNATURE_ALGORITHMS) {
            Some(data) => SignatureAlgorithms::decode_exact(data)
                .map_err(malformed)?
                .contains(SignatureAndHashAlgorithm::ECDSA_SHA256),
            None => false,
        };
        // RFC 8422 §5.1.1: a client's groups go for certificates too.
        let takes_key = match find(ExtensionType::SUPPORTED_GROUPS) {
            Some(data) => SupportedGroups::decode_exact(data)
                .map_err(malformed)?
                .contains(hedgerow_core::NamedGroup::Secp256r1),
            None => true,
        };
        let types = |data: Option<_>| match data {
            Some(data) => CertificateTypes::decode_exact(data).map_err(malformed),
            None => Ok(CertificateTypes::X509),
        };
        let server_data = find(ExtensionType::SERVER_CERTIFICATE_TYPE);
        let client_data = find(ExtensionType::CLIENT_CERTIFICATE_TYPE);
        let (server_types, client_types) = (types(server_data)?, types(client_data)?);
        let name = server_name(hello)?;
        if !takes_signature || !takes_key {
            return Ok(Err(AlertDescription::HANDSHAKE_FAILURE));
        }
        let has_identity =
            |certificate_type, name| identity_of(credentials, certificate_type, name).is_some();
        let mut all = CertificateType::ALL.into_iter();
        let server = all.clone().find(|&certificate_type| {
            server_types.contains(certificate_type) && has_identity(certificate_type, name)
        });
        let Some(server) = server else {
            let is_known = all.any(|certificate_type| has_identity(certificate_type, name));
            return Ok(Err(match name {
                // RFC 6066 §3: a name that isn't known here.
                Some(_) if !is_known => AlertDescription::UNRECOGNIZED_NAME,
                _ => no_common_type(server_data),
            }));
        };
        let asks = credentials.client_certificates() != ClientCertificates::NotRequested
            || !permits_anonymous;
        let client = all.find(|&certificate_type| {
            client_types.contains(certificate_type) && credentials.accepts(certificate_type)
        });
        if asks && client.is_none() {
            return Ok(Err(no_common_type(client_data)));
        }
        Ok(Ok(Self {
            server,
            client: client.filter(|_| asks),
            names_server_type: server_data.is_some(),
            names_client_type: client_data.is_some(),
            has_server_name: name.is_some(),
        }))
    }

    /// Encodes the extensions of a ServerHello, which answer those that the client sent.
    pub(crate) fn encode_extensions(&self, out: &mut Writer<'_>) -> Result<(), EncodeError> {
        // MUST (RFC 7250 §4.2): this is said if, and only if, a certificate is asked for.
        if let Some(client) = self.client.filter(|_| self.names_client_type) {
            out.u16(ExtensionType::CLIENT_CERTIFICATE_TYPE.0)?;
            out.vector16(&[client.code_point()])?;
        }
        if self.names_server_type {
            out.u16(ExtensionType::SERVER_CERTIFICATE_TYPE.0)?;
            out.vector16(&[self.server.code_point()])?;
        }
        if self.has_server_name {
            // RFC 6066 §3: a server that has chosen by the name says so.
            out.u16(ExtensionType::SERVER_NAME.0)?;
            out.vector16(&[])?;
        }
        Ok(())
    }
}

/// MUST (RFC 7250 §4.2): types without a common one end in unsupported_certificate.
const fn no_common_type(data: Option<&[u8]>) -> AlertDescription {
    match data {
        Some(_) => AlertDescription::UNSUPPORTED_CERTIFICATE,
        None => AlertDescription::HANDSHAKE_FAILURE,
    }
}

impl<P: CryptoProvider, S: ServerCredentials> Server<P, S> {
    /// Puts Certificate, the signed ServerKeyExchange, CertificateRequest and ServerHelloDone behind
    /// a ServerHello.
    pub(crate) fn sign_hello<O: Outgoing<P>>(
        &self,
        outgoing: &mut O,
        mut transcript: Transcript<P>,
        parameters: SecurityParameters,
        choice: &CertificateChoice,
        server_name: Option<ServerName<'_>>,
        key: P::AgreementKey,
    ) -> Result<Expect<P>, Misuse> {
        let credentials = self.credentials.certificates().ok_or(Misuse::NotOffered)?;
        let identity =
            identity_of(credentials, choice.server, server_name).ok_or(Misuse::NotOffered)?;
        let public_key = PublicKey::of(&key).ok_or(Misuse::NotOffered)?;
        outgoing
            .push_message(&mut transcript, HandshakeType::Certificate, |out| {
                encode_certificate(&identity, out)
            })
            .map_err(too_small)?;
        let randoms = [&parameters.client_random, &parameters.server_random];
        outgoing
            .push_message(&mut transcript, HandshakeType::ServerKeyExchange, |out| {
                encode_signed_params(identity.key(), randoms, &public_key, out)
            })
            .map_err(too_small)?;
        if choice.client.is_some() {
            // No authorities are named: it would tell anybody whose server this is.
            let request = CertificateRequest {
                certificate_types: &[ECDSA_SIGN],
                signature_algorithms: SignatureAlgorithms::ECDSA_SHA256,
                certificate_authorities: &[],
            };
            outgoing
                .push_message(&mut transcript, HandshakeType::CertificateRequest, |out| {
                    request.encode(out)
                })
                .map_err(too_small)?;
        }
        outgoing
            .push_message(&mut transcript, HandshakeType::ServerHelloDone, |_| Ok(()))
            .map_err(too_small)?;
        let hellos = Hellos {
            parameters,
            transcript,
            key,
        };
        Ok(match choice.client {
            Some(certificate_type) => Expect::Certificate(hellos, certificate_type),
            None => Expect::ClientKeyExchange(hellos, Client::Anonymous),
        })
    }

    /// Handles a message of the client's flight. RFC 5246 §7.4 gives the order: any other is fatal,
    /// and so nobody comes to the keys with a certificate whose key it hasn't proved to have.
    pub(crate) fn handle_signed<O: Outgoing<P>>(
        &self,
        state: Expect<P>,
        env: &Env<'_>,
        outgoing: &mut O,
        message: &Message<'_>,
    ) -> Result<Phase<P, ServerExpect<P>, O::Opener>, AlertDescription> {
        let next = match (state, message.msg_type) {
            (Expect::Certificate(mut hellos, certificate_type), HandshakeType::Certificate) => {
                // The client has our flight. Its own comes again by its own timer.
                outgoing.stop_retransmission();
                let owner = self.identify_client(certificate_type, env, message.body)?;
                hellos.transcript.add_message(message);
                Expect::ClientKeyExchange(hellos, Client::Named(owner))
            }
            (Expect::ClientKeyExchange(hellos, client), HandshakeType::ClientKeyExchange) => {
                outgoing.stop_retransmission();
                let shared = handle_client_key_exchange(hellos, message)?;
                match client {
                    Client::Named(owner) => Expect::CertificateVerify(shared, owner),
                    Client::Anonymous => {
                        let session_hash = shared.transcript.hash();
                        return self
                            .derive_agreed_keys(
                                env,
                                outgoing,
                                shared,
                                &session_hash,
                                (Peer::Anonymous, &[]),
                            )
                            .map(Phase::ExpectChangeCipherSpec);
                    }
                }
            }
            (Expect::CertificateVerify(mut shared, owner), HandshakeType::CertificateVerify) => {
                let mut reader = Reader::new(message.body);
                let signed = DigitallySigned::decode(&mut reader).map_err(malformed)?;
                reader.finish().map_err(malformed)?;
                // MUST (RFC 5246 §7.4.8): the signature covers all messages before it. They are what
                // RFC 7627 §3 binds the master secret to as well.
                let session_hash = shared.transcript.hash();
                let (peer, public_key) =
                    owner.prove_transcript(&self.provider, &session_hash, &signed)?;
                shared.transcript.add_message(message);
                return self
                    .derive_agreed_keys(env, outgoing, shared, &session_hash, (peer, &public_key))
                    .map(Phase::ExpectChangeCipherSpec);
            }
            _ => return Err(AlertDescription::UNEXPECTED_MESSAGE),
        };
        Ok(Phase::Early(ServerExpect::Signed(next)))
    }

    fn identify_client(
        &self,
        certificate_type: CertificateType,
        env: &Env<'_>,
        body: &[u8],
    ) -> Result<Owner, AlertDescription> {
        let credentials = self
            .credentials
            .certificates()
            .ok_or(AlertDescription::INTERNAL_ERROR)?;
        let sought = Sought {
            certificate_type,
            owner: CertificateOwner::Client,
            server_name: None,
            unix_time: env.unix_time,
        };
        let owner = Owner::identify(credentials, &sought, body)?
            // RFC 5246 §7.4.6: a client without a certificate, where one is required.
            .ok_or(AlertDescription::HANDSHAKE_FAILURE)?;
        match self.credentials.permits(owner.peer()) {
            true => Ok(owner),
            false => Err(owner.refusal()),
        }
    }

    fn derive_agreed_keys<O: Outgoing<P>>(
        &self,
        env: &Env<'_>,
        outgoing: &mut O,
        shared: Shared<P>,
        session_hash: &[u8; hedgerow_core::SHA256_LEN],
        (peer, public_key): (Peer, &[u8]),
    ) -> Result<Keyed<P, O::Opener>, AlertDescription> {
        let Shared {
            parameters,
            transcript,
            agreed,
        } = shared;
        let secrets = Secrets::Agreed(&agreed);
        let (master, keys) = parameters
            .derive_keys(&self.provider, &secrets, session_hash, Self::END)
            .map_err(|_| AlertDescription::INTERNAL_ERROR)?;
        let opener = outgoing.set_keys(keys, &parameters.connection_ids);
        let authenticated = Authenticated {
            peer,
            credential: public_key,
            key: &[],
            name_digest: self.name_digest(),
        };
        let session = self.session_of(O::PROTOCOL, &parameters, &master, &authenticated, env);
        Ok(Keyed {
            peer: Some(peer),
            parameters,
            transcript,
            master,
            opener,
            is_abbreviated: false,
            session,
        })
    }
}

fn handle_client_key_exchange<P: CryptoProvider>(
    hellos: Hellos<P>,
    message: &Message<'_>,
) -> Result<Shared<P>, AlertDescription> {
    let Hellos {
        parameters,
        mut transcript,
        key,
    } = hellos;
    let client_key = decode_client_public_key(key.group(), message.body)?;
    let agreed = agree_with(&key, &client_key)?;
    transcript.add_message(message);
    Ok(Shared {
        parameters,
        transcript,
        agreed,
    })
}
