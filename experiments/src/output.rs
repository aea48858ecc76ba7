//! Outputs appear whole or not at all: they are written beside their place and then renamed.

use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Serialize;

use crate::printed::Format;
use crate::rows::csv;

/// The first part of the names of unfinished and temporary files.
pub const TEMPORARY: &str = ".laprox-";

/// The place of a text result.
#[derive(Clone, Copy, Debug)]
pub enum Sink<'a> {
    /// Standard output.
    Stdout,
    /// A file.
    File {
        /// Its path.
        path: &'a Path,
        /// Whether an existing file is replaced.
        force: bool,
    },
}

impl<'a> Sink<'a> {
    /// A file if a path is given, otherwise stdout.
    #[must_use]
    pub fn new(path: Option<&'a Path>, force: bool) -> Self {
        path.map_or(Self::Stdout, |path| Self::File { path, force })
    }

    /// Refuses, before anything is computed, a place where the document cannot be written.
    ///
    /// # Errors
    /// When a file exists and may not be replaced.
    pub fn check(&self, format: Format) -> Result<()> {
        if let Self::File { path, force } = *self {
            refuse_existing(path, force)?;
            if format == Format::Csv {
                refuse_existing(&config_beside(path), force)?;
            }
        }
        Ok(())
    }

    /// Writes a document as JSON, as its `rows` alone in CSV, or as a text. The rest of the document is written beside a
    /// CSV file, as `NAME.config.json`.
    ///
    /// # Errors
    /// When the document cannot be serialised or written.
    pub fn write_document<R: Serialize>(
        &self,
        format: Format,
        document: &impl Serialize,
        rows: &[R],
        text: impl FnOnce() -> String,
    ) -> Result<()> {
        match format {
            Format::Json => self.write(&pretty(document)?),
            Format::Markdown => self.write(&text()),
            Format::Csv => {
                if let Self::File { path, force } = *self {
                    let mut config = serde_json::to_value(document)?;
                    config.as_object_mut().and_then(|document| document.remove("rows"));
                    Sink::File { path: &config_beside(path), force }.write(&pretty(&config)?)?;
                }
                self.write(&csv(rows)?)
            }
        }
    }

    /// Writes the text.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, text: &str) -> Result<()> {
        match *self {
            Self::Stdout => Ok(io::stdout().lock().write_all(text.as_bytes())?),
            Self::File { path, force } => {
                write_file(path, force, |file| Ok(file.write_all(text.as_bytes())?))
            }
        }
    }
}

/// `NAME.config.json` beside `NAME.csv`.
fn config_beside(rows: &Path) -> PathBuf {
    rows.with_extension("config.json")
}

/// One JSON document with a line break at its end.
///
/// # Errors
/// When it cannot be serialised.
pub fn pretty(document: &impl Serialize) -> Result<String> {
    Ok(serde_json::to_string_pretty(document)? + "\n")
}

/// Refuses a path that exists, without `force`.
///
/// # Errors
/// When it exists.
pub fn refuse_existing(path: &Path, force: bool) -> Result<()> {
    if !force && path.symlink_metadata().is_ok() {
        bail!("{}: exists, expected a new path (or --force)", path.display());
    }
    Ok(())
}

/// Writes a file beside `path` and renames it when it is complete.
///
/// # Errors
/// When `write` or the file system fails; nothing is left behind then.
pub fn write_file(
    path: &Path,
    force: bool,
    write: impl FnOnce(&mut BufWriter<&mut fs::File>) -> Result<()>,
) -> Result<()> {
    refuse_existing(path, force)?;
    let name = || path.display().to_string();
    let mut file = tempfile::Builder::new()
        .prefix(TEMPORARY)
        .permissions(readable())
        .tempfile_in(parent(path))
        .with_context(name)?;
    let mut writer = BufWriter::new(file.as_file_mut());
    write(&mut writer).with_context(name)?;
    writer.flush().with_context(name)?;
    drop(writer);
    // A full disk may show only now, and a name must not appear before its bytes are on the disk.
    file.as_file().sync_all().with_context(name)?;
    file.persist(path).with_context(name)?;
    Ok(())
}

/// Fills a folder beside `path` and renames it when it is complete.
///
/// # Errors
/// When `fill` or the file system fails; nothing is left behind then.
pub fn write_folder(path: &Path, force: bool, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    refuse_existing(path, force)?;
    let name = || path.display().to_string();
    let folder = tempfile::Builder::new().prefix(TEMPORARY).tempdir_in(parent(path)).with_context(name)?;
    let filled = folder.path().join("filled");
    fs::create_dir(&filled).with_context(name)?;
    fill(&filled)?;
    if path.symlink_metadata().is_ok() {
        // The old result is removed together with the temporary folder.
        fs::rename(path, folder.path().join("replaced")).with_context(name)?;
    }
    fs::rename(&filled, path).with_context(name)
}

fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

#[cfg(unix)]
fn readable() -> fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(0o644)
}
