//! The KV cache. Each KV head has its own number of entries, so a full cache and an evicted, ragged one are one type.

use std::ops::Range;

use candle_core::{Device, Tensor};
use half::f16;
use half::slice::HalfFloatSliceExt;
use laprox_reference::{KvHead, LayerIndex, LayerOrdinal, PackedRows, RetainedSet};

use super::config::Config;
use super::error::Result;

/// The element type of a cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CacheDtype {
    /// 4 bytes, as they are computed.
    #[default]
    F32,
    /// 2 bytes: keys and values are rounded to 11 bits, and products widen them again.
    F16,
}

/// Post-RoPE keys and values of every layer and KV head.
///
/// Keys are rotated by the position at which they were computed, and eviction does not change it: later tokens continue
/// at [`KvCache::next_position`] in either case.
pub struct KvCache {
    layers: Vec<Vec<HeadCache>>,
    next_position: usize,
    room: usize,
}

/// The entries of one KV head in one layer, in the order of their positions.
pub struct HeadCache {
    keys: Entries,
    values: Entries,
    /// The logit biases of the first entries; later ones have none.
    bias: Vec<f32>,
    head_dim: usize,
    capacity: usize,
}

/// Rows of numbers, one after another.
pub(super) enum Entries {
    F32(Vec<f32>),
    F16(Vec<f16>),
}

impl Entries {
    /// No entry, with room for so many numbers.
    fn new(dtype: CacheDtype, room: usize) -> Self {
        match dtype {
            CacheDtype::F32 => Self::F32(Vec::with_capacity(room)),
            CacheDtype::F16 => Self::F16(Vec::with_capacity(room)),
        }
    }

    fn dtype(&self) -> CacheDtype {
        match self {
            Self::F32(_) => CacheDtype::F32,
            Self::F16(_) => CacheDtype::F16,
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::F32(numbers) => numbers.len(),
            Self::F16(numbers) => numbers.len(),
        }
    }

    fn allocated_bytes(&self) -> usize {
        match self {
            Self::F32(numbers) => numbers.capacity() * size_of::<f32>(),
            Self::F16(numbers) => numbers.capacity() * size_of::<f16>(),
        }
    }

    fn append(&mut self, further: &[f32]) {
        match self {
            Self::F32(numbers) => numbers.extend_from_slice(further),
            Self::F16(numbers) => {
                let first = numbers.len();
                numbers.resize(first + further.len(), f16::ZERO);
                numbers[first..].convert_from_f32_slice(further);
            }
        }
    }

    /// Appends a part of others, which have the same type.
    fn append_part(&mut self, others: &Self, part: Range<usize>) {
        match (self, others) {
            (Self::F32(numbers), Self::F32(others)) => numbers.extend_from_slice(&others[part]),
            (Self::F16(numbers), Self::F16(others)) => numbers.extend_from_slice(&others[part]),
            _ => unreachable!("a cache has one element type"),
        }
    }

    /// Some of the numbers in f32: where they lie, or in `wide`.
    pub(super) fn widened<'a>(&'a self, part: Range<usize>, wide: &'a mut Vec<f32>) -> &'a [f32] {
        match self {
            Self::F32(numbers) => &numbers[part],
            Self::F16(numbers) => {
                wide.resize(part.len(), 0.0);
                numbers[part].convert_to_f32_slice(wide);
                wide
            }
        }
    }
}

impl KvCache {
    /// An empty cache with room for `capacity` tokens in every KV head.
    #[must_use]
    pub fn new(config: &Config, dtype: CacheDtype, capacity: usize) -> Self {
        let head = |_| HeadCache::new(dtype, capacity, config.head_dim);
        let layer = |_| (0..config.kv_heads).map(head).collect();
        Self { layers: (0..config.layers).map(layer).collect(), next_position: 0, room: capacity }
    }

    /// The position of the next token: the number of tokens seen so far.
    #[must_use]
    pub fn next_position(&self) -> usize {
        self.next_position
    }

    /// The number of tokens for which the sequence's first cache had room. A rotation that depends on the length of a text
    /// goes by it, so that it is the same for all tokens of a sequence.
    #[must_use]
    pub fn room(&self) -> usize {
        self.room
    }

    /// The bytes allocated for keys, values and biases, including the room for further tokens.
    #[must_use]
    pub fn allocated_bytes(&self) -> usize {
        self.layers.iter().flatten().map(HeadCache::allocated_bytes).sum()
    }

