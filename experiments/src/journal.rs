//! Keeps finished units until all are done: in memory, or as files that a stopped run finds again.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, DirEntry, File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use anyhow::{Context, Result, bail};
use laprox_fixtures::place::{Place, Replace, publish};
use laprox_fixtures::staging::{Staging, is_staging};
use rustix::fs::{Mode, OFlags, open};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::digest::sha256;
use crate::mark;
use crate::output::{create_text, pretty};
use crate::progress::note;
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

    /// The rows of a unit, if it is finished. A file that is not whole, or of another unit or run, is as good as none.
    #[must_use]
    pub fn read(&self, unit: &str) -> Option<Vec<R>> {
        match self {
            Self::Memory(units) => units.lock().expect("no thread panics with the lock").get(unit).cloned(),
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
/// DIR/config.json              the run: inputs, configuration and a digest of its units, written first
///     units/003-01.jsonl       a finished unit: a line that identifies it, and its rows
///     rows.csv, .., pivot.md   the results, once all units are done
///     laprox.sha256            the digests of the results, written last
/// ```
///
/// Every file appears whole: it is written in a hidden folder, flushed to the disk, and renamed. None is believed unread:
/// a unit counts if its first line fits it, and the folder is complete if every result fits its digest.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    /// SHA-256 of the run's description.
    run: String,
    staging: Staging,
    /// Holds the folder until the process ends, however it ends.
    _lock: File,
}

/// The run of a results folder.
#[derive(Serialize)]
struct Description<'a, C> {
    provenance: &'a Provenance,
    config: &'a C,
    /// SHA-256 of what tells the units apart, for inputs that the configuration names but does not hold.
    units: String,
}

/// The first line of a unit's file.
#[derive(Deserialize, PartialEq, Serialize)]
struct Header {
    run: String,
    unit: String,
    rows: usize,
    /// Of the lines after this one.
    sha256: String,
}

/// Goes on where a run into the same folder stopped, and returns its tables. `units` says what each unit computes from.
/// `finish` computes the units that the journal lacks, and returns the results by the names of their files, and the tables.
///
/// # Errors
/// When the folder holds something else or another run, `finish` fails, or a file cannot be written.
pub fn finish_in_folder<R>(
    path: &Path,
    (provenance, config): (&Provenance, &impl Serialize),
    units: impl IntoIterator<Item = String>,
    force: bool,
    finish: impl FnOnce(&Journal<'_, R>) -> Result<(Vec<(&'static str, String)>, String)>,
) -> Result<String> {
    let units = sha256(units.into_iter().map(|unit| unit + "\n").collect::<String>());
    let folder = Folder::open(path, &pretty(&Description { provenance, config, units })?, force)?;
    if !folder.is_complete() {
        let (files, pivot) = finish(&Journal::Folder(&folder))?;
        folder.complete(files.into_iter().chain([(LAST, pivot)]))?;
    }
    let pivot = folder.pivot()?;
    folder.close()?;
    Ok(pivot)
}

/// The file that describes the run of a folder.
const CONFIG: &str = "config.json";
/// The tables.
const LAST: &str = "pivot.md";
/// Every file that a results folder may hold, beside its units.
const FILES: [&str; 8] =
    [CONFIG, "rows.csv", "rows.jsonl", "statistics.csv", "correlations.csv", LAST, mark::NAME, LOCK];
const UNITS: &str = "units";
const LOCK: &str = ".lock";

