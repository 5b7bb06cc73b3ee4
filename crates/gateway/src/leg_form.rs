//! The form of the records in a stream that a device opens to a TLS server (docs/specs/translate-device.md): the device
//! chooses it by its first record.

use std::sync::{Mutex, MutexGuard, PoisonError};

use hedgerow_endpoint::AdaptedFraming;
use hedgerow_record::{ContentType, Error, LegForm};

/// One stream's form, in both directions.
pub(crate) struct StreamForm(Mutex<State>);

enum State {
    /// Nothing has come from the device, or the type of a first record alone.
    Unknown {
        has_type: bool,
    },
    /// TLS's own form, or no TLS at all: what is carried isn't looked at.
    AsItIs,
    Dtls(AdaptedFraming),
}

impl StreamForm {
    pub(crate) const fn new() -> Self {
        Self(Mutex::new(State::Unknown { has_type: false }))
    }

    /// Puts what goes to the server for a device's bytes behind `out`. Without any the device has ended.
    pub(crate) fn to_server(&self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        let handshake = u8::from(ContentType::Handshake);
        let mut state = self.lock();
        if let State::Unknown { has_type } = *state {
            let before = has_type.then_some(handshake);
            let mut first = before.into_iter().chain(bytes.iter().copied());
            *state = match (first.next(), first.next()) {
                (Some(one), None) if one == handshake && !bytes.is_empty() => {
                    *state = State::Unknown { has_type: true };
                    return Ok(());
                }
                (Some(one), Some(two))
                    if one == handshake && LegForm::of_first([one, two]) == Some(LegForm::Dtls) =>
                {
                    State::Dtls(AdaptedFraming::gateway(LegForm::Dtls))
                }
                _ => State::AsItIs,
            };
            if has_type {
                state.carry_up(&[handshake], out)?;
            }
        }
        state.carry_up(bytes, out)
    }

    /// Puts what goes to the device for a server's bytes behind `out`.
    pub(crate) fn to_device(&self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        match &mut *self.lock() {
            State::Dtls(framing) => framing.to_leg(bytes, out),
            State::AsItIs | State::Unknown { .. } => {
                out.extend_from_slice(bytes);
                Ok(())
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn carry_up(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        match self {
            Self::Dtls(framing) => framing.from_leg(bytes, out),
            Self::AsItIs | Self::Unknown { .. } => {
                out.extend_from_slice(bytes);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn carried(parts: &[&[u8]]) -> Vec<u8> {
        let (form, mut out) = (StreamForm::new(), Vec::new());
        for part in parts {
            form.to_server(part, &mut out).unwrap();
        }
        form.to_server(&[], &mut out).unwrap();
        out
    }

    #[test]
    fn what_is_not_in_form_dtls_goes_on_octet_by_octet() {
        for parts in [
            &[&b"hello"[..], b" there"][..],
            &[b"\x16"],
            &[b"\x16", b"\x16"],
            &[b"\x16", b"\x03", b"\x01\0\0"],
            &[b"\x17\xfe\xfd"],
            &[],
        ] {
            assert_eq!(carried(parts), parts.concat());
        }
    }

    #[test]
    fn form_dtls_is_mapped_in_whatever_pieces_it_comes() {
        // An empty ServerHelloDone stands for any message.
        let record = b"\x16\xfe\xfd\0\0\0\0\0\0\0\0\0\x0c\x0e\0\0\0\0\0\0\0\0\0\0\0";
        let tls = b"\x16\x03\x03\0\x04\x0e\0\0\0";
        assert_eq!(carried(&[record]), tls);
        let octets: Vec<_> = record.chunks(1).collect();
        assert_eq!(carried(&octets), tls);
        let form = StreamForm::new();
        let mut out = Vec::new();
        form.to_server(&record[..2], &mut out).unwrap();
        form.to_device(tls, &mut out).unwrap();
        assert_eq!(out, record);
        // Not the next number.
        let mut wrong = record.to_vec();
        wrong[10] = 1;
        let form = StreamForm::new();
        assert!(form.to_server(&wrong, &mut out).is_err());
    }
}
