//! CoAP URIs as text, RFC 7252 §6.1 to §6.4.

use core::fmt;
use core::net::SocketAddr;

use crate::path::Segments;
use crate::percent::{self, MAX_COMPONENT_LEN, check_component};
use crate::slice_text::SliceText;
use crate::uri_host::{host_bytes, parse_authority};
use crate::{EncodeError, MessageOption, MessageWriter, OptionNumber, Scheme, UriError, UriHost};

/// A URI of one of CoAP's schemes, checked and borrowed from its text.
///
/// Displayed, it is in normal form (RFC 7252 §6.3).
#[derive(Clone, Copy, Debug)]
pub struct CoapUri<'a> {
    scheme: Scheme,
    host: UriHost<'a>,
    port: Option<u16>,
    path: &'a str,
    query: Option<&'a str>,
}

impl<'a> CoapUri<'a> {
    /// Parses an absolute URI.
    ///
    /// # Errors
    ///
    /// The variants of [`UriError`] up to [`UriError::PathTooDeep`].
    pub fn parse(text: &'a str) -> Result<Self, UriError> {
        let (scheme, rest) = text.split_once(':').ok_or(UriError::NotAbsolute)?;
        let scheme = Scheme::from_name(scheme).ok_or(UriError::UnknownScheme)?;
        // Fails for the fragment (RFC 7252 §6.4, step 4).
        if rest.contains('#') {
            return Err(UriError::Fragment);
        }
        let rest = rest.strip_prefix("//").ok_or(UriError::MissingHost)?;
        let (rest, query) = match rest.split_once('?') {
            Some((rest, query)) => (rest, Some(query)),
            None => (rest, None),
        };
        let (authority, path) = match rest.find('/').and_then(|at| rest.split_at_checked(at)) {
            Some(parts) => parts,
            None => (rest, ""),
        };
        let (host, port) = parse_authority(authority)?;
        let uri = Self {
            scheme,
            host,
            port,
            path,
            query,
        };
        uri.check_path_and_query()?;
        Ok(uri)
    }

