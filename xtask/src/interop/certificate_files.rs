//! Keys and certificates of an interop run, made by OpenSSL and so by nobody here.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use hedgerow_net::{Authorities, Identity, RawPublicKey};

use crate::child::{self, Echo, Ending};

/// What a server's certificate says that it is.
pub(super) const SERVER_NAME: &str = "device.example";

/// What a client's certificate says that it is.
pub(super) const CLIENT_NAME: &str = "reader.example";

/// A folder with an authority, another that nobody trusts, and a key with a certificate for each end.
pub(super) struct Files {
    folder: PathBuf,
}

impl Files {
    /// Makes all of them: authorities `ca` and `other`, `server` and `client` below `ca`, `stranger`
    /// below `other`.
    pub(super) fn make() -> Result<Self, String> {
        let folder = std::env::temp_dir().join("certificates");
        fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
        let files = Self { folder };
        for name in ["ca", "other"] {
            files.key(name)?;
            let subject = format!("/CN={name}");
            files.openssl(&[
                "req",
                "-x509",
                "-new",
                "-key",
                &files.path(name, "key"),
                "-subj",
                &subject,
                "-days",
                "30",
                "-out",
                &files.path(name, "pem"),
            ])?;
        }
        files.sign("server", SERVER_NAME, "serverAuth", "ca")?;
        files.sign("client", CLIENT_NAME, "clientAuth", "ca")?;
        files.sign("stranger", CLIENT_NAME, "clientAuth", "other")?;
        Ok(files)
    }

    /// Makes an authority `rsa-ca` and below it `rsa-server`, with keys for RSA of 2,048 bits.
    pub(super) fn make_rsa(&self) -> Result<(), String> {
        for name in ["rsa-ca", "rsa-server"] {
            let key = self.path(name, "key");
            self.openssl(&["genrsa", "-out", &key, "2048"])?;
        }
        self.openssl(&[
            "req",
            "-x509",
            "-new",
            "-key",
            &self.path("rsa-ca", "key"),
            "-subj",
            "/CN=rsa-ca",
            "-days",
            "30",
            "-out",
            &self.path("rsa-ca", "pem"),
        ])?;
        self.certify("rsa-server", SERVER_NAME, "serverAuth", "rsa-ca")
    }

    /// Returns the path of a file: `key`, `pem` or `pub` of one of the names.
    pub(super) fn path(&self, name: &str, kind: &str) -> String {
        let path = self.folder.join(format!("{name}.{kind}"));
        path.display().to_string()
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Reads a key, with its certificate or without.
    pub(super) fn identity(&self, name: &str, is_raw: bool) -> Result<Arc<Identity>, String> {
        let text = |error: hedgerow_net::IdentityError| error.to_string();
        let identity = Identity::new(&self.read(name, "key")?).map_err(text)?;
        match is_raw {
            true => Ok(Arc::new(identity)),
            false => identity
                .with_certificates(&self.read(name, "pem")?)
                .map(Arc::new)
                .map_err(text),
        }
    }

    pub(super) fn authority(&self, name: &str) -> Result<Authorities, String> {
        Authorities::new(&self.read(name, "pem")?).map_err(|error| error.to_string())
    }

    pub(super) fn raw_public_key(&self, name: &str) -> Result<RawPublicKey, String> {
        RawPublicKey::new(&self.read(name, "pub")?).map_err(|error| error.to_string())
    }

    fn read(&self, name: &str, kind: &str) -> Result<Vec<u8>, String> {
        fs::read(self.path(name, kind)).map_err(|error| format!("{name}.{kind}: {error}"))
    }

    fn key(&self, name: &str) -> Result<(), String> {
        let key = self.path(name, "key");
        self.openssl(&[
            "ecparam",
            "-name",
            "prime256v1",
            "-genkey",
            "-noout",
            "-out",
            &key,
        ])?;
        self.openssl(&[
            "ec",
            "-in",
            &key,
            "-pubout",
            "-out",
            &self.path(name, "pub"),
        ])
    }

    fn sign(&self, name: &str, dns: &str, purpose: &str, issuer: &str) -> Result<(), String> {
        self.key(name)?;
        self.certify(name, dns, purpose, issuer)
    }

    /// Makes a certificate for a key that is there.
    fn certify(&self, name: &str, dns: &str, purpose: &str, issuer: &str) -> Result<(), String> {
        let extensions = self.path(name, "ext");
        let text = format!("subjectAltName=DNS:{dns}\nextendedKeyUsage={purpose}\n");
        fs::write(&extensions, text).map_err(|error| error.to_string())?;
        let (request, subject) = (self.path(name, "csr"), format!("/CN={name}"));
        let key = self.path(name, "key");
        self.openssl(&[
            "req", "-new", "-key", &key, "-subj", &subject, "-out", &request,
        ])?;
        self.openssl(&[
            "x509",
            "-req",
            "-in",
            &request,
            "-CA",
            &self.path(issuer, "pem"),
            "-CAkey",
            &self.path(issuer, "key"),
            "-CAcreateserial",
            "-days",
            "30",
            "-extfile",
            &extensions,
            "-out",
            &self.path(name, "pem"),
        ])
    }

    fn openssl(&self, arguments: &[&str]) -> Result<(), String> {
        let mut command = Command::new("openssl");
        command
            .args(arguments)
            .current_dir(&self.folder)
            .stdin(Stdio::null());
        let finished = child::run(&mut command, Duration::from_secs(20), Echo::Hidden)?;
        match finished.ending {
            Ending::Exited(0) => Ok(()),
            _ => Err(format!("openssl {arguments:?}: {}", finished.output)),
        }
    }
}
