//! `hedgerow facade` as a child.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Command, Stdio};

/// A child that is stopped however the test ends.
pub struct Child(pub std::process::Child);

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A facade with these arguments, where it listens, and what it says of so many devices.
pub fn facade(arguments: &[&str], devices: usize) -> (Child, SocketAddr, Vec<String>) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_hedgerow"))
        .args(["facade", "--listen", "127.0.0.1:0"])
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let lines: Vec<_> = lines.map(Result::unwrap).take(devices).collect();
    let http = lines[0].strip_prefix("http://");
    let http = http.and_then(|rest| rest.split('/').next());
    (Child(child), http.unwrap().parse().unwrap(), lines)
}

/// An entry of a file for `--keys`.
pub fn key_entry(uri: &str, identity: &str, key: &str, rest: &str) -> String {
    format!("[[key]]\nuri = \"{uri}\"\nidentity = \"{identity}\"\nkey = \"{key}\"\n{rest}\n")
}
