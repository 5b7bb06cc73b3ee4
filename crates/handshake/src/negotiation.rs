//! What a server makes of a ClientHello, in either protocol.

use hedgerow_core::{
    AeadAlgorithm, CertificateCredentials, NamedGroup, Peer, ServerCredentials, ServerName,
};
use hedgerow_record::{
    AlertDescription, CipherSuite, ClientHello, ConnectionId, ExtensionType, KeyExchange, Protocol,
    ProtocolNames, SupportedGroups, decode_server_name, offers_uncompressed_points,
};

use crate::connection_ids::decode_offer;
use crate::record_limits::LimitOffer;
use crate::server_certificates::CertificateChoice;
use crate::{ExtendedMasterSecret, Settings};

/// The modes that a server has credentials for.
#[derive(Clone, Copy)]
pub(crate) struct Modes<'a> {
    pub(crate) has_psk: bool,
    pub(crate) certificates: Option<&'a dyn CertificateCredentials>,
    /// Whether a client may prove nothing, if the credentials don't want it to.
    pub(crate) permits_anonymous: bool,
}

impl<'a> Modes<'a> {
    pub(crate) fn of(credentials: &'a impl ServerCredentials) -> Self {
        Self {
            has_psk: credentials.psk_store().is_some(),
            certificates: credentials.certificates(),
            permits_anonymous: credentials.permits(Peer::Anonymous),
        }
    }
}

/// What server and client agree on.
#[derive(Clone, Copy)]
pub(crate) struct Negotiated {
    pub(crate) suite: CipherSuite,
    pub(crate) algorithm: AeadAlgorithm,
    pub(crate) key_exchange: KeyExchange,
    /// The group to agree in, where the suite wants one.
    pub(crate) group: Option<NamedGroup>,
    pub(crate) has_point_formats: bool,
    pub(crate) has_extended_master_secret: bool,
    pub(crate) signals_renegotiation: bool,
    pub(crate) application_protocol: Option<&'static [u8]>,
    /// The connection ID that the client has named; the handshake's settings say what comes of it.
    pub(crate) connection_id: Option<ConnectionId>,
    /// How long the client wants records to be.
    pub(crate) limit_offer: LimitOffer,
    /// What the certificates carry, where the suite wants them.
    pub(crate) certificates: Option<CertificateChoice>,
}

/// Chooses from the offer, by this end's order of preference.
pub(crate) fn negotiate(
    settings: &Settings,
    protocol: Protocol,
    modes: &Modes<'_>,
    hello: &ClientHello<'_>,
) -> Result<Negotiated, AlertDescription> {
    if !is_at_least_1_2(protocol, hello) {
        return Err(AlertDescription::PROTOCOL_VERSION);
    }
    // MUST (RFC 5246 §7.4.1.2): a client offers null compression.
    if !hello.compression_methods.contains(&0) {
        return Err(AlertDescription::ILLEGAL_PARAMETER);
    }
    let extended = hello.extensions.find(ExtensionType::EXTENDED_MASTER_SECRET);
    if extended.is_some_and(|data| !data.is_empty()) {
        return Err(AlertDescription::DECODE_ERROR);
    }
    if extended.is_none() && settings.extended_master_secret == ExtendedMasterSecret::Required {
        return Err(AlertDescription::HANDSHAKE_FAILURE);
    }
    let renegotiation = hello.extensions.find(ExtensionType::RENEGOTIATION_INFO);
    // MUST (RFC 5746 §3.6): on a first handshake the field is empty.
    if renegotiation.is_some_and(|data| data != [0]) {
        return Err(AlertDescription::HANDSHAKE_FAILURE);
    }
    let signals_renegotiation = renegotiation.is_some()
        || hello
            .cipher_suites
            .contains(CipherSuite::TLS_EMPTY_RENEGOTIATION_INFO_SCSV);
    let application_protocol = choose_application_protocol(settings, protocol, hello)?;
    let connection_id = named_connection_id(protocol, hello)?;
    let limit_offer = LimitOffer::of(hello)?;
    let point_formats = hello.extensions.find(ExtensionType::EC_POINT_FORMATS);
    let has_uncompressed_points = point_formats
        .map_or(Ok(true), offers_uncompressed_points)
        .map_err(|_| AlertDescription::DECODE_ERROR)?;
    // MUST (RFC 8422 §5.1.2): a client that names curves reads uncompressed points, or its hello is
    // wrong, whatever suite might be left.
    let names_groups = hello.extensions.find(ExtensionType::SUPPORTED_GROUPS);
    if !has_uncompressed_points && names_groups.is_some() {
        return Err(AlertDescription::ILLEGAL_PARAMETER);
    }
    let group = choose_group(settings, hello)?.filter(|_| has_uncompressed_points);
    let certificates = match modes.certificates {
        Some(credentials) => {
            CertificateChoice::negotiate(credentials, modes.permits_anonymous, hello)?
        }
        None => Err(AlertDescription::HANDSHAKE_FAILURE),
    };
    let mut refusal = AlertDescription::HANDSHAKE_FAILURE;
    settings
        .with_credentials(modes.has_psk, modes.certificates.is_some())
        .suites()
        .iter()
        .filter(|&&suite| hello.cipher_suites.contains(suite))
        .find_map(|&suite| {
            let key_exchange = suite.key_exchange()?;
            let certificates = match (key_exchange, certificates) {
                (KeyExchange::EcdheEcdsa, Ok(choice)) => Some(choice),
                (KeyExchange::EcdheEcdsa, Err(description)) => {
                    refusal = description;
                    return None;
                }
                _ => None,
            };
            let is_ephemeral = key_exchange != KeyExchange::Psk;
            // MUST (RFC 8422 §4): a suite that wants a group isn't chosen without a common one.
            if is_ephemeral && group.is_none() {
                return None;
            }
            Some(Negotiated {
                suite,
                algorithm: suite.aead()?,
                key_exchange,
                group: group.filter(|_| is_ephemeral),
                has_point_formats: is_ephemeral && point_formats.is_some(),
                has_extended_master_secret: extended.is_some(),
                signals_renegotiation,
                application_protocol,
                connection_id,
                limit_offer,
                certificates,
            })
        })
        .ok_or(refusal)
}

