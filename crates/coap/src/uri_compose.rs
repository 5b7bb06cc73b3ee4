//! Composing URIs from options, RFC 7252 §6.5.

use core::fmt;
use core::net::{IpAddr, Ipv6Addr, SocketAddr};

use crate::percent;
use crate::slice_text::SliceText;
use crate::uri::is_argument_char;
use crate::uri_host::is_host_byte;
use crate::{Message, OptionNumber, Scheme, UriError, decode_uint};

impl Message<'_> {
    /// Composes the URI that a request is for and writes it to `out` (RFC 7252 §6.5).
    ///
    /// `scheme` says how the request came, and `destination` is the address that it was sent to.
    /// Proxy-Uri and Proxy-Scheme are not looked at: they are a proxy's business, and come first.
    ///
    /// # Errors
    ///
    /// [`UriError::InvalidOption`] and [`UriError::DotSegment`] for options that no URI has;
    /// [`UriError::OutputFull`] if `out` refuses the text.
    pub fn compose_uri(
        &self,
        scheme: Scheme,
        destination: SocketAddr,
        out: &mut impl fmt::Write,
    ) -> Result<(), UriError> {
        out.write_str(scheme.name()).map_err(full)?;
        out.write_str("://").map_err(full)?;
        self.compose_host(destination.ip(), out)?;
        let port = match self.numbered(OptionNumber::URI_PORT).next().transpose()? {
            None => destination.port(),
            Some(value) => decode_uint(value)
                .and_then(|port| u16::try_from(port).ok())
                .ok_or(UriError::InvalidOption(OptionNumber::URI_PORT))?,
        };
        if port != scheme.default_port() {
            write!(out, ":{port}").map_err(full)?;
        }
        self.compose_path_and_query(out)
    }

    /// Composes the URI into the front of `out` and returns its length in bytes.
    ///
    /// # Errors
    ///
    /// As [`Self::compose_uri`]; [`UriError::OutputFull`] if `out` is too small.
    pub fn compose_uri_into(
        &self,
        scheme: Scheme,
        destination: SocketAddr,
        out: &mut [u8],
    ) -> Result<usize, UriError> {
        let mut text = SliceText::new(out);
        self.compose_uri(scheme, destination, &mut text)?;
        Ok(text.into_written().len())
    }

    /// Composes the part of the URI behind host and port: path, and query if there is one.
    ///
    /// # Errors
    ///
    /// [`UriError::DotSegment`]; [`UriError::InvalidOption`] for a value over 255 bytes;
    /// [`UriError::OutputFull`].
    pub fn compose_path_and_query(&self, out: &mut impl fmt::Write) -> Result<(), UriError> {
        let mut is_root = true;
        for option in self.numbered(OptionNumber::URI_PATH) {
            let segment = option?;
            // MUST (RFC 7252 §5.10.1): a Uri-Path Option is neither "." nor "..", which in a URI
            // would lead out of the path.
            if matches!(segment, b"." | b"..") {
                return Err(UriError::DotSegment);
            }
            out.write_str("/").map_err(full)?;
            let bytes = segment.iter().copied();
            percent::encode(out, bytes, percent::is_segment_char).map_err(full)?;
            is_root = false;
        }
        if is_root {
            out.write_str("/").map_err(full)?;
        }
        let mut separator = "?";
        for option in self.numbered(OptionNumber::URI_QUERY) {
            out.write_str(separator).map_err(full)?;
            let bytes = option?.iter().copied();
            percent::encode(out, bytes, is_argument_char).map_err(full)?;
            separator = "&";
        }
        Ok(())
    }

    /// RFC 7252 §6.5, step 2.
    fn compose_host(&self, address: IpAddr, out: &mut impl fmt::Write) -> Result<(), UriError> {
        let invalid = UriError::InvalidOption(OptionNumber::URI_HOST);
        let Some(host) = self.numbered(OptionNumber::URI_HOST).next().transpose()? else {
            return match address.to_canonical() {
                IpAddr::V4(address) => write!(out, "{address}"),
                IpAddr::V6(address) => write!(out, "[{address}]"),
            }
            .map_err(full);
        };
        let host = core::str::from_utf8(host).map_err(|_| invalid)?;
        if let Some(literal) = host.strip_prefix('[') {
            let literal = literal.strip_suffix(']').ok_or(invalid)?;
            let address: Ipv6Addr = literal.parse().map_err(|_| invalid)?;
            return write!(out, "[{address}]").map_err(full);
        }
        // A percent sign is no character of a name: the option's value is decoded, and to read it
        // as an encoding would decode it twice.
        if !host.bytes().all(is_host_byte) {
            return Err(invalid);
        }
        let bytes = host.bytes().map(|byte| byte.to_ascii_lowercase());
        percent::encode(out, bytes, percent::is_name_char).map_err(full)
    }

    /// Iterates over the values of the options with this number. One of undefined length is an
    /// error: to leave it out would name another resource.
    fn numbered(&self, number: OptionNumber) -> impl Iterator<Item = Result<&[u8], UriError>> {
        self.options()
            .filter(move |option| option.number() == number)
            .map(move |option| match option.has_defined_len() {
                true => Ok(option.value()),
                false => Err(UriError::InvalidOption(number)),
            })
    }
}

fn full(_: fmt::Error) -> UriError {
    UriError::OutputFull
}
