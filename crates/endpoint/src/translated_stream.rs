//! Mode `translate` at the Internet end (docs/specs/translate.md): a DTLS association's datagrams on a
//! TCP connection to a gateway.

use alloc::vec;
use alloc::vec::Vec;

use hedgerow_core::{DropReason, Writer};
use hedgerow_record::{
    ANSWER_LEN, FromStream, MAX_CIPHERTEXT_LEN, MAX_PREFACE_LEN, RECORD_HEADER_LEN, RequestedForm,
    StreamToDatagrams, TranslateAnswer, TranslateForm, TranslateNotice, TranslatePreface,
    TranslateStatus, datagram_to_stream, has_protected_record,
};

/// The framing of one TCP connection to a gateway that translates. It stands between an
/// [`Endpoint`](crate::Endpoint), which takes it for the network, and a stream; it has no key.
///
/// The endpoint stays what it is over UDP: timers, replay window, handshake. In the short form it must
/// offer suites with CCM or CCM_8 alone, and in either form no connection IDs.
///
/// ```
/// use hedgerow_endpoint::{TranslatedEvent, TranslatedStream};
/// use hedgerow_record::TranslateForm;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut to_gateway = Vec::new();
/// let mut stream = TranslatedStream::open("thermometer", TranslateForm::Short, &mut to_gateway)?;
/// // A ClientHello may follow the preface at once.
/// let datagram = b"\x16\xfe\xfd\0\0\0\0\0\0\0\0\0\x03abc";
/// stream.datagram_to_stream(datagram, &mut to_gateway);
/// assert!(to_gateway.ends_with(b"thermometer\x16\xfe\xfd\0\x03abc"));
///
/// let from_gateway = b"HGTR\x01\x01\x00\x16\xfe\xfd\0\x03def";
/// let (len, accepted) = stream.stream_to_datagrams(from_gateway)?;
/// assert!(matches!(accepted, Some(TranslatedEvent::Accepted)));
/// let (_, Some(TranslatedEvent::Datagram(datagram))) =
///     stream.stream_to_datagrams(&from_gateway[len..])?
/// else {
///     unreachable!()
/// };
/// assert_eq!(datagram, b"\x16\xfe\xfd\0\0\0\0\0\0\0\0\0\x03def");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct TranslatedStream {
    form: TranslateForm,
    state: State,
    reader: StreamToDatagrams,
    datagram: Vec<u8>,
    /// Whether a protected record came whose nonce can be its number.
    has_protected: bool,
}

/// What a gateway's bytes come to.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TranslatedEvent<'a> {
    /// The gateway carries records to the device.
    Accepted,
    /// A datagram for the endpoint, as if it had come from the device.
    Datagram(&'a mut [u8]),
    /// The gateway says that a datagram of so many bytes was too long for the path to the device:
    /// for [`Endpoint::datagram_refused`](crate::Endpoint::datagram_refused). Nothing authenticates it.
    DatagramRefused {
        /// The datagram's length, in bytes.
        len: usize,
    },
    /// Something was dropped.
    Dropped(DropReason),
}

/// Why a connection to a gateway is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TranslateError {
    /// What came isn't the answer of a gateway that knows this mode.
    #[error("the gateway's answer is not one of mode translate")]
    NotAnswered,
    /// What came begins as an answer of HTTP does.
    #[error("what answers there speaks HTTP and not mode translate")]
    Http,
    /// What came begins as an alert of TLS does.
    #[error("what answers there speaks TLS and not mode translate")]
    Tls,
    /// The stream ended before an answer was there, so that nothing was carried.
    #[error("what is there ended the stream without an answer")]
    Unanswered,
    /// The gateway knows no such device, or doesn't allow it in this mode.
    #[error("the gateway refuses the device in mode translate")]
    Refused,
    /// The gateway has reached a limit.
    #[error("the gateway is busy")]
    Busy,
    /// The gateway doesn't know this version of the mode, or not the form.
    #[error("the gateway doesn't support this form of mode translate")]
    NotSupported,
    /// The gateway answers in another form than was asked for. No other is tried.
    #[error("the gateway answers in another form than was asked for")]
    OtherForm,
    /// The device builds nonces from something else than record numbers, which the short form can't
    /// carry: the long form can. It is the gateway's word, or a record's that nothing authenticates.
    #[error("the device's nonces are not its record numbers: it needs the long form")]
    NonceNotRecordNumber,
    /// The stream can't be followed any further.
    #[error(transparent)]
    Framing(hedgerow_record::Error),
    /// The stream ended. Whoever ended it proved nothing: it is no orderly close, whatever was sent.
    #[error("the stream ended without authentication")]
    Truncated {
        /// Whether it ended within a record or a datagram.
        is_within_record: bool,
    },
}

