//! `cargo xtask fuzz`: all fuzz targets share a time budget.

use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crate::child::{Echo, Finished, run as run_child};
use crate::table::{Status, Table};
use crate::tidy::declared_fuzz_targets;
use crate::workspace::Workspace;

/// Builds all targets and runs each for its share of `seconds_total`, at least 10 s, from a number that is drawn or
/// from `seed`, so that what is tried first is the same every time.
///
/// # Errors
///
/// A message if cargo can't be asked or started, or if cargo-fuzz can't be installed.
pub fn run(seconds_total: u64, seed: Option<u32>) -> Result<Table, String> {
    let workspace = Workspace::load()?;
    let manifest = workspace.read("fuzz/Cargo.toml")?;
    let targets: Vec<&str> = declared_fuzz_targets(&manifest).collect();
    let mut table = Table::new("fuzz");
    let seconds = share(seconds_total, targets.len());
    let fuzzer = Fuzzer::find(&workspace, seed)?;
    let build = run_child(&mut fuzzer.command("build", &[]), BUILD_LIMIT, Echo::Hidden)?;
    if !build.is_success() {
        println!("{}", build.output);
        table.row("build", Status::Failed, build.ending_text());
        return Ok(table);
    }
    for (target, run) in targets
        .iter()
        .copied()
        .zip(run_all(&fuzzer, &targets, seconds))
    {
        let run = run?;
        let (status, detail) = outcome(&run);
        if status == Status::Failed {
            println!("{}", run.tail(FAILURE_LINES));
        }
        table.row(target, status, detail);
        if COUNTING.contains(&target) {
            let counts = reached(&run.output);
            for (name, count) in &counts {
                println!("{target} {name:44} {count:9}");
            }
            let (status, detail) = reached_outcome(&counts);
            table.row(format!("{target} states"), status, detail);
        }
    }
    Ok(table)
}

/// Runs the targets, as many at a time as there are cores: each has one thread. The results stand in the
/// order of the targets.
fn run_all(fuzzer: &Fuzzer<'_>, targets: &[&str], seconds: u64) -> Vec<Result<Finished, String>> {
    let next = AtomicUsize::new(0);
    let runs = Mutex::new(Vec::new());
    let cores = thread::available_parallelism().map_or(1, |cores| cores.get());
    thread::scope(|scope| {
        for _ in 0..cores.min(targets.len()) {
            scope.spawn(|| {
                loop {
                    let place = next.fetch_add(1, Ordering::Relaxed);
                    let Some(target) = targets.get(place) else {
                        break;
                    };
                    let run = fuzzer.run(target, seconds);
                    runs.lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push((place, run));
                }
            });
        }
    });
    let mut runs = runs.into_inner().unwrap_or_else(PoisonError::into_inner);
    runs.sort_by_key(|(place, _)| *place);
    runs.into_iter().map(|(_, run)| run).collect()
}

struct Fuzzer<'w> {
    workspace: &'w Workspace,
    has_nightly: bool,
    seed: Option<u32>,
}

impl<'w> Fuzzer<'w> {
    fn find(workspace: &'w Workspace, seed: Option<u32>) -> Result<Self, String> {
        let asks = |command: &mut Command| {
            run_child(command, ASK_LIMIT, Echo::Hidden).is_ok_and(|asked| asked.is_success())
        };
        if !asks(Command::new("cargo").args(["fuzz", "--version"])) {
            let mut install = Command::new("cargo");
            install.args(["install", "cargo-fuzz", "--locked"]);
            let installed = run_child(&mut install, BUILD_LIMIT, Echo::Hidden)?;
            if !installed.is_success() {
                println!("{}", installed.tail(FAILURE_LINES));
                return Err(format!(
                    "cargo install cargo-fuzz: {}",
                    installed.ending_text()
                ));
            }
        }
        let mut nightly = Command::new("rustup");
        nightly.args(["run", "nightly", "rustc", "--version"]);
        Ok(Self {
            workspace,
            has_nightly: asks(&mut nightly),
            seed,
        })
    }

    fn command(&self, verb: &str, args: &[&str]) -> Command {
        let mut command = if self.has_nightly {
            let mut command = Command::new("rustup");
            command.args(["run", "nightly", "cargo"]);
            command
        } else {
            // The flags that libFuzzer needs are unstable; this lets a stable compiler take them.
            let mut command = Command::new("cargo");
            command.env("RUSTC_BOOTSTRAP", "1");
            command
        };
        command
            .args(["fuzz", verb, "--sanitizer", "address", "--fuzz-dir"])
            .arg(self.workspace.root.join("fuzz"))
            .arg("--target-dir")
            .arg(self.workspace.target.join("fuzz"))
            .args(args)
            .current_dir(&self.workspace.root);
        command
    }