/// Returns the name under which the client looks for this server, if it says one.
pub(crate) fn server_name<'a>(
    hello: &ClientHello<'a>,
) -> Result<Option<ServerName<'a>>, AlertDescription> {
    match hello.extensions.find(ExtensionType::SERVER_NAME) {
        Some(data) => decode_server_name(data).map_err(|_| AlertDescription::DECODE_ERROR),
        None => Ok(None),
    }
}

impl Negotiated {
    /// Returns the name that the certificate is chosen by; without certificates it has no meaning.
    pub(crate) fn server_name<'a>(&self, hello: &ClientHello<'a>) -> Option<ServerName<'a>> {
        self.certificates
            .and_then(|_| server_name(hello).ok().flatten())
    }
}

/// A client offers the highest version that it speaks (RFC 5246 §E.1). DTLS's count downwards.
const fn is_at_least_1_2(protocol: Protocol, hello: &ClientHello<'_>) -> bool {
    let [major, minor] = hello.client_version.0.to_be_bytes();
    let [wanted_major, wanted_minor] = protocol.version().0.to_be_bytes();
    major == wanted_major
        && match protocol {
            Protocol::Dtls => minor <= wanted_minor,
            Protocol::Tls => minor >= wanted_minor,
        }
}

/// Chooses by this end's preference among the groups that the client has.
fn choose_group(
    settings: &Settings,
    hello: &ClientHello<'_>,
) -> Result<Option<NamedGroup>, AlertDescription> {
    let Some(data) = hello.extensions.find(ExtensionType::SUPPORTED_GROUPS) else {
        // RFC 8422 §4: a client that says nothing leaves the choice; P-256 is the one that RFC 7925
        // §4.4 has everybody know.
        return Ok(settings
            .groups()
            .find(|&group| group == NamedGroup::Secp256r1));
    };
    let groups = SupportedGroups::decode_exact(data).map_err(|_| AlertDescription::DECODE_ERROR)?;
    Ok(settings.groups().find(|&group| groups.contains(group)))
}

/// RFC 9146 §3: the ID that the client wants in what it receives. In TLS the extension means
/// nothing.
fn named_connection_id(
    protocol: Protocol,
    hello: &ClientHello<'_>,
) -> Result<Option<ConnectionId>, AlertDescription> {
    let named = hello.extensions.find(ExtensionType::CONNECTION_ID);
    match (protocol, named) {
        (Protocol::Dtls, Some(data)) => {
            decode_offer(data).map_err(|_| AlertDescription::DECODE_ERROR)
        }
        _ => Ok(None),
    }
}

/// RFC 7301 §3.2: by this end's preference, and a fatal alert if nothing offered is spoken here. An
/// end that speaks nothing by name ignores the offer.
fn choose_application_protocol(
    settings: &Settings,
    protocol: Protocol,
    hello: &ClientHello<'_>,
) -> Result<Option<&'static [u8]>, AlertDescription> {
    let spoken = settings.application_protocols(protocol);
    let offer = hello
        .extensions
        .find(ExtensionType::APPLICATION_LAYER_PROTOCOL_NEGOTIATION);
    let Some(data) = offer.filter(|_| !spoken.is_empty()) else {
        return Ok(None);
    };
    let names = ProtocolNames::decode_exact(data).map_err(|_| AlertDescription::DECODE_ERROR)?;
    spoken
        .iter()
        .find(|&&name| names.iter().any(|offered| offered == name))
        .map(|&name| Some(name))
        .ok_or(AlertDescription::NO_APPLICATION_PROTOCOL)
}
