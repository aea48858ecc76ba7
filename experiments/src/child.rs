//! How a child process of the program is started.

use std::ffi::OsString;
use std::process::Command;
use std::sync::OnceLock;

use anyhow::Result;

/// The file and first arguments, where the program is not the file of this process.
static START: OnceLock<Vec<OsString>> = OnceLock::new();

/// Starts child processes with a file and first arguments, an interpreter's for example, from now on.
pub fn start_with(start: Vec<OsString>) {
    START.get_or_init(|| start);
}

/// A child process of the same program, without arguments.
///
/// # Errors
/// When this process does not know its own file.
pub fn command() -> Result<Command> {
    let Some((file, first)) = START.get().and_then(|start| start.split_first()) else {
        return Ok(Command::new(std::env::current_exe()?));
    };
    let mut command = Command::new(file);
    command.args(first);
    Ok(command)
}
