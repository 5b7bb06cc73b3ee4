//! Mode `translate` at the gateway (docs/specs/translate.md): records between a TCP connection and
//! a device's datagrams, without a key and with nothing kept for each protected record.

use hedgerow_core::{DropReason, Writer};
use hedgerow_record::{
    ANSWER_LEN, Error, FromStream, MAX_NOTICE_LEN, RequestedForm, StreamToDatagrams,
    TranslateAnswer, TranslateForm, TranslateNotice, TranslatePreface, TranslateStatus,
    datagram_to_stream, has_application_data,
};

/// What comes of the first bytes of a connection.
#[derive(Debug)]
pub enum Opening<D> {
    /// The preface isn't there as a whole.
    Incomplete,
    /// The connection is accepted.
    Accepted {
        /// What `permit` gave for the device.
        device: D,
        /// The connection's translator.
        translator: Translator,
        /// To be sent before anything else.
        answer: [u8; ANSWER_LEN],
        /// How many bytes the preface has; records may stand behind it.
        consumed: usize,
    },
    /// The answer is to be sent and the connection closed.
    Refused {
        /// The answer.
        answer: [u8; ANSWER_LEN],
        /// What it says.
        status: TranslateStatus,
    },
}

/// Why a connection isn't accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotPermitted {
    /// There is no such device, or it isn't for this mode. The answer doesn't tell which.
    #[error("no such device in this mode")]
    Refused,
    /// A limit is reached.
    #[error("a limit is reached")]
    Busy,
}

/// The gateway's state of one connection.
#[derive(Debug)]
pub struct Translator {
    form: TranslateForm,
    from_stream: StreamToDatagrams,
    is_established: bool,
}

/// What a connection brings for its device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToDevice {
    /// A datagram of so many bytes stands in the buffer, to be sent as it is.
    Datagram(usize),
    /// Something was dropped.
    Dropped {
        /// Why.
        reason: DropReason,
        /// Its length on the UDP side, in bytes.
        len: usize,
    },
}

impl Translator {
    /// Reads the preface at the front of `bytes` and asks `permit` for the device that it names.
    ///
    /// # Errors
    ///
    /// [`Error::NotPreface`], [`Error::DeviceNameLength`]: the connection is to be closed without an
    /// answer.
    pub fn open<D>(
        bytes: &[u8],
        permit: impl FnOnce(&str) -> Result<D, NotPermitted>,
    ) -> Result<Opening<D>, Error> {
        let Some((preface, rest)) = TranslatePreface::decode(bytes)? else {
            return Ok(Opening::Incomplete);
        };
        let answer = |status| TranslateAnswer {
            form: preface.form,
            status,
        };
        let refused = |status| Opening::Refused {
            answer: answer(status).encode(),
            status,
        };
        let RequestedForm::Known(form) = preface.form else {
            return Ok(refused(TranslateStatus::NotSupported));
        };
        // No device has a name that isn't UTF-8.
        let permitted = str::from_utf8(preface.device)
            .map_err(|_| NotPermitted::Refused)
            .and_then(permit);
        Ok(match permitted {
            Err(NotPermitted::Refused) => refused(TranslateStatus::Refused),
            Err(NotPermitted::Busy) => refused(TranslateStatus::Busy),
            Ok(device) => Opening::Accepted {
                device,
                translator: Self {
                    form,
                    from_stream: StreamToDatagrams::new(form),
                    is_established: false,
                },
                answer: answer(TranslateStatus::Accepted).encode(),
                consumed: bytes.len().saturating_sub(rest.len()),
            },
        })
    }

    /// Returns how records stand on this connection.
    pub const fn form(&self) -> TranslateForm {
        self.form
    }

    /// Says whether the device has sent application data, which strangers get none of from it. A
    /// protected record alone says nothing: whoever shows a recorded ticket gets the Finished of a device
    /// that resumes sessions.
    pub const fn is_established(&self) -> bool {
        self.is_established
    }

