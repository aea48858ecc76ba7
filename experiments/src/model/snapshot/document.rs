//! A JSON object and its typed values. Every refusal names the file and the key.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::model::error::{Error, Result};

/// The largest size: the product of two such sizes fits into 64 bits, even in bytes of f32.
const MAX_SIZE: u64 = 1 << 24;
/// The way round what is not implemented.
const ELSEWHERE: &str = "fixtures/capture_hf.py captures it with transformers";

/// A JSON object. A key with the value null is absent.
pub(super) struct Document {
    file: PathBuf,
    /// The keys that lead to it, each with a dot behind it.
    scope: String,
    map: Map<String, Value>,
}

impl Document {
    /// Parses a file's text; a file that does not exist has no keys.
    ///
    /// # Errors
    /// [`Error::Contents`] when the text is no JSON object.
    pub(super) fn parse(file: &Path, text: Option<&str>) -> Result<Self> {
        let map = serde_json::from_str(text.unwrap_or("{}"));
        let map = map.map_err(|cause| Error::contents(file, "a JSON object", format!("a fault: {cause}")))?;
        Ok(Self { file: file.to_path_buf(), scope: String::new(), map })
    }

    /// An object inside, which has no keys if the key is absent.
    pub(super) fn section(&self, key: &str) -> Result<Self> {
        let map = self.optional(key, "an object", Value::as_object)?.cloned().unwrap_or_default();
        Ok(Self { file: self.file.clone(), scope: format!("{}{key}.", self.scope), map })
    }

    /// The keys with a value.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.map.iter().filter(|(_, value)| !value.is_null()).map(|(key, value)| (key.as_str(), value))
    }

    /// A value; `None` if the key is absent.
    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        self.map.get(key).filter(|value| !value.is_null())
    }

    /// A size or an id, at most 2^24; `None` if the key is absent.
    pub(super) fn size(&self, key: &str) -> Result<Option<usize>> {
        self.optional(key, "an unsigned number up to 16777216", |value| {
            usize::try_from(value.as_u64().filter(|&size| size <= MAX_SIZE)?).ok()
        })
    }

    /// A size above 0.
    pub(super) fn positive(&self, key: &str) -> Result<usize> {
        match self.required(key, self.size(key)?)? {
            0 => Err(self.bad(key, "expected at least 1, found 0".to_owned())),
            size => Ok(size),
        }
    }

    /// A positive number; `None` if the key is absent.
    pub(super) fn positive_real(&self, key: &str) -> Result<Option<f32>> {
        self.optional(key, "a positive number", positive_real)
    }

    /// A list of positive numbers, of a given length; `None` if the key is absent.
    pub(super) fn positive_reals(&self, key: &str, len: usize) -> Result<Option<Vec<f32>>> {
        self.optional(key, &format!("a list of {len} positive numbers"), |value| {
            let list = value.as_array().filter(|list| list.len() == len)?;
            list.iter().map(positive_real).collect()
        })
    }

    /// A truth value; `None` if the key is absent.
    pub(super) fn flag(&self, key: &str) -> Result<Option<bool>> {
        self.optional(key, "true or false", Value::as_bool)
    }

    /// A text; `None` if the key is absent.
    pub(super) fn text(&self, key: &str) -> Result<Option<&str>> {
        self.optional(key, "a string", Value::as_str)
    }

    /// A value that `convert` accepts; `None` if the key is absent.
    pub(super) fn optional<'a, T>(
        &'a self,
        key: &str,
        expected: &str,
        convert: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        convert(value).map(Some).ok_or_else(|| self.bad(key, format!("expected {expected}, found {value}")))
    }

    /// Turns the absence of a key into an error.
    pub(super) fn required<T>(&self, key: &str, value: Option<T>) -> Result<T> {
        value.ok_or_else(|| self.bad(key, "missing".to_owned()))
    }

    /// The error that names a key.
    pub(super) fn bad(&self, key: &str, reason: String) -> Error {
        Error::Metadata { file: self.file.clone(), key: format!("{}{key}", self.scope), reason }
    }

    /// The error that names a key whose value asks for arithmetic that is not implemented.
    pub(super) fn unsupported(&self, key: &str, reason: &str) -> Error {
        self.bad(key, format!("{reason} ({ELSEWHERE})"))
    }
}

fn positive_real(value: &Value) -> Option<f32> {
    value.as_f64().map(|real| real as f32).filter(|real| real.is_finite() && *real > 0.0)
}
