//! `hedgerow get` in certificate mode, and what it says of each thing that can be wrong.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic
)]

#[path = "../../net/tests/support/authority.rs"]
mod authority;
mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use authority::{Authority, Owner, Purpose, Time};
use hedgerow::core::{CertificatesOnly, PeerId};
use hedgerow::devices::{DeviceServer, Thermometer};
use hedgerow::net::{Authorities, CertificateStore, Identity, RawPublicKey, ServerCertificates};
use support::{Finished, Server, hedgerow};

/// A folder with the files of a test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("certificates-{name}"));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, content: &str) -> String {
        let path = self.0.join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path.display().to_string()
    }
}

struct Site {
    authority: Authority,
    client: Owner,
    folder: Folder,
    own: String,
    key: String,
    trusted: String,
}

impl Site {
    fn new(name: &str) -> Self {
        let folder = Folder::new(name);
        let authority = Authority::new("site");
        let client = authority.owner("reader.example", Purpose::Client);
        Self {
            own: folder.write("own.pem", &client.certificate),
            key: folder.write("own.key", &client.key),
            trusted: folder.write("site.pem", &authority.pem),
            authority,
            client,
            folder,
        }
    }

    /// A server that lets the client in by its name and by its key.
    fn server(&self, owner: &Owner) -> Server {
        let identity = Identity::new(owner.key.as_bytes()).unwrap();
        let identity = identity
            .with_certificates(owner.certificate.as_bytes())
            .unwrap();
        let trusted = Authorities::new(self.authority.pem.as_bytes()).unwrap();
        let key = RawPublicKey::new(self.client.public_key.as_bytes()).unwrap();
        let certificates = ServerCertificates::new(Arc::new(identity))
            .with_names(&trusted, [("reader.example", PeerId(1))])
            .unwrap()
            .with_raw_public_key(key, PeerId(2));
        let store = CertificatesOnly(CertificateStore::new(certificates));
        Server::with_store(store, DeviceServer::new(Thermometer))
    }

    fn ask(&self, uri: &str, flags: &[&str]) -> Finished {
        let own = ["get", uri, "-B", "5", "-c", &self.own, "-j", &self.key];
        hedgerow(&[&own, flags].concat())
    }
}

#[test]
fn certificates_and_raw_public_keys_are_shown_and_accepted() {
    let site = Site::new("accepted");
    let lamp = site.authority.owner("lamp.example", Purpose::Server);
    let server = site.server(&lamp);
    let (udp, tcp) = (server.uri("/temperature"), server.tls_uri("/temperature"));
    let trust = ["-C", &site.trusted, "--server-name", "lamp.example"];
    for uri in [&udp, &tcp] {
        let read = site.ask(uri, &trust);
        assert_eq!((read.code(), read.stdout(), read.stderr()), (0, "21.0", ""));
    }
    // One file with both, and trust by the other letter, as libcoap's client has it.
    let both = site.client.certificate.clone() + &site.client.key;
    let both = site.folder.write("both.pem", &both);
    let named = ["--server-name", "lamp.example"];
    let line = ["get", &udp, "-v", "-c", &both, "-R", &site.trusted];
    let read = hedgerow(&[&line[..], &named].concat());
    assert_eq!(read.code(), 0, "{read:?}");
    let told = "DTLS with the certificate of \\\"lamp.example\\\", Certificate";
    assert!(read.stderr().contains(told), "{}", read.stderr());

    let server_key = site.folder.write("lamp.pub", &lamp.public_key);
    let raw = ["-M", &site.key, "--server-key", &server_key];
    let read = hedgerow(&[&["get", "--json", &tcp][..], &raw].concat());
    assert_eq!(read.code(), 0, "{read:?}");
    let security = &read.json()["security"];
    assert_eq!(security["mode"], "tls-raw-public-key");
    assert_eq!(security["security_mode"], "Certificate");
    assert_eq!(security["suite"], "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256");

    // The same from a file.
    let keys = format!(
        "[[key]]\nuri = \"{}\"\ncertificate = \"own.pem\"\nprivate_key = \"own.key\"\n\
         authority = \"site.pem\"\nserver_name = \"lamp.example\"\n",
        server.uri("")
    );
    let keys = site.folder.write("keys.toml", &keys);
    let read = hedgerow(&["get", "--keys", &keys, &udp]);
    assert_eq!((read.code(), read.stdout(), read.stderr()), (0, "21.0", ""));
}