#[derive(Debug)]
enum State {
    ExpectAnswer {
        answer: [u8; ANSWER_LEN],
        got: usize,
    },
    Accepted,
    Failed(TranslateError),
}

impl TranslatedStream {
    /// Writes the preface that asks for a device to the end of `out`; records may follow.
    ///
    /// # Errors
    ///
    /// [`hedgerow_record::Error::DeviceNameLength`].
    pub fn open(
        device: &str,
        form: TranslateForm,
        out: &mut Vec<u8>,
    ) -> Result<Self, hedgerow_record::Error> {
        let mut preface = [0; MAX_PREFACE_LEN];
        let mut writer = Writer::new(&mut preface);
        TranslatePreface::encode(form, device.as_bytes(), &mut writer)?;
        out.extend_from_slice(writer.written());
        Ok(Self {
            form,
            state: State::ExpectAnswer {
                answer: [0; ANSWER_LEN],
                got: 0,
            },
            reader: StreamToDatagrams::new(form),
            datagram: vec![0; MAX_DATAGRAM_LEN],
            has_protected: false,
        })
    }

    /// Writes a datagram of the endpoint to the end of `out` as the stream carries it, and returns why
    /// something of it is missing, if it is: an end that is configured for the form never has that.
    pub fn datagram_to_stream(&mut self, datagram: &[u8], out: &mut Vec<u8>) -> Option<DropReason> {
        let start = out.len();
        out.extend_from_slice(datagram);
        let mut missing = None;
        let added = out.get_mut(start..).unwrap_or_default();
        let len = datagram_to_stream(self.form, added, |drop| missing = Some(drop.reason));
        out.truncate(start.saturating_add(len));
        missing
    }

    /// Reads the gateway's bytes until there is something to do, and returns how many were read. `None`:
    /// all were. After anything else it is to be called again with the rest, also if that is empty.
    ///
    /// # Errors
    ///
    /// Each variant of [`TranslateError`] but `Truncated` and `Unanswered`, and the same from then on: the connection is
    /// to be closed.
    pub fn stream_to_datagrams(
        &mut self,
        bytes: &[u8],
    ) -> Result<(usize, Option<TranslatedEvent<'_>>), TranslateError> {
        match self.read(bytes) {
            Err(error) => {
                self.state = State::Failed(error);
                Err(error)
            }
            Ok((len, found)) => {
                let event = match found {
                    None => None,
                    Some(Found::Accepted) => Some(TranslatedEvent::Accepted),
                    Some(Found::Refused { len }) => Some(TranslatedEvent::DatagramRefused { len }),
                    Some(Found::Dropped(reason)) => Some(TranslatedEvent::Dropped(reason)),
                    Some(Found::Datagram(len)) => Some(TranslatedEvent::Datagram(
                        self.datagram.get_mut(..len).unwrap_or_default(),
                    )),
                };
                Ok((len, event))
            }
        }
    }

    /// Returns what the end of the stream means, whether it came by FIN or by RST.
    pub const fn handle_end(&self) -> TranslateError {
        match self.state {
            State::Failed(error) => error,
            State::ExpectAnswer { .. } => TranslateError::Unanswered,
            State::Accepted => TranslateError::Truncated {
                is_within_record: !self.reader.is_at_border(),
            },
        }
    }

