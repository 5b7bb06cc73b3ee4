//! What stands in front of every message of an outer session: all that the gateway reads and changes.

use hedgerow_core::{DropReason, EncodeError, Reader, Writer};

/// The first two bits that tell these messages from CoAP (`01`) and from segments of a leg (`10`).
const MARK: u8 = 0xc0;
const CONTROL: u8 = 0x20;
/// A flow that follows in two octets, and the first one that does.
const EXTENDED: u8 = 0x1f;

/// Which flow of its outer session a message belongs to, and whether it is for the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoutingHeader {
    /// The flow's number on this outer session. Who opens a flow numbers it: the gateway with odd
    /// numbers, an end with even ones.
    pub flow: u16,
    /// Whether a [`Control`](crate::Control) follows and not an inner message.
    pub is_control: bool,
}

impl RoutingHeader {
    /// Returns its length in bytes: 1 for flows up to 30, otherwise 3.
    pub fn encoded_len(self) -> usize {
        match u8::try_from(self.flow) {
            Ok(flow) if flow < EXTENDED => 1,
            _ => 3,
        }
    }

    /// Takes the header off the front of `bytes` and returns what follows, which is never empty.
    ///
    /// # Errors
    ///
    /// [`DropReason::Malformed`] for what is not a message of this page.
    pub fn decode(bytes: &[u8]) -> Result<(Self, &[u8]), DropReason> {
        let mut reader = Reader::new(bytes);
        let header = Self::read(&mut reader).ok_or(DropReason::Malformed)?;
        Ok((header, reader.rest()))
    }

    /// As [`Self::decode`], and lends what follows for writing, to be opened in place.
    ///
    /// # Errors
    ///
    /// As for [`Self::decode`].
    pub fn decode_mut(bytes: &mut [u8]) -> Result<(Self, &mut [u8]), DropReason> {
        let (header, _) = Self::decode(bytes)?;
        let rest = bytes
            .get_mut(header.encoded_len()..)
            .ok_or(DropReason::Malformed)?;
        Ok((header, rest))
    }

    /// Writes the header.
    ///
    /// # Errors
    ///
    /// [`EncodeError::BufferTooSmall`].
    pub fn encode(self, out: &mut Writer<'_>) -> Result<(), EncodeError> {
        let control = if self.is_control { CONTROL } else { 0 };
        match u8::try_from(self.flow) {
            Ok(flow) if flow < EXTENDED => out.u8(MARK | control | flow),
            _ => {
                let [high, low] = self.flow.to_be_bytes();
                out.bytes(&[MARK | control | EXTENDED, high, low])
            }
        }
    }

    /// `None` for what is malformed.
    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let first = reader.u8().ok()?;
        if first & MARK != MARK {
            return None;
        }
        let flow = match first & EXTENDED {
            // One way to write each number, so that a header is the same everywhere.
            EXTENDED => reader.u16().ok().filter(|&flow| flow >= EXTENDED.into())?,
            short => short.into(),
        };
        let is_control = first & CONTROL != 0;
        (!reader.is_empty()).then_some(Self { flow, is_control })
    }
}
