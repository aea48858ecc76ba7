//! `laprox.sha256`: the digest of every file of a folder that this project has written.
//!
//! It has the form of `sha256sum`, which checks it with `-c`. It marks the folder as one that holds nothing else, and that
//! may therefore be replaced, and as a complete one.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::digest::sha256;

/// The mark's file name.
pub const NAME: &str = "laprox.sha256";

/// The mark of a folder of plain files.
///
/// # Errors
/// When one of them cannot be read.
pub fn of(folder: &Path) -> Result<String> {
    let mut digests = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().into_string().ok().context("a name that is no text")?;
        digests.insert(name, sha256(fs::read(entry.path())?));
    }
    Ok(text(&digests))
}

/// The mark of files with these digests.
#[must_use]
pub fn text(digests: &BTreeMap<String, String>) -> String {
    let lines = digests.iter().map(|(name, digest)| format!("{digest}  {name}\n"));
    // A comment to `sha256sum`. The number shows that none is cut off.
    format!("# laprox wrote these files: {}\n{}", digests.len(), lines.collect::<String>())
}

/// The digests that the mark of a folder lists; `None` if it has none or a damaged one.
#[must_use]
pub fn read(folder: &Path) -> Option<BTreeMap<String, String>> {
    let mark = fs::read_to_string(folder.join(NAME)).ok()?;
    let lines = mark.lines().skip(1);
    let digests = lines.map(|line| line.split_once("  ").map(|(digest, name)| (name.into(), digest.into())));
    let digests: BTreeMap<String, String> = digests.collect::<Option<_>>()?;
    (text(&digests) == mark).then_some(digests)
}

/// Whether a file of the folder is regular and has the digest.
#[must_use]
pub fn fits(folder: &Path, name: &str, digest: &str) -> bool {
    let path = folder.join(name);
    let is_file = path.symlink_metadata().is_ok_and(|found| found.is_file());
    is_file && fs::read(path).is_ok_and(|bytes| sha256(bytes) == digest)
}

/// Whether the folder has a mark, and holds nothing but files that fit it.
#[must_use]
pub fn is_ours(folder: &Path) -> bool {
    let (Some(digests), Ok(entries)) = (read(folder), fs::read_dir(folder)) else { return false };
    let is_known =
        |name: &str| name == NAME || digests.get(name).is_some_and(|digest| fits(folder, name, digest));
    entries.into_iter().all(|entry| entry.is_ok_and(|entry| entry.file_name().to_str().is_some_and(is_known)))
}
