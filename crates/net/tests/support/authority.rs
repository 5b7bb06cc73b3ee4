//! Authorities, and certificates that they vouch for, as text in PEM.
#![allow(dead_code, clippy::unwrap_used)]

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};

/// An authority, and who it says that it is.
pub(crate) struct Authority {
    pub(crate) pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A private key with a certificate for it.
pub(crate) struct Owner {
    pub(crate) key: String,
    pub(crate) certificate: String,
    pub(crate) public_key: String,
}

/// What a certificate is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Client,
    Server,
    Both,
}

/// When a certificate counts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Time {
    Now,
    Over,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        Self::with_key(name, KeyPair::generate().unwrap())
    }

    pub(crate) fn with_key(name: &str, key: KeyPair) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        Self {
            pem: params.self_signed(&key).unwrap().pem(),
            issuer: Issuer::new(params, key),
        }
    }

    /// Makes a key and a certificate with a name: a DNS name, or a URI if there is a colon in it.
    pub(crate) fn owner(&self, name: &str, purpose: Purpose) -> Owner {
        self.owner_in(name, purpose, Time::Now)
    }

    pub(crate) fn owner_in(&self, name: &str, purpose: Purpose, time: Time) -> Owner {
        self.owner_with_key(KeyPair::generate().unwrap(), name, purpose, time)
    }

    pub(crate) fn owner_with_key(
        &self,
        key: KeyPair,
        name: &str,
        purpose: Purpose,
        time: Time,
    ) -> Owner {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![match name.contains(':') {
            true => SanType::URI(name.try_into().unwrap()),
            false => SanType::DnsName(name.try_into().unwrap()),
        }];
        params.extended_key_usages = match purpose {
            Purpose::Client => vec![ExtendedKeyUsagePurpose::ClientAuth],
            Purpose::Server => vec![ExtendedKeyUsagePurpose::ServerAuth],
            Purpose::Both => vec![
                ExtendedKeyUsagePurpose::ClientAuth,
                ExtendedKeyUsagePurpose::ServerAuth,
            ],
        };
        if time == Time::Over {
            params.not_before = rcgen::date_time_ymd(2020, 1, 1);
            params.not_after = rcgen::date_time_ymd(2021, 1, 1);
        }
        Owner {
            certificate: params.signed_by(&key, &self.issuer).unwrap().pem(),
            public_key: key.public_key_pem(),
            key: key.serialize_pem(),
        }
    }
}
