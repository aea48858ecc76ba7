//! Stage *attend*: `A_h = softmax(Q_h K^T * scale + causal mask)`, one block of keys at a time (online softmax).
//!
//! The query group of a KV head is one matrix `[d, G * w]`. It is packed once, and its columns are the lanes of registers:
//! a key's logits are one row of numbers, one per query row. Logits and exponentials stay in the first-level cache.
//! Weights are powers of two: `scale * log2(e)` is multiplied into the queries.

use laprox_reference::{KvHead, LayerProblem, TensorView};
use pulp::Simd;

use crate::simd::widen::{Source, widen_to_f64};
use crate::simd::{Level, Panels, ROWS, Rows, exp2, tile};

/// Keys whose logits are in cache at a time.
pub const BLOCK: usize = 8 * ROWS;

/// Keys between the ones that are widened and the ones that are prefetched.
const AHEAD: usize = 4 * ROWS;

/// The query rows of one KV head's group as lanes, head after head.
#[derive(Clone)]
pub struct GroupQueries {
    panels: Panels,
    /// `G`.
    pub group_size: usize,
    /// Query rows of each head.
    pub rows: usize,
    /// Lanes of each head: its rows, then zeros up to a whole register.
    pub head_lanes: usize,
    /// `d`.
    pub head_dim: usize,
}

impl GroupQueries {
    /// Packs the rows of `queries`, `[H, rows, d]`, that belong to a KV head's group.
    #[must_use]
    pub fn new(
        level: Level,
        problem: &LayerProblem<'_>,
        queries: &TensorView<'_, 3>,
        kv_head: KvHead,
    ) -> Self {
        let [_, rows, head_dim] = queries.shape();
        let group_size = problem.shape().group_size();
        let lanes = level.registers().lanes;
        let head_lanes = rows.div_ceil(lanes) * lanes;
        // Row by row, as many for each head as it has lanes.
        let mut numbers = vec![0.0; group_size * head_lanes * head_dim];
        let heads = numbers.chunks_exact_mut(head_lanes * head_dim);
        for (head, numbers) in problem.shape().query_group(kv_head).zip(heads) {
            widen_to_f64(queries.outer(head.0), &mut numbers[..rows * head_dim]);
        }
        let factor = problem.attention_scale() * std::f64::consts::LOG2_E;
        numbers.iter_mut().for_each(|number| *number *= factor);
        let entry = |k: usize, lane: usize| numbers[lane * head_dim + k] as f32;
        let panels = Panels::pack(level, head_dim, group_size * head_lanes, entry);
        Self { panels, group_size, rows, head_lanes, head_dim }
    }

    /// The lanes of all heads.
    #[must_use]
    pub fn lanes(&self) -> usize {
        self.group_size * self.head_lanes
    }

    /// `logits[i] = k_i . q` for every key and lane, as exponents of two. The keys are widened to `wide` on the way.
    ///
    /// A tile's keys are widened just before the first panel multiplies them, so that the processor reads ahead while it
    /// multiplies. Each lane's number in `largest` rises to its largest logit.
    #[inline(always)]
    pub fn logits<S: Simd>(
        &self,
        simd: S,
        keys: Source<'_>,
        wide: &mut [f32],
        logits: &mut [S::f32s],
        largest: &mut [S::f32s],
    ) {
        for (first, registers, panel) in self.panels.iter::<S>() {
            match registers {
                1 => self.panel_logits::<S, 1>(simd, keys, wide, (first, panel), logits, largest),
                2 => self.panel_logits::<S, 2>(simd, keys, wide, (first, panel), logits, largest),
                3 => self.panel_logits::<S, 3>(simd, keys, wide, (first, panel), logits, largest),
                _ => self.panel_logits::<S, 4>(simd, keys, wide, (first, panel), logits, largest),
            }
        }
    }

