//! The `laprox` binary: reads the arguments, runs the command, and returns the exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    laprox_experiments::program::run(std::env::args_os()).into()
}
