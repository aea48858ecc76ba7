//! Results folders, from outside.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Every file below a folder with its bytes.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.insert(path.clone(), fs::read(&path).expect("readable"));
        }
    }
    found
}

/// The same by paths inside the folder.
pub fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let inside = |path: PathBuf| path.strip_prefix(folder).expect("inside").to_owned();
    files(folder).into_iter().map(|(path, bytes)| (inside(path), bytes)).collect()
}

/// How many units a run has finished so far.
pub fn finished_units(results: &Path) -> usize {
    let units = fs::read_dir(results.join("units")).into_iter().flatten().flatten();
    units.filter(|entry| !entry.file_name().to_string_lossy().starts_with('.')).count()
}
