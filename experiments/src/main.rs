//! The `laprox` binary: reads the arguments, runs the command, and returns the exit code.

use std::process::ExitCode;

use laprox_experiments::cli::Cli;
use laprox_experiments::{commands, exit};

fn main() -> ExitCode {
    let outcome =
        Cli::read(std::env::args_os()).map_err(anyhow::Error::from).and_then(|cli| commands::run(&cli));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => exit::report(&error),
    }
}
