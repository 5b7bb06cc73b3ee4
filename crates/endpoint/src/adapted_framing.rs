//! The form of a stream's records at one of the leg's ends: mode `translate`, the device adapts.

use alloc::boxed::Box;
use alloc::vec::Vec;

use hedgerow_record::{DtlsFormToTls, Error, LegForm, Mapped, TlsToDtlsForm};

/// The records of one stream of a leg, in both directions, between TLS's own form and what goes over the leg
/// (docs/specs/translate-device.md). A gateway and a device have one each; neither needs a key.
#[derive(Clone, Debug)]
pub struct AdaptedFraming {
    form: Form,
}

#[derive(Clone, Debug)]
enum Form {
    /// Not yet known: the first byte, if it has come.
    Unknown(Option<u8>),
    Tls,
    Dtls(Box<Mappings>),
}

/// Both directions of the form `dtls`.
#[derive(Clone, Debug, Default)]
struct Mappings {
    from_leg: DtlsFormToTls,
    to_leg: TlsToDtlsForm,
}

impl AdaptedFraming {
    /// Begins as the gateway, which has the form configured.
    pub fn gateway(form: LegForm) -> Self {
        Self {
            form: Form::of(form),
        }
    }

    /// Begins as a device that is TLS's client: it speaks first, and chooses the form.
    pub fn device_client(form: LegForm) -> Self {
        Self::gateway(form)
    }

    /// Begins as the device, which takes the form from the first record.
    pub const fn device() -> Self {
        Self {
            form: Form::Unknown(None),
        }
    }

    /// Returns the form, once it is known.
    pub const fn form(&self) -> Option<LegForm> {
        match self.form {
            Form::Unknown(_) => None,
            Form::Tls => Some(LegForm::Tls),
            Form::Dtls(_) => Some(LegForm::Dtls),
        }
    }

    /// Puts TLS's bytes for what came over the leg behind `out`: at most as many as there were.
    ///
    /// # Errors
    ///
    /// [`Error`] where the stream can't be followed any further.
    pub fn from_leg(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        if let Form::Unknown(before) = self.form {
            let mut first = before.into_iter().chain(bytes.iter().copied());
            let (Some(one), Some(two)) = (first.next(), first.next()) else {
                self.form = Form::Unknown(before.or(bytes.first().copied()));
                return Ok(());
            };
            let form = LegForm::of_first([one, two]);
            self.form = Form::of(form.ok_or(Error::NotTls {
                version: u16::from_be_bytes([two, 0]),
            })?);
            if before.is_some() {
                self.from_leg(&[one], out)?;
            }
        }
        match &mut self.form {
            Form::Dtls(mappings) => {
                map_all(bytes, out, |bytes, room| mappings.from_leg.map(bytes, room))
            }
            _ => {
                out.extend_from_slice(bytes);
                Ok(())
            }
        }
    }

    /// Puts what goes over the leg for TLS's bytes behind `out`: in the form `dtls` up to 25 bytes for 5 of an
    /// empty handshake message, a twelfth more in the long run.
    ///
    /// # Errors
    ///
    /// [`Error`] where the stream can't be followed any further.
    pub fn to_leg(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        match &mut self.form {
            Form::Dtls(mappings) => {
                map_all(bytes, out, |bytes, room| mappings.to_leg.map(bytes, room))
            }
            _ => {
                out.extend_from_slice(bytes);
                Ok(())
            }
        }
    }
}

impl Form {
    fn of(form: LegForm) -> Self {
        match form {
            LegForm::Tls => Self::Tls,
            LegForm::Dtls => Self::Dtls(Box::default()),
        }
    }
}

fn map_all(
    bytes: &[u8],
    out: &mut Vec<u8>,
    mut map: impl FnMut(&[u8], &mut [u8]) -> Result<Mapped, Error>,
) -> Result<(), Error> {
    let mut room = [0; ROOM];
    let mut rest = bytes;
    loop {
        let Mapped { read, written } = map(rest, &mut room)?;
        out.extend_from_slice(room.get(..written).unwrap_or_default());
        rest = rest.get(read..).unwrap_or_default();
        if rest.is_empty() && written < ROOM {
            return Ok(());
        }
    }
}

/// How much is mapped at a time, in bytes.
const ROOM: usize = 512;
