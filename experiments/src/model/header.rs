//! The header of a GGUF file: its metadata, and its tensors' types, shapes and places.
//!
//! The bytes come from anywhere, so nothing that they state is believed: a length is compared with the bytes that are left
//! before anything is read or allocated. Values stay in the file's bytes until they are asked for, so that a header takes
//! memory in proportion to its entries, not to their contents.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// The first bytes of every GGUF file.
pub(super) const MAGIC: &[u8] = b"GGUF";

/// The most metadata keys, and the most tensors.
const MAX_ENTRIES: u64 = 1 << 16;
/// The most extents of a tensor.
const MAX_RANK: u32 = 4;
/// The most lists around a value.
const MAX_DEPTH: usize = 8;

const TEXT: u32 = 8;
const LIST: u32 = 9;

/// A fault of the header.
type Result<T> = std::result::Result<T, String>;

/// A parsed header.
pub(super) struct Header<'a> {
    pub(super) metadata: BTreeMap<Cow<'a, str>, Value<'a>>,
    pub(super) tensors: BTreeMap<Cow<'a, str>, TensorInfo>,
    /// The number of bytes before the tensors, without padding.
    pub(super) byte_len: usize,
}

/// What a file says of one tensor.
pub(super) struct TensorInfo {
    /// The extents, rows first, as PyTorch names them.
    pub(super) shape: Vec<u64>,
    /// ggml's number of the element type.
    pub(super) type_id: u32,
    /// The tensor's first byte behind the header.
    pub(super) offset: u64,
}

/// A metadata value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value<'a> {
    Unsigned(u64),
    Signed(i64),
    F32(f32),
    F64(f64),
    Bool(bool),
    Text(&'a [u8]),
    List(List<'a>),
}

/// A list of values of one type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct List<'a> {
    kind: u32,
    bytes: &'a [u8],
}

impl<'a> Header<'a> {
    /// Reads the header of a file of version 2 or 3.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self> {
        let mut source = Source { rest: bytes };
        if source.take(MAGIC.len() as u64)? != MAGIC {
            return Err("does not begin with 'GGUF'".to_owned());
        }
        match source.u32()? {
            2 | 3 => {}
            version if matches!(version.swap_bytes(), 1..=3) => {
                return Err("expected little-endian numbers, found big-endian ones".to_owned());
            }
            version => return Err(format!("expected version 2 or 3, found version {version}")),
        }
        let [tensor_count, key_count] = [source.u64()?, source.u64()?];
        for (count, entries) in [(tensor_count, "tensors"), (key_count, "metadata keys")] {
            if count > MAX_ENTRIES {
                return Err(format!("expected at most {MAX_ENTRIES} {entries}, found {count}"));
            }
        }
        let metadata = source.entries(key_count, |source| {
            let kind = source.u32()?;
            source.value(kind, 0)
        })?;
        let tensors = source.entries(tensor_count, Source::tensor_info)?;
        Ok(Self { metadata, tensors, byte_len: bytes.len() - source.rest.len() })
    }
}

impl<'a> Value<'a> {
    /// A string, without the zeros that some writers put behind it.
    pub(super) fn text(self) -> Option<Cow<'a, str>> {
        match self {
            Self::Text(bytes) => Some(as_text(bytes)),
            _ => None,
        }
    }

    /// A number that is whole and not negative.
    pub(super) fn unsigned(self) -> Option<u64> {
        match self {
            Self::Unsigned(number) => Some(number),
            Self::Signed(number) => u64::try_from(number).ok(),
            _ => None,
        }
    }

    /// Any number, and 0 or 1 for a truth value.
    pub(super) fn number(self) -> Option<f64> {
        match self {
            Self::Unsigned(number) => Some(number as f64),
            Self::Signed(number) => Some(number as f64),
            Self::F32(number) => Some(number.into()),
            Self::F64(number) => Some(number),
            Self::Bool(flag) => Some(flag.into()),
            Self::Text(_) | Self::List(_) => None,
        }
    }
}

impl<'a> List<'a> {
    /// The elements, in order.
    pub(super) fn iter(self) -> impl Iterator<Item = Value<'a>> {
        let mut source = Source { rest: self.bytes };
        // The header's parse has read every element once, so that none fails here.
        std::iter::from_fn(
            move || if source.rest.is_empty() { None } else { source.value(self.kind, 0).ok() },
        )
    }
}

