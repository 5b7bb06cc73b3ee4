//! Writing link format, RFC 6690 §2.

use core::fmt::{self, Write as _};

use crate::link::{is_name_char, is_quoted_char, is_target_char, is_token_char};
use crate::slice_text::SliceText;
use crate::{Link, LinkError};

/// Appends links to the front of a caller's buffer.
///
/// A call that fails leaves what was written before as it was.
#[derive(Debug)]
pub struct LinkWriter<'a> {
    out: &'a mut [u8],
    len: usize,
}

impl<'a> LinkWriter<'a> {
    /// Starts at the front of `out`.
    pub const fn new(out: &'a mut [u8]) -> Self {
        Self { out, len: 0 }
    }

    /// Begins a link to `target`, a URI reference.
    ///
    /// # Errors
    ///
    /// [`LinkError::InvalidCharacter`], [`LinkError::BufferTooSmall`].
    pub fn link(&mut self, target: &str) -> Result<(), LinkError> {
        check(target, is_target_char)?;
        self.append(format_args!("{}<{target}>", self.separator()))
    }

    /// Appends a link from another document with its attributes.
    ///
    /// # Errors
    ///
    /// [`LinkError::BufferTooSmall`].
    pub fn copy_link(&mut self, link: &Link<'_>) -> Result<(), LinkError> {
        self.append(format_args!("{}{}", self.separator(), link.as_str()))
    }

    /// Appends an attribute with a quoted value, such as `rt` or `title`.
    ///
    /// # Errors
    ///
    /// [`LinkError::NoLink`] before the first link; [`LinkError::InvalidCharacter`] in the name, or
    /// for a control character in the value; [`LinkError::BufferTooSmall`].
    pub fn quoted(&mut self, name: &str, value: &str) -> Result<(), LinkError> {
        self.check_name(name)?;
        if !value.chars().all(is_quoted_char) {
            return Err(LinkError::InvalidCharacter);
        }
        self.append(format_args!(";{name}=\"{}\"", Escaped(value)))
    }

    /// Appends an attribute with a bare value, without quotes.
    ///
    /// # Errors
    ///
    /// As [`Self::quoted`]; [`LinkError::InvalidCharacter`] also for an empty value and for
    /// characters that need quotes.
    pub fn token(&mut self, name: &str, value: &str) -> Result<(), LinkError> {
        self.check_name(name)?;
        if value.is_empty() {
            return Err(LinkError::InvalidCharacter);
        }
        check(value, is_token_char)?;
        self.append(format_args!(";{name}={value}"))
    }

    /// Appends an attribute with a number, such as `ct` or `sz`.
    ///
    /// # Errors
    ///
    /// As [`Self::quoted`].
    pub fn number(&mut self, name: &str, value: u32) -> Result<(), LinkError> {
        self.check_name(name)?;
        self.append(format_args!(";{name}={value}"))
    }

    /// Appends an attribute without a value, such as `obs`.
    ///
    /// # Errors
    ///
    /// As [`Self::quoted`].
    pub fn flag(&mut self, name: &str) -> Result<(), LinkError> {
        self.check_name(name)?;
        self.append(format_args!(";{name}"))
    }

    /// Ends the document and returns its length in bytes.
    pub const fn finish(self) -> usize {
        self.len
    }

    const fn separator(&self) -> &'static str {
        match self.len {
            0 => "",
            _ => ",",
        }
    }

    fn check_name(&self, name: &str) -> Result<(), LinkError> {
        if self.len == 0 {
            return Err(LinkError::NoLink);
        }
        let stem = name.strip_suffix('*').unwrap_or(name);
        if stem.is_empty() {
            return Err(LinkError::InvalidCharacter);
        }
        check(stem, is_name_char)
    }

    fn append(&mut self, text: fmt::Arguments<'_>) -> Result<(), LinkError> {
        let room = self.out.get_mut(self.len..).unwrap_or_default();
        let available = room.len();
        let mut out = SliceText::new(room);
        out.write_fmt(text)
            .map_err(|_| LinkError::BufferTooSmall { available })?;
        self.len += out.into_written().len();
        Ok(())
    }
}

/// A value with a backslash before each quote and backslash.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for char in self.0.chars() {
            if matches!(char, '"' | '\\') {
                formatter.write_char('\\')?;
            }
            formatter.write_char(char)?;
        }
        Ok(())
    }
}

fn check(text: &str, allowed: impl Fn(char) -> bool) -> Result<(), LinkError> {
    match text.chars().all(allowed) {
        true => Ok(()),
        false => Err(LinkError::InvalidCharacter),
    }
}
