//! The destination of a command's rows, and their format.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};

use crate::cli::Common;
use crate::output::Sink;

/// How rows are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A table, for the terminal and for a page.
    Markdown,
    /// One tidy row per number.
    Csv,
    /// The same rows with their configuration.
    Json,
}

/// Arguments of every command that prints rows.
#[derive(Args, Debug)]
pub struct Printed {
    /// How to print; by default from the ending of --out (.csv, .json), else a table.
    #[arg(long, value_enum)]
    pub format: Option<Format>,
    /// A file instead of stdout.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

impl Printed {
    /// The output's place and its format: the one that was asked for, else the one that its ending names.
    ///
    /// # Errors
    /// When the file or the configuration beside it exists and may not be replaced, or `--json` and another format are asked for.
    pub fn open(&self, common: &Common) -> Result<(Sink, Format)> {
        let ending = self.out.as_deref().and_then(Path::extension).and_then(OsStr::to_str);
        let format = match (common.json, self.format, ending) {
            (true, None | Some(Format::Json), _) => Format::Json,
            (true, Some(_), _) => bail!("--json and --format ask for different things"),
            (false, Some(format), _) => format,
            (false, None, Some("json")) => Format::Json,
            (false, None, Some("csv")) => Format::Csv,
            (false, None, _) => Format::Markdown,
        };
        Ok((Sink::open(self.out.as_deref(), format, common.force)?, format))
    }
}

/// `NAME.config.json` beside `NAME.csv`.
#[must_use]
pub fn config_beside(rows: &Path) -> PathBuf {
    rows.with_extension("config.json")
}
