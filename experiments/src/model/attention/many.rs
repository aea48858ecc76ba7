//! Attention of many rows: products of matrices.

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};

use crate::model::cache::Entries;

/// `logits[r][s] = scale * q_r . k_s`, from queries `[rows, d]` and the first keys of a cache, to rows of whole registers.
pub(super) fn logits(
    queries: &[f32],
    (keys, len): (&Entries, usize),
    head_dim: usize,
    scale: f32,
    logits: &mut [f32],
    wide: &mut Vec<f32>,
) {
    let count = queries.len() / head_dim;
    let queries = MatRef::from_row_major_slice(queries, count, head_dim);
    let logits = MatMut::from_row_major_slice_mut(logits, count, logits.len() / count);
    keys.each(len, head_dim, wide, logits, |logits, keys| {
        matmul(logits, Accum::Replace, queries, keys.transpose(), scale, Par::Seq);
    });
}

/// `sums[r] += sum_s weights[r][s] v_s`, with the first values of a cache.
pub(super) fn sums(
    weights: &mut [f32],
    (values, len): (&Entries, usize),
    head_dim: usize,
    sums: &mut [f32],
    wide: &mut Vec<f32>,
) {
    let count = sums.len() / head_dim;
    let weights = MatMut::from_row_major_slice_mut(weights, count, weights.len() / count);
    let mut sums = MatMut::from_row_major_slice_mut(sums, count, head_dim);
    values.each(len, head_dim, wide, weights, |weights, values| {
        matmul(sums.as_mut(), Accum::Add, weights.as_ref(), values, 1.0, Par::Seq);
    });
}

/// Entries whose numbers are widened at a time.
const PART: usize = 512;

impl Entries {
    /// Calls `with` with entries `[.., d]` in f32 and their columns of `weights`, until the first `count` have been taken.
    fn each(
        &self,
        count: usize,
        head_dim: usize,
        wide: &mut Vec<f32>,
        weights: MatMut<'_, f32>,
        mut with: impl FnMut(MatMut<'_, f32>, MatRef<'_, f32>),
    ) {
        let part = if matches!(self, Self::F32(_)) { count } else { PART };
        let mut rest = weights;
        for first in (0..count).step_by(part.max(1)) {
            let len = part.min(count - first);
            let (columns, behind) = rest.split_at_col_mut(len);
            let entries = self.widened(first * head_dim..(first + len) * head_dim, wide);
            with(columns, MatRef::from_row_major_slice(entries, len, head_dim));
            rest = behind;
        }
    }
}
