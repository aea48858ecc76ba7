//! Where finished units are kept until all are done: in memory, or as files that a stopped run finds again.

use std::collections::HashMap;
use std::fs::{self, File, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use anyhow::{Context, Result, bail};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::output::{TEMPORARY, write_file};

/// What has been computed so far, in units of some rows.
#[derive(Debug)]
pub enum Journal<R> {
    /// Lost with the process.
    Memory(Mutex<HashMap<String, Vec<R>>>),
    /// A results folder.
    Folder(Folder),
}

impl<R: Clone + Serialize + DeserializeOwned> Journal<R> {
    /// An empty one that lives as long as the process.
    #[must_use]
    pub fn in_memory() -> Self {
        Self::Memory(Mutex::default())
    }

    /// The rows of a unit, if it is finished.
    ///
    /// # Errors
    /// When a file of the folder cannot be read.
    pub fn read(&self, unit: &str) -> Result<Option<Vec<R>>> {
        match self {
            Self::Memory(units) => {
                Ok(units.lock().expect("no thread panics with the lock").get(unit).cloned())
            }
            Self::Folder(folder) => folder.read(unit),
        }
    }

    /// Keeps the rows of a finished unit. Its name is a file's name, too.
    ///
    /// # Errors
    /// When the file cannot be written; then it is not there.
    pub fn write(&self, unit: &str, rows: Vec<R>) -> Result<()> {
        match self {
            Self::Memory(units) => {
                units.lock().expect("no thread panics with the lock").insert(unit.to_owned(), rows);
                Ok(())
            }
            Self::Folder(folder) => folder.write(unit, &rows),
        }
    }
}

/// A results folder, held by one process at a time.
///
/// ```text
/// DIR/config.json              what is computed from what, written first
///     units/003-01.jsonl       the rows of each finished unit
///     rows.csv, .., pivot.md   the results, once all units are done
/// ```
///
/// Every file appears whole: it is written beside its place, flushed to the disk, and renamed.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    lock: File,
}

/// The file that says what a folder's results are of.
const CONFIG: &str = "config.json";
/// The file that is written last.
const LAST: &str = "pivot.md";
/// Every file that a results folder may hold beside these.
const RESULTS: [&str; 4] = ["rows.csv", "rows.jsonl", "statistics.csv", "correlations.csv"];
const UNITS: &str = "units";
const LOCK: &str = ".lock";

impl Folder {
    /// Opens a folder for the run that `config` describes, or makes it. With `force`, another run's results make way.
    ///
    /// # Errors
    /// When the folder holds something else, or another run, or another process works on it.
    pub fn open(path: &Path, config: &str, force: bool) -> Result<Self> {
        let name = || path.display().to_string();
        let found = fs::read_to_string(path.join(CONFIG)).ok();
        match &found {
            None if holds_anything(path) => {
                bail!("{}: holds something else, expected a new folder or one of --results", name());
            }
            Some(found) if found != config && !force => bail!(
                "{}: is of another run (inputs, configuration, seed, path or build differ), expected the same or --force",
                path.join(CONFIG).display()
            ),
            _ => {}
        }
        fs::create_dir_all(path).with_context(name)?;
        let folder = Self { path: path.to_owned(), lock: lock(path)? };
        folder.remove_temporary()?;
        if found.is_none_or(|found| found != config) {
            folder.start(config)?;
        }
        fs::create_dir_all(folder.path.join(UNITS)).with_context(name)?;
        Ok(folder)
    }

    /// Removes what another run left, and says what this one computes.
    fn start(&self, config: &str) -> Result<()> {
        for name in RESULTS.into_iter().chain([CONFIG, LAST]) {
            let path = self.path.join(name);
            if path.exists() {
                fs::remove_file(&path).with_context(|| path.display().to_string())?;
            }
        }
        if self.path.join(UNITS).exists() {
            fs::remove_dir_all(self.path.join(UNITS)).with_context(|| self.path.display().to_string())?;
        }
        self.put(CONFIG, config)
    }

    /// Whether all results are there.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.path.join(LAST).exists()
    }

    /// Writes the results by their names, and the pivot last, which marks them complete.
    ///
    /// # Errors
    /// When a file cannot be written; the units then stay.
    pub fn complete(&self, results: &[(&str, String)], pivot: &str) -> Result<()> {
        results.iter().try_for_each(|(name, text)| self.put(name, text))?;
        self.put(LAST, pivot)
    }

    /// The pivot of a complete folder.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn pivot(&self) -> Result<String> {
        let path = self.path.join(LAST);
        fs::read_to_string(&path).with_context(|| path.display().to_string())
    }

    /// Removes what only a run that goes on needs.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn close(self) -> Result<()> {
        let name = || self.path.display().to_string();
        fs::remove_dir_all(self.path.join(UNITS)).with_context(name)?;
        fs::remove_file(self.path.join(LOCK)).with_context(name)?;
        drop(self.lock);
        Ok(())
    }

    fn put(&self, name: &str, text: &str) -> Result<()> {
        write_file(&self.path.join(name), true, |file| Ok(file.write_all(text.as_bytes())?))
    }

    fn file_of(unit: &str) -> String {
        format!("{UNITS}/{unit}.jsonl")
    }

    fn read<R: DeserializeOwned>(&self, unit: &str) -> Result<Option<Vec<R>>> {
        let path = self.path.join(Self::file_of(unit));
        if !path.exists() {
            return Ok(None);
        }
        let name = || path.display().to_string();
        let text = fs::read_to_string(&path).with_context(name)?;
        let rows = text.lines().map(serde_json::from_str).collect::<Result<_, _>>();
        rows.map(Some).with_context(name)
    }

    fn write<R: Serialize>(&self, unit: &str, rows: &[R]) -> Result<()> {
        self.put(&Self::file_of(unit), &jsonl(rows)?)
    }

    /// What a killed process had not yet renamed.
    fn remove_temporary(&self) -> Result<()> {
        let folders = [self.path.clone(), self.path.join(UNITS)];
        let entries = folders.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten().flatten();
        for entry in entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(TEMPORARY)) {
            fs::remove_file(entry.path()).with_context(|| entry.path().display().to_string())?;
        }
        Ok(())
    }
}

/// One JSON document a line.
///
/// # Errors
/// When a row cannot be serialised.
pub fn jsonl<R: Serialize>(rows: &[R]) -> Result<String> {
    let lines = rows.iter().map(|row| Ok(serde_json::to_string(row)? + "\n"));
    lines.collect()
}

/// Whether something lies at `path` that is not what a process leaves that is killed at its start.
fn holds_anything(path: &Path) -> bool {
    let Ok(mut entries) = fs::read_dir(path) else { return path.symlink_metadata().is_ok() };
    entries.any(|entry| {
        entry.is_ok_and(|entry| {
            let name = entry.file_name();
            name != LOCK && !name.to_string_lossy().starts_with(TEMPORARY)
        })
    })
}

/// Holds the folder until the process ends, however it ends.
fn lock(path: &Path) -> Result<File> {
    let path = path.join(LOCK);
    let name = || path.display().to_string();
    let file = File::create(&path).with_context(name)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => bail!("{}: another process works on this folder", name()),
        Err(TryLockError::Error(error)) => Err(error).with_context(name),
    }
}
