//! Path segments with dot segments resolved, RFC 3986 §5.2.4.

use core::array::IntoIter;
use core::iter::Take;
use core::str::Split;

use crate::UriError;
use crate::percent;

/// The most segments that a path with dot segments may have at once.
const MAX_DEPTH: usize = 32;

/// The segments of a path that become Uri-Path options, still percent-encoded.
///
/// Without an allocator a path with dot segments is resolved on a stack of fixed size; any other
/// path is walked as it is.
#[derive(Clone, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "there is no allocator to box it with, and it lives for one walk"
)]
pub(crate) enum Segments<'a> {
    Direct(Split<'a, char>),
    Resolved(Take<IntoIter<&'a str, MAX_DEPTH>>),
}

impl<'a> Segments<'a> {
    /// Resolves `path`, which is empty or begins with a slash.
    pub(crate) fn new(path: &'a str) -> Result<Self, UriError> {
        // RFC 7252 §6.4, step 8: an empty path and a single slash have no segments.
        let Some(inner) = path.strip_prefix('/').filter(|inner| !inner.is_empty()) else {
            return Ok(Self::none());
        };
        if inner.split('/').all(|segment| dots(segment).is_none()) {
            return Ok(Self::Direct(inner.split('/')));
        }
        let mut stack = [""; MAX_DEPTH];
        let mut len: usize = 0;
        let mut push = |len: &mut usize, segment| {
            let place = stack.get_mut(*len);
            *place.ok_or(UriError::PathTooDeep { max: MAX_DEPTH })? = segment;
            *len += 1;
            Ok(())
        };
        let mut ends_in_dots = false;
        for segment in inner.split('/') {
            let dots = dots(segment);
            match dots {
                None => push(&mut len, segment)?,
                Some(Dots::Same) => {}
                Some(Dots::Parent) => len = len.saturating_sub(1),
            }
            ends_in_dots = dots.is_some();
        }
        // What is left of "/a/." and "/a/b/.." is "/a/".
        if ends_in_dots {
            push(&mut len, "")?;
        }
        if len == 1 && stack.first() == Some(&"") {
            return Ok(Self::none());
        }
        Ok(Self::Resolved(stack.into_iter().take(len)))
    }

    pub(crate) fn none() -> Self {
        Self::Resolved([""; MAX_DEPTH].into_iter().take(0))
    }
}

impl<'a> Iterator for Segments<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Direct(segments) => segments.next(),
            Self::Resolved(segments) => segments.next(),
        }
    }
}

/// What a dot segment stands for.
#[derive(Clone, Copy)]
enum Dots {
    Same,
    Parent,
}

/// Says whether a percent-encoded segment is a dot segment.
///
/// MUST (RFC 7252 §5.10.1): the value of a Uri-Path Option is neither "." nor "..". `%2e` is a dot
/// like any other (RFC 3986 §6.2.2.2), so that no detour leads around the resolution.
fn dots(segment: &str) -> Option<Dots> {
    if !segment.starts_with(['.', '%']) {
        return None;
    }
    let mut bytes = percent::decoded(segment);
    match (bytes.next(), bytes.next(), bytes.next()) {
        (Some(b'.'), None, None) => Some(Dots::Same),
        (Some(b'.'), Some(b'.'), None) => Some(Dots::Parent),
        _ => None,
    }
}
