//! The `laprox` program: what the binary and the Python package run.

use std::ffi::OsString;

use crate::cli::Cli;
use crate::{commands, exit, interrupt};

/// Runs the program with its name and arguments, and returns its exit code. Errors are reported on stderr.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    let outcome = interrupt::handle().map_err(anyhow::Error::from);
    let outcome = outcome.and_then(|()| commands::run(&Cli::read(arguments)?));
    interrupt::rest_if_ending();
    outcome.err().map_or(0, |error| exit::report(&error))
}
