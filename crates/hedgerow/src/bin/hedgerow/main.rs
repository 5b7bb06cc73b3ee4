//! The program `hedgerow`: a demonstration, a gateway, and a client.

mod arguments;
mod certificates;
mod client;
mod demo;
mod demo_adapt;
mod demo_itls;
mod demo_keys;
mod demo_leg;
mod demo_modes;
mod exit;
mod facade;
mod fetch;
mod gateway;
mod key_file;
mod key_text;
mod listen;
mod media;
mod private_file;
mod private_folder;
mod report;
mod shutdown;
mod target;
mod via;
mod via_itls;

use std::io;
use std::process::ExitCode;

use arguments::{Arguments, Command, RequestLine};
use clap::Parser;
use client::Progress;
use exit::{Class, Failure};
use hedgerow_coap::Code;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return ExitCode::from(refuse_command_line(&error)),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let code = match runtime {
        Ok(runtime) => runtime.block_on(run(arguments)),
        Err(error) => {
            report::tell(&format!("no runtime: {error}"));
            Class::Local.code()
        }
    };
    ExitCode::from(code)
}

async fn run(arguments: Arguments) -> u8 {
    let verbose = arguments.verbose;
    let line = match arguments.command {
        None => {
            log_to_stderr(LevelFilter::WARN, verbose);
            return conclude(demo::run(arguments.listen).await);
        }
        Some(Command::Gateway(gateway)) => {
            log_to_stderr(LevelFilter::INFO, verbose);
            return conclude(gateway::run(&gateway).await);
        }
        Some(Command::Facade(facade)) => {
            log_to_stderr(LevelFilter::WARN, verbose);
            return conclude(facade::run(&facade).await);
        }
        Some(Command::Listen(listen)) => {
            log_to_stderr(LevelFilter::WARN, verbose);
            return conclude(listen::run(&listen).await);
        }
        Some(Command::Fetch(fetch)) => {
            log_to_stderr(LevelFilter::WARN, verbose);
            return match fetch::run(&fetch).await {
                Ok(code) => code,
                Err(failure) => report::print_failure(false, &Progress::default(), &failure),
            };
        }
        Some(Command::Get(request)) => RequestLine::bare(Code::GET, request),
        Some(Command::Delete(request)) => RequestLine::bare(Code::DELETE, request),
        Some(Command::Put(request)) => RequestLine::with_payload(Code::PUT, request),
        Some(Command::Post(request)) => RequestLine::with_payload(Code::POST, request),
    };
    log_to_stderr(LevelFilter::WARN, verbose);
    let mut progress = Progress::default();
    let outcome = client::run(&line, &mut progress).await;
    report::print(&line.common, &progress, outcome)
}

/// Says why the program failed, if it did, and returns the exit code.
fn conclude(outcome: Result<(), Failure>) -> u8 {
    match outcome {
        Ok(()) => 0,
        Err(failure) => report::print_failure(false, &Progress::default(), &failure),
    }
}

/// Logs what this program's own crates say, beginning at `level` and more with each `-v`.
///
/// What libraries log at their finest could hold the bytes of messages, so that it isn't shown.
fn log_to_stderr(level: LevelFilter, verbose: u8) {
    let levels = [
        LevelFilter::WARN,
        LevelFilter::INFO,
        LevelFilter::DEBUG,
        LevelFilter::TRACE,
    ];
    let start = levels.iter().position(|found| *found == level);
    let place = start.unwrap_or_default().saturating_add(verbose.into());
    let level = levels.get(place).copied().unwrap_or(LevelFilter::TRACE);
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(io::stderr)
        .with_target(false)
        .with_filter(Targets::new().with_target("hedgerow", level));
    // It fails only if there is a subscriber already.
    let _ = tracing_subscriber::registry().with(lines).try_init();
}

/// Says what is wrong with the command line, or what `--help` and `--version` ask for.
fn refuse_command_line(error: &clap::Error) -> u8 {
    let wants_json = std::env::args_os().any(|argument| argument == "--json");
    if error.use_stderr() && wants_json {
        let text = error.to_string();
        let message = text.strip_prefix("error: ").unwrap_or(&text).trim_end();
        return report::print_failure(true, &Progress::default(), &Failure::usage(message));
    }
    let is_printed = error.print().is_ok();
    match error.use_stderr() {
        true => Class::Usage.code(),
        false if is_printed => 0,
        false => Class::Local.code(),
    }
}
