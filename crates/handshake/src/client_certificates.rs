//! The client's side where the server signs: from the offer to the flight that answers
//! ServerHelloDone (RFC 8422 §2.1, RFC 5246 §7.4, RFC 7250).

use hedgerow_core::{
    CertificateChain, CertificateCredentials, CertificateOwner, CertificateType, ClientCredentials,
    CryptoProvider, EncodeError, Env, Identity, P256_PUBLIC_KEY_LEN, Peer, ServerName, Writer,
};
use hedgerow_record::{
    AlertDescription, CertificateRequest, ECDSA_SIGN, ExtensionType, HandshakeType,
    SignatureAlgorithms, SignatureAndHashAlgorithm, decode_certificate_type,
    encode_certificate_types, encode_certificates, encode_server_name,
};

use crate::ClientState;
use crate::certificates::{
    Owner, Sought, encode_certificate, encode_certificate_verify, identity_of,
};
use crate::client::{Client, Expect as ClientExpect, expect_last_flight};
use crate::key_exchange::{PublicKey, SignedParams, agree, decode_signed_params, malformed};
use crate::key_schedule::{Secrets, SecurityParameters};
use crate::message::Message;
use crate::outgoing::Outgoing;
use crate::phase::{Keyed, Phase};
use crate::transcript::Transcript;

/// What a client waits for from ServerHello to ServerHelloDone.
pub(crate) enum Expect<P: CryptoProvider> {
    Certificate(Agreed<P>),
    ServerKeyExchange(Agreed<P>, Owner),
    /// Or ServerHelloDone, where the server asks for no certificate.
    CertificateRequest(Agreed<P>, Proved),
    ServerHelloDone(Agreed<P>, Proved, Request),
}

/// What both hellos have settled, and the messages so far.
pub(crate) struct Agreed<P: CryptoProvider> {
    parameters: SecurityParameters,
    transcript: Transcript<P>,
    types: ChosenTypes,
}

/// A server that has signed its ephemeral key.
pub(crate) struct Proved {
    peer: Peer,
    /// What it has signed with.
    owner_key: [u8; P256_PUBLIC_KEY_LEN],
    public_key: PublicKey,
}

/// What the server said about the client's certificate.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Request {
    None,
    /// It wants a kind of certificate or signature that this client doesn't have.
    Unsuitable,
    Suitable,
}

impl<P: CryptoProvider> Expect<P> {
    pub(crate) const fn new(
        parameters: SecurityParameters,
        transcript: Transcript<P>,
        types: ChosenTypes,
    ) -> Self {
        Self::Certificate(Agreed {
            parameters,
            transcript,
            types,
        })
    }

    pub(crate) const fn state(&self) -> ClientState {
        match self {
            Self::Certificate(_) => ClientState::ExpectCertificate,
            Self::ServerKeyExchange(..) => ClientState::ExpectServerKeyExchange,
            Self::CertificateRequest(..) => ClientState::ExpectCertificateRequest,
            Self::ServerHelloDone(..) => ClientState::ExpectServerHelloDone,
        }
    }
}

/// What the certificates carry; X.509 unless the server says something else (RFC 7250 §4.2).
#[derive(Clone, Copy)]
pub(crate) struct ChosenTypes {
    server: CertificateType,
    client: CertificateType,
}

impl Default for ChosenTypes {
    fn default() -> Self {
        Self {
            server: CertificateType::X509,
            client: CertificateType::X509,
        }
    }
}

/// What a ClientHello offers for certificate mode, which is nothing if no suite needs it, and the name of the
/// server that is meant.
pub(crate) struct CertificateOffer<'a> {
    credentials: Option<&'a dyn CertificateCredentials>,
    /// Where no certificate is to have a name.
    name: Option<ServerName<'a>>,
}

