//! NewSessionTicket (RFC 5077 §3.3).

use hedgerow_core::{EncodeError, Reader, Writer};

use crate::Error;

/// A NewSessionTicket's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewSessionTicket<'a> {
    /// How long the client should keep the ticket, in seconds from its receipt; 0 says nothing.
    pub ticket_lifetime_hint: u32,
    /// What the client shows to resume the session, opaque to it; empty for no ticket after all.
    pub ticket: &'a [u8],
}

impl<'a> NewSessionTicket<'a> {
    /// Length of the body of a message with an empty ticket, in bytes.
    pub const MIN_LEN: usize = 4 + 2;

    /// Decodes a body that ends with `body`.
    ///
    /// # Errors
    ///
    /// [`Error::Decode`] if it is cut off or bytes are left over.
    pub fn decode_exact(body: &'a [u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(body);
        let ticket_lifetime_hint = reader.u32()?;
        let ticket = reader.vector16()?;
        reader.finish()?;
        Ok(Self {
            ticket_lifetime_hint,
            ticket,
        })
    }

    /// Encodes the body.
    ///
    /// # Errors
    ///
    /// [`EncodeError`] if the ticket is longer than 65,535 bytes or `out` is too small.
    pub fn encode(&self, out: &mut Writer<'_>) -> Result<(), EncodeError> {
        out.u32(self.ticket_lifetime_hint)?;
        out.vector16(self.ticket)
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn fields_stand_where_rfc_5077_puts_them() {
        let body = [0, 0, 0x0e, 0x10, 0, 3, 7, 8, 9];
        let message = NewSessionTicket::decode_exact(&body).unwrap();
        assert_eq!(message.ticket_lifetime_hint, 3_600);
        assert_eq!(message.ticket, [7, 8, 9]);
        for len in 0..body.len() {
            assert!(
                NewSessionTicket::decode_exact(&body[..len]).is_err(),
                "{len}"
            );
        }
        let longer = [&body[..], &[0]].concat();
        assert!(NewSessionTicket::decode_exact(&longer).is_err());
        let empty = NewSessionTicket::decode_exact(&[0; NewSessionTicket::MIN_LEN]).unwrap();
        assert!(empty.ticket.is_empty());
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_encodes_decodes_to_the_same(
            ticket_lifetime_hint: u32, ticket in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let message = NewSessionTicket { ticket_lifetime_hint, ticket: &ticket };
            let mut out = [0; 310];
            let mut writer = Writer::new(&mut out);
            message.encode(&mut writer).unwrap();
            prop_assert_eq!(NewSessionTicket::decode_exact(writer.written()), Ok(message));
        }

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let _ = NewSessionTicket::decode_exact(&bytes);
        }
    }
}