    fn run(&self, target: &str, seconds: u64) -> Result<Finished, String> {
        let corpus = self.workspace.target.join("fuzz-corpus").join(target);
        fs::create_dir_all(&corpus).map_err(|error| format!("{}: {error}", corpus.display()))?;
        let mut command = self.command("run", &[target]);
        command
            .arg(corpus)
            .arg(self.workspace.root.join("fuzz/seeds").join(target))
            // The sanitizer lets libFuzzer see the operands of slice comparisons, the value profile
            // those of one and two bytes; without either a planted magic number stayed unfound.
            .args([
                "--",
                "-print_final_stats=1",
                "-timeout=30",
                "-use_value_profile=1",
            ])
            .arg(format!("-max_total_time={seconds}"))
            .args(self.seed.map(|seed| format!("-seed={seed}")));
        let limit = Duration::from_secs(seconds).saturating_add(GRACE);
        run_child(&mut command, limit, Echo::Hidden)
    }
}

fn share(seconds_total: u64, targets: usize) -> u64 {
    let targets = u64::try_from(targets).unwrap_or(u64::MAX);
    seconds_total
        .checked_div(targets)
        .unwrap_or_default()
        .max(SHORTEST)
}

fn outcome(run: &Finished) -> (Status, String) {
    let runs = statistic(&run.output, "number_of_executed_units").unwrap_or_default();
    let per_second = statistic(&run.output, "average_exec_per_sec").unwrap_or_default();
    let detail = format!("{runs} runs, {per_second} a second, {}", run.ending_text());
    if run.is_success() && runs > 0 {
        (Status::Passed, detail)
    } else {
        let artifact = run
            .output
            .lines()
            .find(|line| line.contains("Test unit written to"));
        (
            Status::Failed,
            format!("{detail} {}", artifact.unwrap_or_default()),
        )
    }
}

/// Reads the last line in which a body says how often it came where.
fn reached(output: &str) -> Vec<(&str, u64)> {
    let mut lines = output.lines().rev();
    lines
        .find_map(|line| line.strip_prefix("reached: "))
        .into_iter()
        .flat_map(str::split_whitespace)
        .filter_map(|entry| {
            let (name, count) = entry.split_once('=')?;
            Some((name, count.parse().ok()?))
        })
        .collect()
}

fn reached_outcome(counts: &[(&str, u64)]) -> (Status, String) {
    let never: Vec<&str> = counts
        .iter()
        .filter_map(|(name, count)| (*count == 0).then_some(*name))
        .collect();
    if counts.is_empty() {
        (Status::Failed, "the target reported no counts".to_owned())
    } else if never.is_empty() {
        (Status::Passed, format!("all {} reached", counts.len()))
    } else {
        (
            Status::Failed,
            format!("never reached: {}", never.join(", ")),
        )
    }
}

fn statistic(output: &str, name: &str) -> Option<u64> {
    let line = output
        .lines()
        .find_map(|line| line.strip_prefix(&format!("stat::{name}:")))?;
    line.trim().parse().ok()
}

/// Targets that report how often they came into each state, and fail if they never came into one.
const COUNTING: &[&str] = &["handshake_machine", "resumption", "tls_machine"];
/// A target's shortest run, in seconds.
const SHORTEST: u64 = 10;
/// What a run may take beyond its share: cargo looks for changes first, libFuzzer reads the corpus.
const GRACE: Duration = Duration::from_secs(120);
const BUILD_LIMIT: Duration = Duration::from_secs(900);
const ASK_LIMIT: Duration = Duration::from_secs(30);
const FAILURE_LINES: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::child::Ending;

    #[test]
    fn budget_is_shared_and_nobody_gets_less_than_ten_seconds() {
        assert_eq!(share(360, 4), 90);
        assert_eq!(share(360, 100), 10);
        assert_eq!(share(360, 0), 10);
    }

    #[test]
    fn run_without_inputs_or_with_a_crash_fails() {
        let ended = |code, output: &str| Finished {
            ending: Ending::Exited(code),
            output: output.to_owned(),
            duration: Duration::ZERO,
        };
        let statistics = "stat::number_of_executed_units: 81\nstat::average_exec_per_sec:     8\n";
        let (status, detail) = outcome(&ended(0, statistics));
        assert_eq!(status, Status::Passed);
        assert!(detail.starts_with("81 runs, 8 a second"), "{detail}");
        assert_eq!(outcome(&ended(77, statistics)).0, Status::Failed);
        assert_eq!(outcome(&ended(0, "")).0, Status::Failed);
    }
    #[test]
    fn state_that_was_never_reached_fails() {
        let output = "reached: idle=1 done=0\n#8 NEW\nreached: idle=7 done=0\nstat::x: 1\n";
        let counts = reached(output);
        assert_eq!(counts, [("idle", 7), ("done", 0)]);
        assert_eq!(reached_outcome(&counts).0, Status::Failed);
        assert_eq!(
            reached_outcome(&reached("reached: idle=7 done=2")).0,
            Status::Passed
        );
        assert_eq!(reached_outcome(&reached("nothing")).0, Status::Failed);
    }
}
