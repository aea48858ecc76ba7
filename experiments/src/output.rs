//! Outputs appear whole or not at all: their places are claimed before the work, and taken when they are complete.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result};
use laprox_fixtures::place::{Place, Replace, publish};
use serde::Serialize;

use crate::mark;
use crate::printed::{Format, config_beside};
use crate::rows::csv;

/// The place of a text result.
#[derive(Debug)]
pub enum Sink {
    /// Standard output.
    Stdout,
    /// A file, and a second one for what is no row, if the first one holds rows alone.
    File(Place, Option<Place>),
}

impl Sink {
    /// A file if a path is given, otherwise stdout. With `force`, regular files are replaced.
    ///
    /// # Errors
    /// When a file, or the one beside a CSV file, cannot be written there.
    pub fn open(path: Option<&Path>, format: Format, force: bool) -> Result<Self> {
        let Some(path) = path else { return Ok(Self::Stdout) };
        let beside = (format == Format::Csv).then(|| file(&config_beside(path), force));
        Ok(Self::File(file(path, force)?, beside.transpose()?))
    }

    /// Writes a document as JSON, as its `rows` alone in CSV, or as a text. The rest of the document is written beside a
    /// CSV file, as `NAME.config.json`.
    ///
    /// # Errors
    /// When the document cannot be serialised or written.
    pub fn write_document<R: Serialize>(
        self,
        format: Format,
        document: &impl Serialize,
        rows: &[R],
        text: impl FnOnce() -> String,
    ) -> Result<()> {
        if let Self::File(_, Some(beside)) = &self {
            let mut config = serde_json::to_value(document)?;
            config.as_object_mut().and_then(|document| document.remove("rows"));
            create_text(&beside.unfinished(), &pretty(&config)?).with_context(|| name(beside))?;
        }
        match format {
            Format::Json => self.write(&pretty(document)?),
            Format::Markdown => self.write(&text()),
            Format::Csv => self.write(&csv(rows)?),
        }
    }

    /// Writes the text.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(self, text: &str) -> Result<()> {
        match self {
            Self::Stdout => {
                let mut stdout = io::stdout().lock();
                let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
                written.context("stdout")
            }
            Self::File(place, beside) => {
                create_text(&place.unfinished(), text).with_context(|| name(&place))?;
                let places: Vec<Place> = beside.into_iter().chain([place]).collect();
                Ok(publish(&places)?)
            }
        }
    }
}

/// One JSON document with a line break at its end.
///
/// # Errors
/// When it cannot be serialised.
pub fn pretty(document: &impl Serialize) -> Result<String> {
    Ok(serde_json::to_string_pretty(document)? + "\n")
}

/// Claims the place of a file. With `force`, a regular file is replaced.
///
/// # Errors
/// When no file can be written there.
pub fn file(path: &Path, force: bool) -> Result<Place> {
    Ok(Place::claim(path, if force { Replace::File } else { Replace::Nothing })?)
}

/// Claims the place of a folder. With `force`, a folder that [`fill`] has filled, or an empty one, is replaced.
///
/// # Errors
/// When no folder can be written there.
pub fn folder(path: &Path, force: bool) -> Result<Place> {
    Ok(Place::claim(path, if force { Replace::Folder(mark::is_ours) } else { Replace::Nothing })?)
}

/// Writes the file of a place.
///
/// # Errors
/// When `write` or the file system fails; then it does not appear.
pub fn write(place: Place, write: impl FnOnce(&mut BufWriter<File>) -> Result<()>) -> Result<()> {
    create(&place.unfinished(), write).with_context(|| name(&place))?;
    Ok(publish(&[place])?)
}

/// Fills the folder of a place, and marks it as this project's.
///
/// # Errors
/// When `fill` or the file system fails; then it does not appear.
pub fn fill(place: Place, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let unfinished = place.unfinished();
    fs::create_dir(&unfinished).with_context(|| name(&place))?;
    fill(&unfinished).with_context(|| name(&place))?;
    let mark = |folder: &Path| create_text(&folder.join(mark::NAME), &mark::of(folder)?);
    mark(&unfinished).with_context(|| name(&place))?;
    Ok(publish(&[place])?)
}

/// Writes a new file in a folder that is not finished.
///
/// # Errors
/// When `write` or the file system fails.
pub fn create(path: &Path, write: impl FnOnce(&mut BufWriter<File>) -> Result<()>) -> Result<()> {
    let mut writer = BufWriter::new(File::create_new(path)?);
    write(&mut writer)?;
    // A full disk may show only now, and a name must not appear before its bytes are on the disk.
    Ok(writer.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?)
}

/// The same for a text.
///
/// # Errors
/// As [`create`].
pub fn create_text(path: &Path, text: &str) -> Result<()> {
    create(path, |file| Ok(file.write_all(text.as_bytes())?))
}

fn name(place: &Place) -> String {
    place.target().display().to_string()
}
