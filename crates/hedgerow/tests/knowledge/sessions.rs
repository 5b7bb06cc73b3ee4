//! The keys of DTLS sessions, out of the ends' key logs and a recording.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use hedgerow::core::{Aead as _, AeadAlgorithm, CryptoProvider as _, HmacSha256 as _};
use hedgerow::crypto_soft::SoftCrypto;
use hedgerow::record::CipherSuite;

use super::relay::{Flow, Sender};

/// Master secrets by the random bytes of their ClientHello.
pub type MasterSecrets = BTreeMap<[u8; 32], Vec<u8>>;

/// Reads a key log in the format of NSS.
pub fn master_secrets(key_log: &Path) -> MasterSecrets {
    let text = fs::read_to_string(key_log).unwrap_or_default();
    let entry = |line: &str| {
        let mut fields = line.split(' ');
        assert_eq!(fields.next(), Some("CLIENT_RANDOM"));
        let [random, secret] = [fields.next(), fields.next()].map(|field| unhex(field.unwrap()));
        (random.try_into().unwrap(), secret)
    };
    text.lines().map(entry).collect()
}

fn unhex(digits: &str) -> Vec<u8> {
    let bytes = digits.as_bytes().chunks(2);
    bytes
        .map(|byte| u8::from_str_radix(str::from_utf8(byte).unwrap(), 16).unwrap())
        .collect()
}

/// What whoever has it reads a session with.
pub struct SessionSecrets {
    pub master_secret: Vec<u8>,
    pub client_write_key: Vec<u8>,
    pub server_write_key: Vec<u8>,
    client_iv: Vec<u8>,
    server_iv: Vec<u8>,
    algorithm: AeadAlgorithm,
}

impl SessionSecrets {
    /// Derives the keys of the one session in a flow (RFC 5246 §6.3, RFC 5288 §3, RFC 6655 §3, RFC 7905 §2); `None`
    /// if the log hasn't got it.
    pub fn of(flow: &Flow, secrets: &MasterSecrets) -> Option<Self> {
        let client_random = hello(flow, Sender::Gateway, 1)?.get(2..34)?;
        let master_secret = secrets.get(client_random)?.clone();
        let server_hello = hello(flow, Sender::Device, 2)?;
        let server_random = server_hello.get(2..34)?;
        let session_id_len = usize::from(*server_hello.get(34)?);
        let suite = server_hello.get(35 + session_id_len..37 + session_id_len)?;
        let suite = CipherSuite(u16::from_be_bytes(suite.try_into().unwrap()));
        let algorithm = suite.aead()?;
        let (key_len, iv_len) = match algorithm {
            AeadAlgorithm::Chacha20Poly1305 => (32, 12),
            _ => (16, 4),
        };
        let seed = [b"key expansion", server_random, client_random].concat();
        let block = prf(&master_secret, &seed, 2 * (key_len + iv_len));
        let mut rest = block.as_slice();
        let mut take = |len| rest.split_off(..len).unwrap().to_vec();
        Some(Self {
            master_secret,
            client_write_key: take(key_len),
            server_write_key: take(key_len),
            client_iv: take(iv_len),
            server_iv: take(iv_len),
            algorithm,
        })
    }

    /// Opens every protected record of application data in a flow. That some open shows that the keys are the
    /// session's.
    pub fn open(&self, flow: &Flow) -> Vec<Vec<u8>> {
        let records = flow.iter().flat_map(|(sender, datagram)| {
            records(datagram).map(|(header, fragment)| (*sender, header, fragment))
        });
        records
            .filter(|(_, header, _)| header[0] == 23)
            .map(|(sender, header, fragment)| self.open_record(sender, header, fragment))
            .collect()
    }

    fn open_record(&self, sender: Sender, header: &[u8], fragment: &[u8]) -> Vec<u8> {
        let (key, iv) = match sender {
            Sender::Gateway => (&self.client_write_key, &self.client_iv),
            Sender::Device => (&self.server_write_key, &self.server_iv),
        };
        let (nonce, protected) = match self.algorithm {
            AeadAlgorithm::Chacha20Poly1305 => {
                let number = [&[0; 4], &header[3..11]].concat();
                let nonce = iv.iter().zip(number).map(|(iv, number)| iv ^ number);
                (nonce.collect(), fragment)
            }
            _ => ([iv, &fragment[..8]].concat(), &fragment[8..]),
        };
        let tag_len = match self.algorithm {
            AeadAlgorithm::Aes128Ccm8 => 8,
            _ => 16,
        };
        let (text, tag) = protected.split_at(protected.len() - tag_len);
        let len = u16::try_from(text.len()).unwrap().to_be_bytes();
        let additional_data = [&header[3..11], &header[..3], &len].concat();
        let mut text = text.to_vec();
        let aead = SoftCrypto.aead(self.algorithm, key).unwrap();
        let opened = aead.open_in_place(&nonce, &additional_data, &mut text, tag);
        opened.expect("a record that the derived keys don't open");
        text
    }
}

/// Finds the last handshake message of a type that one side sent in clear, and returns its body.
fn hello(flow: &Flow, from: Sender, message_type: u8) -> Option<&[u8]> {
    let sent = flow.iter().filter(|(sender, _)| *sender == from);
    sent.flat_map(|(_, datagram)| records(datagram))
        .filter(|(header, fragment)| {
            header[0] == 22 && header[3..5] == [0, 0] && fragment[0] == message_type
        })
        .map(|(_, fragment)| &fragment[12..])
        .last()
}

/// Iterates over the records of a datagram: header and fragment (RFC 6347 §4.1).
fn records(mut datagram: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    std::iter::from_fn(move || {
        let header = datagram.split_off(..13)?;
        let len = usize::from(u16::from_be_bytes([header[11], header[12]]));
        Some((header, datagram.split_off(..len)?))
    })
}

/// RFC 5246 §5, with SHA-256.
fn prf(secret: &[u8], seed: &[u8], len: usize) -> Vec<u8> {
    let hmac = |parts: &[&[u8]]| {
        let mut hmac = SoftCrypto.hmac_sha256(secret);
        parts.iter().for_each(|part| hmac.update(part));
        hmac.finish()
    };
    let (mut output, mut a) = (Vec::new(), hmac(&[seed]));
    while output.len() < len {
        output.extend(hmac(&[&a, seed]));
        a = hmac(&[&a]);
    }
    output.truncate(len);
    output
}