/// The bytes of a number; `None` for the types whose values have to be looked at.
fn width(kind: u32) -> Option<u64> {
    match kind {
        0 | 1 => Some(1),
        2 | 3 => Some(2),
        4..=6 => Some(4),
        10..=12 => Some(8),
        _ => None,
    }
}

fn as_text(bytes: &[u8]) -> Cow<'_, str> {
    let len = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    String::from_utf8_lossy(&bytes[..len])
}

/// The bytes that are not read yet.
struct Source<'a> {
    rest: &'a [u8],
}

impl<'a> Source<'a> {
    fn take(&mut self, len: u64) -> Result<&'a [u8]> {
        let split = usize::try_from(len).ok().and_then(|len| self.rest.split_at_checked(len));
        let (taken, rest) = split.ok_or_else(|| {
            format!("ends inside its header: expected {len} bytes more, found {}", self.rest.len())
        })?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let bytes = self.take(N as u64)?;
        Ok(std::array::from_fn(|index| bytes[index]))
    }

    fn u32(&mut self) -> Result<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn text(&mut self) -> Result<&'a [u8]> {
        let len = self.u64()?;
        self.take(len)
    }

    /// Entries behind their names, which must differ.
    fn entries<T>(
        &mut self,
        count: u64,
        mut read: impl FnMut(&mut Self) -> Result<T>,
    ) -> Result<BTreeMap<Cow<'a, str>, T>> {
        let mut entries = BTreeMap::new();
        for _ in 0..count {
            match entries.entry(as_text(self.text()?)) {
                Entry::Vacant(place) => place.insert(read(self)?),
                Entry::Occupied(taken) => return Err(format!("names '{}' twice", taken.key())),
            };
        }
        Ok(entries)
    }

    fn value(&mut self, kind: u32, depth: usize) -> Result<Value<'a>> {
        Ok(match kind {
            0 => Value::Unsigned(u8::from_le_bytes(self.array()?).into()),
            1 => Value::Signed(i8::from_le_bytes(self.array()?).into()),
            2 => Value::Unsigned(u16::from_le_bytes(self.array()?).into()),
            3 => Value::Signed(i16::from_le_bytes(self.array()?).into()),
            4 => Value::Unsigned(self.u32()?.into()),
            5 => Value::Signed(i32::from_le_bytes(self.array()?).into()),
            6 => Value::F32(f32::from_le_bytes(self.array()?)),
            7 => match self.array()? {
                [flag @ (0 | 1)] => Value::Bool(flag == 1),
                [other] => return Err(format!("expected 0 or 1 for a truth value, found {other}")),
            },
            TEXT => Value::Text(self.text()?),
            LIST => Value::List(self.list(depth)?),
            10 => Value::Unsigned(self.u64()?),
            11 => Value::Signed(i64::from_le_bytes(self.array()?)),
            12 => Value::F64(f64::from_le_bytes(self.array()?)),
            other => return Err(format!("expected a type of values from 0 to 12, found {other}")),
        })
    }

    fn list(&mut self, depth: usize) -> Result<List<'a>> {
        if depth == MAX_DEPTH {
            return Err(format!("expected at most {MAX_DEPTH} lists in one another, found more"));
        }
        let (kind, len) = (self.u32()?, self.u64()?);
        let start = self.rest;
        match width(kind) {
            Some(width) => drop(self.take(len.saturating_mul(width))?),
            // An element takes a byte at least, so that the loop ends with the file.
            None => (0..len).try_for_each(|_| self.value(kind, depth + 1).map(drop))?,
        }
        Ok(List { kind, bytes: &start[..start.len() - self.rest.len()] })
    }

    fn tensor_info(&mut self) -> Result<TensorInfo> {
        let rank = self.u32()?;
        if rank > MAX_RANK {
            return Err(format!("expected at most {MAX_RANK} extents of a tensor, found {rank}"));
        }
        let mut shape = (0..rank).map(|_| self.u64()).collect::<Result<Vec<_>>>()?;
        shape.reverse();
        Ok(TensorInfo { shape, type_id: self.u32()?, offset: self.u64()? })
    }
}
