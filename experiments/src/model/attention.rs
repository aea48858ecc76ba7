//! Causal attention of a query group over the cache entries of its KV head.

use candle_core::{CpuStorage, InplaceOp1, Layout, Tensor};
use rayon::prelude::*;

use super::cache::HeadCache;
use super::error::Result;

/// `out_i = sum_s softmax_s(scale * q_i . k_s) v_s` over the entries `s` that the causal mask leaves to row `i`.
///
/// `queries` and the result are `[g, c, d]`: the chunk's rows of the query heads that share the KV head. The chunk's own
/// `c` keys and values are the last entries of the cache, and row `i` sees all entries except those of later rows. The
/// mask does not depend on positions, so a full cache and an evicted one are the same here.
pub(super) fn attend(queries: &Tensor, cache: &HeadCache, scale: f32) -> Result<Tensor> {
    let (group_size, chunk_len, head_dim) = queries.dims3()?;
    let rows = queries.reshape((group_size * chunk_len, head_dim))?;
    let weights = rows.matmul(&cache.keys()?.t()?)?;
    weights.inplace_op1(&CausalSoftmax { chunk_len, scale })?;
    Ok(weights.matmul(&cache.values()?)?.reshape(queries.shape())?)
}

/// Turns products `[g*c, entries]` into attention weights, row by row, in place.
struct CausalSoftmax {
    chunk_len: usize,
    scale: f32,
}

impl InplaceOp1 for CausalSoftmax {
    fn name(&self) -> &'static str {
        "causal-softmax"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> candle_core::Result<()> {
        let (_, entries) = layout.shape().dims2()?;
        let (CpuStorage::F32(products), Some((start, end))) = (storage, layout.contiguous_offsets()) else {
            candle_core::bail!("{} is only implemented for contiguous f32", self.name());
        };
        products[start..end].par_chunks_mut(entries).enumerate().for_each(|(row, products)| {
            let later_rows = self.chunk_len - 1 - row % self.chunk_len;
            let (seen, hidden) = products.split_at_mut(entries - later_rows);
            softmax(seen, self.scale);
            hidden.fill(0.0);
        });
        Ok(())
    }
}

/// `x_s = exp(scale * (x_s - max)) / sum`, with the sum in f64.
fn softmax(row: &mut [f32], scale: f32) {
    let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0_f64;
    for x in &mut *row {
        *x = (scale * (*x - max)).exp();
        sum += f64::from(*x);
    }
    let normaliser = sum.recip() as f32;
    for x in row {
        *x *= normaliser;
    }
}
