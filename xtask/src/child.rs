//! Child processes with a time limit and captured output.
//!
//! A child stays in the process group of `xtask`, so that Ctrl-C and `timeout` reach it too. It is
//! ended by its own process id, together with what it started, and never by a name.

use std::fs;
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Whether what a child prints is shown while it runs. It is captured either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Echo {
    /// Print it as it comes.
    Shown,
    /// Keep it for the caller.
    Hidden,
}

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It exited with this code.
    Exited(i32),
    /// A signal ended it.
    Signalled,
    /// It passed its time limit and was killed.
    TimedOut,
}

/// A child that has ended.
#[derive(Clone, Debug)]
pub struct Finished {
    /// How it ended.
    pub ending: Ending,
    /// Its standard output and error, in the order in which they came.
    pub output: String,
    /// How long it ran.
    pub duration: Duration,
}

impl Finished {
    /// Says whether it exited with code 0 within its limit.
    pub fn is_success(&self) -> bool {
        self.ending == Ending::Exited(0)
    }

    /// Says in a few words how it ended.
    pub fn ending_text(&self) -> String {
        let seconds = self.duration.as_secs_f64();
        match self.ending {
            Ending::Exited(code) => format!("exit code {code} after {seconds:.1} s"),
            Ending::Signalled => format!("ended by a signal after {seconds:.1} s"),
            Ending::TimedOut => format!("killed at its limit of {seconds:.0} s"),
        }
    }

    /// Returns the last `count` lines of the output.
    pub fn tail(&self, count: usize) -> String {
        let lines: Vec<&str> = self.output.lines().collect();
        let skip = lines.len().saturating_sub(count);
        lines.into_iter().skip(skip).collect::<Vec<_>>().join("\n")
    }
}

/// Runs `command` without standard input until it ends or `limit` has passed.
///
/// # Errors
///
/// A message if it can't be started.
pub fn run(command: &mut Command, limit: Duration, echo: Echo) -> Result<Finished, String> {
    command.stdin(Stdio::null());
    Running::start(command, echo)?.wait(limit)
}

/// A child that runs. Dropping it kills it.
#[derive(Debug)]
pub struct Running {
    child: Child,
    started: Instant,
    output: Arc<Mutex<Vec<u8>>>,
    readers: Vec<JoinHandle<()>>,
}

impl Running {
    /// Starts `command` with captured output; standard input is as the caller configured it.
    ///
    /// # Errors
    ///
    /// A message if it can't be started.
    pub fn start(command: &mut Command, echo: Echo) -> Result<Self, String> {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{}: {error}", command.get_program().display()))?;
        let output = Arc::new(Mutex::new(Vec::new()));
        let mut readers = Vec::new();
        if let Some(stdout) = child.stdout.take() {
            readers.push(capture(stdout, Arc::clone(&output), echo));
        }
        if let Some(stderr) = child.stderr.take() {
            readers.push(capture(stderr, Arc::clone(&output), echo));
        }
        Ok(Self {
            child,
            started: now(),
            output,
            readers,
        })
    }