    /// Returns the scheme.
    pub const fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Returns the host.
    pub const fn host(&self) -> UriHost<'a> {
        self.host
    }

    /// Returns the port: the one named, or the scheme's default.
    pub fn port(&self) -> u16 {
        self.port.unwrap_or(self.scheme.default_port())
    }

    /// Appends the options of a request for this URI (RFC 7252 §6.4): Uri-Host, Uri-Port, Uri-Path
    /// and Uri-Query, and between them, in their places, `others`.
    ///
    /// `destination` is where the request will be sent; `None` if that is the host and the port
    /// that the URI names. Of `others` those that come after Uri-Query are written too.
    ///
    /// # Errors
    ///
    /// [`EncodeError::OptionOutOfOrder`] if `others` are not in the order of their numbers, or if
    /// the writer is already past a number needed; those of [`MessageWriter::option`].
    pub fn write_options(
        &self,
        destination: Option<SocketAddr>,
        others: &[MessageOption<'_>],
        writer: &mut MessageWriter<'_>,
    ) -> Result<(), EncodeError> {
        let others = write_up_to(OptionNumber::URI_HOST, others, writer)?;
        self.write_host(destination, writer)?;
        let others = write_up_to(OptionNumber::URI_PORT, others, writer)?;
        self.write_port(destination, writer)?;
        let others = write_up_to(OptionNumber::URI_PATH, others, writer)?;
        self.write_path(writer)?;
        let others = write_up_to(OptionNumber::URI_QUERY, others, writer)?;
        self.write_query(writer)?;
        others
            .iter()
            .try_for_each(|option| writer.copy_option(*option))
    }

    /// Appends Uri-Host, unless the host is the address that the request is sent to.
    ///
    /// # Errors
    ///
    /// Those of [`MessageWriter::option`].
    pub fn write_host(
        &self,
        destination: Option<SocketAddr>,
        writer: &mut MessageWriter<'_>,
    ) -> Result<(), EncodeError> {
        let mut room = [0; MAX_COMPONENT_LEN];
        let value = match (self.host, destination) {
            (UriHost::Name(name), _) => percent::fill(&mut room, host_bytes(name)),
            (_, None) => return Ok(()),
            // A socket for both families names IPv4 peers by mapped addresses.
            (host, Some(destination))
                if host.address() == Some(destination.ip().to_canonical()) =>
            {
                return Ok(());
            }
            (host, Some(_)) => {
                let mut text = SliceText::new(&mut room);
                match fmt::write(&mut text, format_args!("{host}")) {
                    Ok(()) => Some(text.into_written()),
                    Err(fmt::Error) => None,
                }
            }
        };
        writer.option(OptionNumber::URI_HOST, value.unwrap_or_default())
    }

    /// Appends Uri-Port, unless the port is the one that the request is sent to.
    ///
    /// # Errors
    ///
    /// Those of [`MessageWriter::option`].
    pub fn write_port(
        &self,
        destination: Option<SocketAddr>,
        writer: &mut MessageWriter<'_>,
    ) -> Result<(), EncodeError> {
        match destination {
            Some(destination) if destination.port() != self.port() => {
                writer.option_uint(OptionNumber::URI_PORT, u32::from(self.port()))
            }
            _ => Ok(()),
        }
    }

    /// Appends one Uri-Path for each segment, dot segments resolved.
    ///
    /// # Errors
    ///
    /// Those of [`MessageWriter::option`].
    pub fn write_path(&self, writer: &mut MessageWriter<'_>) -> Result<(), EncodeError> {
        self.segments()
            .try_for_each(|segment| write_decoded(OptionNumber::URI_PATH, segment, writer))
    }

    /// Appends one Uri-Query for each argument.
    ///
    /// # Errors
    ///
    /// Those of [`MessageWriter::option`].
    pub fn write_query(&self, writer: &mut MessageWriter<'_>) -> Result<(), EncodeError> {
        self.arguments()
            .try_for_each(|argument| write_decoded(OptionNumber::URI_QUERY, argument, writer))
    }

    /// The path's segments that become options, percent-encoded.
    fn segments(&self) -> Segments<'a> {
        // The path was checked, so the error never comes.
        Segments::new(self.path).unwrap_or_else(|_| Segments::none())
    }

    /// The query's arguments, percent-encoded.
    fn arguments(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.query.into_iter().flat_map(|query| query.split('&'))
    }

    fn check_path_and_query(&self) -> Result<(), UriError> {
        for segment in self.path.split('/') {
            check_component(segment, percent::is_segment_char, |len| {
                UriError::SegmentTooLong { len }
            })?;
        }
        Segments::new(self.path)?;
        for argument in self.arguments() {
            check_component(argument, percent::is_query_char, |len| {
                UriError::ArgumentTooLong { len }
            })?;
        }
        Ok(())
    }
}

impl fmt::Display for CoapUri<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}://{}", self.scheme, self.host)?;
        if self.port() != self.scheme.default_port() {
            write!(formatter, ":{}", self.port())?;
        }
        let mut segments = self.segments().peekable();
        if segments.peek().is_none() {
            formatter.write_str("/")?;
        }
        for segment in segments {
            formatter.write_str("/")?;
            let bytes = percent::decoded(segment);
            percent::encode(formatter, bytes, percent::is_segment_char)?;
        }
        for (index, argument) in self.arguments().enumerate() {
            formatter.write_str(if index == 0 { "?" } else { "&" })?;
            let bytes = percent::decoded(argument);
            percent::encode(formatter, bytes, is_argument_char)?;
        }
        Ok(())
    }
}

/// Says whether `byte` may stand in an argument of a query: `&` would end it (RFC 7252 §6.5).
pub(crate) const fn is_argument_char(byte: u8) -> bool {
    percent::is_query_char(byte) && byte != b'&'
}

/// Appends an option whose value is the percent-decoded form of checked text.
fn write_decoded(
    number: OptionNumber,
    text: &str,
    writer: &mut MessageWriter<'_>,
) -> Result<(), EncodeError> {
    if !text.contains('%') {
        return writer.option(number, text.as_bytes());
    }
    let mut room = [0; MAX_COMPONENT_LEN];
    // The text was checked, so it fits.
    let value = percent::fill(&mut room, percent::decoded(text)).unwrap_or_default();
    writer.option(number, value)
}

/// Appends those options at the front of `others` whose numbers are below `number`.
fn write_up_to<'o, 'v>(
    number: OptionNumber,
    others: &'o [MessageOption<'v>],
    writer: &mut MessageWriter<'_>,
) -> Result<&'o [MessageOption<'v>], EncodeError> {
    let mut rest = others;
    while let Some((option, after)) = rest.split_first() {
        if option.number() >= number {
            break;
        }
        writer.copy_option(*option)?;
        rest = after;
    }
    Ok(rest)
}
