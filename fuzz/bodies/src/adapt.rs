//! Mode `translate`, the device adapts: TLS's records under DTLS's headers, back, and the name in a ClientHello.

use hedgerow_record::{DtlsFormToTls, Error, Mapped, TlsToDtlsForm, peek_client_hello};

/// The first byte chooses the direction and in which pieces it is read, the second one how much room there is.
/// Whatever comes: the pieces change nothing, what was mapped maps back, and no ClientHello is found
/// in a part of it that isn't found in the whole.
pub fn adapt(input: &[u8]) {
    let [choice, room, bytes @ ..] = input else {
        return;
    };
    let part = usize::from(choice >> 2).saturating_add(1);
    let room = usize::from(*room).saturating_add(1);
    match choice & 3 {
        0 | 1 => to_dtls_form(bytes, part, room),
        2 => to_tls(bytes, part, room),
        _ => hello(bytes, part, room),
    }
}

fn to_dtls_form(bytes: &[u8], part: usize, room: usize) {
    let mut mapping = TlsToDtlsForm::new();
    let (form, ended) = run(bytes, part, room, |bytes, out| mapping.map(bytes, out));
    let mut whole = TlsToDtlsForm::new();
    let all = |bytes: &[u8], out: &mut [u8]| whole.map(bytes, out);
    let (in_one, ended_in_one) = run(bytes, bytes.len().max(1), ROOM, all);
    assert_eq!(ended, ended_in_one);
    if ended.is_ok() {
        assert_eq!(form, in_one);
    }
    let mut back = DtlsFormToTls::new();
    let (tls, ended) = run(&form, room, part, |bytes, out| back.map(bytes, out));
    assert_eq!(ended, Ok(()), "what was written is read");
    // A record costs 8 bytes more, and a fragment of a message 8 to 12 more.
    assert!(tls.len() <= form.len());
}

fn to_tls(bytes: &[u8], part: usize, room: usize) {
    let mut mapping = DtlsFormToTls::new();
    let (tls, ended) = run(bytes, part, room, |bytes, out| mapping.map(bytes, out));
    let mut whole = DtlsFormToTls::new();
    let all = |bytes: &[u8], out: &mut [u8]| whole.map(bytes, out);
    let (in_one, ended_in_one) = run(bytes, bytes.len().max(1), ROOM, all);
    assert_eq!(ended, ended_in_one);
    if ended.is_ok() {
        assert_eq!(tls, in_one);
        assert!(tls.len() <= bytes.len());
    }
    let mut again = TlsToDtlsForm::new();
    let (_, ended) = run(&tls, room, part, |bytes, out| again.map(bytes, out));
    assert_eq!(ended, Ok(()), "what was written is TLS");
}

fn run(
    bytes: &[u8],
    part: usize,
    room: usize,
    mut map: impl FnMut(&[u8], &mut [u8]) -> Result<Mapped, Error>,
) -> (Vec<u8>, Result<(), Error>) {
    let mut found = Vec::new();
    let mut out = vec![0; room];
    for mut rest in bytes.chunks(part) {
        loop {
            match map(rest, &mut out) {
                Err(error) => return (found, Err(error)),
                Ok(Mapped { read, written }) => {
                    found.extend(&out[..written]);
                    rest = &rest[read..];
                    if rest.is_empty() && written < room {
                        break;
                    }
                    assert!(read > 0 || written > 0);
                }
            }
        }
    }
    (found, Ok(()))
}

fn hello(bytes: &[u8], part: usize, room: usize) {
    let mut scratch = vec![0; room.saturating_mul(8)];
    let mut found = None;
    for len in (0..=bytes.len()).step_by(part) {
        match (peek_client_hello(&bytes[..len], &mut scratch), found) {
            (Ok(Some(hello)), None) => found = Some(Ok(*hello.random)),
            (Ok(Some(hello)), Some(random)) => assert_eq!(Ok(*hello.random), random),
            (Err(_), None) => found = Some(Err(())),
            // More bytes may say more about what is wrong, and never that nothing is.
            (Err(_), Some(before)) => assert_eq!(before, Err(())),
            (Ok(None), before) => assert_eq!(before, None),
        }
    }
}

/// Room for whatever an input comes to, in bytes.
const ROOM: usize = 1 << 16;
