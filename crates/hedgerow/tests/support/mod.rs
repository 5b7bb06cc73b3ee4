//! The program as a child, and devices for it to talk to.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    dead_code,
    unreachable_pub
)]

pub mod http;

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Command, Output, Stdio};

use hedgerow::core::{PeerId, Psk};
use hedgerow::devices::{Device, DeviceServer};
use hedgerow::net::{Handler, KeyStore, Node};
use hedgerow::presets;
use serde_json::Value;
use tokio::runtime::Runtime;

pub const IDENTITY: &str = "reader";
pub const KEY: &str = "sixteen byte key";

/// A server with one key, in a runtime of its own.
pub struct Server {
    runtime: Runtime,
    node: Node,
}

impl Server {
    pub fn device(device: impl Device + Send + 'static) -> Self {
        Self::handler(DeviceServer::new(device))
    }

    pub fn handler(handler: impl Handler) -> Self {
        let runtime = Runtime::new().unwrap();
        let keys = KeyStore::new();
        keys.insert(IDENTITY, Psk::new(KEY.as_bytes()).unwrap(), PeerId(1))
            .unwrap();
        let node = Node::bind_server(loopback(), presets::device(), keys, handler);
        let node = runtime.block_on(node).unwrap();
        Self { runtime, node }
    }

    pub fn uri(&self, path: &str) -> String {
        format!("coaps://{}{path}", self.node.local_addr())
    }
}

/// A free port of this host.
pub fn loopback() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
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
