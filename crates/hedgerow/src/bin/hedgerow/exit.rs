//! How the program ends: a class for every failure, and its exit code.

use std::fmt;

/// Why the program failed. The numbers are a promise to scripts: see `docs/PROGRAM.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// A file or a socket of this machine failed.
    Local,
    /// The command line, a URI, a key or a configuration is wrong.
    Usage,
    /// The host's name has no address.
    Name,
    /// Nobody answered in time.
    Timeout,
    /// The credentials were refused, or the server fell silent once they were used.
    Credentials,
    /// The gateway doesn't let this user reach the device in this way.
    Denied,
    /// The peer ended the channel or the exchange in some other way.
    Protocol,
    /// The response was of class 4.
    ClientError,
    /// The response was of class 5.
    ServerError,
}

impl Class {
    /// Returns the exit code.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Local => 1,
            Self::Usage => 2,
            Self::Name => 3,
            Self::Timeout => 4,
            Self::Credentials => 5,
            Self::Protocol => 6,
            Self::Denied => 7,
            Self::ClientError => 14,
            Self::ServerError => 15,
        }
    }

    /// Returns the name that `--json` gives.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Usage => "usage",
            Self::Name => "name",
            Self::Timeout => "timeout",
            Self::Credentials => "credentials",
            Self::Protocol => "protocol",
            Self::Denied => "denied",
            Self::ClientError => "client_error",
            Self::ServerError => "server_error",
        }
    }
}

/// A failure with what people are told about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) class: Class,
    pub(crate) message: String,
}

impl Failure {
    pub(crate) fn new(class: Class, message: impl Into<String>) -> Self {
        Self {
            class,
            message: message.into(),
        }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Class::Usage, message)
    }

    /// A file that can't be used as the command line wants it.
    pub(crate) fn file(path: &std::path::Path, error: &std::io::Error) -> Self {
        Self::new(Class::Local, format!("{}: {error}", path.display()))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

/// The exit codes, for `--help`.
pub(crate) const HELP: &str = "\
Exit codes:
   0  done; the response, if there was one, was of class 2
   1  a file or a socket of this machine failed
   2  the command line, a URI, a key or a configuration is wrong
   3  the host's name has no address
   4  no answer in time
   5  credentials refused or not answered
   6  the channel or the exchange failed in another way
   7  the gateway has no such device, or not for this user or in this mode
  14  the response was a client error (4.xx)
  15  the response was a server error (5.xx)";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_lists_every_exit_code() {
        let classes = [
            Class::Local,
            Class::Usage,
            Class::Name,
            Class::Timeout,
            Class::Credentials,
            Class::Protocol,
            Class::Denied,
            Class::ClientError,
            Class::ServerError,
        ];
        for class in classes {
            let line = format!("\n  {:>2}  ", class.code());
            assert!(HELP.contains(&line), "{class:?}");
        }
        // The heading and success are the other two.
        assert_eq!(HELP.lines().count(), classes.len() + 2);
    }
}
