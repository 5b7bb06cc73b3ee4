//! The keys of inner sessions (mode `itls`), out of the ends' key logs, and what they open of a recording.

use hedgerow::core::{Aead as _, AeadAlgorithm, CryptoProvider as _};
use hedgerow::crypto_soft::SoftCrypto;
use hedgerow_itls::{Control, RoutingHeader};

use super::relay::{Flow, Sender};
use super::sessions::LoggedSecrets;

/// What whoever has it reads an inner session with.
pub struct InnerSecrets {
    session_id: [u8; 8],
    /// Key and IV of the initiator, and of the responder.
    keys: [([u8; 16], [u8; 12]); 2],
    algorithm: AeadAlgorithm,
    initiator: Sender,
}

impl InnerSecrets {
    /// Reads the keys of the one inner session among the plaintexts of a hop; `None` if there is none or a log
    /// hasn't got it.
    ///
    /// # Panics
    ///
    /// If the two ends' logs don't agree.
    pub fn of_hop(hop: &[(Sender, Vec<u8>)], ends: [&LoggedSecrets; 2]) -> Option<Self> {
        let messages = || messages(hop);
        // docs/specs/itls.md: random octets behind four others, and in the answer the suite before them.
        let (initiator, hello) = messages().find(|(_, message)| message[0] == 0x01)?;
        let (_, answer) = messages().find(|(_, message)| message[0] == 0x02)?;
        let random: [u8; 32] = hello[4..36].try_into().unwrap();
        let [of_initiator, of_responder] = ends.map(|end| end.get(&random));
        assert_eq!(of_initiator, of_responder, "both ends have the same keys");
        let logged = of_initiator?;
        assert_eq!(logged.len(), 64);
        let key_and_iv = |at: usize| {
            let (key, iv) = logged[at..at + 28].split_at(16);
            (key.try_into().unwrap(), iv.try_into().unwrap())
        };
        Some(Self {
            session_id: logged[..8].try_into().unwrap(),
            keys: [key_and_iv(8), key_and_iv(36)],
            algorithm: match answer[3] {
                0x01 => AeadAlgorithm::Aes128Ccm8,
                0x02 => AeadAlgorithm::Aes128Ccm,
                other => panic!("suite {other}"),
            },
            initiator,
        })
    }

    /// What of it is searched for.
    pub fn named(&self) -> Vec<(&'static str, Vec<u8>)> {
        let [(key, iv), (responders_key, responders_iv)] = &self.keys;
        vec![
            ("initiator's key", key.to_vec()),
            ("initiator's IV", iv.to_vec()),
            ("responder's key", responders_key.to_vec()),
            ("responder's IV", responders_iv.to_vec()),
        ]
    }

    /// Opens every message that the two ends have sealed, on a hop. That they open shows that the keys are the
    /// session's.
    pub fn open_hop(&self, hop: &[(Sender, Vec<u8>)]) -> Vec<Vec<u8>> {
        let protected = messages(hop).filter(|(_, message)| message[0] >= 0x80);
        protected
            .map(|(sender, message)| self.open(sender, message))
            .collect()
    }

    fn open(&self, sender: Sender, message: &[u8]) -> Vec<u8> {
        let place = usize::from(sender != self.initiator);
        let (key, iv) = &self.keys[place];
        let number_len = usize::from(message[0] & 0x07);
        let (head, sealed) = message.split_at(1 + number_len);
        let mut number = [0; 12];
        number[12 - number_len..].copy_from_slice(&head[1..]);
        let tag_len = match self.algorithm {
            AeadAlgorithm::Aes128Ccm8 => 8,
            _ => 16,
        };
        let (text, tag) = sealed.split_at(sealed.len() - tag_len);
        let len = u16::try_from(text.len()).unwrap().to_be_bytes();
        let role = [u8::try_from(place).unwrap() + 1];
        let additional_data =
            [&self.session_id[..], &role, &head[..1], &number[6..], &len].concat();
        let nonce: Vec<u8> = iv.iter().zip(number).map(|(iv, at)| iv ^ at).collect();
        let mut text = text.to_vec();
        let aead = SoftCrypto.aead(self.algorithm, key).unwrap();
        let opened = aead.open_in_place(&nonce, &additional_data, &mut text, tag);
        opened.expect("a message that the logged keys don't open");
        text
    }
}

/// Returns the inner messages in datagrams of the light outer layer, behind their routing headers: the flow, a hop
/// number and its length are in front of each, and a tag of 8 octets behind it.
pub fn light_messages(flow: &Flow) -> Vec<(Sender, Vec<u8>)> {
    let beside = flow.iter().filter(|(_, datagram)| datagram[0] >= 0xc0);
    let routed = beside.map(|(sender, datagram)| {
        let (header, rest) = RoutingHeader::decode(datagram).unwrap();
        let message = &rest[1 + usize::from(rest[0])..rest.len() - 8];
        let front = &datagram[..header.encoded_len()];
        (*sender, [front, message].concat())
    });
    routed.collect()
}

/// Iterates over what the two ends said to each other, which an OPEN has too: on the hop it stands behind the
/// gateway's header.
fn messages(hop: &[(Sender, Vec<u8>)]) -> impl Iterator<Item = (Sender, &[u8])> {
    // The first two bits tell it from CoAP.
    let routed = hop.iter().filter(|(_, text)| text[0] >= 0xc0);
    let messages = routed.map(|(sender, text)| {
        let (header, rest) = RoutingHeader::decode(text).unwrap();
        let message = match header.is_control {
            false => rest,
            true => match Control::decode(rest) {
                Ok(Control::Open(open)) => open.message,
                _ => &[],
            },
        };
        (*sender, message)
    });
    messages.filter(|(_, message)| !message.is_empty())
}
