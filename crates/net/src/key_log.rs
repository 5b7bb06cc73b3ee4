//! A key log for Wireshark, in a file.

use std::fmt::{self, Write as _};
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use hedgerow_core::KeyLog;
use tracing::warn;
use zeroize::Zeroizing;

/// A file that master secrets are written to, in the format of NSS that Wireshark reads
/// (`tls.keylog_file`, for DTLS too), and the keys of inner sessions (mode `itls`) under a label of their own.
/// Clones write to the same file.
///
/// **Whoever reads the file reads every connection of the node, recorded or live.** It is for
/// debugging, there is none by default, and opening one is said as a warning in the log.
#[derive(Clone)]
pub struct KeyLogFile {
    file: Arc<Mutex<File>>,
}

impl KeyLogFile {
    /// Opens a file to write behind what it has, or makes one that only its owner can read (Unix).
    ///
    /// # Errors
    ///
    /// Those of the system; [`io::ErrorKind::PermissionDenied`] for a file that is there already and
    /// that others can read or write, or for what isn't a file (Unix).
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.append(true).create(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(path)?;
        #[cfg(unix)]
        check_private(&file)?;
        warn!(
            path = %path.display(),
            "KEY LOG IS ON: whoever reads this file reads every connection made from now on"
        );
        Ok(Self {
            file: Arc::new(Mutex::new(file)),
        })
    }
}

/// Somebody else may have put a file of his own there before.
#[cfg(unix)]
fn check_private(file: &File) -> io::Result<()> {
    let metadata = file.metadata()?;
    let mode = std::os::unix::fs::MetadataExt::mode(&metadata);
    if metadata.is_file() && mode & 0o077 == 0 {
        return Ok(());
    }
    let message = "not a file that its owner alone can read: expected chmod 600, or no file yet";
    Err(io::Error::new(io::ErrorKind::PermissionDenied, message))
}

impl KeyLog for KeyLogFile {
    fn log(&self, label: &str, client_random: &[u8; 32], secret: &[u8]) {
        let mut line = Zeroizing::new(String::with_capacity(LINE_LEN));
        line.push_str(label);
        for field in [&client_random[..], secret] {
            line.push(' ');
            for byte in field {
                // Writing to a string doesn't fail.
                let _ = write!(line, "{byte:02x}");
            }
        }
        line.push('\n');
        // One write, so that lines of several nodes don't mix.
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = file.write_all(line.as_bytes()) {
            warn!(%error, "key log can't be written");
        }
    }
}

/// That there is one, and no more.
impl fmt::Debug for KeyLogFile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("KeyLogFile").finish_non_exhaustive()
    }
}

/// The longest line, which is that of an inner session of mode `itls`: label, random bytes and keys in hexadecimal,
/// two spaces and the end. None outgrows its string, which would leave a copy behind.
const LINE_LEN: usize = 15 + 2 + 2 * (32 + 64) + 1;