    #[inline(always)]
    fn panel_logits<S: Simd, const C: usize>(
        &self,
        simd: S,
        keys: Source<'_>,
        wide: &mut [f32],
        (first, panel): (usize, &[S::f32s]),
        logits: &mut [S::f32s],
        largest: &mut [S::f32s],
    ) {
        let (width, head_dim) = (self.panels.width(), self.head_dim);
        let largest = &mut largest[first..first + C];
        for key in (0..keys.len()).step_by(ROWS) {
            if first == 0 {
                keys.prefetch(key + AHEAD..key + AHEAD + ROWS);
                keys.widen(simd, key..keys.len().min(key + ROWS), head_dim, wide);
            }
            let mut sums = [[simd.splat_f32s(0.0); C]; ROWS];
            let rows = Rows::new(wide, key, keys.len(), head_dim, 1);
            tile::<S, f32, C, C>(simd, rows, panel, C, head_dim, &mut sums);
            for (r, sums) in sums.iter().enumerate().take(keys.len() - key) {
                logits[(key + r) * width + first..][..C].copy_from_slice(sums);
            }
            // The last key is repeated to fill the tile. It does not raise the maximum.
            for sums in sums {
                for (largest, sum) in largest.iter_mut().zip(sums) {
                    *largest = simd.max_f32s(*largest, sum);
                }
            }
        }
    }
}

/// The online softmax's state: every lane's largest logit so far, and its sum of weights relative to that.
#[derive(Clone)]
pub struct RowState {
    /// `max l_i`. Negative infinity before the first key.
    pub max: crate::simd::Buffer,
    /// `sum_i 2^(l_i - max)`.
    pub sum: crate::simd::Buffer,
}

impl RowState {
    /// The state before the first key.
    #[must_use]
    pub fn new(lanes: usize) -> Self {
        let filled = crate::simd::Buffer::filled;
        Self { max: filled(lanes, f32::NEG_INFINITY), sum: filled(lanes, 0.0) }
    }

    /// Turns the logits of some keys into weights relative to the largest logit so far, and adds them to the state.
    #[inline(always)]
    pub fn weigh<S: Simd>(&mut self, simd: S, block: &mut [S::f32s]) {
        let mut largest = self.max.clone();
        let (largest, _) = S::as_mut_simd_f32s(largest.as_mut_slice());
        for key in block.chunks_exact(largest.len()) {
            for (largest, &logit) in largest.iter_mut().zip(key) {
                *largest = simd.max_f32s(*largest, logit);
            }
        }
        self.weigh_up_to(simd, block, largest);
    }

    /// The same when the largest logit of these and all earlier keys is known.
    #[inline(always)]
    pub fn weigh_up_to<S: Simd>(&mut self, simd: S, block: &mut [S::f32s], largest: &[S::f32s]) {
        let (max, _) = S::as_mut_simd_f32s(self.max.as_mut_slice());
        let (sum, _) = S::as_mut_simd_f32s(self.sum.as_mut_slice());
        let width = max.len();
        for (v, (max, sum)) in max.iter_mut().zip(sum).enumerate() {
            let before = std::mem::replace(max, largest[v]);
            // Four chains: one alone would wait for its own latency.
            let mut sums = [simd.splat_f32s(0.0); 4];
            for keys in block.chunks_mut(4 * width) {
                for (sum, key) in sums.iter_mut().zip(keys.chunks_exact_mut(width)) {
                    key[v] = exp2(simd, simd.sub_f32s(key[v], *max));
                    *sum = simd.add_f32s(*sum, key[v]);
                }
            }
            let shrunk = exp2(simd, simd.sub_f32s(before, *max));
            let [one, two, three, four] = sums;
            let sums = simd.add_f32s(simd.add_f32s(one, two), simd.add_f32s(three, four));
            *sum = simd.mul_add_e_f32s(*sum, shrunk, sums);
        }
    }

    /// Joins the state of the keys that follow.
    pub fn merge(&mut self, other: &Self) {
        let lanes = self.max.as_mut_slice().iter_mut().zip(self.sum.as_mut_slice());
        let others = other.max.as_slice().iter().zip(other.sum.as_slice());
        for ((max, sum), (&other_max, &other_sum)) in lanes.zip(others) {
            let largest = max.max(other_max);
            let shrink = |max: f32| if max == largest { 1.0 } else { (max - largest).exp2() };
            *sum = *sum * shrink(*max) + other_sum * shrink(other_max);
            *max = largest;
        }
    }
}

/// Applies the causal mask: query row `t` does not see key `first + i` of its own keys where `first + i > t`.
///
/// The block's keys are those at the rows' own positions, one per row.
pub fn hide_later(block: &mut [f32], queries: &GroupQueries, first: usize) {
    for (i, logits) in block.chunks_exact_mut(queries.lanes()).enumerate() {
        for head in logits.chunks_exact_mut(queries.head_lanes) {
            head[..(first + i).min(queries.rows)].fill(f32::NEG_INFINITY);
        }
    }
}
