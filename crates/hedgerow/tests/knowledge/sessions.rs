//! The keys of DTLS and TLS sessions, out of the ends' key logs and a recording.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use hedgerow::core::{Aead as _, AeadAlgorithm, CryptoProvider as _, HmacSha256 as _};
use hedgerow::crypto_soft::SoftCrypto;
use hedgerow::record::CipherSuite;

use super::inner::{InnerSecrets, light_messages};
use super::relay::{Flow, Sender};
use super::scene::Scene;

/// Whether a session is the ends' alone, and its secrets by name.
pub type Known = (bool, Vec<(&'static str, Vec<u8>)>);

/// The sessions that were recorded. Their secrets open all of their records, so that they are the right ones.
pub fn recorded(scene: &Scene) -> Vec<Known> {
    let logs = [&scene.client_log, &scene.device_log, &scene.server_log];
    let [of_client, of_device, of_server] = logs.map(|log| logged(log, MASTER_SECRET));
    let inner = [&scene.client_log, &scene.device_log].map(|log| logged(log, INNER_KEYS));
    let mut sessions = Vec::new();
    let called = scene.device.flows().into_iter().map(|flow| (flow, true));
    let calling = [&scene.legs, &scene.callers].map(|relay| relay.flows());
    let calling = calling.into_iter().flatten().map(|flow| (flow, false));
    for (flow, is_called) in called.chain(calling) {
        let session = SessionSecrets::of_flow(&flow, &of_device);
        let session = session.expect("a whole handshake of a session in the log");
        let mut said = session.open_flow(&flow);
        // What went beside the records, in mode `itls` with the light outer layer.
        said.extend(light_messages(&flow));
        assert!(!said.is_empty(), "nothing was said");
        let mut of_client = of_client.values();
        let is_clients = of_client.any(|secret| *secret == session.master_secret);
        let light = session.named_light();
        let light = light.into_iter().filter(|_| scene.is_light);
        let mut named: Vec<_> = light.chain(session.named()).collect();
        if !is_called {
            // The gateway was the server, which keeps no master secret: it is sealed in the client's ticket. What the
            // handshake has left of it in memory may be overwritten at any time.
            named.retain(|(name, _)| *name != NAME_OF_MASTER_SECRET);
        }
        sessions.push((is_clients, named));
        if let Some(session) = InnerSecrets::of_hop(&said, inner.each_ref()) {
            assert!(!session.open_hop(&said).is_empty(), "nothing was said");
            sessions.push((true, session.named()));
        }
    }
    let of_tls = scene.tls.iter().map(|relay| (relay, &of_client));
    for (relay, secrets) in of_tls.chain([(&scene.server, &of_server)]) {
        let streams = relay.recording.lock().unwrap();
        for both in streams.as_chunks().0 {
            let [client, server] = both;
            let session = SessionSecrets::of_streams(client, server, secrets);
            let session = session.expect("a whole handshake of a session in the log");
            let opened = [(Sender::Client, client), (Sender::Server, server)];
            let opened = opened.map(|(sender, bytes)| session.open_stream(sender, bytes));
            assert!(!opened.concat().is_empty(), "nothing was said");
            sessions.push((true, session.named()));
        }
    }
    sessions
}

/// Secrets by the random bytes of their hello.
pub type LoggedSecrets = BTreeMap<[u8; 32], Vec<u8>>;

/// Labels of a key log: of master secrets by their ClientHello, and of inner sessions' keys by their initiator's
/// hello.
const MASTER_SECRET: &str = "CLIENT_RANDOM";
const INNER_KEYS: &str = "ITLS_INNER_KEYS";

/// What it is called among a session's secrets.
const NAME_OF_MASTER_SECRET: &str = "master secret";

/// Reads what a key log in the format of NSS has under a label.
fn logged(key_log: &Path, wanted: &str) -> LoggedSecrets {
    let text = fs::read_to_string(key_log).unwrap_or_default();
    let entry = |line: &str| {
        let mut fields = line.split(' ');
        let label = fields.next().unwrap();
        assert!([MASTER_SECRET, INNER_KEYS].contains(&label), "{label}");
        let [random, secret] = [fields.next(), fields.next()].map(|field| unhex(field.unwrap()));
        (label == wanted).then(|| (random.try_into().unwrap(), secret))
    };
    text.lines().filter_map(entry).collect()
}

fn unhex(digits: &str) -> Vec<u8> {
    let bytes = digits.as_bytes().chunks(2);
    bytes
        .map(|byte| u8::from_str_radix(str::from_utf8(byte).unwrap(), 16).unwrap())
        .collect()
}

/// What whoever has it reads a session with.
struct SessionSecrets {
    pub master_secret: Vec<u8>,
    client_write_key: Vec<u8>,
    server_write_key: Vec<u8>,
    client_iv: Vec<u8>,
    server_iv: Vec<u8>,
    algorithm: AeadAlgorithm,
    /// Both IVs of the light outer layer (docs/specs/itls.md), which stand in memory as they are.
    light_ivs: [Vec<u8>; 2],
}

impl SessionSecrets {
    /// Derives the keys of the one DTLS session in a flow; `None` if the log hasn't got it.
    pub fn of_flow(flow: &Flow, secrets: &LoggedSecrets) -> Option<Self> {
        let client_hello = hello(flow, Sender::Client, 1)?;
        Self::derive(client_hello, hello(flow, Sender::Server, 2)?, secrets)
    }

    /// Derives the keys of the TLS session whose client and server have sent these bytes; `None` if the log
    /// hasn't got it.
    pub fn of_streams(client: &[u8], server: &[u8], secrets: &LoggedSecrets) -> Option<Self> {
        let [client, server] = [client, server].map(|bytes| {
            let mut first = tls_records(bytes);
            // A hello stands in the first record, behind 4 bytes of type and length.
            first.next().map(|(_, fragment)| fragment.get(4..))
        });
        Self::derive(client??, server??, secrets)
    }

    /// RFC 5246 §6.3, RFC 5288 §3, RFC 6655 §3, RFC 7905 §2.
    fn derive(client_hello: &[u8], server_hello: &[u8], secrets: &LoggedSecrets) -> Option<Self> {
        let client_random = client_hello.get(2..34)?;
        let master_secret = secrets.get(client_random)?.clone();
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
        let label: &[u8] = b"EXPORTER-hedgerow-itls-light";
        let seed = [label, client_random, server_random].concat();
        let light = prf(&master_secret, &seed, 56);
        Some(Self {
            master_secret,
            client_write_key: take(key_len),
            server_write_key: take(key_len),
            client_iv: take(iv_len),
            server_iv: take(iv_len),
            algorithm,
            light_ivs: [&light[32..44], &light[44..]].map(<[u8]>::to_vec),
        })
    }

    /// What of its light outer layer is searched for.
    pub fn named_light(&self) -> Vec<(&'static str, Vec<u8>)> {
        let [of_client, of_server] = &self.light_ivs;
        vec![
            ("light layer's IV of the client", of_client.clone()),
            ("light layer's IV of the server", of_server.clone()),
        ]
    }

    /// What of it is searched for.
    pub fn named(self) -> Vec<(&'static str, Vec<u8>)> {
        vec![
            (NAME_OF_MASTER_SECRET, self.master_secret),
            ("client's key", self.client_write_key),
            ("server's key", self.server_write_key),
        ]
    }

    /// Opens every record of application data in a flow. That they open shows that the keys are the session's.
    pub fn open_flow(&self, flow: &Flow) -> Vec<(Sender, Vec<u8>)> {
        let records = flow.iter().flat_map(|(sender, datagram)| {
            records(datagram).map(|(header, fragment)| (*sender, header, fragment))
        });
        records
            .filter(|(_, header, _)| header[0] == 23)
            .map(|(sender, header, fragment)| {
                let text = self.open_record(sender, &header[3..11], &header[..3], fragment);
                (sender, text)
            })
            .collect()
    }

    /// The same for what one side of a TLS session has sent.
    pub fn open_stream(&self, sender: Sender, bytes: &[u8]) -> Vec<Vec<u8>> {
        // RFC 5246 §6.1: numbers begin at 0 behind the ChangeCipherSpec.
        let protected = tls_records(bytes)
            .skip_while(|(header, _)| header[0] != 20)
            .skip(1);
        (0_u64..)
            .zip(protected)
            .filter(|(_, (header, _))| header[0] == 23)
            .map(|(number, (header, fragment))| {
                self.open_record(sender, &number.to_be_bytes(), &header[..3], fragment)
            })
            .collect()
    }

    fn open_record(&self, sender: Sender, number: &[u8], head: &[u8], fragment: &[u8]) -> Vec<u8> {
        let (key, iv) = match sender {
            Sender::Client => (&self.client_write_key, &self.client_iv),
            Sender::Server => (&self.server_write_key, &self.server_iv),
        };
        let (nonce, protected) = match self.algorithm {
            AeadAlgorithm::Chacha20Poly1305 => {
                let number = [&[0; 4], number].concat();
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
        let additional_data = [number, head, &len].concat();
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

/// Iterates over the whole TLS records at the front of a stream: header and fragment (RFC 5246 §6.2.1).
fn tls_records(mut bytes: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    std::iter::from_fn(move || {
        let header = bytes.split_off(..5)?;
        let len = usize::from(u16::from_be_bytes([header[3], header[4]]));
        Some((header, bytes.split_off(..len)?))
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
