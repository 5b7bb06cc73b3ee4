//! Servers as processes of their own, whose processor time can be read.

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::{env, fs};

use crate::handshake::PSK;

/// The argument with which a program of this workspace is started as a server.
pub const SERVE: &str = "serve";

/// A coaps server that can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `hedgerow-net` on tokio's runtime with as many threads as the machine has cores.
    Threads,
    /// `hedgerow-net` on tokio's runtime with one thread.
    OneThread,
    /// libcoap's example server with GnuTLS.
    GnuTls,
    /// libcoap's example server with OpenSSL.
    OpenSsl,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Threads, Self::OneThread, Self::GnuTls, Self::OpenSsl];

    /// The name in tables, and the argument that [`SERVE`] wants for ours.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Threads => "hedgerow-net",
            Self::OneThread => "hedgerow-net, one thread",
            Self::GnuTls => "libcoap with GnuTLS",
            Self::OpenSsl => "libcoap with OpenSSL",
        }
    }

    /// The program of a reference; `None` for ours.
    pub const fn program(self) -> Option<&'static str> {
        match self {
            Self::Threads | Self::OneThread => None,
            Self::GnuTls => Some("coap-server-gnutls"),
            Self::OpenSsl => Some("coap-server-openssl"),
        }
    }

    /// Returns what a reference says of its version; `None` for ours.
    pub fn version(self) -> Option<String> {
        let program = self.program()?;
        let output = Command::new(program).arg("-?").output();
        let output = output.unwrap_or_else(|error| {
            panic!("{program}: {error}; on Debian: apt-get install libcoap3-bin")
        });
        let text = String::from_utf8_lossy(&output.stderr);
        let line = |start: &str| text.lines().find(|line| line.starts_with(start));
        let (name, library) = (line(&format!("{program} v"))?, line("TLS Library")?);
        let name = name.split(" -- ").next()?;
        Some(format!("{name}, {library}"))
    }
}

/// A server that runs. It is ended, by its process ID, when this is dropped.
pub struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    /// Starts a server. A reference may take a moment to answer.
    pub fn start(kind: Kind) -> Self {
        match kind.program() {
            None => Self::start_ours(kind),
            Some(program) => Self::start_libcoap(program),
        }
    }

    fn start_ours(kind: Kind) -> Self {
        let (mut server, lines) = Self::start_self(&[SERVE, kind.name()], 1);
        server.address = lines[0].parse().unwrap();
        server
    }

    /// Starts this program with other arguments, and returns so many lines that it prints at first. It has
    /// standard input, which ends with this.
    pub fn start_self(arguments: &[&str], lines: usize) -> (Self, Vec<String>) {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.as_mut().unwrap());
        let printed = stdout.lines().take(lines).map(Result::unwrap).collect();
        let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        (Self { child, address }, printed)
    }

    fn start_libcoap(program: &str) -> Self {
        let port = free_port_pair();
        let child = Command::new(program)
            .args(["-A", "127.0.0.1", "-d", "1", "-p"])
            .arg(port.to_string())
            .arg("-k")
            .arg(str::from_utf8(PSK).unwrap())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Security is a port further (RFC 7252 §6.2 has the same distance).
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port + 1));
        Self { child, address }
    }

    /// Returns where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the processor time that its threads have used, in microseconds: user's and system's.
    pub fn cpu(&self) -> f64 {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let used = tasks.map(|task| {
            let file = task.unwrap().path().join("schedstat");
            // A thread may have ended in between.
            let text = fs::read_to_string(file).unwrap_or_default();
            let nanoseconds = text.split(' ').next().and_then(|first| first.parse().ok());
            nanoseconds.unwrap_or(0.0)
        });
        used.sum::<f64>() / 1e3
    }

    /// Returns the memory that it occupies, in bytes.
    pub fn resident(&self) -> f64 {
        resident(&self.child.id().to_string())
    }
}

/// Returns the memory that a process occupies, by its ID or `self`, in bytes: every page of it, which
/// `status` and `statm` count in batches.
pub fn resident(process: &str) -> f64 {
    let text = fs::read_to_string(format!("/proc/{process}/smaps_rollup")).unwrap();
    let line = text.lines().find(|line| line.starts_with("Rss:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().nth(1));
    1_024.0 * kilobytes.unwrap().parse::<f64>().unwrap()
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns a port that is free together with the next one.
fn free_port_pair() -> u16 {
    loop {
        let bind = |port| UdpSocket::bind((Ipv4Addr::LOCALHOST, port));
        let first = bind(0).unwrap();
        let port = first.local_addr().unwrap().port();
        if port < u16::MAX && bind(port + 1).is_ok() {
            return port;
        }
    }
}
