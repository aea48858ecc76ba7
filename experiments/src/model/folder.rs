//! Folders that hold a model: one GGUF file, the wheels of its parts, or the files of a snapshot.

use std::fs;
use std::path::{Path, PathBuf};

use super::error::{Error, Result};
use super::regular::file_name;
use super::source::{Carried, read_file};
use super::wheel;

/// Reads the model of a folder.
///
/// # Errors
/// [`Error::Contents`] when there is no model in the folder, or more than one.
pub(super) fn read(folder: &Path) -> Result<Carried> {
    let files = files(folder)?;
    match (&ending(&files, "gguf")[..], &ending(&files, "whl")[..]) {
        ([file], []) => read_file(file),
        ([], []) => Err(Error::contents(folder, "a .gguf file, wheels (.whl) or a snapshot", "none")),
        ([], wheels) => wheel::read_parts(folder, wheels),
        (ggufs, _) => Err(Error::contents(folder, "one .gguf file (name the one to run)", list(ggufs))),
    }
}

/// Whether a folder holds a transformers model, and neither a GGUF file nor a wheel, which would be read instead.
///
/// # Errors
/// [`Error::Io`] when the folder cannot be listed.
pub(super) fn holds_snapshot(folder: &Path) -> Result<bool> {
    let files = files(folder)?;
    let has = |extension| !ending(&files, extension).is_empty();
    let is_transformers = has("safetensors") || files.iter().any(|file| file.ends_with("config.json"));
    Ok(is_transformers && !has("gguf") && !has("whl"))
}

fn ending<'a>(files: &'a [PathBuf], wanted: &str) -> Vec<&'a PathBuf> {
    files.iter().filter(|file| file.extension().is_some_and(|extension| extension == wanted)).collect()
}

/// The folder's files and subfolders, sorted.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).map_err(Error::io(folder))?;
    let mut files =
        entries.map(|entry| Ok(entry.map_err(Error::io(folder))?.path())).collect::<Result<Vec<_>>>()?;
    files.sort();
    Ok(files)
}

fn list(files: &[&PathBuf]) -> String {
    files.iter().map(|file| file_name(file)).collect::<Vec<_>>().join(", ")
}
