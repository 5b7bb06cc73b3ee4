//! The bodies of the scripted peer's messages, with acceptable content or a fault that has a name.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use hedgerow_core::{AgreementKey, KeyAgreement, SigningKey};
use hedgerow_crypto_soft::SoftCrypto;
use hedgerow_record::Protocol;

use super::{
    CERTIFICATES, COOKIE, Kx, OTHER_KIND_OF_CERTIFICATE, OTHER_SUITE, Side, Stand, long_term_key,
};

impl Stand {
    fn version(&self, is_other: bool) -> [u8; 2] {
        match (self.kind.protocol, is_other) {
            (Protocol::Dtls, false) => [0xfe, 0xfd],
            (Protocol::Dtls, true) => [0xfe, 0xff],
            (Protocol::Tls, false) => [3, 3],
            (Protocol::Tls, true) => [3, 2],
        }
    }

    fn newer_version(&self) -> [u8; 2] {
        match self.kind.protocol {
            Protocol::Dtls => [0xfe, 0xfc],
            Protocol::Tls => [3, 4],
        }
    }

    /// The scripted end.
    fn peer(&self) -> Side {
        match self.kind.side {
            Side::Client => Side::Server,
            Side::Server => Side::Client,
        }
    }

    pub(super) fn body(&self, kind: &str, variant: &str) -> Vec<u8> {
        match kind {
            "HelloRequest" | "ServerHelloDone" => Vec::new(),
            "ClientHello" => self.client_hello(variant),
            "ServerHello" => self.server_hello(variant),
            "HelloVerifyRequest" => {
                let mut body = match variant {
                    "version_fefd" => vec![0xfe, 0xfd],
                    _ => vec![0xfe, 0xff],
                };
                body.push(16);
                body.extend(COOKIE);
                body
            }
            // RFC 5077 §3.3: a server that has thought better of it sends an empty ticket.
            "NewSessionTicket" if variant == "empty_ticket" => vec![0; 6],
            "NewSessionTicket" => vec![0, 0, 0, 60, 0, 4, 1, 2, 3, 4],
            "Certificate" if self.kind.kx == Kx::EcdheEcdsa => self.certificate(variant),
            "Certificate" => vec![0, 0, 7, 0, 0, 4, 1, 2, 3, 4],
            "ServerKeyExchange" => self.server_key_exchange(variant),
            // RFC 8422 §5.5: rsa_sign is none of ECDHE_ECDSA's with a key of P-256.
            "CertificateRequest" if variant == "nothing_suitable" => vec![1, 1, 0, 2, 4, 1, 0, 0],
            "CertificateRequest" => vec![1, 64, 0, 2, 4, 3, 0, 0],
            "CertificateVerify" if self.kind.kx == Kx::EcdheEcdsa => {
                let mut signed = self.transcript.clone();
                if self.state() == "ClientKeyExchange" {
                    // One that comes early signs what goes before it all the same.
                    signed.extend(self.payload("ClientKeyExchange", self.next_seq).1);
                }
                let mut body = Vec::new();
                push_signature(&mut body, &signed, self.peer(), variant);
                body
            }
            "CertificateVerify" => vec![4, 3, 0, 4, 1, 2, 3, 4],
            "ClientKeyExchange" => self.client_key_exchange(variant),
            "Finished" => {
                let mut verify_data = self.verify_data(self.peer());
                if variant == "wrong_verify_data" {
                    verify_data[11] ^= 1;
                }
                verify_data
            }
            _ => vec![1, 2, 3],
        }
    }