impl<'a> CertificateOffer<'a> {
    fn server_name(&self) -> Option<ServerName<'a>> {
        self.credentials
            .and_then(|credentials| credentials.server_name())
            .or(self.name)
    }

    /// Says whether this client shows certificates of a type.
    fn shows(&self, certificate_type: CertificateType) -> bool {
        let server_name = self.server_name();
        self.credentials.is_some_and(|credentials| {
            identity_of(credentials, certificate_type, server_name).is_some()
        })
    }

    /// Says whether this client takes certificates of a type.
    fn accepts(&self, certificate_type: CertificateType) -> bool {
        self.credentials
            .is_some_and(|credentials| credentials.accepts(certificate_type))
    }

    /// Encodes the extensions.
    pub(crate) fn encode(&self, out: &mut Writer<'_>) -> Result<(), EncodeError> {
        if self.credentials.is_some() {
            // MUST (RFC 7925 §5): without this extension a server would sign with SHA-1.
            out.u16(ExtensionType::SIGNATURE_ALGORITHMS.0)?;
            out.nested16(|out| SignatureAlgorithms::ECDSA_SHA256.encode(out))?;
            let all = CertificateType::ALL.into_iter();
            // MUST (RFC 7250 §4.1): types that aren't there are left out, and so is the extension if
            // nothing but X.509 remains.
            if self.shows(CertificateType::RawPublicKey) {
                let shown = all
                    .clone()
                    .filter(|&certificate_type| self.shows(certificate_type));
                out.u16(ExtensionType::CLIENT_CERTIFICATE_TYPE.0)?;
                out.nested16(|out| encode_certificate_types(shown, out))?;
            }
            if self.accepts(CertificateType::RawPublicKey) {
                let accepted = all.filter(|&certificate_type| self.accepts(certificate_type));
                out.u16(ExtensionType::SERVER_CERTIFICATE_TYPE.0)?;
                out.nested16(|out| encode_certificate_types(accepted, out))?;
            }
        }
        if let Some(name) = self.server_name() {
            out.u16(ExtensionType::SERVER_NAME.0)?;
            out.nested16(|out| encode_server_name(name, out))?;
        }
        Ok(())
    }

    /// Takes in an extension of the server's; `false` if it answers nothing in this offer.
    pub(crate) fn takes(
        &self,
        types: &mut ChosenTypes,
        extension_type: ExtensionType,
        data: &[u8],
    ) -> Result<bool, AlertDescription> {
        let chosen = |is_offered: &dyn Fn(CertificateType) -> bool| {
            decode_certificate_type(data)
                .map_err(malformed)?
                .filter(|&certificate_type| is_offered(certificate_type))
                // MUST (RFC 7250 §4.2): the server takes one of the types offered.
                .ok_or(AlertDescription::ILLEGAL_PARAMETER)
        };
        match extension_type {
            ExtensionType::CLIENT_CERTIFICATE_TYPE if self.shows(CertificateType::RawPublicKey) => {
                types.client = chosen(&|certificate_type| self.shows(certificate_type))?;
            }
            ExtensionType::SERVER_CERTIFICATE_TYPE
                if self.accepts(CertificateType::RawPublicKey) =>
            {
                types.server = chosen(&|certificate_type| self.accepts(certificate_type))?;
            }
            // RFC 6066 §3: the server has chosen by the name and says so with empty data.
            ExtensionType::SERVER_NAME if self.server_name().is_some() => {
                if !data.is_empty() {
                    return Err(AlertDescription::DECODE_ERROR);
                }
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}

impl<P: CryptoProvider, C: ClientCredentials> Client<P, C> {
    pub(crate) fn certificate_offer(&self) -> CertificateOffer<'_> {
        CertificateOffer {
            credentials: self
                .credentials
                .certificates()
                .filter(|_| self.settings.offers_certificates()),
            name: self.credentials.server_name(),
        }
    }

    /// Handles a message of the server's flight. RFC 5246 §7.4 gives the order: any other is fatal.
    pub(crate) fn handle_signed<O: Outgoing<P>>(
        &self,
        state: Expect<P>,
        env: &mut Env<'_>,
        outgoing: &mut O,
        message: &Message<'_>,
    ) -> Result<Phase<P, ClientExpect<P>, O::Opener>, AlertDescription> {
        let credentials = self
            .credentials
            .certificates()
            .ok_or(AlertDescription::INTERNAL_ERROR)?;
        let next = match (state, message.msg_type) {
            (Expect::Certificate(mut agreed), HandshakeType::Certificate) => {
                let owner = identify_server(credentials, agreed.types.server, env, message)?;
                if !self.credentials.permits(owner.peer()) {
                    return Err(owner.refusal());
                }
                agreed.transcript.add_message(message);
                Expect::ServerKeyExchange(agreed, owner)
            }
            (Expect::ServerKeyExchange(mut agreed, owner), HandshakeType::ServerKeyExchange) => {
                let proved = self.handle_signed_params(&agreed.parameters, owner, message.body)?;
                agreed.transcript.add_message(message);
                Expect::CertificateRequest(agreed, proved)
            }
            (Expect::CertificateRequest(mut agreed, proved), HandshakeType::CertificateRequest) => {
                let request = CertificateRequest::decode_exact(message.body).map_err(malformed)?;
                let is_suitable = request.certificate_types.contains(&ECDSA_SIGN)
                    && request
                        .signature_algorithms
                        .contains(SignatureAndHashAlgorithm::ECDSA_SHA256);
                agreed.transcript.add_message(message);
                let request = match is_suitable {
                    true => Request::Suitable,
                    false => Request::Unsuitable,
                };
                Expect::ServerHelloDone(agreed, proved, request)
            }
            (Expect::CertificateRequest(agreed, proved), HandshakeType::ServerHelloDone) => {
                return self
                    .answer(env, outgoing, agreed, &proved, Request::None, message)
                    .map(expect_last_flight);
            }
            (Expect::ServerHelloDone(agreed, proved, request), HandshakeType::ServerHelloDone) => {
                return self
                    .answer(env, outgoing, agreed, &proved, request, message)
                    .map(expect_last_flight);
            }
            _ => return Err(AlertDescription::UNEXPECTED_MESSAGE),
        };
        Ok(Phase::Early(ClientExpect::Signed(next)))
    }

    fn handle_signed_params(
        &self,
        parameters: &SecurityParameters,
        owner: Owner,
        body: &[u8],
    ) -> Result<Proved, AlertDescription> {
        let is_offered = |group| self.settings.groups().any(|offered| offered == group);
        let SignedParams {
            public_key,
            params,
            signed,
        } = decode_signed_params(is_offered, body)?;
        let randoms = [&parameters.client_random, &parameters.server_random];
        let (peer, owner_key) = owner.prove_params(&self.provider, randoms, params, &signed)?;
        Ok(Proved {
            peer,
            owner_key,
            public_key,
        })
    }

    /// Answers the server's flight with Certificate, ClientKeyExchange, CertificateVerify,
    /// ChangeCipherSpec and Finished; the first and the third only where the server asks for them.
    fn answer<O: Outgoing<P>>(
        &self,
        env: &mut Env<'_>,
        outgoing: &mut O,
        agreed: Agreed<P>,
        proved: &Proved,
        request: Request,
        message: &Message<'_>,
    ) -> Result<Keyed<P, O::Opener>, AlertDescription> {
        let internal = |_| AlertDescription::INTERNAL_ERROR;
        if !message.body.is_empty() {
            return Err(AlertDescription::DECODE_ERROR);
        }
        let Agreed {
            parameters,
            mut transcript,
            types,
        } = agreed;
        transcript.add_message(message);
        let (public_key, secret) = agree(&self.provider, env, &proved.public_key)?;
        let identity = self.requested_identity(request, types.client)?;

        outgoing.start_flight();
        if request != Request::None {
            outgoing
                .push_message(&mut transcript, HandshakeType::Certificate, |out| {
                    match &identity {
                        Some(identity) => encode_certificate(identity, out),
                        // MUST (RFC 5246 §7.4.6): a client without a suitable certificate says so.
                        None => encode_certificates(&CertificateChain::EMPTY, out),
                    }
                })
                .map_err(internal)?;
        }
        outgoing
            .push_message(&mut transcript, HandshakeType::ClientKeyExchange, |out| {
                out.vector8(public_key.as_bytes())
            })
            .map_err(internal)?;
        // RFC 7627 §3: what follows ClientKeyExchange is not in it. It is also what CertificateVerify
        // covers (RFC 5246 §7.4.8).
        let session_hash = transcript.hash();
        if let Some(identity) = &identity {
            outgoing
                .push_message(&mut transcript, HandshakeType::CertificateVerify, |out| {
                    encode_certificate_verify(identity.key(), &session_hash, out)
                })
                .map_err(internal)?;
        }
        self.send_finished(
            env,
            outgoing,
            parameters,
            transcript,
            &Secrets::Agreed(&secret),
            &session_hash,
            (proved.peer, &proved.owner_key),
        )
    }

    /// Returns what the client shows in answer to a request; `None` where it shows nothing.
    fn requested_identity(
        &self,
        request: Request,
        certificate_type: CertificateType,
    ) -> Result<Option<Identity<'_>>, AlertDescription> {
        let identity = self
            .credentials
            .certificates()
            .filter(|_| request == Request::Suitable)
            .and_then(|credentials| {
                identity_of(credentials, certificate_type, credentials.server_name())
            });
        // RFC 7250 §3: unlike a list of certificates, a raw public key can't be left empty.
        let is_missing = identity.is_none() && request != Request::None;
        if is_missing && certificate_type == CertificateType::RawPublicKey {
            return Err(AlertDescription::HANDSHAKE_FAILURE);
        }
        Ok(identity)
    }
}

fn identify_server(
    credentials: &dyn CertificateCredentials,
    certificate_type: CertificateType,
    env: &Env<'_>,
    message: &Message<'_>,
) -> Result<Owner, AlertDescription> {
    // A server that doesn't know raw public keys shows a certificate nobody has asked for.
    if !credentials.accepts(certificate_type) {
        return Err(AlertDescription::UNSUPPORTED_CERTIFICATE);
    }
    let sought = Sought {
        certificate_type,
        owner: CertificateOwner::Server,
        server_name: credentials.server_name(),
        unix_time: env.unix_time,
    };
    Owner::identify(credentials, &sought, message.body)?
        // MUST (RFC 5246 §7.4.2): a server whose key exchange wants a certificate has one.
        .ok_or(AlertDescription::BAD_CERTIFICATE)
}
