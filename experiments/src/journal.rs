//! Keeps finished units until all are done: in memory, or as files that a stopped run finds again.

use std::collections::HashMap;
use std::fs::{self, File, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use anyhow::{Context, Result, bail};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::output::{TEMPORARY, pretty, write_file};
use crate::provenance::Provenance;
use crate::rows::jsonl;

/// The rows of the units that are finished so far.
#[derive(Debug)]
pub enum Journal<'a, R> {
    /// Lost with the process.
    Memory(Mutex<HashMap<String, Vec<R>>>),
    /// A results folder.
    Folder(&'a Folder),
}

impl<R: Clone + Serialize + DeserializeOwned> Journal<'_, R> {
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
/// DIR/config.json              the run: inputs and configuration, written first
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

/// The run of a results folder.
#[derive(Serialize)]
struct Description<'a, C> {
    provenance: &'a Provenance,
    config: &'a C,
}

/// Goes on where a run into the same folder stopped, and returns its tables. `finish` computes the units that the
/// journal lacks, and returns the results by the names of their files, and the tables.
///
/// # Errors
/// When the folder holds something else or another run, `finish` fails, or a file cannot be written.
pub fn finish_in_folder<R>(
    path: &Path,
    (provenance, config): (&Provenance, &impl Serialize),
    force: bool,
    finish: impl FnOnce(&Journal<'_, R>) -> Result<(Vec<(&'static str, String)>, String)>,
) -> Result<String> {
    let folder = Folder::open(path, &pretty(&Description { provenance, config })?, force)?;
    if !folder.path.join(LAST).exists() {
        let (files, pivot) = finish(&Journal::Folder(&folder))?;
        // The pivot comes last: it marks the others complete.
        files.iter().try_for_each(|(name, text)| folder.put(name, text))?;
        folder.put(LAST, &pivot)?;
    }
    let pivot = folder.pivot()?;
    folder.close()?;
    Ok(pivot)
}

/// The file that describes the run of a folder.
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
    fn open(path: &Path, config: &str, force: bool) -> Result<Self> {
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

    /// Removes the files of another run, and describes this one.
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

    /// The pivot of a complete folder.
    fn pivot(&self) -> Result<String> {
        let path = self.path.join(LAST);
        fs::read_to_string(&path).with_context(|| path.display().to_string())
    }

    /// Removes the files that only a run in progress needs.
    fn close(self) -> Result<()> {
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

    /// Removes the files that a killed process had not yet renamed.
    fn remove_temporary(&self) -> Result<()> {
        let folders = [self.path.clone(), self.path.join(UNITS)];
        let entries = folders.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten().flatten();
        for entry in entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(TEMPORARY)) {
            fs::remove_file(entry.path()).with_context(|| entry.path().display().to_string())?;
        }
        Ok(())
    }
}

/// Whether the folder holds more than a process leaves that is killed at its start.
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
