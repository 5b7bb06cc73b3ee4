//! What a server makes of a ClientHello, in either protocol.

use hedgerow_core::AeadAlgorithm;
use hedgerow_record::{
    AlertDescription, CipherSuite, ClientHello, ExtensionType, Protocol, ProtocolNames,
};

use crate::{ExtendedMasterSecret, Settings};

/// What server and client agree on.
#[derive(Clone, Copy)]
pub(crate) struct Negotiated {
    pub(crate) suite: CipherSuite,
    pub(crate) algorithm: AeadAlgorithm,
    pub(crate) has_extended_master_secret: bool,
    pub(crate) signals_renegotiation: bool,
    pub(crate) application_protocol: Option<&'static [u8]>,
}

/// Chooses from the offer, by this end's order of preference.
pub(crate) fn negotiate(
    settings: &Settings,
    protocol: Protocol,
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
    settings
        .suites()
        .iter()
        .filter(|&&suite| hello.cipher_suites.contains(suite))
        .find_map(|&suite| {
            Some(Negotiated {
                suite,
                algorithm: suite.aead()?,
                has_extended_master_secret: extended.is_some(),
                signals_renegotiation,
                application_protocol,
            })
        })
        .ok_or(AlertDescription::HANDSHAKE_FAILURE)
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
