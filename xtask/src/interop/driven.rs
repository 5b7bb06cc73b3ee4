//! Programs of ours around a library that isn't: `peers/` has them. One process takes jobs on its
//! standard input, one a line, and prints what comes of each in lines that begin with its number.

use std::io::Write as _;
use std::process::{ChildStdin, Command, Stdio};
use std::time::Duration;

use hedgerow_core::NamedGroup;
use hedgerow_record::CipherSuite;

use super::cell::hex;
use super::dtls_end::Identity;
use crate::child::{Echo, Running};

/// For the program to start. A JVM that compiles its source takes a second or two.
const START_LIMIT: Duration = Duration::from_secs(30);

/// For one line of a job.
const LINE_LIMIT: Duration = Duration::from_secs(10);

/// What the program says in every association, once it hears something or as the client at once.
pub(super) const SAYS: &[u8] = b"peer speaks as well\n";

/// A program that runs. Dropping it kills it.
pub(super) struct Driven {
    running: Running,
    input: ChildStdin,
    last: u32,
}

/// What the program is in a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Client,
    Server,
}

/// What its records travel in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Carrier {
    Dtls,
    Tls,
}

/// One association to be made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Job<'j> {
    pub(super) role: Role,
    pub(super) carrier: Carrier,
    pub(super) port: u16,
    pub(super) suite: CipherSuite,
    pub(super) group: NamedGroup,
    pub(super) identity: Identity<'j>,
    /// Words for this peer alone, such as its connection ID.
    pub(super) more: &'j str,
}

/// A job that was begun, by its number.
#[derive(Clone, Copy, Debug)]
pub(super) struct Begun(u32);

impl Carrier {
    /// The word for a job, and in a cell's name.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Dtls => "DTLS",
            Self::Tls => "TLS",
        }
    }
}

impl Driven {
    /// Starts the program and waits for the line with its name and version, which is shown.
    pub(super) fn start(command: &mut Command) -> Result<Self, String> {
        command.stdin(Stdio::piped());
        let mut running = Running::start(command, Echo::Hidden)?;
        let input = running.take_stdin().ok_or("no standard input")?;
        if !running.wait_for("peer ", START_LIMIT) {
            return Err(format!("doesn't start: {}", running.output()));
        }
        let mut driven = Self {
            running,
            input,
            last: 0,
        };
        let name = driven.line("peer ", START_LIMIT)?;
        println!("peer: {name}");
        Ok(driven)
    }

    /// Begins a job. A server is listening when this returns.
    pub(super) fn begin(&mut self, job: &Job<'_>) -> Result<Begun, String> {
        self.last += 1;
        let begun = Begun(self.last);
        let role = match job.role {
            Role::Client => "client",
            Role::Server => "server",
        };
        let line = format!(
            "{} {role} {} {} {:04x} {:04x} {} {} {}\n",
            self.last,
            job.carrier.name().to_lowercase(),
            job.port,
            job.suite.0,
            job.group.code_point(),
            String::from_utf8_lossy(job.identity.psk_identity),
            hex(job.identity.psk),
            job.more
        );
        self.input
            .write_all(line.as_bytes())
            .and_then(|()| self.input.flush())
            .map_err(|error| error.to_string())?;
        if job.role == Role::Server {
            self.wait_for(begun, "listening")?;
        }
        Ok(begun)
    }

    /// Waits for a line of a job that begins with `text`, and returns what follows there.
    pub(super) fn wait_for(&mut self, job: Begun, text: &str) -> Result<String, String> {
        self.line(&format!("{} {text}", job.0), LINE_LIMIT)
    }

    /// Returns every line of a job so far.
    pub(super) fn lines(&self, job: Begun) -> Vec<String> {
        let prefix = format!("{} ", job.0);
        self.running
            .output()
            .lines()
            .filter_map(|line| line.strip_prefix(&prefix))
            .map(str::to_owned)
            .collect()
    }

    /// Waits until a whole line that begins with `prefix` is there.
    fn line(&mut self, prefix: &str, limit: Duration) -> Result<String, String> {
        let find = |output: &str| {
            output
                .split_inclusive('\n')
                .find_map(|line| line.strip_suffix('\n')?.strip_prefix(prefix))
                .map(|rest| rest.trim().to_owned())
        };
        let clock = super::clock::Clock::start();
        while clock.elapsed() < limit {
            if let Some(rest) = find(&self.running.output()) {
                return Ok(rest);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let output = self.running.output();
        let last: Vec<&str> = output.lines().rev().take(3).collect();
        Err(format!(
            "no line {prefix:?} within {limit:?}; last {last:?}"
        ))
    }
}