    /// Returns the process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Hands out the standard input, if it was piped and not taken before.
    pub const fn take_stdin(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    /// Returns what it has printed so far.
    pub fn output(&self) -> String {
        let bytes = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Waits until it has printed `text`. Returns false if it ends or `limit` passes before that.
    pub fn wait_for(&mut self, text: &str, limit: Duration) -> bool {
        let start = now();
        loop {
            if self.output().contains(text) {
                return true;
            }
            let has_ended = !matches!(self.child.try_wait(), Ok(None));
            if has_ended {
                self.drain();
                return self.output().contains(text);
            }
            if start.elapsed() >= limit {
                return false;
            }
            thread::sleep(PAUSE);
        }
    }

    /// Waits until it ends, and kills it once `limit`, counted from its start, has passed.
    ///
    /// # Errors
    ///
    /// A message if the operating system doesn't say how it ended.
    pub fn wait(mut self, limit: Duration) -> Result<Finished, String> {
        let ending = loop {
            match self.child.try_wait().map_err(|error| error.to_string())? {
                Some(status) => break status.code().map_or(Ending::Signalled, Ending::Exited),
                None if self.started.elapsed() >= limit => {
                    self.kill();
                    break Ending::TimedOut;
                }
                None => thread::sleep(PAUSE),
            }
        };
        let duration = self.started.elapsed();
        self.drain();
        Ok(Finished {
            ending,
            output: self.output(),
            duration,
        })
    }

    /// Kills it with all that it started, and waits for its end.
    pub fn kill(&mut self) {
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        let descendants = descendants(self.child.id(), Path::new("/proc"));
        // The child goes first, so that it can't start anything that the list lacks.
        let _ = self.child.kill();
        for id in descendants {
            // std kills only direct children; the shell's builtin is everywhere.
            let _ = Command::new("sh")
                .args(["-c", "kill -s KILL \"$1\"", "sh", &id.to_string()])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
        }
        let _ = self.child.wait();
    }

    /// Gives the readers a moment to read what is left. Something that the child left behind may
    /// hold the pipes open for ever, so this doesn't join them.
    fn drain(&self) {
        let start = now();
        while start.elapsed() < DRAIN_LIMIT && !self.readers.iter().all(JoinHandle::is_finished) {
            thread::sleep(PAUSE);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

fn capture(
    mut from: impl Read + Send + 'static,
    output: Arc<Mutex<Vec<u8>>>,
    echo: Echo,
) -> JoinHandle<()> {
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(len) = from.read(&mut buffer) {
            let bytes = buffer.get(..len).unwrap_or_default();
            if bytes.is_empty() {
                break;
            }
            output
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .extend_from_slice(bytes);
            if echo == Echo::Shown {
                let mut stdout = io::stdout().lock();
                let _ = stdout.write_all(bytes).and_then(|()| stdout.flush());
            }
        }
    })
}

/// Lists the processes below `id`, as far as `proc` names them: none where there is no such folder.
fn descendants(id: u32, proc: &Path) -> Vec<u32> {
    let mut parents = Vec::new();
    for entry in fs::read_dir(proc).into_iter().flatten().flatten() {
        let Some(process) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        if let Some(parent) = parent_in_stat(&stat) {
            parents.push((process, parent));
        }
    }
    let mut found = vec![id];
    loop {
        let more: Vec<u32> = parents
            .iter()
            .filter(|(process, parent)| found.contains(parent) && !found.contains(process))
            .map(|&(process, _)| process)
            .collect();
        if more.is_empty() {
            break;
        }
        found.extend(more);
    }
    found.retain(|&process| process != id);
    found
}

/// Reads the parent's id out of `pid (name) state parent ...`; the name may hold brackets.
fn parent_in_stat(stat: &str) -> Option<u32> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(1)?.parse().ok()
}

#[expect(
    clippy::disallowed_methods,
    reason = "a time limit for other programs needs the real clock; nothing of the product runs here"
)]
fn now() -> Instant {
    Instant::now()
}

const PAUSE: Duration = Duration::from_millis(10);
const DRAIN_LIMIT: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn output_and_exit_code_are_captured() {
        let finished = run(
            &mut shell("echo one; echo two >&2; exit 3"),
            Duration::from_secs(20),
            Echo::Hidden,
        )
        .unwrap();
        assert_eq!(finished.ending, Ending::Exited(3));
        assert!(!finished.is_success());
        assert!(finished.output.contains("one\n"), "{}", finished.output);
        assert!(finished.output.contains("two\n"), "{}", finished.output);
    }

    #[test]
    fn child_past_its_limit_is_killed_with_what_it_started() {
        let started = now();
        let finished = run(
            &mut shell("sleep 60 & echo $!; sleep 60; echo never"),
            Duration::from_millis(300),
            Echo::Hidden,
        )
        .unwrap();
        assert_eq!(finished.ending, Ending::TimedOut);
        assert!(!finished.output.contains("never"));
        assert!(started.elapsed() < Duration::from_secs(30));
        let grandchild = finished.output.trim();
        assert!(!grandchild.is_empty());
        // A killed process may stay in the table as a zombie until init fetches it.
        let stat = fs::read_to_string(format!("/proc/{grandchild}/stat")).unwrap_or_default();
        assert!(stat.is_empty() || stat.contains(") Z "), "{stat}");
    }

    #[test]
    fn waiting_for_a_text_ends_when_it_comes_and_when_the_child_ends() {
        let mut running = Running::start(
            shell("echo ready; sleep 60").stdin(Stdio::null()),
            Echo::Hidden,
        )
        .unwrap();
        assert!(running.wait_for("ready", Duration::from_secs(20)));
        assert!(!running.wait_for("steady", Duration::from_millis(50)));
        running.kill();
        let mut ended =
            Running::start(shell("echo gone").stdin(Stdio::null()), Echo::Hidden).unwrap();
        assert!(!ended.wait_for("ready", Duration::from_secs(20)));
    }

    #[test]
    fn parent_is_read_behind_a_name_with_brackets() {
        assert_eq!(parent_in_stat("12 (a) b) S 7 12 12 0"), Some(7));
        assert_eq!(parent_in_stat(""), None);
    }
}
