//! The `laprox` program: what a binary, or a script in another language, runs.

use std::ffi::OsString;
use std::process::Command;
use std::sync::OnceLock;

use anyhow::Result;

use crate::cli::Cli;
use crate::{commands, exit, interrupt};

/// How a child process starts the program, where that is not the file of this process.
static START: OnceLock<Vec<OsString>> = OnceLock::new();

/// Runs the program with its name and arguments, and returns its exit code. Errors are reported on stderr.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    let outcome = interrupt::handle().map_err(anyhow::Error::from);
    let outcome = outcome.and_then(|()| commands::run(&Cli::read(arguments)?));
    interrupt::rest_if_ending();
    outcome.err().map_or(0, |error| exit::report(&error))
}

/// The same in the process of an interpreter: `start` is the interpreter and the arguments with which it runs the program.
pub fn run_within(start: Vec<OsString>, arguments: Vec<OsString>) -> u8 {
    START.get_or_init(|| start);
    run(arguments)
}

/// A child process of the same program, without arguments.
///
/// # Errors
/// When this process does not know its own file.
pub fn again() -> Result<Command> {
    let Some((file, first)) = START.get().and_then(|start| start.split_first()) else {
        return Ok(Command::new(std::env::current_exe()?));
    };
    let mut command = Command::new(file);
    command.args(first);
    Ok(command)
}
