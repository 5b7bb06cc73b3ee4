//! Variable-length integers, RFC 9000 §16.

/// The largest integer that there is a form for.
pub(crate) const MAX_VARINT: u64 = (1 << 62) - 1;

/// The longest form, in bytes.
pub(crate) const MAX_VARINT_LEN: usize = 8;

/// Takes an integer from the front; `None` if it isn't all there. Forms longer than needed are as
/// good as any.
pub(crate) fn decode(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let first = *bytes.first()?;
    let len = 1_usize << (first >> 6);
    let (form, rest) = bytes.split_at_checked(len)?;
    let value = form
        .iter()
        .skip(1)
        .fold(u64::from(first & 0x3f), |value, byte| {
            (value << 8) | u64::from(*byte)
        });
    Some((value, rest))
}

/// Returns the length of the shortest form, in bytes; `None` above [`MAX_VARINT`].
pub(crate) const fn encoded_len(value: u64) -> Option<usize> {
    match value {
        0..=0x3f => Some(1),
        0x40..=0x3fff => Some(2),
        0x4000..=0x3fff_ffff => Some(4),
        0x4000_0000..=MAX_VARINT => Some(8),
        _ => None,
    }
}

/// Writes the shortest form and returns its length; `None` above [`MAX_VARINT`] or without room.
pub(crate) fn encode(value: u64, out: &mut [u8]) -> Option<usize> {
    let len = encoded_len(value)?;
    let prefix = u64::from(len.ilog2()) << (len * 8 - 2);
    let form = (value | prefix).to_be_bytes();
    let form = form.get(form.len().checked_sub(len)?..)?;
    out.get_mut(..len)?.copy_from_slice(form);
    Some(len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_has_its_bounds() {
        let mut out = [0; MAX_VARINT_LEN];
        for (value, len) in [
            (0, 1),
            (63, 1),
            (64, 2),
            (16_383, 2),
            (16_384, 4),
            ((1 << 30) - 1, 4),
            (1 << 30, 8),
            (MAX_VARINT, 8),
        ] {
            assert_eq!(encode(value, &mut out), Some(len));
            assert_eq!(encoded_len(value), Some(len));
            let (form, _) = out.split_at(len);
            assert_eq!(decode(form), Some((value, [].as_slice())));
            assert_eq!(decode(&form[..len - 1]), None);
            assert_eq!(encode(value, &mut out[..len - 1]), None);
        }
        assert_eq!(encode(MAX_VARINT + 1, &mut out), None);
        assert_eq!(decode(&[]), None);
    }
}
