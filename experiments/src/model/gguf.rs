//! A parsed GGUF file: typed metadata and dequantised tensors. Every refusal names the file.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Cursor;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use candle_core::quantized::gguf_file::TensorInfo as Stored;
use candle_core::{Device, Shape, Tensor};

use super::element;
use super::error::{Error, Result, first_line};
use super::foreign;
use super::header::{Header, TensorInfo, Value};
use super::stored::Matrix;
use super::tensor_file::TensorFile;

/// The largest size in the metadata: the product of two such sizes fits into 64 bits, even in bytes of f32.
const MAX_SIZE: u64 = 1 << 24;
/// The alignment of the tensors if the metadata does not state one.
const DEFAULT_ALIGNMENT: u64 = 32;

/// A GGUF file's bytes and its parsed header.
pub(super) struct Gguf<'a> {
    file: &'a Path,
    bytes: &'a Arc<Vec<u8>>,
    header: Header<'a>,
    /// The tensors' first byte.
    data_start: u64,
}

impl<'a> Gguf<'a> {
    /// Parses the header.
    ///
    /// # Errors
    /// [`Error::Contents`] when the file is not GGUF or one part of several, [`Error::Gguf`] when its header is damaged,
    /// and [`Error::Metadata`] when the alignment is no power of two.
    pub(super) fn parse(file: &'a Path, bytes: &'a Arc<Vec<u8>>) -> Result<Self> {
        foreign::refuse(file, bytes)?;
        let unreadable = |reason| Error::Gguf { file: file.to_path_buf(), reason };
        let header = Header::parse(bytes).map_err(unreadable)?;
        let mut gguf = Self { file, bytes, header, data_start: 0 };
        gguf.refuse_part()?;
        gguf.data_start = (gguf.header.byte_len as u64).next_multiple_of(gguf.alignment()?);
        Ok(gguf)
    }

    fn refuse_part(&self) -> Result<()> {
        let count = self.size("split.count")?.unwrap_or(1);
        if count <= 1 {
            return Ok(());
        }
        let number = self.size("split.no")?.unwrap_or(0) + 1;
        let found = format!("part {number} of {count} (merge them with `llama-gguf-split --merge`)");
        Err(Error::contents(self.file, "a whole GGUF file", found))
    }

    fn alignment(&self) -> Result<u64> {
        const KEY: &str = "general.alignment";
        let alignment = self.size(KEY)?.map_or(DEFAULT_ALIGNMENT, |alignment| alignment as u64);
        if alignment.is_power_of_two() {
            return Ok(alignment);
        }
        Err(self.bad(KEY, format!("expected a power of two, found {alignment}")))
    }