    /// Reads from the connection's bytes into `datagram`, which is the same buffer in every call, until
    /// there is something to do, and returns how many bytes were read. `None`: all were. After
    /// anything else it is to be called again with the rest, also if that is empty.
    ///
    /// Where a datagram has no room, which is [`DropReason::TooLong`], the caller answers with
    /// [`Self::too_long`].
    ///
    /// # Errors
    ///
    /// The framing is broken, and the connection is to be closed: [`Error::UnknownClass`],
    /// [`Error::RecordTooLong`], [`Error::MisplacedNotice`].
    pub fn read_stream(
        &mut self,
        bytes: &[u8],
        datagram: &mut [u8],
    ) -> Result<(usize, Option<ToDevice>), Error> {
        let (len, found) = self.from_stream.read(bytes, datagram)?;
        let found = match found {
            None => None,
            Some(FromStream::Datagram(len)) => Some(ToDevice::Datagram(len)),
            Some(FromStream::Dropped { reason, len }) => Some(ToDevice::Dropped { reason, len }),
            // Notices are the gateway's alone.
            Some(FromStream::Notice(_)) => return Err(Error::MisplacedNotice { len: 0 }),
        };
        Ok((len, found))
    }

    /// Turns a datagram of the device into what the connection carries of it, in the same place; it is
    /// empty if nothing is left.
    ///
    /// Each record that can't be carried is handed to `dropped` with its reason. For one whose nonce
    /// isn't its number a notice is added.
    ///
    /// Returns whether application data is carried: a sign of life of a session.
    pub fn translate_datagram(
        &mut self,
        datagram: &mut Vec<u8>,
        mut dropped: impl FnMut(DropReason),
    ) -> bool {
        let has_data = has_application_data(datagram);
        let mut misnumbered = None;
        let len = datagram_to_stream(self.form, datagram, |drop| {
            if drop.reason == DropReason::NonceNotRecordNumber {
                misnumbered = Some(drop.len);
            }
            dropped(drop.reason);
        });
        datagram.truncate(len);
        let carries_data = has_data && len > 0;
        self.is_established |= carries_data;
        if let Some(len) = misnumbered {
            let notice = TranslateNotice::nonce_not_record_number(len);
            datagram.extend_from_slice(&self.encode(notice));
        }
        carries_data
    }

    /// Returns the notice for a datagram of `len` bytes that was too long for the path to the device.
    pub fn too_long(&self, len: usize) -> Vec<u8> {
        self.encode(TranslateNotice::too_long(len))
    }

    /// Says whether the connection ended where it may: not within a record or a datagram.
    pub const fn is_at_border(&self) -> bool {
        self.from_stream.is_at_border()
    }

    fn encode(&self, notice: TranslateNotice) -> Vec<u8> {
        let mut out = [0; MAX_NOTICE_LEN];
        let mut writer = Writer::new(&mut out);
        // It has room for the longest one.
        let _ = notice.encode(self.form, &mut writer);
        writer.written().to_vec()
    }
}

#[cfg(test)]
mod tests {
    use hedgerow_record::{ContentType, DTLS_1_2, EpochNumber, RecordNumber, encode_record};

    use super::*;

    fn record(content_type: ContentType, epoch: u16) -> Vec<u8> {
        let number = RecordNumber::new(EpochNumber(epoch), 5).unwrap();
        let mut fragment = number.to_be_bytes().to_vec();
        fragment.extend([0x5a; 20]);
        let mut out = [0; 100];
        let mut writer = Writer::new(&mut out);
        encode_record(content_type, DTLS_1_2, number, &fragment, &mut writer).unwrap();
        writer.written().to_vec()
    }

    /// RFC 5246 §7.3: where a session is resumed, the server's Finished comes before the client's.
    #[test]
    fn device_that_resumes_for_a_stranger_has_shown_no_session() {
        let mut bytes = [0; 100];
        let mut writer = Writer::new(&mut bytes);
        TranslatePreface::encode(TranslateForm::Short, b"lamp", &mut writer).unwrap();
        let opened = Translator::open(writer.written(), |_| Ok(())).unwrap();
        let Opening::Accepted { mut translator, .. } = opened else {
            unreachable!("it was permitted");
        };
        let mut take = |content_type, epoch| {
            let mut datagram = record(content_type, epoch);
            let carried = translator.translate_datagram(&mut datagram, |_| {});
            assert!(!datagram.is_empty());
            (carried, translator.is_established())
        };
        assert_eq!(take(ContentType::Handshake, 0), (false, false));
        assert_eq!(take(ContentType::ApplicationData, 0), (false, false));
        assert_eq!(take(ContentType::Handshake, 1), (false, false));
        assert_eq!(take(ContentType::ApplicationData, 1), (true, true));
        assert_eq!(take(ContentType::Alert, 1), (false, true));
    }
}