    pub(super) fn client_hello(&self, variant: &str) -> Vec<u8> {
        let mut body = match variant {
            "lower_version" => self.version(true),
            "higher_version" => self.newer_version(),
            _ => self.version(false),
        }
        .to_vec();
        body.extend([0x11; 32]);
        match variant {
            "unknown_session_id" => {
                body.push(32);
                body.extend([0x33; 32]);
            }
            _ => push8(&mut body, &self.session_id_shown()),
        }
        if self.kind.is_dtls() {
            body.push(u8::try_from(self.cookie.len()).unwrap());
            body.extend(&self.cookie);
        }
        let mut suites = Vec::new();
        if variant == "unknown_suites_and_extensions" {
            suites.extend([0x13, 0x01, 0x5a, 0x5a]);
        }
        match variant {
            "no_common_suite" => suites.extend([0x13, 0x01]),
            "session_without_its_suite" => suites.extend(OTHER_SUITE.0.to_be_bytes()),
            _ => suites.extend(self.kind.kx.suite().0.to_be_bytes()),
        }
        if !matches!(
            variant,
            "no_scsv_no_renegotiation_info" | "no_renegotiation_info"
        ) {
            suites.extend([0, 0xff]);
        }
        push16(&mut body, &suites);
        body.extend([1, u8::from(variant == "no_null_compression")]);
        if variant == "no_extensions_block" {
            return body;
        }
        let mut block = Vec::new();
        if variant != "no_extended_master_secret" {
            push_extension(&mut block, 0x17, &[]);
        }
        match variant {
            "extension_twice" => push_extension(&mut block, 0x17, &[]),
            "unknown_suites_and_extensions" => push_extension(&mut block, 0x5a5a, b"any"),
            "renegotiation_info_not_empty" => push_extension(&mut block, 0xff01, &[2, 1, 2]),
            _ => {}
        }
        if matches!(self.kind.kx, Kx::PskTicket | Kx::ResumedTicket) {
            let mut ticket = match self.sessions.master {
                Some(_) => self.sessions.ticket.clone(),
                None => Vec::new(),
            };
            if variant == "ticket_forged" {
                *ticket.last_mut().unwrap() ^= 1;
            }
            push_extension(&mut block, 0x23, &ticket);
        }
        if !self.kind.kx.is_psk() {
            let group = match variant {
                "no_common_group" => 0x18,
                _ => self.group.code_point(),
            };
            let mut groups = group.to_be_bytes().to_vec();
            if self.kind.kx == Kx::EcdheEcdsa && !matches!(group, 0x17 | 0x18) {
                // RFC 8422 §5.1.1: the groups are those of the certificates too.
                groups.extend([0, 0x17]);
            }
            if variant != "no_supported_groups" {
                let mut list = Vec::new();
                push16(&mut list, &groups);
                push_extension(&mut block, 10, &list);
            }
            match variant {
                "no_point_formats" => {}
                "point_formats_without_uncompressed" => push_extension(&mut block, 11, &[1, 1]),
                _ => push_extension(&mut block, 11, &[1, 0]),
            }
        }
        if self.kind.kx == Kx::EcdheEcdsa {
            push_extension(&mut block, 13, &[0, 2, 4, 3]);
            let types: &[u8] = match variant {
                // OpenPGP, which nobody has any more.
                "no_common_certificate_type" => &[1, 1],
                _ if self.is_x509 => &[1, 0],
                _ => &[1, 2],
            };
            for extension_type in [19, 20] {
                push_extension(&mut block, extension_type, types);
            }
        }
        push16(&mut body, &block);
        body
    }

    /// What the peer shows as a client: the session's ID, or one of its own by whose return it knows
    /// that the ticket was taken (RFC 5077 §3.4).
    fn session_id_shown(&self) -> Vec<u8> {
        match (&self.sessions.master, self.kind.kx) {
            (Some(_), Kx::ResumedId) => self.sessions.id.clone(),
            (Some(_), _) => vec![0x55; 8],
            (None, _) => Vec::new(),
        }
    }

    fn server_hello(&self, variant: &str) -> Vec<u8> {
        let mut body = match variant {
            "other_version" => self.newer_version(),
            "aead_suite_with_other_version" => self.version(true),
            _ => self.version(false),
        }
        .to_vec();
        body.extend([0x22; 32]);
        let session_id = match (&self.sessions.master, variant) {
            (Some(_), "other_session_id") => vec![0x66; 32],
            (Some(_), _) => self.sessions.offered_id.clone(),
            (None, _) if self.kind.kx == Kx::ResumedId => vec![0x44; 32],
            (None, _) => Vec::new(),
        };
        push8(&mut body, &session_id);
        match variant {
            // RFC 8442 §3 has an alert of its own for its suites in another version.
            "suite_not_offered" | "other_version" => body.extend([0, 0xa8]),
            "resumed_with_other_suite" => body.extend(OTHER_SUITE.0.to_be_bytes()),
            "scsv_chosen" => body.extend([0, 0xff]),
            _ => body.extend(self.kind.kx.suite().0.to_be_bytes()),
        }
        body.push(u8::from(variant == "compression_not_null"));
        let mut block = Vec::new();
        match variant {
            "no_renegotiation_info" => {}
            "renegotiation_info_not_empty" => push_extension(&mut block, 0xff01, &[2, 1, 2]),
            _ => push_extension(&mut block, 0xff01, &[0]),
        }
        if variant != "no_extended_master_secret" {
            push_extension(&mut block, 0x17, &[]);
        }
        match variant {
            "extension_twice" => push_extension(&mut block, 0x17, &[]),
            // heartbeat, where session_ticket has been asked for.
            "unsolicited_extension" if self.kind.kx.has_resumption() => {
                push_extension(&mut block, 15, &[1]);
            }
            "unsolicited_extension" => push_extension(&mut block, 0x23, &[]),
            _ => {}
        }
        let promises_ticket = match self.kind.kx {
            Kx::PskTicket | Kx::ResumedNewTicket => true,
            Kx::ResumedTicket => self.sessions.master.is_none(),
            _ => false,
        };
        if promises_ticket {
            push_extension(&mut block, 0x23, &[]);
        }
        if !self.kind.kx.is_psk() {
            match variant {
                "no_point_formats" => {}
                "point_formats_without_uncompressed" => push_extension(&mut block, 11, &[1, 1]),
                _ => push_extension(&mut block, 11, &[1, 0]),
            }
        }
        if self.kind.kx == Kx::EcdheEcdsa {
            // Without them it is X.509, which the client's own extensions then hadn't to name.
            for extension_type in [19, 20].into_iter().filter(|_| !self.is_x509) {
                push_extension(&mut block, extension_type, &[2]);
            }
        }
        push16(&mut body, &block);
        body
    }

