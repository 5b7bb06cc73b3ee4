//! Text into bytes without an allocator.

use core::fmt;

/// Text written to the front of a byte slice.
pub(crate) struct SliceText<'a> {
    out: &'a mut [u8],
    len: usize,
}

impl<'a> SliceText<'a> {
    pub(crate) const fn new(out: &'a mut [u8]) -> Self {
        Self { out, len: 0 }
    }

    pub(crate) fn into_written(self) -> &'a [u8] {
        self.out.get(..self.len).unwrap_or_default()
    }
}

impl fmt::Write for SliceText<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = self.out.get_mut(self.len..).unwrap_or_default();
        let room = room.get_mut(..text.len()).ok_or(fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.len += text.len();
        Ok(())
    }
}
