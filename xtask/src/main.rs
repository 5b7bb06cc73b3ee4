//! The command line of `cargo xtask`.

use std::env;
use std::process::ExitCode;

use xtask::table::Table;
use xtask::{alloc_free, conformance, features, fuzz, interop, tidy};

const USAGE: &str = "\
usage: cargo xtask COMMAND

  tidy                      rules about the repository that no compiler knows
  conformance [--check]     write docs/CONFORMANCE.md, or fail if it is stale
  features [PACKAGE]...     build and test each crate alone, with each feature alone
  alloc-free                crates without std and allocator, on the host and on bare metal
  fuzz [--seconds-total N] [--seed N]
                            run all fuzz targets, 360 s in all if nothing is said, from a number
                            that is drawn, or the same every time
  interop [--only GROUP]    peers that nobody here wrote, in network namespaces";

const FUZZ_SECONDS: u64 = 360;

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let outcome = match args.as_slice() {
        ["tidy"] => tidy::run(),
        ["conformance"] => conformance::run(false),
        ["conformance", "--check"] => conformance::run(true),
        ["features", only @ ..] => features::run(only),
        ["alloc-free"] => alloc_free::run(),
        ["fuzz", rest @ ..] if rest.len() % 2 == 0 => fuzz_with(rest),
        ["interop", rest @ ..] => match interop::run(rest) {
            Ok(Some(table)) => Ok(table),
            Ok(None) => return ExitCode::SUCCESS,
            Err(error) => Err(error),
        },
        [] | ["help" | "-h" | "--help"] => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    close(outcome)
}

fn fuzz_with(options: &[&str]) -> Result<Table, String> {
    let (mut seconds, mut seed) = (FUZZ_SECONDS, None);
    for option in options.as_chunks().0 {
        let [name, value] = *option;
        let number: u32 = value
            .parse()
            .map_err(|error| format!("{name} {value}: {error}"))?;
        match name {
            "--seconds-total" => seconds = number.into(),
            "--seed" => seed = Some(number),
            _ => return Err(format!("{name} is no option of fuzz\n{USAGE}")),
        }
    }
    fuzz::run(seconds, seed)
}

fn close(outcome: Result<Table, String>) -> ExitCode {
    match outcome {
        Ok(table) => {
            print!("{table}");
            if table.is_failed() {
                ExitCode::FAILURE
            } else {
                ExitCode::SUCCESS
            }
        }
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}
