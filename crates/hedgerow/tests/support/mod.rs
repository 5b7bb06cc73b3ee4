//! The program as a child, and devices for it to talk to.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    dead_code,
    unreachable_pub
)]

pub mod facade;
pub mod http;

use std::fs;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use hedgerow::core::{PeerId, Psk, SecurityMode, ServerCredentials};
use hedgerow::devices::{Device, DeviceServer};
use hedgerow::net::{Handler, KeyStore, Node, SecurityPolicy, StreamServer};
use hedgerow::presets;
use serde_json::Value;
use tokio::runtime::Runtime;

pub const IDENTITY: &str = "reader";
pub const KEY: &str = "sixteen byte key";

/// A server with one key, in a runtime of its own.
pub struct Server {
    runtime: Runtime,
    node: Node,
    tls: StreamServer,
    clear: StreamServer,
}

impl Server {
    pub fn device(device: impl Device + Send + 'static) -> Self {
        Self::handler(DeviceServer::new(device))
    }

    pub fn handler(handler: impl Handler) -> Self {
        let keys = KeyStore::new();
        keys.insert(IDENTITY, Psk::new(KEY.as_bytes()).unwrap(), PeerId(1))
            .unwrap();
        Self::with_store(keys, handler)
    }

    /// A server with other credentials.
    pub fn with_store<S>(keys: S, handler: impl Handler) -> Self
    where
        S: ServerCredentials + Clone + Send + Sync + 'static,
    {
        let runtime = Runtime::new().unwrap();
        let handler = Arc::new(handler);
        let handler = move |request| {
            let handler = Arc::clone(&handler);
            async move { handler.handle(request).await }
        };
        let node = presets::device();
        let node = Node::bind_server(loopback(), node, keys.clone(), handler.clone());
        let node = runtime.block_on(node).unwrap();
        let config = presets::stream_device();
        let tls = StreamServer::bind(loopback(), config.clone(), keys, handler.clone());
        let tls = runtime.block_on(tls).unwrap();
        let config = config.with_security(SecurityPolicy::new(SecurityMode::NoSec));
        let clear = StreamServer::bind_without_security(loopback(), config, handler);
        let clear = runtime.block_on(clear).unwrap();
        Self {
            runtime,
            node,
            tls,
            clear,
        }
    }

    /// Where the same is over TLS.
    pub fn tls_uri(&self, path: &str) -> String {
        format!("coaps+tcp://{}{path}", self.tls.local_addr())
    }

    /// Where the same is over TCP in clear.
    pub fn tcp_uri(&self, path: &str) -> String {
        format!("coap+tcp://{}{path}", self.clear.local_addr())
    }

    pub fn address(&self) -> SocketAddr {
        self.node.local_addr()
    }

    pub fn uri(&self, path: &str) -> String {
        format!("coaps://{}{path}", self.node.local_addr())
    }
}

/// A free port of this host.
pub fn loopback() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
}

/// A file of a name of its own that nobody but its owner can read.
pub fn private_file(name: &str, content: &str) -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!("{}-{number}-{name}", std::process::id());
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, content).unwrap();
    #[cfg(unix)]
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    path
}

/// Runs the program to its end.
pub fn hedgerow(arguments: &[&str]) -> Finished {
    hedgerow_with_input(arguments, b"")
}

/// Runs the program to its end with something on its standard input.
pub fn hedgerow_with_input(arguments: &[&str], input: &[u8]) -> Finished {
    let mut child = Command::new(env!("CARGO_BIN_EXE_hedgerow"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A child that reads nothing may have ended before.
    let _ = child.stdin.take().unwrap().write_all(input);
    Finished(child.wait_with_output().unwrap())
}

/// How a run of the program ended.
#[derive(Debug)]
pub struct Finished(pub Output);

impl Finished {
    pub fn code(&self) -> i32 {
        self.0.status.code().unwrap()
    }

    pub fn stdout(&self) -> &str {
        std::str::from_utf8(&self.0.stdout).unwrap()
    }

    pub fn stderr(&self) -> &str {
        std::str::from_utf8(&self.0.stderr).unwrap()
    }

    /// The one object that `--json` promises.
    pub fn json(&self) -> Value {
        assert_eq!(self.stdout().lines().count(), 1, "{self:?}");
        serde_json::from_str(self.stdout()).unwrap()
    }
}
