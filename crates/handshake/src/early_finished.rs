//! A server's ChangeCipherSpec and Finished that arrive before its NewSessionTicket (RFC 6347 §4.1).

use hedgerow_core::Reader;
use hedgerow_record::{
    ContentType, HANDSHAKE_HEADER_LEN, HandshakeFragment, HandshakeType, Opened,
};

use crate::key_schedule::VERIFY_DATA_LEN;

const FINISHED_LEN: usize = HANDSHAKE_HEADER_LEN + VERIFY_DATA_LEN;

/// What a client holds until the ticket is whole and both have their turn.
///
/// A flight that is too long for the path comes in several datagrams, of which the last may overtake
/// the others or be the only one that gets through. Were it dropped, each of the flight's few
/// repetitions would have to arrive whole.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EarlyFinished {
    has_changed_cipher_spec: bool,
    finished: Option<[u8; FINISHED_LEN]>,
}

impl EarlyFinished {
    pub(crate) const NEW: Self = Self {
        has_changed_cipher_spec: false,
        finished: None,
    };

    /// Holds a ChangeCipherSpec. It changes nothing before its turn (CVE-2014-0224).
    pub(crate) const fn hold_change_cipher_spec(&mut self) {
        self.has_changed_cipher_spec = true;
    }

    /// Holds the Finished that a verified record carries; `false` for anything else.
    pub(crate) fn hold(&mut self, opened: &Opened<'_>) -> bool {
        let Ok(message) = <[u8; FINISHED_LEN]>::try_from(&*opened.plaintext) else {
            return false;
        };
        let part = HandshakeFragment::decode(&mut Reader::new(&message));
        let is_finished = opened.content_type == ContentType::Handshake
            && part.is_ok_and(|part| {
                part.msg_type == HandshakeType::Finished && part.whole().is_some()
            });
        if is_finished {
            self.finished = Some(message);
        }
        is_finished
    }

    /// Says whether the ChangeCipherSpec is there.
    pub(crate) const fn has_changed_cipher_spec(&self) -> bool {
        self.has_changed_cipher_spec
    }

    /// Takes the Finished out, a whole message.
    pub(crate) const fn take_finished(&mut self) -> Option<[u8; FINISHED_LEN]> {
        self.finished.take()
    }
}