    fn read(&mut self, bytes: &[u8]) -> Result<(usize, Option<Found>), TranslateError> {
        match self.state {
            State::Failed(error) => Err(error),
            State::ExpectAnswer { mut answer, got } => {
                let room = answer.get_mut(got..).unwrap_or_default();
                let taken = room.len().min(bytes.len());
                for (to, from) in room.iter_mut().zip(bytes) {
                    *to = *from;
                }
                let got = got.saturating_add(taken);
                let seen = answer.get(..got).unwrap_or_default();
                let decoded = TranslateAnswer::decode(seen);
                match decoded.map_err(|_| other_protocol(seen))? {
                    None => {
                        self.state = State::ExpectAnswer { answer, got };
                        Ok((taken, None))
                    }
                    Some((answer, _)) => {
                        self.check(answer)?;
                        self.state = State::Accepted;
                        Ok((taken, Some(Found::Accepted)))
                    }
                }
            }
            State::Accepted => self.read_record(bytes),
        }
    }

    fn check(&self, answer: TranslateAnswer) -> Result<(), TranslateError> {
        match answer.status {
            TranslateStatus::Accepted if answer.form == RequestedForm::Known(self.form) => Ok(()),
            TranslateStatus::Accepted => Err(TranslateError::OtherForm),
            TranslateStatus::Refused => Err(TranslateError::Refused),
            TranslateStatus::Busy => Err(TranslateError::Busy),
            TranslateStatus::NotSupported => Err(TranslateError::NotSupported),
            TranslateStatus::Unknown(_) => Err(TranslateError::NotAnswered),
        }
    }

    fn read_record(&mut self, bytes: &[u8]) -> Result<(usize, Option<Found>), TranslateError> {
        let read = self.reader.read(bytes, &mut self.datagram);
        let (len, found) = read.map_err(TranslateError::Framing)?;
        let found = match found {
            None => None,
            Some(FromStream::Datagram(len)) => {
                let datagram = self.datagram.get_mut(..len).unwrap_or_default();
                self.has_protected |= has_protected_record(datagram);
                Some(Found::Datagram(len))
            }
            Some(FromStream::Notice(TranslateNotice::TooLong { datagram_len })) => {
                Some(Found::Refused {
                    len: usize::from(datagram_len),
                })
            }
            Some(FromStream::Notice(TranslateNotice::NonceNotRecordNumber { .. })) => {
                Some(Found::Dropped(DropReason::NonceNotRecordNumber))
            }
            Some(FromStream::Notice(_)) => Some(Found::Dropped(DropReason::UnexpectedMessage)),
            Some(FromStream::Dropped { reason, .. }) => Some(Found::Dropped(reason)),
        };
        // A device decides with its first protected record how it builds nonces. Later ones are
        // somebody else's, and what nothing authenticates must not end a session.
        let is_misnumbered = matches!(
            found,
            Some(Found::Dropped(DropReason::NonceNotRecordNumber))
        );
        if is_misnumbered && !self.has_protected && self.form == TranslateForm::Short {
            return Err(TranslateError::NonceNotRecordNumber);
        }
        Ok((len, found))
    }
}

enum Found {
    Accepted,
    Datagram(usize),
    Refused { len: usize },
    Dropped(DropReason),
}

/// Names what isn't an answer, by its octets up to the one that shows it or further.
fn other_protocol(seen: &[u8]) -> TranslateError {
    let begins = |with: &[u8]| seen.iter().zip(with).all(|(octet, with)| octet == with);
    if begins(b"HTTP/") {
        TranslateError::Http
    } else if begins(&TLS_ALERT) {
        TranslateError::Tls
    } else {
        TranslateError::NotAnswered
    }
}

/// How an alert's record begins: its type, and the major version (RFC 5246 §6.2.1).
const TLS_ALERT: [u8; 2] = [21, 3];

/// Room for the longest record.
const MAX_DATAGRAM_LEN: usize = RECORD_HEADER_LEN + MAX_CIPHERTEXT_LEN;

#[cfg(test)]
mod tests;