    /// RFC 7250 §3: a SubjectPublicKeyInfo, or certificates, with the length of all.
    fn certificate(&self, variant: &str) -> Vec<u8> {
        let certificate_of = |side| match side {
            Side::Client => CERTIFICATES[0],
            Side::Server => CERTIFICATES[1],
        };
        let content = match (variant, self.is_x509) {
            ("empty" | "raw_public_key_empty", _) => Vec::new(),
            // An Ed25519 key (RFC 8410 §10.1), to which no ECDSA signature goes.
            ("wrong_key_type", false) => {
                let algorithm = [0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 0x21, 0];
                [&algorithm[..], &[0x19; 32]].concat()
            }
            ("wrong_key_type", true) => OTHER_KIND_OF_CERTIFICATE.to_vec(),
            // Like any other, and nobody's here: the machine's own.
            ("raw_public_key_not_trusted", _) => super::spki(self.kind.side).to_vec(),
            ("not_trusted", _) => certificate_of(self.kind.side).to_vec(),
            (_, false) => super::spki(self.peer()).to_vec(),
            (_, true) => certificate_of(self.peer()).to_vec(),
        };
        let mut body = vec![0];
        push16(&mut body, &content);
        body
    }

    fn public_key(&self) -> Vec<u8> {
        let key = SoftCrypto.agreement_key(self.group, &[7; 32]).unwrap();
        let mut out = [0; 65];
        let len = key.write_public_key(&mut out).unwrap();
        out[..len].to_vec()
    }

    fn server_key_exchange(&self, variant: &str) -> Vec<u8> {
        if self.kind.kx.is_psk() {
            let mut body = Vec::new();
            push16(&mut body, b"hint");
            return body;
        }
        let (curve_type, group, point) = match variant {
            "group_not_offered" => (3, 0x18, vec![4; 97]),
            "explicit_curve" => (1, 0x1d, self.public_key()),
            "point_not_on_curve" => (3, 0x17, [&[4][..], &[0xfe; 64]].concat()),
            "compressed_point" => (3, 0x17, [&[2][..], &[7; 32]].concat()),
            "x25519_shared_secret_zero" => (3, 0x1d, vec![0; 32]),
            _ => (3, self.group.code_point(), self.public_key()),
        };
        let mut params = vec![curve_type];
        params.extend(group.to_be_bytes());
        params.push(u8::try_from(point.len()).unwrap());
        params.extend(point);
        if self.kind.kx == Kx::EcdheEcdsa {
            let signed = [&self.client_random[..], &self.server_random, &params].concat();
            push_signature(&mut params, &signed, Side::Server, variant);
            return params;
        }
        [vec![0, 0], params].concat()
    }

    fn client_key_exchange(&self, variant: &str) -> Vec<u8> {
        let mut body = Vec::new();
        match variant {
            _ if self.kind.kx == Kx::EcdheEcdsa => {}
            "unknown_identity" => push16(&mut body, b"somebody else"),
            _ => push16(&mut body, &self.identity),
        }
        if !self.kind.kx.is_psk() {
            let point = match variant {
                "point_not_on_curve" => [&[4][..], &[0xfe; 64]].concat(),
                "x25519_shared_secret_zero" => vec![0; 32],
                _ => self.public_key(),
            };
            body.push(u8::try_from(point.len()).unwrap());
            body.extend(point);
        }
        body
    }
}

/// Returns a handshake message's code point by its name.
pub fn type_of(name: &str) -> Option<u8> {
    Some(match name {
        "HelloRequest" => 0,
        "ClientHello" => 1,
        "ServerHello" => 2,
        "HelloVerifyRequest" => 3,
        "NewSessionTicket" => 4,
        "Certificate" => 11,
        "ServerKeyExchange" => 12,
        "CertificateRequest" => 13,
        "ServerHelloDone" => 14,
        "CertificateVerify" => 15,
        "ClientKeyExchange" => 16,
        "Finished" => 20,
        "handshake_99" => 99,
        _ => return None,
    })
}

/// RFC 5246 §4.7: the algorithms, ECDSA with SHA-256 unless the variant has others, and a signature.
fn push_signature(out: &mut Vec<u8>, message: &[u8], signer: Side, variant: &str) {
    let mut signature = [0; 72];
    let len = long_term_key(signer).sign(message, &mut signature).unwrap();
    if variant == "bad_signature" {
        signature[len - 1] ^= 1;
    }
    out.extend(match variant {
        // ECDSA with SHA-384 was neither offered nor asked for.
        "signature_algorithm_not_offered" | "signature_algorithm_not_requested" => [5, 3],
        _ => [4, 3],
    });
    push16(out, &signature[..len]);
}

fn push8(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(u8::try_from(bytes.len()).unwrap());
    out.extend(bytes);
}

fn push16(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend(u16::try_from(bytes.len()).unwrap().to_be_bytes());
    out.extend(bytes);
}

fn push_extension(block: &mut Vec<u8>, extension_type: u16, data: &[u8]) {
    block.extend(extension_type.to_be_bytes());
    push16(block, data);
}
