//! Segments: what one record of the hop session carries (`docs/specs/leg.md`).

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use hedgerow_core::{DecodeError, EncodeError, Reader, Writer};

use crate::ranges::{MAX_RANGES, Ranges};
use crate::{ResetReason, Role, StreamId};

/// One segment of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment<'a> {
    /// The stream that it belongs to.
    pub stream: StreamId,
    /// What it says.
    pub body: Body<'a>,
}

/// What a segment says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body<'a> {
    /// The stream is given up.
    Reset(ResetReason),
    /// At least one of the parts.
    Parts(Parts<'a>),
}

/// The parts that stand beside each other in a segment. One that has none can't be encoded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parts<'a> {
    /// What has arrived, and how much more may come.
    pub ack: Option<Ack>,
    /// Opens the stream.
    pub open: Option<Open<'a>>,
    /// Bytes, the end, or both.
    pub data: Option<Data<'a>>,
    /// An acknowledgement is wanted at once.
    pub ping: bool,
}

/// What has arrived of a direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ack {
    /// All positions before it have arrived.
    pub cumulative: u32,
    /// So many positions from `cumulative` on may be sent.
    pub window: u16,
    /// What has arrived beyond. The first one begins behind `cumulative`; those that the format can't
    /// hold aren't encoded.
    pub blocks: Ranges,
}

/// How a stream is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Open<'a> {
    /// The opener's window, from 0 on.
    pub window: u16,
    /// The port where the connection came in at the gateway; 0 from a device.
    pub port: u16,
    /// The service that a device wants to reach; empty from a gateway.
    pub name: Name<'a>,
    /// The peer's address, for information.
    pub address: Option<SocketAddr>,
}

/// A service's name: up to 15 visible ASCII characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Name<'a>(&'a [u8]);

/// Bytes of a stream, and perhaps its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Data<'a> {
    /// The position of the first byte.
    pub offset: u32,
    /// The bytes; none only together with `fin`.
    pub bytes: &'a [u8],
    /// Whether the direction ends behind them.
    pub fin: bool,
}

/// Why bytes are no segment, or a segment can't be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SegmentError {
    /// The first two bits aren't 1 0.
    #[error("not a segment: first octet {0:#04x}")]
    NotASegment(u8),
    /// No flag is set.
    #[error("segment without content")]
    Empty,
    /// RESET together with another flag, FIN without DATA, or DATA without bytes or FIN.
    #[error("flags {0:#04x} do not go together")]
    Flags(u8),
    /// Positions end at 2^32 - 1.
    #[error("{len} positions from {offset} on go too far")]
    BeyondLastPosition {
        /// The first position.
        offset: u32,
        /// How many.
        len: usize,
    },
    /// More than 4 blocks, or an empty gap or block.
    #[error("malformed blocks")]
    Blocks,
    /// The name has more than 15 octets, or one that isn't visible ASCII.
    #[error("malformed name")]
    Name,
    /// The address hasn't 0, 6 or 18 octets.
    #[error("address of {0} octets")]
    Address(usize),
    /// The segment is cut off, or too long.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The output is too small.
    #[error(transparent)]
    Encode(#[from] EncodeError),
}

impl<'a> Segment<'a> {
    /// Says whether it opens a stream at an end of this role.
    pub const fn opens_at(&self, role: Role) -> bool {
        matches!(&self.body, Body::Parts(parts) if parts.open.is_some())
            && !self.stream.is_opened_by(role)
    }

    /// Returns why an end of this role resets the stream, where it doesn't know it and the segment
    /// doesn't open it; `None` if nothing is answered. It takes no state to say so.
    pub fn unknown_at(&self, role: Role) -> Option<ResetReason> {
        match &self.body {
            Body::Reset(ResetReason::Acknowledged) => None,
            Body::Reset(_) => Some(ResetReason::Acknowledged),
            // Only who has heard of a stream acknowledges, so one with an acknowledgement was known here.
            // Without it, the OPEN may be under way.
            Body::Parts(parts) if parts.ack.is_some() || self.stream.is_opened_by(role) => {
                Some(ResetReason::UnknownStream)
            }
            Body::Parts(_) => None,
        }
    }

