//! The `laprox` binary: reads the arguments, runs the command, and returns the exit code.

use std::process::ExitCode;

use laprox_experiments::cli::Cli;
use laprox_experiments::{commands, exit, interrupt};

fn main() -> ExitCode {
    let outcome = run();
    interrupt::rest_if_ending();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => exit::report(&error),
    }
}

fn run() -> anyhow::Result<()> {
    interrupt::handle()?;
    commands::run(&Cli::read(std::env::args_os())?)
}