#[test]
fn server_s_name_is_the_uri_s_unless_another_is_given() {
    let site = Site::new("name");
    let lamp = site.authority.owner("localhost", Purpose::Server);
    let server = site.server(&lamp);
    let uri = server.uri("/temperature").replace("127.0.0.1", "localhost");
    let trust = ["-C", &site.trusted];
    let read = site.ask(&uri, &trust);
    assert_eq!((read.code(), read.stdout()), (0, "21.0"), "{read:?}");
    let read = site.ask(&server.uri("/temperature"), &trust);
    assert_eq!(read.code(), 5, "{read:?}");
}

#[test]
fn each_refusal_says_what_was_wrong_and_has_the_exit_code_of_credentials() {
    let site = Site::new("refused");
    let lamp = site.authority.owner("lamp.example", Purpose::Server);
    let old = site
        .authority
        .owner_in("lamp.example", Purpose::Server, Time::Over);
    let stranger = Authority::new("stranger");
    let other_trusted = site.folder.write("stranger.pem", &stranger.pem);
    let other = stranger.owner("reader.example", Purpose::Client);
    let other_own = site
        .folder
        .write("other.pem", &(other.certificate + &other.key));
    let other_key = site.folder.write("other.pub", &other.public_key);
    let server = site.server(&lamp);
    let expired = site.server(&old);
    let name = ["--server-name", "lamp.example"];
    let own = ["-c", &site.own, "-j", &site.key];
    let trust = ["-C", &site.trusted];
    for (server, flags, text) in [
        (
            &server,
            [&own[..], &trust, &["--server-name", "valve.example"]].concat(),
            "the server's certificate is for another name",
        ),
        (
            &server,
            [&own[..], &["-C", &other_trusted], &name].concat(),
            "certificate's authority is not trusted",
        ),
        (
            &expired,
            [&own[..], &trust, &name].concat(),
            "certificate is not valid at this time",
        ),
        (
            &server,
            [&trust[..], &name].concat(),
            "it may want a certificate or raw public key",
        ),
        (
            &server,
            [&["-c", &other_own], &trust[..], &name].concat(),
            "which refuses this end's certificate or key",
        ),
        (
            &server,
            ["-M", &site.key, "--server-key", &other_key].to_vec(),
            "the server's raw public key is another one",
        ),
    ] {
        for uri in [server.uri("/temperature"), server.tls_uri("/temperature")] {
            let line = ["get", "-B", "5", &uri];
            let refused = hedgerow(&[&line[..], &flags].concat());
            assert_eq!(refused.code(), 5, "{refused:?}");
            assert_eq!(refused.stdout(), "");
            assert!(
                refused.stderr().contains(text),
                "{text}: {}",
                refused.stderr()
            );
        }
    }
}

#[test]
fn files_that_do_not_do_are_told_and_nothing_is_sent() {
    let site = Site::new("files");
    let old = site
        .authority
        .owner_in("reader.example", Purpose::Client, Time::Over);
    let old = site.folder.write("old.pem", &(old.certificate + &old.key));
    let other = site.authority.owner("other.example", Purpose::Client);
    let other = site.folder.write("other.key", &other.key);
    let uri = "coaps://192.0.2.1/";
    for (flags, code, text) in [
        (vec!["-C", "nowhere"], 1, "nowhere: "),
        (vec!["-C", &site.key], 2, "no X.509 certificate"),
        (
            vec!["-M", &site.own],
            2,
            "nothing says how the server is known",
        ),
        (
            vec!["-M", &site.own, "--server-key", &site.own],
            2,
            "no private key for ECDSA",
        ),
        (vec!["--server-key", &site.key], 2, "no public key on P-256"),
        (
            vec!["-c", &site.own, "-C", &site.trusted],
            2,
            "no private key for ECDSA",
        ),
        (
            vec!["-c", &site.own, "-j", &other, "-C", &site.trusted],
            2,
            "the first certificate is not for this private key",
        ),
        (
            vec!["-c", &old, "-C", &site.trusted],
            2,
            "not valid at this time, so nothing was sent",
        ),
        (
            vec!["-C", &site.trusted, "--server-name", "a b"],
            2,
            "neither a DNS name nor the authority",
        ),
    ] {
        let refused = hedgerow(&[&["get", uri][..], &flags].concat());
        assert_eq!(refused.code(), code, "{flags:?}: {refused:?}");
        assert!(
            refused.stderr().contains(text),
            "{text}: {}",
            refused.stderr()
        );
    }
    let refused = hedgerow(&["get", "coap://192.0.2.1/", "-C", &site.trusted]);
    assert!(
        refused.stderr().contains("did you mean coaps?"),
        "{refused:?}"
    );
}