impl Folder {
    /// Opens a folder for the run that `config` describes, or makes it. With `force`, another run's results make way.
    ///
    /// # Errors
    /// When the folder holds something else, or another run, or another process works on it.
    fn open(path: &Path, config: &str, force: bool) -> Result<Self> {
        let name = || path.display().to_string();
        let (found, run) = (fs::read_to_string(path.join(CONFIG)).ok(), sha256(config));
        let is_same = found.as_deref() == Some(config) || holds_only_results(path) && is_recorded(path, &run);
        let replaces = !is_same && is_run(path);
        if replaces && !force {
            bail!(
                "{}: is of another run (inputs, configuration, seed, path or build differ), expected the same or --force",
                path.join(CONFIG).display()
            );
        }
        if !is_same && !replaces && holds_anything(path) {
            bail!("{}: holds something else, expected a new folder or one of --results", name());
        }
        fs::create_dir_all(path).with_context(name)?;
        let mut lock = hold(path)?;
        if fs::read_to_string(path.join(CONFIG)).ok() != found {
            bail!("{}: another process has worked on this folder meanwhile", name());
        }
        if replaces {
            replace(path, config)?;
            lock = hold(path)?;
        }
        let folder = Self {
            path: path.to_owned(),
            run,
            staging: Staging::within(path).with_context(name)?,
            _lock: lock,
        };
        if !replaces && found.as_deref() != Some(config) {
            folder.put(CONFIG, config)?;
        }
        Ok(folder)
    }

    /// Whether the results are there, as they were written.
    fn is_complete(&self) -> bool {
        if !self.path.join(mark::NAME).exists() && !self.path.join(LAST).exists() {
            return false;
        }
        let digests = mark::read(&self.path).unwrap_or_default();
        let misfit = digests.iter().find(|(name, digest)| !mark::fits(&self.path, name, digest));
        let of_run = digests.get(CONFIG) == Some(&self.run);
        let name = misfit.map_or(mark::NAME, |(name, _)| name);
        if misfit.is_some() || !of_run {
            note(format_args!(
                "{}: not as it was written, the results are made anew",
                self.path.join(name).display()
            ));
        }
        misfit.is_none() && of_run
    }

