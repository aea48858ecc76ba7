//! Causal attention of query groups over the cache entries of their KV heads.

use std::f32::consts::LOG2_E;
use std::ops::Range;

use candle_core::{Device, Tensor};
use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use laprox_fast::Level;
use laprox_fast::simd::exp2;
use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::cache::{Entries, HeadCache};
use super::error::Result;
use super::linear::with_numbers;

/// The most rows that one task computes the weights of.
const MOST_ROWS: usize = 128;
/// The least, and about the most numbers that a task's weights are.
const LEAST_ROWS: usize = 32;
const WEIGHTS: usize = 1 << 18;
/// A multiple of every register's lanes.
pub(super) const LANES: usize = 16;

/// A sequence's own rows and its cache, whose last entries are these rows' keys and values.
pub(super) struct Attended<'a> {
    /// How many rows the sequence has.
    pub(super) len: usize,
    /// The layer's KV heads.
    pub(super) heads: &'a [HeadCache],
}

/// `out_i = sum_s softmax_s(scale * q_i . k_s) v_s` over the entries `s` that the causal mask leaves to row `i`.
///
/// From queries `[H, c, d]`, the sequences' rows one after another, to rows `[c, H*d]`. A row sees all entries of its
/// sequence except those of later rows. The mask does not depend on positions, so a full cache and an evicted one are the same
/// here.
pub(super) fn attend(queries: &Tensor, sequences: &[Attended<'_>], scale: f32) -> Result<Tensor> {
    let (query_heads, rows, head_dim) = queries.dims3()?;
    let tasks = tasks(sequences, query_heads);
    let done: Vec<Vec<f32>> = with_numbers(queries, |queries| {
        let tasks = tasks.par_iter();
        tasks
            .map_init(Scratch::default, |scratch, task| task.run(queries, [rows, head_dim], scale, scratch))
            .collect()
    })?;
    let mut out = vec![0.0; rows * query_heads * head_dim];
    for (task, done) in tasks.iter().zip(done) {
        for (row, done) in task.rows.clone().zip(done.chunks_exact(head_dim)) {
            let (head, token) = task.place(row);
            out[(token * query_heads + head) * head_dim..][..head_dim].copy_from_slice(done);
        }
    }
    Ok(Tensor::from_vec(out, (rows, query_heads * head_dim), &Device::Cpu)?)
}

/// Some rows of one sequence and one KV head. Its query heads' rows count one after another.
struct Task<'a> {
    cache: &'a HeadCache,
    first_query_head: usize,
    /// The sequence's first row, and how many it has.
    first_token: usize,
    len: usize,
    rows: Range<usize>,
}

/// Cuts the work into tasks. They do not depend on the number of threads.
fn tasks<'a>(sequences: &[Attended<'a>], query_heads: usize) -> Vec<Task<'a>> {
    let (mut tasks, mut first_token) = (Vec::new(), 0);
    for &Attended { len, heads } in sequences {
        let group_size = query_heads / heads.len();
        for (kv_head, cache) in heads.iter().enumerate() {
            let step = (WEIGHTS / cache.len().max(1)).clamp(LEAST_ROWS, MOST_ROWS);
            for first in (0..group_size * len).step_by(step) {
                let rows = first..(first + step).min(group_size * len);
                tasks.push(Task { cache, first_query_head: kv_head * group_size, first_token, len, rows });
            }
        }
        first_token += len;
    }
    tasks
}

/// Memory that a thread's tasks share.
#[derive(Default)]
struct Scratch {
    queries: Vec<f32>,
    weights: Vec<f32>,
    wide: Vec<f32>,
}

impl Task<'_> {
    /// A row's query head and its place among all rows.
    fn place(&self, row: usize) -> (usize, usize) {
        (self.first_query_head + row / self.len, self.first_token + row % self.len)
    }

    /// The number of entries that a row sees.
    fn seen(&self, row: usize) -> usize {
        self.cache.len() - (self.len - 1 - row % self.len)
    }

    fn run(
        &self,
        queries: &[f32],
        [rows, head_dim]: [usize; 2],
        scale: f32,
        scratch: &mut Scratch,
    ) -> Vec<f32> {
        let count = self.rows.len();
        let entries = self.rows.clone().map(|row| self.seen(row)).max().unwrap_or(0);
        let stride = entries.next_multiple_of(LANES);
        let Scratch { queries: own, weights, wide } = scratch;
        own.clear();
        for row in self.rows.clone() {
            let (head, token) = self.place(row);
            own.extend_from_slice(&queries[(head * rows + token) * head_dim..][..head_dim]);
        }
        weights.resize(count * stride, 0.0);

        let own = MatRef::from_row_major_slice(own, count, head_dim);
        let logits = MatMut::from_row_major_slice_mut(weights, count, stride);
        self.cache.stored_keys().each(entries, head_dim, wide, logits, |logits, keys| {
            matmul(logits, Accum::Replace, own, keys.transpose(), scale * LOG2_E, Par::Seq);
        });
        let normalisers: Vec<f32> = (self.rows.clone().zip(weights.chunks_exact_mut(stride)))
            .map(|(row, logits)| Level::best().run(Exponentials { logits, seen: self.seen(row) }))
            .collect();
        let mut out = vec![0.0; count * head_dim];
        let mut sums = MatMut::from_row_major_slice_mut(&mut out, count, head_dim);
        let weights = MatMut::from_row_major_slice_mut(weights, count, stride);
        self.cache.stored_values().each(entries, head_dim, wide, weights, |weights, values| {
            matmul(sums.as_mut(), Accum::Add, weights.as_ref(), values, 1.0, Par::Seq);
        });
        for (row, normaliser) in out.chunks_exact_mut(head_dim).zip(normalisers) {
            row.iter_mut().for_each(|sum| *sum *= normaliser);
        }
        out
    }
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

/// `x_s = 2^(x_s - max)` of the logits that a row sees, zero behind them; the reciprocal of their sum.
pub(super) struct Exponentials<'a> {
    pub(super) logits: &'a mut [f32],
    pub(super) seen: usize,
}

impl WithSimd for Exponentials<'_> {
    type Output = f32;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> f32 {
        self.logits[self.seen..].fill(f32::MIN);
        let (logits, _) = S::as_mut_simd_f32s(self.logits);
        let mut max = simd.splat_f32s(f32::MIN);
        // Zero, or NaN if a logit is not finite, which neither the maximum nor the exponential would tell.
        let mut fault = simd.splat_f32s(0.0);
        for &mut logits in &mut *logits {
            max = simd.max_f32s(max, logits);
            fault = simd.mul_add_f32s(logits, simd.splat_f32s(0.0), fault);
        }
        let max = simd.splat_f32s(simd.reduce_max_f32s(max));
        let mut sum = simd.splat_f32s(0.0);
        for logits in logits {
            *logits = exp2(simd, simd.sub_f32s(*logits, max));
            sum = simd.add_f32s(sum, *logits);
        }
        (simd.reduce_sum_f32s(sum) + simd.reduce_sum_f32s(fault)).recip()
    }
}
