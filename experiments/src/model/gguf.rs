//! A parsed GGUF file: typed metadata and dequantised tensors. Every refusal names the file.

use std::io::Cursor;
use std::path::Path;

use candle_core::quantized::gguf_file::{Content, Value};
use candle_core::{Device, Tensor};

use super::error::{Error, Result, first_line};
use super::source::ModelFile;

/// The largest size in the metadata: the product of two such sizes fits into 64 bits, even in bytes of f32.
const MAX_SIZE: u64 = 1 << 24;

/// A GGUF file's bytes and its parsed header.
pub(super) struct Gguf<'a> {
    file: &'a Path,
    bytes: &'a [u8],
    content: Content,
}

impl<'a> Gguf<'a> {
    /// Parses the header.
    ///
    /// # Errors
    /// [`Error::Gguf`] when the file is not GGUF or ends inside the header.
    pub(super) fn parse(model: &'a ModelFile) -> Result<Self> {
        let (file, bytes) = (model.path(), model.bytes());
        let unreadable = |reason: String| Error::Gguf { file: file.to_path_buf(), reason };
        if declares_zero_alignment(bytes) {
            return Err(unreadable("general.alignment is 0".to_owned()));
        }
        let content =
            Content::read(&mut Cursor::new(bytes)).map_err(|source| unreadable(first_line(&source)))?;
        Ok(Self { file, bytes, content })
    }

    /// The metadata keys that start with `prefix`, sorted.
    pub(super) fn keys(&self, prefix: &str) -> Vec<&str> {
        let mut keys: Vec<_> = self.content.metadata.keys().map(String::as_str).collect();
        keys.retain(|key| key.starts_with(prefix));
        keys.sort_unstable();
        keys
    }

    /// The names of all tensors.
    pub(super) fn tensor_names(&self) -> impl Iterator<Item = &str> {
        self.content.tensor_infos.keys().map(String::as_str)
    }

    /// The element type of most of the model's matrix elements, as dumps name it: `q4_1`, `q4k`, `f32`.
    pub(super) fn source_dtype(&self) -> String {
        let mut elements = std::collections::BTreeMap::<String, usize>::new();
        for info in self.content.tensor_infos.values().filter(|info| info.shape.rank() == 2) {
            let dtype = format!("{:?}", info.ggml_dtype).to_lowercase();
            let count = elements.entry(dtype).or_default();
            *count = count.saturating_add(info.shape.elem_count());
        }
        elements.into_iter().max_by_key(|(_, count)| *count).map_or_else(String::new, |(dtype, _)| dtype)
    }

    /// A text value; `None` if the key is absent.
    pub(super) fn text(&self, key: &str) -> Result<Option<&str>> {
        self.optional(key, "a string", |value| value.to_string().map(String::as_str).ok())
    }

    /// A truth value; `None` if the key is absent.
    pub(super) fn flag(&self, key: &str) -> Result<Option<bool>> {
        self.optional(key, "a boolean", |value| value.to_bool().ok())
    }

    /// A size or an id, at most 2^24; `None` if the key is absent.
    pub(super) fn size(&self, key: &str) -> Result<Option<usize>> {
        self.optional(key, "an unsigned number up to 16777216", |value| {
            let size = value.to_u64().ok().filter(|&size| size <= MAX_SIZE)?;
            usize::try_from(size).ok()
        })
    }

    /// A real number; `None` if the key is absent.
    pub(super) fn real(&self, key: &str) -> Result<Option<f32>> {
        self.optional(key, "an f32", |value| value.to_f32().ok())
    }

    /// A list in which `element` accepts every element; `None` if the key is absent.
    pub(super) fn list<'s, T>(
        &'s self,
        key: &str,
        expected: &str,
        element: impl Fn(&'s Value) -> Option<T>,
    ) -> Result<Option<Vec<T>>> {
        self.optional(key, expected, |value| value.to_vec().ok()?.iter().map(element).collect())
    }

    fn optional<'s, T>(
        &'s self,
        key: &str,
        expected: &str,
        convert: impl FnOnce(&'s Value) -> Option<T>,
    ) -> Result<Option<T>> {
        let Some(value) = self.content.metadata.get(key) else {
            return Ok(None);
        };
        let wrong_type = || self.bad(key, format!("expected {expected}"));
        convert(value).map(Some).ok_or_else(wrong_type)
    }

    /// Turns the absence of a key into an error.
    pub(super) fn required<T>(&self, key: &str, value: Option<T>) -> Result<T> {
        value.ok_or_else(|| self.bad(key, "missing".to_owned()))
    }

    /// Reads a tensor, checks its shape (rows first, as PyTorch names it) and dequantises it to f32.
    pub(super) fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let bad = |reason| Error::Tensor { file: self.file.to_path_buf(), tensor: name.to_owned(), reason };
        let info = self.content.tensor_infos.get(name).ok_or_else(|| bad("missing".to_owned()))?;
        if info.shape.dims() != shape {
            return Err(bad(format!("expected shape {shape:?}, found {:?}", info.shape.dims())));
        }
        info.read(&mut Cursor::new(self.bytes), self.content.tensor_data_offset, &Device::Cpu)
            .and_then(|tensor| tensor.dequantize(&Device::Cpu))
            .map_err(|source| bad(first_line(&source)))
    }

    /// The error that names a metadata key.
    pub(super) fn bad(&self, key: &str, reason: String) -> Error {
        Error::Metadata { file: self.file.to_path_buf(), key: key.to_owned(), reason }
    }

    /// The error that names a tensor that nothing has read.
    pub(super) fn left_over(&self, tensor: &str) -> Error {
        let reason = "not part of the architecture; ignoring it would change the model".to_owned();
        Error::Tensor { file: self.file.to_path_buf(), tensor: tensor.to_owned(), reason }
    }
}

/// Whether the header sets the data alignment to zero: the parser would divide by it.
fn declares_zero_alignment(bytes: &[u8]) -> bool {
    const KEY: &[u8] = b"general.alignment";
    const WIDTHS: [usize; 6] = [1, 1, 2, 2, 4, 4];
    let Some(start) = bytes.windows(KEY.len()).position(|window| window == KEY) else {
        return false;
    };
    let Some((value_type, value)) = bytes[start + KEY.len()..].split_first_chunk::<4>() else {
        return false;
    };
    let width = WIDTHS.get(u32::from_le_bytes(*value_type) as usize);
    width.and_then(|&width| value.get(..width)).is_some_and(|value| value.iter().all(|&byte| byte == 0))
}
