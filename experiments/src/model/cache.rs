//! The KV cache. Each KV head has its own number of entries, so a full cache and an evicted, ragged one are one type.

use candle_core::{CpuStorage, DType, Device, Storage, Tensor};
use laprox_reference::{KvHead, LayerIndex, LayerOrdinal, PackedRows, RetainedSet};

use super::config::Config;
use super::error::Result;

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
    keys: Tensor,
    values: Tensor,
    len: usize,
}

impl KvCache {
    /// An empty cache with room for `capacity` tokens in every KV head.
    ///
    /// # Errors
    /// [`super::Error::Compute`] when the memory cannot be laid out.
    pub fn new(config: &Config, capacity: usize) -> Result<Self> {
        let head = |_| HeadCache::new(capacity, config.head_dim);
        let layer = |_| (0..config.kv_heads).map(head).collect::<Result<_>>();
        Ok(Self {
            layers: (0..config.layers).map(layer).collect::<Result<_>>()?,
            next_position: 0,
            room: capacity,
        })
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

    /// The bytes allocated for keys and values, including the room for further tokens.
    #[must_use]
    pub fn allocated_bytes(&self) -> usize {
        self.layers
            .iter()
            .flatten()
            .map(|head| allocated_bytes(&head.keys) + allocated_bytes(&head.values))
            .sum()
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
                let (len, head_dim) = (retained.head(KvHead(head)).len(), cache.keys.dim(1)?);
                let rows = first * head_dim..(first + len) * head_dim;
                first += len;
                let tensor = |numbers: &[f32]| {
                    Tensor::from_slice(&numbers[rows.clone()], (len, head_dim), &Device::Cpu)
                };
                let mut cache = HeadCache::new(len + spare, head_dim)?;
                cache.append(&tensor(&packed.keys)?, &tensor(&packed.values)?)?;
                Ok(cache)
            };
            heads.iter().enumerate().map(of_head).collect()
        };
        let layers = self.layers.iter().zip(packed).enumerate().map(layer).collect::<Result<_>>()?;
        Ok(Self { layers, ..*self })
    }

    /// Appends a chunk's keys and values of one layer, each `[Hkv, c, d]`.
    pub(super) fn append(&mut self, layer: LayerIndex, keys: &Tensor, values: &Tensor) -> Result<()> {
        for (head, cache) in self.layers[layer.0].iter_mut().enumerate() {
            cache.append(&keys.get(head)?, &values.get(head)?)?;
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
    fn new(capacity: usize, head_dim: usize) -> Result<Self> {
        let entries = || Tensor::zeros((capacity, head_dim), DType::F32, &Device::Cpu);
        Ok(Self { keys: entries()?, values: entries()?, len: 0 })
    }

    /// The number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The post-RoPE keys `[len, d]`, a view.
    ///
    /// # Errors
    /// None in practice: the view lies inside the allocation.
    pub fn keys(&self) -> Result<Tensor> {
        Ok(self.keys.narrow(0, 0, self.len)?)
    }

    /// The values `[len, d]`, a view.
    ///
    /// # Errors
    /// None in practice: the view lies inside the allocation.
    pub fn values(&self) -> Result<Tensor> {
        Ok(self.values.narrow(0, 0, self.len)?)
    }

    fn append(&mut self, keys: &Tensor, values: &Tensor) -> Result<()> {
        self.keys.slice_set(keys, 0, self.len)?;
        self.values.slice_set(values, 0, self.len)?;
        self.len += keys.dim(0)?;
        Ok(())
    }

    fn retain(&self, entries: &[u32], spare: usize) -> Result<Self> {
        let mut cache = Self::new(entries.len() + spare, self.keys.dim(1)?)?;
        let entries = Tensor::new(entries, &Device::Cpu)?;
        cache.append(&self.keys()?.index_select(&entries, 0)?, &self.values()?.index_select(&entries, 0)?)?;
        Ok(cache)
    }
}

/// The bytes of a tensor's whole allocation, of which it may be a view.
fn allocated_bytes(tensor: &Tensor) -> usize {
    let (storage, _) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(CpuStorage::F32(values)) => values.capacity() * size_of::<f32>(),
        _ => unreachable!("a cache is laid out in f32 on the CPU"),
    }
}
