//! Results files, read once, with their digest.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Serialize;

use super::runs::Runs;
use crate::digest::sha256;
use crate::exit::Missing;
use crate::group::distinct;
use crate::input;
use crate::rows::{EvalRow, Row};

/// A results file, with the command that made it.
#[derive(Clone, Debug, Serialize)]
pub struct Source {
    /// Its place in the results folder.
    pub file: String,
    /// SHA-256 of its bytes.
    pub sha256: String,
    /// The arguments of `laprox` that made it.
    pub command: Vec<String>,
    /// The configuration beside it, if there is one.
    pub config: Option<serde_json::Value>,
    #[serde(skip)]
    path: PathBuf,
    #[serde(skip)]
    text: String,
}

impl Source {
    /// Reads a file of the results folder.
    ///
    /// # Errors
    /// [`Missing`] if there is none; otherwise when it is not text, or its configuration is not JSON.
    pub fn read(results: &Path, file: &str, runs: &Runs) -> Result<Self> {
        let path = results.join(file);
        if !path.exists() {
            return Err(Missing(format!("{}: no such results file", path.display())).into());
        }
        let text = input::read_text(&path)?;
        Ok(Self {
            file: file.to_owned(),
            sha256: sha256(&text),
            command: runs.of_file(file)?.command.clone(),
            config: config_beside(&path)?,
            path,
            text,
        })
    }

    /// The rows of the CSV file.
    ///
    /// # Errors
    /// When it has none, or one lacks a column, holds a number that is not finite, or repeats an earlier one. The error
    /// names the line.
    pub fn rows<R: Row>(&self) -> Result<Vec<R>> {
        self.parse().with_context(|| self.path.display().to_string())
    }

    fn parse<R: Row>(&self) -> Result<Vec<R>> {
        let mut reader = csv::Reader::from_reader(self.text.as_bytes());
        let header = reader.headers()?.clone();
        let mut seen: HashMap<String, u64> = HashMap::new();
        let mut rows = Vec::new();
        for record in reader.records() {
            let record = record?;
            let line = record.position().map_or(0, csv::Position::line);
            let row = record.deserialize(Some(&header)).map_err(|error| explained(&error, &header));
            let row: R = row.with_context(|| format!("line {line}"))?;
            let cell = |name: &str| {
                let column = header.iter().position(|column| column == name);
                column.and_then(|column| record.get(column)).unwrap_or_default()
            };
            let infinite = |text: &str| text.parse().is_ok_and(|number: f64| !number.is_finite());
            if let Some(column) = R::FINITE.iter().find(|column| infinite(cell(column))) {
                bail!("line {line}: {column} is {}, expected a finite number", cell(column));
            }
            let key = R::KEY.iter().map(|column| cell(column)).collect::<Vec<_>>().join("\n");
            if let Some(earlier) = seen.insert(key, line) {
                bail!("line {line}: a second row of the same as line {earlier}");
            }
            rows.push(row);
        }
        if rows.is_empty() {
            bail!("no rows");
        }
        Ok(rows)
    }

    /// The models of the evaluation whose rows lie beside this file.
    ///
    /// # Errors
    /// When there is no `rows.csv`, or it is malformed, or has no rows.
    pub fn models_beside(&self) -> Result<String> {
        let path = self.path.with_file_name("rows.csv");
        let name = || path.display().to_string();
        if !path.exists() {
            return Err(Missing(format!("{}: no such results file", name())).into());
        }
        let mut reader = csv::Reader::from_reader(input::open(&path)?);
        let models = reader.deserialize().map(|row| row.map(|row: EvalRow| row.model));
        let models = distinct(models.collect::<Result<Vec<_>, _>>().with_context(name)?);
        if models.is_empty() {
            bail!("{}: no rows", name());
        }
        Ok(models.join(", "))
    }
}

/// The rows of several files.
///
/// # Errors
/// As [`Source::rows`].
pub fn all_rows<R: Row>(sources: &[Source]) -> Result<Vec<R>> {
    Ok(sources.iter().map(Source::rows).collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
}

/// The error of a record, the column by its name.
fn explained(error: &csv::Error, header: &csv::StringRecord) -> anyhow::Error {
    let csv::ErrorKind::Deserialize { err, .. } = error.kind() else { return anyhow::anyhow!("{error}") };
    match err.field().and_then(|field| header.get(field as usize)) {
        Some(column) => anyhow::anyhow!("column {column}: {}", err.kind()),
        None => anyhow::anyhow!("{}", err.kind()),
    }
}

/// The configuration of a file, or of its folder.
fn config_beside(path: &Path) -> Result<Option<serde_json::Value>> {
    let places = [path.with_extension("config.json"), path.with_file_name("config.json")];
    let Some(path) = places.into_iter().find(|path| path.exists()) else { return Ok(None) };
    let text = input::read_text(&path)?;
    serde_json::from_str(&text).map(Some).with_context(|| path.display().to_string())
}
