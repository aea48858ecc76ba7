//! The files of a snapshot: small ones in memory, weights mapped.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use laprox_fixtures::mmap::map_file;
use memmap2::Mmap;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::model::error::{Error, Result};
use crate::model::regular::{file_name, open_regular};

use super::document::Document;

/// The files of text that are read, in the order in which the digest takes them.
const TEXTS: [&str; 5] = [
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    "generation_config.json",
];
/// The most bytes of a file of text.
const MAX_TEXT_LEN: u64 = 1 << 26;
/// The weights in one file.
const WHOLE: &str = "model.safetensors";
/// The list of the files that share the weights.
const INDEX: &str = "model.safetensors.index.json";

/// The files of a snapshot.
#[derive(Debug)]
pub(in crate::model) struct SnapshotFiles {
    folder: PathBuf,
    texts: BTreeMap<&'static str, String>,
    /// The files of weights, in the order of their names.
    weights: Vec<WeightFile>,
    /// The file that holds each tensor, as the index says; empty without an index.
    index: BTreeMap<String, String>,
}

/// A file of weights.
#[derive(Debug)]
pub(super) struct WeightFile {
    pub(super) path: PathBuf,
    pub(super) map: Mmap,
}

impl SnapshotFiles {
    /// Reads the files of text and maps those of weights.
    ///
    /// # Errors
    /// [`Error::Contents`] when a file is missing or malformed, or the index names one outside the folder.
    pub(in crate::model) fn open(folder: &Path) -> Result<Self> {
        let mut texts = BTreeMap::new();
        for name in TEXTS {
            if let Some(text) = read_text(&folder.join(name))? {
                texts.insert(name, text);
            }
        }
        for (required, found) in [
            ("config.json", "none"),
            ("tokenizer.json", "none (AutoTokenizer.save_pretrained of transformers writes it)"),
        ] {
            if !texts.contains_key(required) {
                return Err(Error::contents(folder, required, found));
            }
        }
        let index = read_index(folder)?;
        let whole = index.is_empty().then(|| WHOLE.to_owned());
        let names: BTreeSet<String> = index.values().cloned().chain(whole).collect();
        let weights = names.iter().map(|name| map(folder.join(name))).collect::<Result<_>>()?;
        Ok(Self { folder: folder.to_path_buf(), texts, weights, index })
    }

    /// The folder.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// A file of text; `None` if there is none of this name.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.texts.get(name).map(String::as_str)
    }

    /// A file that holds a JSON object; an empty object if there is none of this name.
    pub(super) fn document(&self, name: &str) -> Result<Document> {
        Document::parse(&self.folder.join(name), self.text(name))
    }

    /// The files of weights, in the order of their names.
    pub(super) fn weights(&self) -> &[WeightFile] {
        &self.weights
    }

    /// The tensors that the index lists, with the names of their files.
    pub(super) fn index(&self) -> impl Iterator<Item = (&str, &str)> {
        self.index.iter().map(|(tensor, file)| (tensor.as_str(), file.as_str()))
    }

    /// The name of the repository, where the folder lies in a hub's cache (`models--OWNER--NAME/snapshots/REVISION`),
    /// otherwise the folder's.
    pub(in crate::model) fn name(&self) -> String {
        let folder = self.folder.canonicalize().unwrap_or_else(|_| self.folder.clone());
        let repository = folder.ancestors().nth(2).map(file_name).filter(|name| name.starts_with("models--"));
        let repository = repository.and_then(|name| Some(name.rsplit_once("--")?.1.to_owned()));
        repository.unwrap_or_else(|| file_name(&folder))
    }

    /// The sha256 of the weights' bytes and then of the files of text.
    pub(in crate::model) fn sha256(&self) -> impl AsRef<[u8]> {
        let mut hasher = Sha256::new();
        self.weights.iter().for_each(|file| hasher.update(&file.map));
        TEXTS.iter().filter_map(|name| self.text(name)).for_each(|text| hasher.update(text));
        hasher.finalize()
    }
}

/// Reads a file of text; `None` if there is none.
fn read_text(file: &Path) -> Result<Option<String>> {
    if !fs::exists(file).map_err(Error::io(file))? {
        return Ok(None);
    }
    let (reader, len) = open_regular(file)?;
    if len > MAX_TEXT_LEN {
        let expected = format!("at most {MAX_TEXT_LEN} bytes");
        return Err(Error::contents(file, &expected, len.to_string()));
    }
    let mut text = String::new();
    reader.take(MAX_TEXT_LEN).read_to_string(&mut text).map_err(Error::io(file))?;
    Ok(Some(text))
}

/// The file of each tensor; empty if one file holds all of them.
fn read_index(folder: &Path) -> Result<BTreeMap<String, String>> {
    if fs::exists(folder.join(WHOLE)).map_err(Error::io(folder))? {
        return Ok(BTreeMap::new());
    }
    let file = folder.join(INDEX);
    let Some(text) = read_text(&file)? else {
        let found = "none (other weights: fixtures/capture_hf.py captures with transformers)";
        return Err(Error::contents(folder, &format!("{WHOLE} or {INDEX}"), found));
    };
    let document = Document::parse(&file, Some(&text))?;
    let tensors = document.optional("weight_map", "an object", Value::as_object)?;
    let tensors = document.required("weight_map", tensors.filter(|tensors| !tensors.is_empty()))?;
    let place = |(tensor, name): (&String, &Value)| {
        let inside = name.as_str().filter(|name| is_plain(name));
        let inside = inside.ok_or_else(|| {
            document.bad("weight_map", format!("expected the names of files in the folder, found {name}"))
        })?;
        Ok((tensor.clone(), inside.to_owned()))
    };
    tensors.iter().map(place).collect()
}

/// Whether a name is that of a file in the folder itself.
fn is_plain(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    let is_alone =
        matches!((parts.next(), parts.next()), (Some(Component::Normal(part)), None) if part == name);
    is_alone && name.ends_with(".safetensors")
}

fn map(path: PathBuf) -> Result<WeightFile> {
    let map = map_file(&path, "a safetensors file")?;
    Ok(WeightFile { path, map })
}