    /// Reads a segment, which takes all of `bytes`.
    ///
    /// # Errors
    ///
    /// [`SegmentError`] where the bytes aren't one, as `docs/specs/leg.md` lists it.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, SegmentError> {
        let mut reader = Reader::new(bytes);
        let first = reader.u8()?;
        if first & PATTERN_MASK != PATTERN {
            return Err(SegmentError::NotASegment(first));
        }
        let flags = first & !PATTERN_MASK;
        let stream = StreamId::from_bits(reader.u32()?);
        if flags == 0 {
            return Err(SegmentError::Empty);
        }
        let is_end_alone = flags & FIN != 0 && flags & DATA == 0;
        if is_end_alone || (flags & RESET != 0 && flags != RESET) {
            return Err(SegmentError::Flags(flags));
        }
        let body = if flags == RESET {
            Body::Reset(ResetReason::from_number(reader.u8()?))
        } else {
            let mut parts = Parts {
                ping: flags & PING != 0,
                ..Parts::default()
            };
            if flags & ACK != 0 {
                parts.ack = Some(Ack::decode(&mut reader)?);
            }
            if flags & OPEN != 0 {
                parts.open = Some(Open::decode(&mut reader)?);
            }
            if flags & DATA != 0 {
                let offset = reader.u32()?;
                let bytes = reader.take(reader.len())?;
                let fin = flags & FIN != 0;
                parts.data = Some(Data::new(offset, bytes, fin)?);
            }
            Body::Parts(parts)
        };
        reader.finish()?;
        Ok(Self { stream, body })
    }

    /// Writes the segment to the front of `out` and returns its length in bytes.
    ///
    /// # Errors
    ///
    /// [`SegmentError::Encode`] if `out` is too small; another where the fields make no segment.
    pub fn encode(&self, out: &mut [u8]) -> Result<usize, SegmentError> {
        match &self.body {
            Body::Reset(reason) => {
                let mut writer = Writer::new(out);
                writer.u8(PATTERN | RESET)?;
                writer.u32(self.stream.bits())?;
                writer.u8(reason.number())?;
                Ok(writer.len())
            }
            Body::Parts(parts) => {
                let bytes = parts.data.map_or([].as_slice(), |data| data.bytes);
                parts.encode(self.stream, bytes.len(), out, |room| {
                    for (to, from) in room.iter_mut().zip(bytes) {
                        *to = *from;
                    }
                })
            }
        }
    }
}

impl Parts<'_> {
    /// Writes a segment whose data are `len` bytes that `fill` puts in their place, whatever the bytes
    /// in [`Self::data`].
    pub(crate) fn encode(
        &self,
        stream: StreamId,
        len: usize,
        out: &mut [u8],
        fill: impl FnOnce(&mut [u8]),
    ) -> Result<usize, SegmentError> {
        let flags = self.flags();
        if flags == 0 {
            return Err(SegmentError::Empty);
        }
        let mut writer = Writer::new(out);
        writer.u8(PATTERN | flags)?;
        writer.u32(stream.bits())?;
        if let Some(ack) = &self.ack {
            ack.encode(&mut writer)?;
        }
        if let Some(open) = &self.open {
            open.encode(&mut writer)?;
        }
        if let Some(data) = self.data {
            check_data(data.offset, len, data.fin)?;
            writer.u32(data.offset)?;
            fill(writer.reserve(len)?);
        }
        Ok(writer.len())
    }

    fn flags(&self) -> u8 {
        let data = match self.data {
            None => 0,
            Some(Data { fin: false, .. }) => DATA,
            Some(Data { fin: true, .. }) => DATA | FIN,
        };
        let flag = |is_set, flag| if is_set { flag } else { 0 };
        data | flag(self.ack.is_some(), ACK)
            | flag(self.open.is_some(), OPEN)
            | flag(self.ping, PING)
    }
}

impl Ack {
    /// Length without blocks, in bytes: cumulative, window, count.
    pub(crate) const MIN_LEN: usize = 7;
    /// Length of a block, in bytes: gap, length.
    pub(crate) const BLOCK_LEN: usize = 4;

    fn decode(reader: &mut Reader<'_>) -> Result<Self, SegmentError> {
        let cumulative = reader.u32()?;
        let window = reader.u16()?;
        let count = usize::from(reader.u8()?);
        if count > MAX_RANGES {
            return Err(SegmentError::Blocks);
        }
        let mut blocks = Ranges::new();
        let mut position = cumulative;
        for _ in 0..count {
            let (gap, len) = (reader.u16()?, reader.u16()?);
            if gap == 0 || len == 0 {
                return Err(SegmentError::Blocks);
            }
            let too_far = SegmentError::BeyondLastPosition {
                offset: position,
                len: usize::from(gap).saturating_add(usize::from(len)),
            };
            let start = position.checked_add(u32::from(gap)).ok_or(too_far)?;
            position = start.checked_add(u32::from(len)).ok_or(too_far)?;
            blocks.insert(start, position);
        }
        Ok(Self {
            cumulative,
            window,
            blocks,
        })
    }

    fn encode(&self, writer: &mut Writer<'_>) -> Result<(), SegmentError> {
        writer.u32(self.cumulative)?;
        writer.u16(self.window)?;
        let mut blocks = heapless::Vec::<[u8; Self::BLOCK_LEN], MAX_RANGES>::new();
        let mut position = self.cumulative;
        for range in self.blocks.as_slice() {
            let gap = range.start.saturating_sub(position);
            let len = range.end.saturating_sub(range.start);
            let (Ok(gap), Ok(len)) = (u16::try_from(gap), u16::try_from(len)) else {
                break;
            };
            if gap == 0 {
                return Err(SegmentError::Blocks);
            }
            let ([a, b], [c, d]) = (gap.to_be_bytes(), len.to_be_bytes());
            // There are as many ranges as blocks at most.
            let _ = blocks.push([a, b, c, d]);
            position = range.end;
        }
        let count = u8::try_from(blocks.len()).unwrap_or_default();
        writer.u8(count)?;
        writer.bytes(blocks.as_flattened())?;
        Ok(())
    }
}

