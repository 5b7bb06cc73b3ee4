//! What a gateway does to the records that it carries.

#![allow(dead_code, unreachable_pub)]

use std::time::Duration;

use hedgerow_core::Instant;

/// What the gateway does to a direction's TLS records, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tampering {
    None,
    /// Flips a bit of an octet of a record.
    Flip(Way, usize, usize, u32),
    Drop(Way, usize),
    Replay(Way, usize),
    /// Lets the next record overtake.
    Swap(Way, usize),
    /// Puts these octets before a record.
    Inject(Way, usize, &'static [u8]),
    /// Puts the last record of the other direction before a record.
    Reflect(Way, usize),
    /// Ends the direction in order before a record.
    End(Way, usize),
    /// Flips a bit of the octets on the leg.
    FlipOnLeg(Way, usize),
    /// In form `dtls`: raises a record's sequence number on the leg.
    Renumber(Way, usize),
    /// Puts what [`Setup::other`] has with that number in a record's place.
    Splice(Way, usize),
    /// Keeps a record, and what comes behind it, for [`DELAY`].
    Delay(Way, usize),
    /// Takes one form for the other: behind the first record to the device, or in all that comes from it.
    OtherForm(Way),
}

/// How long a gateway keeps what it delays.
pub const DELAY: Duration = Duration::from_secs(60);