    /// Writes the results, and the mark that completes them.
    fn complete(&self, files: impl IntoIterator<Item = (&'static str, String)>) -> Result<()> {
        let mut digests = BTreeMap::from([(CONFIG.to_owned(), self.run.clone())]);
        for (name, text) in files {
            self.put(name, &text)?;
            digests.insert(name.to_owned(), sha256(text));
        }
        self.put(mark::NAME, &mark::text(&digests))
    }

    /// The pivot of a complete folder.
    fn pivot(&self) -> Result<String> {
        let path = self.path.join(LAST);
        fs::read_to_string(&path).with_context(|| path.display().to_string())
    }

    /// Removes the files that only a run in progress needs.
    fn close(self) -> Result<()> {
        let name = || self.path.display().to_string();
        for unit in entries(&self.path.join(UNITS)).filter(is_unit) {
            fs::remove_file(unit.path()).with_context(name)?;
        }
        // Stays if it holds something else.
        let _ = fs::remove_dir(self.path.join(UNITS));
        fs::remove_file(self.path.join(LOCK)).with_context(name)
    }

    fn put(&self, name: &str, text: &str) -> Result<()> {
        let path = self.path.join(name);
        let unfinished = self.staging.path().join(name.replace('/', "-"));
        let put = || -> Result<()> {
            create_text(&unfinished, text)?;
            Ok(fs::rename(&unfinished, &path)?)
        };
        put().with_context(|| path.display().to_string())
    }

    fn file_of(unit: &str) -> String {
        format!("{UNITS}/{unit}.jsonl")
    }

    fn read<R: DeserializeOwned>(&self, unit: &str) -> Option<Vec<R>> {
        let path = self.path.join(Self::file_of(unit));
        path.symlink_metadata().ok()?;
        let rows = fs::read_to_string(&path).ok().and_then(|text| self.rows(unit, &text));
        if rows.is_none() {
            note(format_args!("{}: not the whole unit of this run, it is computed anew", path.display()));
        }
        rows
    }

    /// The rows of a unit's file, if it is one.
    fn rows<R: DeserializeOwned>(&self, unit: &str, text: &str) -> Option<Vec<R>> {
        let (header, rows) = text.split_once('\n')?;
        let found: Header = serde_json::from_str(header).ok()?;
        let rows_of = |rows: &str| rows.lines().map(serde_json::from_str).collect::<Result<_, _>>().ok();
        if found == self.header(unit, rows) { rows_of(rows) } else { None }
    }

    fn write<R: Serialize>(&self, unit: &str, rows: &[R]) -> Result<()> {
        let rows = jsonl(rows)?;
        let header = serde_json::to_string(&self.header(unit, &rows))?;
        let units = self.path.join(UNITS);
        fs::create_dir_all(&units).with_context(|| units.display().to_string())?;
        self.put(&Self::file_of(unit), &format!("{header}\n{rows}"))
    }

    fn header(&self, unit: &str, rows: &str) -> Header {
        let (run, unit) = (self.run.clone(), unit.to_owned());
        Header { run, unit, rows: rows.lines().count(), sha256: sha256(rows) }
    }
}

/// Puts a folder with nothing but `config` in the place of another run's.
fn replace(path: &Path, config: &str) -> Result<()> {
    let place = Place::claim(path, Replace::Folder(is_run))?;
    fs::create_dir(place.unfinished())?;
    create_text(&place.unfinished().join(CONFIG), config)?;
    Ok(publish(&[place])?)
}

/// Whether a folder is one of results, with the description of a run.
fn is_run(path: &Path) -> bool {
    let config = fs::read(path.join(CONFIG)).ok();
    let config: Option<Value> = config.and_then(|text| serde_json::from_slice(&text).ok());
    let describes = |config: Value| {
        config["config"].is_object()
            && ["version", "commit", "path", "seed"].iter().all(|key| !config["provenance"][key].is_null())
    };
    config.is_some_and(describes) && holds_only_results(path)
}

/// Whether the results or units of a folder say that they are of a run, when its description is missing or damaged.
fn is_recorded(path: &Path, run: &str) -> bool {
    let of_results = mark::read(path).and_then(|mut digests| digests.remove(CONFIG));
    let of_unit = |unit: DirEntry| {
        let text = fs::read_to_string(unit.path()).unwrap_or_default();
        serde_json::from_str(text.lines().next()?).ok().map(|header: Header| header.run)
    };
    let units = entries(&path.join(UNITS)).filter_map(of_unit);
    let mut runs = of_results.into_iter().chain(units).peekable();
    runs.peek().is_some() && runs.all(|found| found == run)
}

/// Whether every entry of a folder is one that a run leaves.
fn holds_only_results(path: &Path) -> bool {
    let is_units =
        |entry: &DirEntry| entry.file_name() == UNITS && entries(&entry.path()).all(|unit| is_unit(&unit));
    let is_file = |entry: &DirEntry| entry.file_type().is_ok_and(|kind| kind.is_file());
    entries(path).all(|entry| {
        let is_result = FILES.iter().any(|name| entry.file_name() == *name) && is_file(&entry);
        is_result || is_units(&entry) || is_staging(&entry.path())
    })
}

/// Whether the folder holds more than a process leaves that is killed at its start.
fn holds_anything(path: &Path) -> bool {
    if !path.is_dir() {
        return path.symlink_metadata().is_ok();
    }
    entries(path).any(|entry| entry.file_name() != LOCK && !is_staging(&entry.path()))
}

fn is_unit(entry: &DirEntry) -> bool {
    entry.path().extension().is_some_and(|ending| ending == "jsonl")
}

fn entries(folder: &Path) -> impl Iterator<Item = DirEntry> + use<> {
    fs::read_dir(folder).into_iter().flatten().flatten()
}

/// Locks the folder by a file in it, which is neither emptied nor, if it is a link, followed.
fn hold(path: &Path) -> Result<File> {
    let path = path.join(LOCK);
    let name = || path.display().to_string();
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = File::from(open(&path, flags, Mode::from(0o644)).with_context(name)?);
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => bail!("{}: another process works on this folder", name()),
        Err(TryLockError::Error(error)) => Err(error).with_context(name),
    }
}
