//! Shapes and indices: `L` layers, `H` query heads, `Hkv` KV heads, head dimension `d`, hidden size `D`.

use crate::error::{Error, Result};
use crate::quantity::{Size, Tensor};

macro_rules! indices {
    ($($(#[$doc:meta])* $name:ident,)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub usize);

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}

indices!(
    /// A layer's number in the model.
    LayerIndex,
    /// A layer's place in a dump or in a retained set, not its number in the model.
    LayerOrdinal,
    /// One of a layer's `H` query heads.
    QueryHead,
    /// One of a layer's `Hkv` KV heads.
    KvHead,
    /// A position in the context, `0..n`.
    Position,
);

/// The sizes of one layer's eviction problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerShape {
    /// `H`, query heads.
    pub query_heads: usize,
    /// `Hkv`, KV heads; divides `H`.
    pub kv_heads: usize,
    /// `d`, the width of one head.
    pub head_dim: usize,
    /// `D`, the width of the layer's output.
    pub hidden_dim: usize,
    /// `n`, cached entries per KV head.
    pub context_len: usize,
    /// `w`, the last context queries. Their own positions are never evicted.
    pub window_len: usize,
    /// `t`, the later queries that the `future` objective reads.
    pub future_len: usize,
}

/// The extents of queries, keys, values and the output projection.
pub type TensorShapes = ([usize; 3], [usize; 3], [usize; 3], [usize; 2]);

impl LayerShape {
    /// Reads the sizes off a layer's tensors, and off its later queries if there are any, and checks every tensor against them.
    ///
    /// # Errors
    /// [`Error::Size`] names the size, [`Error::Shape`] the tensor.
    pub fn of_tensors((query, key, value, weight): TensorShapes, future: Option<[usize; 3]>) -> Result<Self> {
        let [query_heads, window_len, head_dim] = query;
        let [kv_heads, cached_len, _] = key;
        let [hidden_dim, _] = weight;
        let future_len = future.map_or(0, |query| query[1]);
        let context_len = cached_len.checked_sub(future_len).ok_or_else(|| {
            let expected = format_args!("at least the {future_len} future positions");
            Error::shape(Tensor::Key.name(), expected, cached_len)
        })?;
        let shape = Self { query_heads, kv_heads, head_dim, hidden_dim, context_len, window_len, future_len };
        shape.validate()?;

        let cached = [kv_heads, cached_len, head_dim];
        expect(Tensor::Key, key, cached)?;
        expect(Tensor::Value, value, cached)?;
        expect(Tensor::OutputProjection, weight, [hidden_dim, query_heads * head_dim])?;
        if let Some(query) = future {
            expect(Tensor::FutureQuery, query, [query_heads, future_len, head_dim])?;
        }
        Ok(shape)
    }

    /// Checks that every size is positive (`future_len` may be 0), that `Hkv` divides `H` and that `w <= n`.
    ///
    /// # Errors
    /// [`Error::Size`] names the first rule that is broken.
    pub fn validate(&self) -> Result<()> {
        let sizes = [
            (Size::QueryHeads, self.query_heads),
            (Size::KvHeads, self.kv_heads),
            (Size::HeadDim, self.head_dim),
            (Size::HiddenDim, self.hidden_dim),
            (Size::ContextLen, self.context_len),
            (Size::WindowLen, self.window_len),
        ];
        for (size, found) in sizes {
            require(found > 0, size, "at least 1", found)?;
        }
        let is_multiple = self.query_heads.is_multiple_of(self.kv_heads);
        let multiple = format_args!("a multiple of the {} KV heads", self.kv_heads);
        require(is_multiple, Size::QueryHeads, multiple, self.query_heads)?;
        let within = format_args!("at most the context of {}", self.context_len);
        require(self.window_len <= self.context_len, Size::WindowLen, within, self.window_len)?;
        let fits = u32::try_from(self.context_len).is_ok();
        require(fits, Size::ContextLen, format_args!("at most {}", u32::MAX), self.context_len)
    }

    /// `G = H / Hkv`, the query heads that read one KV head.
    #[must_use]
    pub fn group_size(&self) -> usize {
        self.query_heads / self.kv_heads
    }

    /// `n - w`, the positions that may be evicted: `0..n-w`.
    #[must_use]
    pub fn candidate_len(&self) -> usize {
        self.context_len - self.window_len
    }

    /// `n + t`, the rows of the key and value tensors.
    #[must_use]
    pub fn cached_len(&self) -> usize {
        self.context_len + self.future_len
    }

    /// The KV head that query head `h` reads: `h / G`.
    #[must_use]
    pub fn kv_head_of(&self, head: QueryHead) -> KvHead {
        KvHead(head.0 / self.group_size())
    }

    /// The query heads that read one KV head, in order.
    pub fn query_group(&self, head: KvHead) -> impl Iterator<Item = QueryHead> + use<> {
        let group_size = self.group_size();
        (head.0 * group_size..(head.0 + 1) * group_size).map(QueryHead)
    }

    /// Every query head, in order.
    pub fn query_heads(&self) -> impl Iterator<Item = QueryHead> + use<> {
        (0..self.query_heads).map(QueryHead)
    }

    /// Every KV head, in order.
    pub fn kv_heads(&self) -> impl Iterator<Item = KvHead> + use<> {
        (0..self.kv_heads).map(KvHead)
    }
}

fn expect<const RANK: usize>(tensor: Tensor, found: [usize; RANK], expected: [usize; RANK]) -> Result<()> {
    if found == expected {
        Ok(())
    } else {
        Err(Error::shape(tensor.name(), format_args!("{expected:?}"), format_args!("{found:?}")))
    }
}

fn require(holds: bool, size: Size, expected: impl std::fmt::Display, found: usize) -> Result<()> {
    if holds {
        Ok(())
    } else {
        Err(Error::Size { size, expected: expected.to_string(), found: found.to_string() })
    }
}
