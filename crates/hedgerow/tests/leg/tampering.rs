//! What an active gateway does with the bytes that it copies: with those that it hands on, in the form in which their
//! receiver gets them.

use std::time::Duration;

use hedgerow_core::{Instant, Writer};
use hedgerow_record::{
    CipherSuites, ClientHello, Extension, ExtensionType, Extensions, LegForm, Protocol,
};

/// What a gateway does with the bytes that it copies, counted in both directions together.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Tampering {
    None,
    /// It changes a bit of the byte with this number.
    Flip(usize),
    /// It ends both directions in order before the byte with this number.
    End(usize),
    /// It leaves that byte out.
    Drop(usize),
    /// It hands on that byte and those behind it twice, 16 at most.
    Repeat(usize),
    /// It hands that byte on behind what came with it.
    Reorder(usize),
    /// From that byte on it hands on what it copied for another connection, which has these bytes.
    Splice(usize, &'static [u8]),
    /// It gives the stream up before that byte.
    Reset(usize),
    /// It holds back what comes in that byte's direction from there on, for a minute.
    Delay(usize),
    /// Before the record with this number, counted in both directions together, it hands on one of its own.
    Inject(usize, &'static [u8]),
    /// It makes a hello offer or choose less.
    Weaken(Weakness),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weakness {
    /// No suite but the weakest is left to the server.
    Suites,
    /// The client's highest version is TLS 1.1.
    OfferedVersion,
    /// The server has chosen TLS 1.1.
    ChosenVersion,
    /// The client knows nothing of the extended master secret.
    MasterSecret,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    ToServer,
    ToClient,
}

/// Where something was done to a connection.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub way: Way,
    /// Whether records were protected there.
    pub is_protected: bool,
    /// How many records had begun on that way.
    records: usize,
}

/// A gateway's hand in a connection.
pub struct Copier {
    tampering: Tampering,
    /// Everything that was handed on, in either direction.
    pub copied: Vec<u8>,
    pub has_ended_early: bool,
    pub has_given_up: bool,
    /// Where something was handed on that isn't what came, or not when it came.
    pub tampered: Option<Place>,
    /// Whether another record, or the end, came behind that on the same way.
    pub is_followed: bool,
    /// Records in both directions together.
    pub records: usize,
    /// Which way they went, and where they began in `copied`.
    pub starts: Vec<(Way, usize)>,
    borders: [Borders; 2],
    held: Option<(Way, Vec<u8>, Instant)>,
    /// The beginning of each way, until its first record is whole.
    hellos: [Vec<u8>; 2],
}

impl Copier {
    /// Begins with the form in which the client gets its records. The server gets TLS.
    pub fn new(tampering: Tampering, form: LegForm) -> Self {
        Self {
            tampering,
            copied: Vec::new(),
            has_ended_early: false,
            has_given_up: false,
            tampered: None,
            is_followed: false,
            records: 0,
            starts: Vec::new(),
            borders: [LegForm::Tls, form].map(Borders::new),
            held: None,
            hellos: [Vec::new(), Vec::new()],
        }
    }

    /// Does to bytes on their way what it does.
    pub fn copy(&mut self, now: Instant, way: Way, bytes: &mut Vec<u8>) {
        let before = self.copied.len();
        let found = self.borders[way.index()].walk(bytes);
        let first = self.records;
        self.records += found.len();
        let starts = found.iter().map(|(border, _)| (way, before + border));
        self.starts.extend(starts);
        let place = self.borders[way.index()].place(way);
        let mut is_tampered = false;
        match self.tampering {
            Tampering::Flip(at) => {
                if let Some(byte) = at.checked_sub(before).and_then(|at| bytes.get_mut(at)) {
                    *byte ^= 0x10;
                    is_tampered = true;
                }
            }
            Tampering::End(at) if before + bytes.len() > at => {
                bytes.truncate(at.saturating_sub(before));
                self.has_ended_early = true;
            }
            Tampering::Drop(at) => {
                if let Some(at) = at.checked_sub(before).filter(|at| *at < bytes.len()) {
                    bytes.remove(at);
                    is_tampered = true;
                    self.is_followed = found.iter().any(|(border, _)| *border > at);
                }
            }
            Tampering::Repeat(at) => {
                let tail = at.checked_sub(before).and_then(|at| bytes.get(at..));
                if let Some(tail) = tail.filter(|tail| !tail.is_empty()) {
                    let again = tail.get(..16).unwrap_or(tail).to_vec();
                    let behind = at - before + again.len();
                    bytes.splice(behind..behind, again);
                    is_tampered = true;
                }
            }
            Tampering::Reorder(at) => {
                let tail = at.checked_sub(before).and_then(|at| bytes.get_mut(at..));
                if let Some(tail) = tail.filter(|tail| !tail.is_empty()) {
                    let came = tail.to_vec();
                    tail.rotate_left(1);
                    is_tampered = came != tail;
                }
            }
            Tampering::Splice(at, foreign) => {
                for (byte, foreign) in bytes
                    .iter_mut()
                    .zip(foreign.iter().skip(before))
                    .skip(at.saturating_sub(before))
                {
                    is_tampered |= byte != foreign;
                    *byte = *foreign;
                }
            }
            Tampering::Reset(at) if before + bytes.len() > at => {
                bytes.clear();
                self.has_given_up = true;
                is_tampered = true;
            }
            Tampering::Delay(at) => {
                if let Some((of, held, _)) = &mut self.held
                    && *of == way
                {
                    held.append(bytes);
                } else if let Some(at) = at.checked_sub(before).filter(|at| *at < bytes.len()) {
                    self.held = Some((way, bytes.split_off(at), now + HELD_FOR));
                }
            }
            Tampering::Inject(number, record) => {
                let found = number.checked_sub(first).and_then(|at| found.get(at));
                if let Some((border, is_protected)) = found {
                    let next = bytes.split_off(*border);
                    let borders = &self.borders[way.index()];
                    bytes.extend(borders.own(record, &next));
                    // In form `dtls` the number would come twice, and tell instead of the record.
                    if borders.form == LegForm::Tls {
                        bytes.extend(next);
                    }
                    self.tampered = Some(Place {
                        is_protected: *is_protected,
                        ..place
                    });
                }
            }
            Tampering::Weaken(weakness) => is_tampered = self.weaken(weakness, way, bytes),
            Tampering::None | Tampering::End(_) | Tampering::Reset(_) => {}
        }
        if let Some(tampered) = self.tampered {
            self.is_followed |= tampered.way == way && place.records > tampered.records;
        } else if is_tampered {
            self.tampered = Some(place);
        }
        self.copied.extend_from_slice(bytes);
    }

    /// The way has come to its end in order.
    pub fn end(&mut self, way: Way) {
        self.is_followed |= self.tampered.is_some_and(|tampered| tampered.way == way);
    }

    /// Takes out what was held back for long enough.
    pub fn release(&mut self, now: Instant) -> Option<(Way, Vec<u8>)> {
        let (way, bytes, _) = self.held.take_if(|(_, _, due)| *due <= now)?;
        self.tampering = Tampering::None;
        self.tampered = Some(self.borders[way.index()].place(way));
        self.copied.extend_from_slice(&bytes);
        Some((way, bytes))
    }

    pub fn is_holding(&self, way: Way) -> bool {
        self.held.as_ref().is_some_and(|(of, _, _)| *of == way)
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        self.held.as_ref().map(|(_, _, due)| *due)
    }

    /// Hands a hello on once it is whole, with what it has less.
    fn weaken(&mut self, weakness: Weakness, way: Way, bytes: &mut Vec<u8>) -> bool {
        let wanted = match weakness {
            Weakness::ChosenVersion => Way::ToClient,
            _ => Way::ToServer,
        };
        if way != wanted || self.tampered.is_some() {
            return false;
        }
        let hello = &mut self.hellos[way.index()];
        hello.append(bytes);
        let borders = &self.borders[way.index()];
        if !borders.has_whole_record(hello) {
            return false;
        }
        bytes.append(hello);
        // RFC 5246 §7.4.1.2, behind the record's header and the message's.
        match weakness {
            Weakness::OfferedVersion | Weakness::ChosenVersion => {
                bytes[borders.message_at() + 1] = 0x02;
            }
            Weakness::Suites | Weakness::MasterSecret => {
                let at = borders.message_at();
                let weakened = weakened(&bytes[at..], weakness);
                bytes[at..].copy_from_slice(&weakened);
            }
        }
        true
    }
}

/// A ClientHello's body with less in it, in as many bytes.
fn weakened(body: &[u8], weakness: Weakness) -> Vec<u8> {
    let hello = ClientHello::decode_exact(Protocol::Tls, body).unwrap();
    let mut suites = hello.cipher_suites.as_bytes().to_vec();
    for suite in suites.as_chunks_mut().0 {
        if weakness == Weakness::Suites && ![WEAKEST, RENEGOTIATION_INFO].contains(suite) {
            *suite = UNKNOWN.to_be_bytes();
        }
    }
    let (mut block, mut out) = ([0; 1_024], [0; 1_024]);
    let mut extensions = Writer::new(&mut block);
    for Extension {
        extension_type,
        data,
    } in hello.extensions.iter()
    {
        let is_it = extension_type == ExtensionType::EXTENDED_MASTER_SECRET;
        let weakens = weakness == Weakness::MasterSecret && is_it;
        let written = if weakens { UNKNOWN } else { extension_type.0 };
        extensions.u16(written).unwrap();
        extensions.vector16(data).unwrap();
    }
    let mut writer = Writer::new(&mut out);
    let weakened = ClientHello {
        cipher_suites: CipherSuites::new(&suites).unwrap(),
        extensions: Extensions::from_block(extensions.into_written()).unwrap(),
        ..hello
    };
    weakened.encode(&mut writer).unwrap();
    writer.into_written().to_vec()
}

impl Way {
    const fn index(self) -> usize {
        match self {
            Self::ToServer => 0,
            Self::ToClient => 1,
        }
    }
}

/// Where records begin on one way.
struct Borders {
    form: LegForm,
    header: Vec<u8>,
    /// Of the fragment under way.
    left: usize,
    records: usize,
    is_protected: bool,
}

impl Borders {
    const fn new(form: LegForm) -> Self {
        Self {
            form,
            header: Vec::new(),
            left: 0,
            records: 0,
            is_protected: false,
        }
    }

    /// RFC 5246 §6.2.1, RFC 6347 §4.1.
    const fn header_len(&self) -> usize {
        match self.form {
            LegForm::Tls => 5,
            LegForm::Dtls => 13,
        }
    }

    /// Where the body of a way's first message stands (RFC 5246 §7.4, RFC 6347 §4.2.2).
    const fn message_at(&self) -> usize {
        self.header_len()
            + match self.form {
                LegForm::Tls => 4,
                LegForm::Dtls => 12,
            }
    }

    fn has_whole_record(&self, bytes: &[u8]) -> bool {
        let [.., high, low] = *bytes.get(..self.header_len()).unwrap_or_default() else {
            return false;
        };
        bytes.len() >= self.header_len() + usize::from(u16::from_be_bytes([high, low]))
    }

    /// A TLS record of the gateway's own in this way's form, with the number of the one that it comes before.
    fn own(&self, record: &[u8], next: &[u8]) -> Vec<u8> {
        match self.form {
            LegForm::Tls => record.to_vec(),
            LegForm::Dtls => [&record[..1], &next[1..11], &record[3..]].concat(),
        }
    }

    /// Walks on, and returns where records begin in `bytes` and whether they are protected.
    fn walk(&mut self, bytes: &[u8]) -> Vec<(usize, bool)> {
        let mut found = Vec::new();
        for (at, byte) in bytes.iter().enumerate() {
            if self.left > 0 {
                self.left -= 1;
                continue;
            }
            if self.header.is_empty() {
                found.push((at, self.is_protected));
                self.records += 1;
            }
            self.header.push(*byte);
            if self.header.len() == self.header_len()
                && let [content_type, .., high, low] = *self.header.as_slice()
            {
                self.left = usize::from(u16::from_be_bytes([high, low]));
                // RFC 5246 §7.1: what comes behind ChangeCipherSpec is protected.
                self.is_protected |= content_type == 20;
                self.header.clear();
            }
        }
        found
    }

    const fn place(&self, way: Way) -> Place {
        Place {
            way,
            is_protected: self.is_protected,
            records: self.records,
        }
    }
}

const HELD_FOR: Duration = Duration::from_secs(60);

/// TLS_PSK_WITH_AES_128_CCM_8: no forward secrecy, and the shortest tag.
pub const WEAKEST: [u8; 2] = [0xc0, 0xa8];
/// TLS_EMPTY_RENEGOTIATION_INFO_SCSV.
const RENEGOTIATION_INFO: [u8; 2] = [0x00, 0xff];
/// One that RFC 8701 keeps free of meaning, as a suite and as an extension.
const UNKNOWN: u16 = 0x5a5a;