    /// The file.
    pub(super) fn file(&self) -> &'a Path {
        self.file
    }

    /// The metadata keys that start with `prefix`, with their values, sorted.
    pub(super) fn metadata(&self, prefix: &str) -> impl Iterator<Item = (&str, Value<'a>)> {
        let all = self.header.metadata.iter().map(|(key, value)| (&**key, *value));
        all.filter(move |(key, _)| key.starts_with(prefix))
    }

    /// The element type of most of the model's matrix elements, as dumps name it: `q4_1`, `q4k`, `f32`.
    pub(super) fn source_dtype(&self) -> String {
        let mut elements = BTreeMap::<String, u64>::new();
        for info in self.header.tensors.values() {
            let (&[rows, columns], Ok(dtype)) = (&info.shape[..], element::dtype(info.type_id)) else {
                continue;
            };
            let count = elements.entry(format!("{dtype:?}").to_lowercase()).or_default();
            *count = count.saturating_add(rows.saturating_mul(columns));
        }
        elements.into_iter().max_by_key(|(_, count)| *count).map_or_else(String::new, |(dtype, _)| dtype)
    }

    /// A text value; `None` if the key is absent.
    pub(super) fn text(&self, key: &str) -> Result<Option<Cow<'a, str>>> {
        self.optional(key, "a string", Value::text)
    }

    /// A truth value; `None` if the key is absent.
    pub(super) fn flag(&self, key: &str) -> Result<Option<bool>> {
        self.optional(key, "a boolean", |value| if let Value::Bool(flag) = value { Some(flag) } else { None })
    }

    /// A size or an id, at most 2^24, or a list that repeats one; `None` if the key is absent.
    pub(super) fn size(&self, key: &str) -> Result<Option<usize>> {
        self.optional(key, "an unsigned number up to 16777216", |value| {
            let size = one_value(value)?.unsigned().filter(|&size| size <= MAX_SIZE)?;
            usize::try_from(size).ok()
        })
    }

    /// A real number; `None` if the key is absent.
    pub(super) fn real(&self, key: &str) -> Result<Option<f32>> {
        self.optional(key, "a real number", |value| match value {
            Value::F32(real) => Some(real),
            Value::F64(real) => Some(real as f32),
            _ => None,
        })
    }

    /// A size of at least 1.
    pub(super) fn positive_size(&self, key: &str) -> Result<usize> {
        match self.required(key, self.size(key)?)? {
            0 => Err(self.bad(key, "expected at least 1, found 0".to_owned())),
            size => Ok(size),
        }
    }

    /// A positive real number; `default` if the key is absent.
    pub(super) fn positive_real(&self, key: &str, default: Option<f32>) -> Result<f32> {
        let real = self.required(key, self.real(key)?.or(default))?;
        if real.is_finite() && real > 0.0 {
            return Ok(real);
        }
        Err(self.bad(key, format!("expected a positive number, found {real}")))
    }

    /// A list in which `element` accepts every element; `None` if the key is absent.
    pub(super) fn list<T>(
        &self,
        key: &str,
        expected: &str,
        element: impl Fn(Value<'a>) -> Option<T>,
    ) -> Result<Option<Vec<T>>> {
        self.optional(key, expected, |value| match value {
            Value::List(list) => list.iter().map(element).collect(),
            _ => None,
        })
    }

    fn optional<T>(
        &self,
        key: &str,
        expected: &str,
        convert: impl FnOnce(Value<'a>) -> Option<T>,
    ) -> Result<Option<T>> {
        let Some(&value) = self.header.metadata.get(key) else {
            return Ok(None);
        };
        convert(value).map(Some).ok_or_else(|| self.bad(key, format!("expected {expected}")))
    }

    /// Turns the absence of a key into an error.
    pub(super) fn required<T>(&self, key: &str, value: Option<T>) -> Result<T> {
        value.ok_or_else(|| self.bad(key, "missing".to_owned()))
    }

    /// Checks that every tensor has a supported type and bytes of its own inside the file.
    ///
    /// # Errors
    /// [`Error::Tensor`] names the first that does not.
    pub(super) fn check_tensors(&self) -> Result<()> {
        let mut places = Vec::new();
        for (name, info) in &self.header.tensors {
            let (_, Range { start, end }) = self.locate(name, info)?;
            places.push((start, end, name));
        }
        places.sort_unstable();
        match places.windows(2).find(|pair| pair[1].0 < pair[0].1) {
            Some(pair) => {
                Err(self.bad_tensor(pair[1].2, format!("its bytes are those of '{}', too", pair[0].2)))
            }
            None => Ok(()),
        }
    }

    /// Finds a tensor of a shape.
    fn find(&self, name: &str, shape: &[usize]) -> Result<(Stored, Range<u64>)> {
        let info = self.header.tensors.get(name);
        let info = info.ok_or_else(|| self.bad_tensor(name, "missing".to_owned()))?;
        let (stored, place) = self.locate(name, info)?;
        if stored.shape.dims() != shape {
            let reason = format!("expected shape {shape:?}, found {:?}", info.shape);
            return Err(self.bad_tensor(name, reason));
        }
        Ok((stored, place))
    }

    /// A tensor as the tensor library describes it, and its bytes' place in the file.
    fn locate(&self, name: &str, info: &TensorInfo) -> Result<(Stored, Range<u64>)> {
        let bad = |reason| self.bad_tensor(name, reason);
        let ggml_dtype = element::dtype(info.type_id).map_err(bad)?;
        let block_len = ggml_dtype.block_size() as u64;
        if !info.shape.last().is_some_and(|row_len| row_len.is_multiple_of(block_len)) {
            return Err(bad(format!("expected rows of whole blocks of {block_len}, found {:?}", info.shape)));
        }
        let len = info.shape.iter().try_fold(1_u64, |len, &extent| len.checked_mul(extent));
        let byte_len = len.and_then(|len| (len / block_len).checked_mul(ggml_dtype.type_size() as u64));
        let start = self.data_start.checked_add(info.offset);
        let place = byte_len.zip(start).and_then(|(len, start)| Some(start..start.checked_add(len)?));
        let inside = |place: &Range<u64>| place.end <= self.bytes.len() as u64;
        let place =
            place.filter(inside).ok_or_else(|| bad("reaches beyond the end of the file".to_owned()))?;
        let extents = info.shape.iter().map(|&extent| usize::try_from(extent).ok());
        let shape = extents.collect::<Option<Vec<_>>>().map(Shape::from);
        let shape = shape.ok_or_else(|| bad("has extents beyond the address range".to_owned()))?;
        Ok((Stored { ggml_dtype, shape, offset: info.offset }, place))
    }

    /// The error that names a metadata key.
    pub(super) fn bad(&self, key: &str, reason: String) -> Error {
        Error::Metadata { file: self.file.to_path_buf(), key: key.to_owned(), reason }
    }

    /// The error that names a tensor.
    pub(super) fn bad_tensor(&self, tensor: &str, reason: String) -> Error {
        Error::Tensor { file: self.file.to_path_buf(), tensor: tensor.to_owned(), reason }
    }
}

impl TensorFile for Gguf<'_> {
    fn names(&self) -> BTreeSet<String> {
        self.header.tensors.keys().map(ToString::to_string).collect()
    }

    fn own_name(&self, name: &str) -> String {
        name.to_owned()
    }

    fn has(&self, scope: &str, name: &str, optional: &[&str]) -> bool {
        optional.contains(&name) && self.header.tensors.contains_key(format!("{scope}{name}").as_str())
    }

    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let (stored, _) = self.find(name, shape)?;
        stored
            .read(&mut Cursor::new(&**self.bytes), self.data_start, &Device::Cpu)
            .and_then(|tensor| tensor.dequantize(&Device::Cpu))
            .map_err(|source| self.bad_tensor(name, first_line(&source)))
    }

    fn matrix(&self, name: &str, shape: [usize; 2]) -> Result<Matrix> {
        let (stored, place) = self.find(name, &shape)?;
        let place = place.start as usize..place.end as usize;
        Ok(Matrix::shared(Arc::clone(self.bytes) as _, place, stored.ggml_dtype, shape))
    }

    fn bad_tensor(&self, tensor: &str, reason: String) -> Error {
        self.bad_tensor(tensor, reason)
    }
}

/// The value itself, or the one that a list repeats, as files do that have a value per layer.
fn one_value(value: Value<'_>) -> Option<Value<'_>> {
    let Value::List(list) = value else {
        return Some(value);
    };
    let first = list.iter().next()?;
    list.iter().all(|other| other == first).then_some(first)
}
