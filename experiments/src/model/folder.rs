//! Folders that hold a model: one GGUF file, as in a snapshot of a hub's repository, or the wheels of its parts.

use std::fs;
use std::path::{Path, PathBuf};

use super::error::{Error, Result};
use super::source::{Carried, file_name, read_file};
use super::wheel;

/// Reads the model of a folder.
///
/// # Errors
/// [`Error::Contents`] when there is no model in the folder, or more than one.
pub(super) fn read(folder: &Path) -> Result<Carried> {
    let files = files(folder)?;
    let ending = |wanted: &str| -> Vec<&PathBuf> {
        files.iter().filter(|file| file.extension().is_some_and(|extension| extension == wanted)).collect()
    };
    match (&ending("gguf")[..], &ending("whl")[..]) {
        ([file], []) => read_file(file),
        ([], []) => Err(Error::contents(folder, "a .gguf file, or wheels (.whl)", describe(&files))),
        ([], wheels) => wheel::read_parts(folder, wheels),
        (ggufs, _) => Err(Error::contents(folder, "one .gguf file (name the one to run)", list(ggufs))),
    }
}

/// The folder's files and subfolders, sorted.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).map_err(Error::io(folder))?;
    let mut files =
        entries.map(|entry| Ok(entry.map_err(Error::io(folder))?.path())).collect::<Result<Vec<_>>>()?;
    files.sort();
    Ok(files)
}

fn describe(files: &[PathBuf]) -> String {
    let is_checkpoint = |file: &PathBuf| {
        file.ends_with("config.json") || file.extension().is_some_and(|e| e == "safetensors")
    };
    if files.iter().any(is_checkpoint) {
        "a transformers checkpoint (convert it to GGUF, or capture with fixtures/capture_hf.py)".to_owned()
    } else {
        "none".to_owned()
    }
}

fn list(files: &[&PathBuf]) -> String {
    files.iter().map(|file| file_name(file)).collect::<Vec<_>>().join(", ")
}
