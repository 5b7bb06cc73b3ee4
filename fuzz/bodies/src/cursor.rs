//! The byte cursors of `hedgerow-core`.

use hedgerow_core::{Reader, Writer};

/// Reads the fields that the input asks for, writes them back, and expects the same bytes.
///
/// The input's first byte says how many bytes of it choose fields; the rest is what is read.
pub fn cursor(input: &[u8]) {
    let mut reader = Reader::new(input);
    let Ok(fields) = reader.vector8() else {
        assert_eq!(reader.rest(), input, "a failed read took something");
        return;
    };
    let body = reader.rest();
    let mut out = vec![0; body.len()];
    let mut writer = Writer::new(&mut out);
    for field in fields {
        let left = reader.rest();
        let written = writer.len();
        if copy_field(*field, &mut reader, &mut writer).is_none() {
            assert_eq!(reader.rest(), left, "a failed read took something");
            assert_eq!(writer.len(), written, "a failed write left something");
        }
        assert_eq!(writer.len().checked_add(reader.len()), Some(body.len()));
        assert_eq!(body.strip_suffix(reader.rest()), Some(writer.written()));
        assert_eq!(writer.remaining(), reader.len());
    }
    let is_at_end = reader.is_empty();
    assert_eq!(reader.finish().is_ok(), is_at_end);
}

fn copy_field(field: u8, reader: &mut Reader<'_>, writer: &mut Writer<'_>) -> Option<()> {
    let copied = match field {
        0 => writer.u8(reader.u8().ok()?),
        1 => writer.u16(reader.u16().ok()?),
        2 => writer.u24(reader.u24().ok()?),
        3 => writer.u32(reader.u32().ok()?),
        4 => writer.u48(reader.u48().ok()?),
        5 => writer.u64(reader.u64().ok()?),
        6 => writer.vector8(reader.vector8().ok()?),
        7 => writer.vector16(reader.vector16().ok()?),
        8 => {
            let value = reader.vector16().ok()?;
            writer.nested16(|inner| inner.bytes(value))
        }
        9 => writer.bytes(reader.array::<3>().ok()?),
        len => writer.bytes(reader.take(usize::from(len)).ok()?),
    };
    assert_eq!(copied, Ok(()), "what was read must fit where it came from");
    Some(())
}