impl Tampering {
    /// Which record it is about, of which direction.
    const fn target(self) -> Option<(Way, usize)> {
        match self {
            Self::Flip(way, at, ..)
            | Self::Drop(way, at)
            | Self::Replay(way, at)
            | Self::Swap(way, at)
            | Self::Inject(way, at, _)
            | Self::Reflect(way, at)
            | Self::End(way, at)
            | Self::Splice(way, at)
            | Self::Delay(way, at) => Some((way, at)),
            Self::None | Self::FlipOnLeg(..) | Self::Renumber(..) | Self::OtherForm(_) => None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    ToDevice,
    ToClient,
}

/// What the gateway is told to do, and what it has done.
pub struct Tamperer {
    pub tampering: Tampering,
    /// The records of another connection, one direction after the other.
    pub other: [Vec<Vec<u8>>; 2],
    pub ways: [Records; 2],
}

/// A direction's records, for a gateway that does something to them.
#[derive(Default)]
pub struct Records {
    begun: Vec<u8>,
    pub count: usize,
    held: Vec<u8>,
    pub released_at: Option<Instant>,
    /// What was to be done to the direction was done.
    pub has_fired: bool,
    /// The ChangeCipherSpec has come: what is behind it is protected.
    is_protected: bool,
    /// A protected alert was passed on as it is: the close_notify of a sender who is content.
    pub has_passed_end: bool,
    /// An end in order waits behind what is held.
    pub ends_later: bool,
    last: Vec<u8>,
    /// All of them, as they came.
    pub all: Vec<Vec<u8>>,
    pub has_ended: bool,
    on_leg: usize,
    on_leg_records: LegRecords,
}

impl Records {
    /// Where each ended on the leg, in form `dtls`.
    pub fn leg_ends(&self) -> &[usize] {
        &self.on_leg_records.ends
    }
}

/// Where records begin on the leg, in form `dtls`.
#[derive(Default)]
struct LegRecords {
    count: usize,
    /// How many octets of the record have gone by, and how many its fragment has.
    at: usize,
    fragment_len: usize,
    /// Where they ended, counted from the first octet of all.
    ends: Vec<usize>,
}

impl LegRecords {
    /// Takes one octet and says where it stands: in which record, and at which place of it.
    fn place(&mut self, octet: u8) -> (usize, usize) {
        let place = (self.count, self.at);
        match self.at {
            0 => self.fragment_len = 0,
            11 | 12 => self.fragment_len = self.fragment_len << 8 | usize::from(octet),
            _ => {}
        }
        self.at += 1;
        if self.at >= 13 && self.at == 13 + self.fragment_len {
            let before = self.ends.last().copied().unwrap_or_default();
            self.ends.push(before + self.at);
            (self.count, self.at) = (self.count + 1, 0);
        }
        place
    }
}

impl Tamperer {
    pub fn new(tampering: Tampering, other: [Vec<Vec<u8>>; 2]) -> Self {
        Self {
            tampering,
            other,
            ways: Default::default(),
        }
    }

    /// Does to the leg's bytes what it is told.
    pub fn flip(&mut self, way: Way, bytes: &mut [u8]) {
        let records = &mut self.ways[usize::from(way == Way::ToClient)];
        if let Tampering::FlipOnLeg(told, at) = self.tampering
            && told == way
            && let Some(byte) = at
                .checked_sub(records.on_leg)
                .and_then(|at| bytes.get_mut(at))
        {
            *byte ^= 0x04;
            records.has_fired = true;
        }
        for byte in &mut *bytes {
            let place = records.on_leg_records.place(*byte);
            if let Tampering::Renumber(told, number) = self.tampering
                && told == way
                && place == (number, 10)
            {
                *byte = byte.wrapping_add(1);
                records.has_fired = true;
            }
        }
        records.on_leg += bytes.len();
    }

    /// Does to whole records what it is told.
    pub fn tamper(&mut self, now: Instant, way: Way, bytes: &[u8]) -> Vec<u8> {
        let index = usize::from(way == Way::ToClient);
        let reflected = self.ways[1 - index].last.clone();
        let records = &mut self.ways[index];
        records.begun.extend_from_slice(bytes);
        let mut out = Vec::new();
        if records.released_at.is_some_and(|at| at <= now) {
            records.released_at = None;
            out.append(&mut records.held);
        }
        while let Some(len) = record_len(&records.begun) {
            let mut record: Vec<u8> = records.begun.drain(..len).collect();
            let number = records.count;
            records.count += 1;
            records.last.clone_from(&record);
            records.all.push(record.clone());
            if records.has_ended {
                continue;
            }
            let is_end = records.is_protected && record[0] == ALERT;
            records.is_protected |= record[0] == CHANGE_CIPHER_SPEC;
            let original = record.clone();
            let is_it = |told: Way, at: usize| told == way && at == number;
            let has_what_it_needs =
                !matches!(self.tampering, Tampering::Reflect(..)) || !reflected.is_empty();
            records.has_fired |=
                has_what_it_needs && self.tampering.target() == Some((way, number));
            match self.tampering {
                Tampering::Flip(told, at, octet, bit) if is_it(told, at) => {
                    record[octet] ^= 1 << bit;
                }
                Tampering::Drop(told, at) if is_it(told, at) => continue,
                Tampering::Replay(told, at) if is_it(told, at) => out.extend_from_slice(&record),
                Tampering::Swap(told, at) if is_it(told, at) => {
                    records.held = record;
                    continue;
                }
                Tampering::Inject(told, at, bytes) if is_it(told, at) => {
                    out.extend_from_slice(bytes);
                }
                Tampering::Reflect(told, at) if is_it(told, at) => {
                    out.extend_from_slice(&reflected);
                }
                Tampering::End(told, at) if is_it(told, at) => {
                    records.has_ended = true;
                    continue;
                }
                Tampering::Splice(told, at) if is_it(told, at) => {
                    record.clone_from(&self.other[index][at]);
                }
                Tampering::Delay(told, at) if is_it(told, at) => {
                    records.released_at = Some(now + DELAY);
                }
                _ => {}
            }
            records.has_passed_end |= is_end && record == original;
            if records.released_at.is_some() {
                records.held.append(&mut record);
                continue;
            }
            out.extend(record);
            out.append(&mut records.held);
        }
        out
    }
}

/// RFC 5246 §6.2.1.
const CHANGE_CIPHER_SPEC: u8 = 20;
const ALERT: u8 = 21;

fn record_len(bytes: &[u8]) -> Option<usize> {
    let &[_, _, _, l0, l1] = bytes.first_chunk::<5>()?;
    let len = 5 + usize::from(u16::from_be_bytes([l0, l1]));
    (bytes.len() >= len).then_some(len)
}
