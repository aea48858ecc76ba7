//! Files that a user names to be read: regular ones, and those that are read as a whole only up to a size.

use std::fs::{self, File, FileType};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, ensure};

use crate::exit::Missing;

/// The largest text, or line of a benchmark's file, in bytes.
pub const LARGEST: u64 = 64 << 20;

/// Refuses paths that do not exist, and those that are neither files nor folders.
///
/// # Errors
/// [`Missing`] when a path does not exist; otherwise when it is a device, a pipe or a socket.
pub fn require_files<'a>(paths: impl IntoIterator<Item = &'a PathBuf>) -> Result<()> {
    for path in paths {
        let kind = kind_of(path)?;
        ensure!(
            kind.is_file() || kind.is_dir(),
            "{}: expected a file or folder, found {}",
            path.display(),
            name_of(kind)
        );
    }
    Ok(())
}

/// Opens a regular file.
///
/// # Errors
/// [`Missing`] when it does not exist; otherwise when it is something else, or cannot be opened.
pub fn open(path: &Path) -> Result<File> {
    let kind = kind_of(path)?;
    ensure!(kind.is_file(), "{}: expected a file, found {}", path.display(), name_of(kind));
    File::open(path).with_context(|| path.display().to_string())
}

/// Reads a whole file of text.
///
/// # Errors
/// As [`open`], and when the file is larger than [`LARGEST`] or not UTF-8.
pub fn read_text(path: &Path) -> Result<String> {
    let name = || path.display().to_string();
    let mut bytes = Vec::new();
    open(path)?.take(LARGEST + 1).read_to_end(&mut bytes).with_context(name)?;
    ensure!(bytes.len() as u64 <= LARGEST, "{}: expected at most {LARGEST} bytes, found more", name());
    String::from_utf8(bytes).map_err(|error| {
        let offset = error.utf8_error().valid_up_to();
        anyhow!("{}: expected UTF-8, found other bytes at offset {offset}", name())
    })
}

/// The type of the file that a path leads to. Nothing is opened: opening a pipe would wait for its writer.
fn kind_of(path: &Path) -> Result<FileType> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(metadata.file_type()),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Err(Missing(format!("{}: no such file", path.display())).into())
        }
        Err(error) => Err(error).with_context(|| path.display().to_string()),
    }
}

fn name_of(kind: FileType) -> &'static str {
    if kind.is_file() {
        "a file"
    } else if kind.is_dir() {
        "a folder"
    } else {
        "a device, a pipe or a socket"
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::path::Path;

    use super::{LARGEST, open, read_text};

    fn refusal(path: &Path) -> (String, u8) {
        let error = read_text(path).unwrap_err();
        assert!(open(path).is_ok() || open(path).unwrap_err().to_string() == error.to_string());
        (format!("{error:#}"), crate::exit::code(&error))
    }

    #[test]
    fn only_regular_files_of_text_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        let named = |reason: &str| format!("{}: {reason}", file.display());
        assert_eq!(refusal(&file), (named("no such file"), 3));
        fs::write(&file, "naïve").unwrap();
        assert_eq!(read_text(&file).unwrap(), "naïve");
        fs::write(&file, b"na\xefve").unwrap();
        assert_eq!(refusal(&file), (named("expected UTF-8, found other bytes at offset 2"), 2));
        File::create(&file).unwrap().set_len(LARGEST + 1).unwrap();
        assert_eq!(refusal(&file), (named("expected at most 67108864 bytes, found more"), 2));
        let (reason, code) = refusal(folder.path());
        assert!(reason.ends_with(": expected a file, found a folder") && code == 2, "{reason}");
        let (reason, code) = refusal(Path::new("/dev/zero"));
        assert_eq!(reason, "/dev/zero: expected a file, found a device, a pipe or a socket");
        assert_eq!(code, 2);
    }
}
