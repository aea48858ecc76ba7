//! `laprox completions`

use std::io::{self, Write};

use anyhow::Result;

use crate::cli::{Cli, Completions};

/// Prints a completion script.
pub(super) fn run(arguments: &Completions) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Cli::grammar(), "laprox", &mut script);
    Ok(io::stdout().lock().write_all(&script)?)
}
