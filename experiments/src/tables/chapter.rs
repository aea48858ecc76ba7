//! One table's page: the question, the findings, the sources.

use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

use super::kinds::Kind;
use super::runs::Runs;
use super::{Config, Figure, Source, Verdict};
use crate::table::Table;

/// The tables, figures and verdicts that a kind makes of its sources.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Content {
    /// The tables.
    pub tables: Vec<Table>,
    /// The figures; they show numbers of the tables.
    #[serde(skip)]
    pub figures: Vec<Figure>,
    /// Sentences to read with them.
    pub notes: Vec<String>,
    /// Whether the claims hold.
    pub verdicts: Vec<Verdict>,
}

/// A page.
#[derive(Clone, Debug, Serialize)]
pub struct Chapter {
    /// The table's name.
    pub name: &'static str,
    /// The question and the claims.
    pub config: Config,
    /// The results that it is made of.
    pub sources: Vec<Source>,
    /// The findings.
    #[serde(flatten)]
    pub content: Content,
}

impl Chapter {
    /// Reads the sources and makes the page.
    ///
    /// # Errors
    /// When a source that is not optional is missing, or any is malformed.
    pub fn new(kind: &Kind, results: &Path, runs: &Runs, seed: u64) -> Result<Self> {
        let config = kind.config()?;
        let there = config.optional.iter().filter(|file| results.join(file).exists());
        let files = config.sources.iter().chain(there);
        let sources: Vec<Source> =
            files.map(|file| Source::read(results, file, runs)).collect::<Result<_>>()?;
        let content = (kind.build)(&config, &sources, seed).with_context(|| kind.name)?;
        Ok(Self { name: kind.name, config, sources, content })
    }
}