impl<'a> Open<'a> {
    /// Returns the length of the part, in bytes.
    pub(crate) fn len(&self) -> usize {
        let address = match self.address {
            None => 0,
            Some(SocketAddr::V4(_)) => IPV4_LEN,
            Some(SocketAddr::V6(_)) => IPV6_LEN,
        };
        // Window, port, and the lengths before name and address.
        let fixed = 2 + 2 + 1 + 1;
        self.name.0.len().saturating_add(address) + fixed
    }

    fn decode(reader: &mut Reader<'a>) -> Result<Self, SegmentError> {
        Ok(Self {
            window: reader.u16()?,
            port: reader.u16()?,
            name: Name::new(reader.vector8()?)?,
            address: decode_address(reader.vector8()?)?,
        })
    }

    fn encode(&self, writer: &mut Writer<'_>) -> Result<(), EncodeError> {
        writer.u16(self.window)?;
        writer.u16(self.port)?;
        writer.vector8(self.name.0)?;
        match self.address {
            None => writer.u8(0),
            Some(SocketAddr::V4(address)) => {
                writer.u8(6)?;
                writer.bytes(&address.ip().octets())?;
                writer.u16(address.port())
            }
            Some(SocketAddr::V6(address)) => {
                writer.u8(18)?;
                writer.bytes(&address.ip().octets())?;
                writer.u16(address.port())
            }
        }
    }
}

impl<'a> Name<'a> {
    /// The longest name, in octets (as RFC 6335 §5.1 bounds service names).
    pub const MAX_LEN: usize = 15;

    /// Takes a name.
    ///
    /// # Errors
    ///
    /// [`SegmentError::Name`] if it has more than 15 octets or one outside 0x21 to 0x7e.
    pub fn new(name: &'a [u8]) -> Result<Self, SegmentError> {
        if name.len() > Self::MAX_LEN || !name.iter().all(u8::is_ascii_graphic) {
            return Err(SegmentError::Name);
        }
        Ok(Self(name))
    }

    /// Lends the octets.
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.0
    }
}

impl<'a> Data<'a> {
    /// Puts bytes, and perhaps the end behind them, together.
    ///
    /// # Errors
    ///
    /// [`SegmentError::Flags`] if there are neither; [`SegmentError::BeyondLastPosition`] if they end
    /// above 2^32 - 2, so that their end would have no position.
    pub fn new(offset: u32, bytes: &'a [u8], fin: bool) -> Result<Self, SegmentError> {
        check_data(offset, bytes.len(), fin)?;
        Ok(Self { offset, bytes, fin })
    }

    /// Returns the position behind the bytes.
    pub fn end(&self) -> u32 {
        let len = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
        self.offset.saturating_add(len)
    }
}

fn check_data(offset: u32, len: usize, fin: bool) -> Result<(), SegmentError> {
    let is_within = u32::try_from(len)
        .ok()
        .and_then(|len| offset.checked_add(len))
        .is_some_and(|end| end < u32::MAX);
    if !is_within {
        return Err(SegmentError::BeyondLastPosition { offset, len });
    }
    if len == 0 && !fin {
        return Err(SegmentError::Flags(DATA));
    }
    Ok(())
}

fn decode_address(octets: &[u8]) -> Result<Option<SocketAddr>, SegmentError> {
    let mut reader = Reader::new(octets);
    let ip: IpAddr = match octets.len() {
        0 => return Ok(None),
        IPV4_LEN => Ipv4Addr::from(*reader.array::<4>()?).into(),
        IPV6_LEN => Ipv6Addr::from(*reader.array::<16>()?).into(),
        len => return Err(SegmentError::Address(len)),
    };
    Ok(Some(SocketAddr::new(ip, reader.u16()?)))
}

/// The length of what stands before the parts, in bytes: flags, stream ID.
pub(crate) const HEADER_LEN: usize = 5;
/// The length of an offset, in bytes.
pub(crate) const OFFSET_LEN: usize = 4;

const PATTERN_MASK: u8 = 0xc0;
const PATTERN: u8 = 0x80;
const OPEN: u8 = 0x20;
const ACK: u8 = 0x10;
const DATA: u8 = 0x08;
const FIN: u8 = 0x04;
const RESET: u8 = 0x02;
const PING: u8 = 0x01;

const IPV4_LEN: usize = 6;
const IPV6_LEN: usize = 18;
