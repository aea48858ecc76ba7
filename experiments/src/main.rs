//! The `laprox` binary: reads the arguments, runs the command, says in the exit code how it went.

use std::process::ExitCode;

use clap::Parser;
use laprox_experiments::cli::Cli;
use laprox_experiments::{commands, exit};

fn main() -> ExitCode {
    let outcome = Cli::try_parse().map_err(anyhow::Error::from).and_then(|cli| commands::run(&cli));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => exit::report(&error),
    }
}
