//! Regular files: opened with their length, read into memory that was granted, named.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::Path;

use super::error::{Error, Result};

/// Opens a file for reading, with its length. A pipe or a device has no end that one could wait for.
pub(super) fn open_regular(path: &Path) -> Result<(File, u64)> {
    let metadata = fs::metadata(path).map_err(Error::io(path))?;
    if !metadata.is_file() {
        return Err(Error::contents(path, "a regular file", "a folder, a pipe or a device"));
    }
    Ok((File::open(path).map_err(Error::io(path))?, metadata.len()))
}

/// Makes room for `len` bytes more; a request that the machine cannot grant is an error.
pub(super) fn reserve(path: &Path, bytes: &mut Vec<u8>, len: u64) -> Result<()> {
    let granted = usize::try_from(len).is_ok_and(|len| bytes.try_reserve_exact(len).is_ok());
    if granted { Ok(()) } else { Err(Error::io(path)(ErrorKind::OutOfMemory.into())) }
}

/// The last component of a path, as text.
pub(super) fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
