//! A folder for files that only their owner may read.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// A new folder that only its owner may enter. Dropping it removes it with the files that were
/// written into it.
#[derive(Debug)]
pub(crate) struct PrivateFolder {
    path: PathBuf,
    files: Vec<PathBuf>,
}

impl PrivateFolder {
    /// Makes the folder `name` in the user's folder for what lives as long as a login, or else in
    /// the one for temporary files.
    ///
    /// # Errors
    ///
    /// Those of the operating system; [`io::ErrorKind::AlreadyExists`] if there is anything under
    /// that name, since somebody else may have put it there.
    pub(crate) fn create(name: &str) -> io::Result<Self> {
        let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        let parent = runtime
            .filter(|path| path.is_absolute() && path.is_dir())
            .unwrap_or_else(std::env::temp_dir);
        let path = parent.join(name);
        let mut builder = DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&path)?;
        Ok(Self {
            path,
            files: Vec::new(),
        })
    }

    /// Returns where the folder is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a new file that only its owner may read, and returns where it is.
    ///
    /// # Errors
    ///
    /// Those of the operating system; [`io::ErrorKind::AlreadyExists`] if there is such a file.
    pub(crate) fn write(&mut self, name: &str, content: &[u8]) -> io::Result<PathBuf> {
        let path = self.path.join(name);
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&path)?;
        self.files.push(path.clone());
        file.write_all(content)?;
        Ok(path)
    }
}

impl Drop for PrivateFolder {
    fn drop(&mut self) {
        for file in &self.files {
            if let Err(error) = fs::remove_file(file) {
                tracing::warn!(file = %file.display(), %error, "key file not removed");
            }
        }
        if let Err(error) = fs::remove_dir(&self.path) {
            tracing::warn!(folder = %self.path.display(), %error, "key folder not removed");
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn folder_and_files_are_their_owners_alone_and_go_when_dropped() {
        let name = format!("hedgerow-test-{}", std::process::id());
        let mut folder = PrivateFolder::create(&name).unwrap();
        let file = folder.write("keys.toml", b"secret").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(folder.path()), mode(&file)), (0o700, 0o600));
        assert_eq!(fs::read(&file).unwrap(), b"secret");
        let again = folder.write("keys.toml", b"other").unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
        let taken = PrivateFolder::create(&name).unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AlreadyExists);
        let path = folder.path().to_owned();
        drop(folder);
        assert!(!path.exists());
    }
}
