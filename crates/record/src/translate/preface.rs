//! What stands at the beginning of a connection.

use hedgerow_core::{Reader, Writer};

use super::form::TranslateForm;
use crate::Error;

/// The longest device name, in bytes.
pub const MAX_DEVICE_NAME_LEN: usize = 63;

/// The longest preface, in bytes.
pub const MAX_PREFACE_LEN: usize = FIXED_LEN + MAX_DEVICE_NAME_LEN;

/// The length of the gateway's answer, in bytes.
pub const ANSWER_LEN: usize = 7;

/// What the Internet end sends first: which device it wants, and in which form records are to stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TranslatePreface<'a> {
    /// The form, if version and form are known here.
    pub form: RequestedForm,
    /// The name of the device as the gateway knows it: 1 to 63 bytes.
    pub device: &'a [u8],
}

/// The form that a preface asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestedForm {
    /// One that there is.
    Known(TranslateForm),
    /// A version or a form that there isn't, or not yet; the form's code is kept for the answer.
    Unknown(u8),
}

impl<'a> TranslatePreface<'a> {
    /// Decodes the preface at the front of `bytes` and returns it with what is behind it; `None`
    /// while it isn't there as a whole.
    ///
    /// # Errors
    ///
    /// [`Error::NotPreface`] and [`Error::DeviceNameLength`], at the first byte that shows it.
    pub fn decode(bytes: &'a [u8]) -> Result<Option<(Self, &'a [u8])>, Error> {
        if bytes.iter().zip(&MAGIC).any(|(is, should)| is != should) {
            return Err(Error::NotPreface);
        }
        let Some((&[_, _, _, _, version, form, len], rest)) =
            bytes.split_first_chunk::<FIXED_LEN>()
        else {
            return Ok(None);
        };
        let len = usize::from(len);
        check_name_len(len)?;
        let Some((device, rest)) = rest.split_at_checked(len) else {
            return Ok(None);
        };
        let known = TranslateForm::from_code(form).filter(|_| version == VERSION);
        let form = known.map_or(RequestedForm::Unknown(form), RequestedForm::Known);
        Ok(Some((Self { form, device }, rest)))
    }

    /// Encodes the preface.
    ///
    /// # Errors
    ///
    /// [`Error::DeviceNameLength`], [`Error::Encode`] if `out` is too small.
    pub fn encode(form: TranslateForm, device: &[u8], out: &mut Writer<'_>) -> Result<(), Error> {
        check_name_len(device.len())?;
        let mut preface = Writer::new(out.reserve(FIXED_LEN.saturating_add(device.len()))?);
        preface.bytes(&MAGIC)?;
        preface.u8(VERSION)?;
        preface.u8(form.code())?;
        preface.vector8(device)?;
        Ok(())
    }
}

/// The gateway's answer to a preface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TranslateAnswer {
    /// What was asked for.
    pub form: RequestedForm,
    /// What becomes of it.
    pub status: TranslateStatus,
}

/// What becomes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TranslateStatus {
    /// Records may be exchanged.
    Accepted,
    /// No such device, or not in this mode; it isn't said which.
    Refused,
    /// A limit is reached. It may go better later.
    Busy,
    /// The gateway doesn't know the version or the form.
    NotSupported,
    /// Something that this end doesn't know.
    Unknown(u8),
}

impl TranslateAnswer {
    /// Decodes the answer at the front of `bytes` and returns it with what is behind it; `None`
    /// while it isn't there as a whole.
    ///
    /// # Errors
    ///
    /// [`Error::NotPreface`], at the first byte that shows it; also for another version.
    pub fn decode(bytes: &[u8]) -> Result<Option<(Self, &[u8])>, Error> {
        let begins = MAGIC.iter().chain([&VERSION]);
        if bytes.iter().zip(begins).any(|(is, should)| is != should) {
            return Err(Error::NotPreface);
        }
        let mut reader = Reader::new(bytes);
        let Ok(&[_, _, _, _, _, form, status]) = reader.array::<ANSWER_LEN>() else {
            return Ok(None);
        };
        let status = match status {
            0 => TranslateStatus::Accepted,
            1 => TranslateStatus::Refused,
            2 => TranslateStatus::Busy,
            3 => TranslateStatus::NotSupported,
            other => TranslateStatus::Unknown(other),
        };
        let known = TranslateForm::from_code(form);
        let form = known.map_or(RequestedForm::Unknown(form), RequestedForm::Known);
        Ok(Some((Self { form, status }, reader.rest())))
    }

    /// Encodes the answer.
    pub const fn encode(self) -> [u8; ANSWER_LEN] {
        let form = match self.form {
            RequestedForm::Known(form) => form.code(),
            RequestedForm::Unknown(code) => code,
        };
        let status = match self.status {
            TranslateStatus::Accepted => 0,
            TranslateStatus::Refused => 1,
            TranslateStatus::Busy => 2,
            TranslateStatus::NotSupported => 3,
            TranslateStatus::Unknown(code) => code,
        };
        let [m0, m1, m2, m3] = MAGIC;
        [m0, m1, m2, m3, VERSION, form, status]
    }
}

const fn check_name_len(len: usize) -> Result<(), Error> {
    if len == 0 || len > MAX_DEVICE_NAME_LEN {
        return Err(Error::DeviceNameLength { len });
    }
    Ok(())
}

const MAGIC: [u8; 4] = *b"HGTR";

const VERSION: u8 = 1;

/// magic(4) version(1) form(1) name length(1)
const FIXED_LEN: usize = 7;
