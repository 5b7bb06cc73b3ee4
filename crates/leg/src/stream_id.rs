//! The names of streams.

use core::fmt;

/// Which end of the hop this is, whoever began the hop session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// The gateway.
    Gateway,
    /// The device.
    Device,
}

/// The name of a stream: its opener, the opener's incarnation and a counter. It is never used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(u32);

impl StreamId {
    /// Puts an ID together. Of `incarnation` the low 15 bits count.
    pub fn new(opener: Role, incarnation: u16, counter: u16) -> Self {
        let opener = match opener {
            Role::Gateway => 0,
            Role::Device => DEVICE,
        };
        let incarnation = u32::from(incarnation & MAX_INCARNATION) << 16;
        Self(opener | incarnation | u32::from(counter))
    }

    /// Takes an ID from the wire: every number is one.
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// Returns the number as it stands on the wire.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Returns who opened the stream.
    pub const fn opener(self) -> Role {
        if self.0 & DEVICE == 0 {
            Role::Gateway
        } else {
            Role::Device
        }
    }

    /// Says whether the end of this role opened the stream.
    pub(crate) const fn is_opened_by(self, role: Role) -> bool {
        matches!(
            (self.opener(), role),
            (Role::Gateway, Role::Gateway) | (Role::Device, Role::Device)
        )
    }

    /// Returns the opener's incarnation, 15 bits.
    pub const fn incarnation(self) -> u16 {
        let [high, low, ..] = self.0.to_be_bytes();
        u16::from_be_bytes([high, low]) & MAX_INCARNATION
    }

    /// Returns the stream's number within the incarnation.
    pub const fn counter(self) -> u16 {
        let [.., high, low] = self.0.to_be_bytes();
        u16::from_be_bytes([high, low])
    }
}

impl fmt::Debug for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (opener, incarnation) = (self.opener(), self.incarnation());
        write!(f, "{opener:?}-{incarnation:04x}-{}", self.counter())
    }
}

const DEVICE: u32 = 0x8000_0000;
/// The largest incarnation: 15 bits.
pub(crate) const MAX_INCARNATION: u16 = 0x7fff;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_come_out_as_they_went_in() {
        for (opener, incarnation, counter) in [
            (Role::Gateway, 0, 0),
            (Role::Device, 0x7fff, 0xffff),
            (Role::Device, 0x1234, 1),
        ] {
            let id = StreamId::new(opener, incarnation, counter);
            assert_eq!(id.opener(), opener);
            assert_eq!(id.incarnation(), incarnation);
            assert_eq!(id.counter(), counter);
            assert_eq!(StreamId::from_bits(id.bits()), id);
        }
        let cut = StreamId::new(Role::Gateway, 0xffff, 0);
        assert_eq!((cut.opener(), cut.incarnation()), (Role::Gateway, 0x7fff));
    }
}