    /// The cache in which every KV head keeps only the entries that `retained` lists by index, in that order, with room
    /// for `spare` further tokens. An entry's index is its position as long as nothing was evicted.
    ///
    /// # Errors
    /// [`super::Error::Compute`] when there is no such entry.
    pub fn retain<'a>(
        &self,
        retained: impl Fn(LayerIndex, KvHead) -> &'a [u32],
        spare: usize,
    ) -> Result<Self> {
        let layers = self.layers.iter().enumerate().map(|(layer, heads)| {
            let heads = heads.iter().enumerate();
            heads
                .map(|(head, cache)| cache.retain(retained(LayerIndex(layer), KvHead(head)), spare))
                .collect()
        });
        Ok(Self { layers: layers.collect::<Result<_>>()?, ..*self })
    }

    /// The same cache, which holds the entries of `set` and no more, with the set's biases and values if it is reweighted.
    #[must_use]
    pub fn reweighted(mut self, set: &RetainedSet) -> Self {
        for (ordinal, heads) in self.layers.iter_mut().enumerate() {
            let retained = set.layer(LayerOrdinal(ordinal));
            for (head, cache) in heads.iter_mut().enumerate() {
                cache.bias = retained.bias(KvHead(head)).unwrap_or_default().to_vec();
                if let Some(values) = retained.values(KvHead(head)) {
                    cache.values = Entries::new(cache.dtype(), cache.capacity * cache.head_dim);
                    cache.values.append(values);
                }
            }
        }
        self
    }

    /// The cache of packed rows, which a path has gathered by `set`, with room for `spare` tokens more.
    ///
    /// # Errors
    /// [`super::Error::Compute`] when the memory cannot be laid out.
    ///
    /// # Panics
    /// When the rows are not those of the set.
    pub fn of_packed(&self, packed: &[PackedRows], set: &RetainedSet, spare: usize) -> Result<Self> {
        let layer = |(ordinal, (heads, packed)): (usize, (&Vec<HeadCache>, &PackedRows))| {
            let retained = set.layer(LayerOrdinal(ordinal));
            let mut first = 0;
            let of_head = |(head, cache): (usize, &HeadCache)| {
                let len = retained.head(KvHead(head)).len();
                let rows = first * cache.head_dim..(first + len) * cache.head_dim;
                first += len;
                let mut own = HeadCache::new(cache.dtype(), len + spare, cache.head_dim);
                own.append(&packed.keys[rows.clone()], &packed.values[rows])?;
                Ok(own)
            };
            heads.iter().enumerate().map(of_head).collect()
        };
        let layers = self.layers.iter().zip(packed).enumerate().map(layer).collect::<Result<_>>()?;
        Ok(Self { layers, ..*self })
    }

    /// Appends a chunk's keys and values of one layer, each `[Hkv, c, d]`.
    pub(super) fn append(&mut self, layer: LayerIndex, keys: &Tensor, values: &Tensor) -> Result<()> {
        let [keys, values] = [keys, values].map(|heads| heads.flatten_all()?.to_vec1::<f32>());
        let (keys, values) = (keys?, values?);
        let heads = &mut self.layers[layer.0];
        let len = keys.len() / heads.len();
        for ((cache, keys), values) in heads.iter_mut().zip(keys.chunks(len)).zip(values.chunks(len)) {
            cache.append(keys, values)?;
        }
        Ok(())
    }

    /// How many layers there are.
    pub(super) fn layers(&self) -> usize {
        self.layers.len()
    }

    /// The KV heads of one layer.
    ///
    /// # Panics
    /// When the model has no such layer.
    #[must_use]
    pub fn heads(&self, layer: LayerIndex) -> &[HeadCache] {
        &self.layers[layer.0]
    }

    /// Advances the position after every layer has appended the chunk.
    pub(super) fn advance(&mut self, tokens: usize) {
        self.next_position += tokens;
    }
}

impl HeadCache {
    pub(super) fn new(dtype: CacheDtype, capacity: usize, head_dim: usize) -> Self {
        let entries = || Entries::new(dtype, capacity * head_dim);
        Self { keys: entries(), values: entries(), bias: Vec::new(), head_dim, capacity }
    }

    fn allocated_bytes(&self) -> usize {
        let bias = self.bias.capacity() * size_of::<f32>();
        self.keys.allocated_bytes() + self.values.allocated_bytes() + bias
    }

    fn dtype(&self) -> CacheDtype {
        self.keys.dtype()
    }

    /// The number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len() / self.head_dim
    }

    /// Whether there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A copy of the post-RoPE keys, `[len, d]`.
    ///
    /// # Errors
    /// None in practice: the copy has as many numbers as its shape.
    pub fn keys(&self) -> Result<Tensor> {
        self.copied(&self.keys)
    }

    /// A copy of the values, `[len, d]`.
    ///
    /// # Errors
    /// None in practice: the copy has as many numbers as its shape.
    pub fn values(&self) -> Result<Tensor> {
        self.copied(&self.values)
    }

    fn copied(&self, entries: &Entries) -> Result<Tensor> {
        let mut wide = Vec::new();
        let numbers = entries.widened(0..entries.len(), &mut wide);
        Ok(Tensor::from_slice(numbers, (self.len(), self.head_dim), &Device::Cpu)?)
    }

    /// The keys as they are stored.
    pub(super) fn stored_keys(&self) -> &Entries {
        &self.keys
    }

    /// The logit biases of the first entries.
    pub(super) fn bias(&self) -> &[f32] {
        &self.bias
    }

    /// The values as they are stored.
    pub(super) fn stored_values(&self) -> &Entries {
        &self.values
    }

    pub(super) fn append(&mut self, keys: &[f32], values: &[f32]) -> Result<()> {
        let needed = self.len() + keys.len() / self.head_dim;
        if needed > self.capacity {
            let fault = format!("expected at most {} cache entries, found {needed}", self.capacity);
            return Err(candle_core::Error::msg(fault).into());
        }
        self.keys.append(keys);
        self.values.append(values);
        Ok(())
    }

    fn retain(&self, entries: &[u32], spare: usize) -> Result<Self> {
        let mut cache = Self::new(self.dtype(), entries.len() + spare, self.head_dim);
        for &entry in entries {
            let entry = entry as usize;
            if entry >= self.len() {
                let fault = format!("expected a cache entry below {}, found {entry}", self.len());
                return Err(candle_core::Error::msg(fault).into());
            }
            let row = entry * self.head_dim..(entry + 1) * self.head_dim;
            cache.keys.append_part(&self.keys, row.clone());
            cache.values.append_part(&self.values, row);
        }
        if !self.bias.is_empty() {
            let bias = |&entry: &u32| self.bias.get(entry as usize).copied().unwrap_or(0.0);
            cache.bias = entries.iter().map(bias).collect();
        }
        Ok(cache)
    }
}
