//! Which connection IDs the records of both directions carry (RFC 9146 §3).

use hedgerow_record::{ConnectionId, Error};

use crate::Settings;

/// What both ends have agreed on. Either direction may be without.
#[derive(Clone, Copy, Default)]
pub(crate) struct ConnectionIds {
    /// In the records that this end receives: the one that it has named.
    pub(crate) read: ConnectionId,
    /// In the records that this end sends: the one that its peer has named.
    pub(crate) write: ConnectionId,
}

impl ConnectionIds {
    /// Puts what both ends have named together; `None` unless both have the extension.
    pub(crate) fn agree(settings: &Settings, named_by_peer: Option<ConnectionId>) -> Option<Self> {
        Some(Self {
            read: settings.connection_id()?,
            write: named_by_peer?,
        })
    }
}

/// Decodes the extension of a peer; `None` for an ID that is too long to be sent, with which
/// nothing is agreed on.
pub(crate) fn decode_offer(data: &[u8]) -> Result<Option<ConnectionId>, Error> {
    match ConnectionId::decode_exact(data) {
        Ok(id) => Ok(Some(id)),
        Err(Error::ConnectionIdTooLong { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::vec;

    use super::*;

    #[test]
    fn nothing_is_agreed_on_unless_both_ends_take_part() {
        let id = |bytes: &[u8]| ConnectionId::new(bytes).unwrap();
        let with = |id| Settings::default().with_connection_id(id);
        assert!(ConnectionIds::agree(&with(None), Some(id(b"a"))).is_none());
        assert!(ConnectionIds::agree(&with(Some(id(b"b"))), None).is_none());
        let both = ConnectionIds::agree(&with(Some(id(b"b"))), Some(ConnectionId::EMPTY)).unwrap();
        assert_eq!((both.read, both.write), (id(b"b"), ConnectionId::EMPTY));
    }

    /// RFC 9146 §3: what is too long to be sent is declined, what isn't one vector is an error.
    #[test]
    fn offer_is_taken_declined_or_refused() {
        assert_eq!(decode_offer(&[0]), Ok(Some(ConnectionId::EMPTY)));
        let mut longest = vec![32; 33];
        assert!(decode_offer(&longest).unwrap().is_some());
        longest.push(0);
        longest[0] = 33;
        assert_eq!(decode_offer(&longest), Ok(None));
        for wrong in [&[][..], &[2, 1], &[0, 1]] {
            assert!(decode_offer(wrong).is_err());
        }
    }
}
