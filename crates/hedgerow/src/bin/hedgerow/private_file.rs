//! Files that only their owner should be able to read.

use std::path::Path;

#[cfg(unix)]
use crate::report;

/// Warns on standard error of a file with keys that others may read.
pub(crate) fn warn_if_readable_by_others(path: &Path) {
    #[cfg(unix)]
    if let Ok(metadata) = std::fs::metadata(path)
        && std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o077 != 0
    {
        report::tell(&format!(
            "warning: {} is not for its owner alone (chmod 600)",
            path.display()
        ));
    }
    #[cfg(not(unix))]
    let _ = path;
}
