//! Statistics of the columns of `A_h` over the candidates: the held weights are rescaled and reduced block by block.

use laprox_reference::{KvHead, LayerProblem};
use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use crate::attend::BLOCK;
use crate::held::{Chunk, Held, rescaling};
use crate::simd::{Buffer, Level, prefetch};

/// Keys between the one that is reduced and the one whose weights are prefetched.
const AHEAD: usize = 16;

/// The statistics to compute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// `norm2(a_{h,i})`
    pub norms: bool,
    /// `sum_t A_h[t, i]`
    pub sums: bool,
    /// `A_h[w - 1, i]`
    pub last: bool,
    /// `norm2(sum over the group of a_{h,i})`
    pub group_norms: bool,
}

impl Wanted {
    /// The statistics of either.
    #[must_use]
    pub(crate) fn union(self, other: Self) -> Self {
        Self {
            norms: self.norms || other.norms,
            sums: self.sums || other.sums,
            last: self.last || other.last,
            group_norms: self.group_norms || other.group_norms,
        }
    }
}

/// Statistics of one KV head's candidates, times `WEIGHT_SCALE`. A statistic that was not wanted has no rows.
#[derive(Clone, Debug, Default)]
pub struct Columns {
    /// One row per query head of the group.
    pub(crate) norms: Vec<Vec<f32>>,
    /// One row per query head of the group.
    pub(crate) sums: Vec<Vec<f32>>,
    /// One row per query head of the group.
    pub(crate) last: Vec<Vec<f32>>,
    /// One row for the group.
    pub(crate) group_norms: Vec<Vec<f32>>,
}

impl Columns {
    fn new(wanted: Wanted, group_size: usize, len: usize) -> Self {
        let rows = |wanted: bool, count: usize| vec![vec![f32::NAN; len]; if wanted { count } else { 0 }];
        Self {
            norms: rows(wanted.norms, group_size),
            sums: rows(wanted.sums, group_size),
            last: rows(wanted.last, group_size),
            group_norms: rows(wanted.group_norms, 1),
        }
    }

    fn rows_mut(&mut self) -> impl Iterator<Item = &mut Vec<f32>> {
        let per_head = self.norms.iter_mut().chain(&mut self.sums).chain(&mut self.last);
        per_head.chain(&mut self.group_norms)
    }

    /// Copies a chunk's statistics to the places of its keys.
    fn place(&mut self, first: usize, chunk: &mut Self) {
        for (whole, part) in self.rows_mut().zip(chunk.rows_mut()) {
            whole[first..first + part.len()].copy_from_slice(part);
        }
    }
}

/// The statistics of every KV head's candidates.
#[must_use]
pub fn columns(level: Level, problem: &LayerProblem<'_>, wanted: Wanted) -> Vec<Columns> {
    let of_head = |kv_head| Held::with(level, problem, kv_head, |held| held.columns(level, wanted));
    (0..problem.shape().kv_heads).into_par_iter().map(KvHead).map(of_head).collect()
}

/// One number per candidate.
pub(crate) type Scored = Vec<f64>;

impl Held {
    /// The statistics of the candidates.
    #[must_use]
    pub fn columns(&self, level: Level, wanted: Wanted) -> Columns {
        let reduce = |(first, chunk): (usize, Chunk<'_>)| {
            let mut columns = Columns::new(wanted, self.queries().group_size, chunk.len());
            level.run(Reduce { chunk, columns: &mut columns });
            (first, columns)
        };
        // Backwards: the chunks that were written last are still in cache.
        let chunks: Vec<(usize, Columns)> = self.chunks().rev().map(reduce).collect();
        let candidates = self.candidates();
        let mut all = Columns::new(wanted, self.queries().group_size, candidates);
        for (first, mut columns) in chunks {
            all.place(first, &mut columns);
        }
        all
    }
}

/// Statistics of some candidates.
struct Reduce<'a> {
    chunk: Chunk<'a>,
    columns: &'a mut Columns,
}

impl WithSimd for Reduce<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Chunk { queries, weights, maxima, state } = self.chunk;
        let lanes = queries.lanes();
        let mut factors = Buffer::filled(lanes, f32::NAN);
        let blocks = weights.chunks(BLOCK * lanes).zip(maxima.chunks(lanes));
        for (index, (block, maxima)) in blocks.enumerate() {
            rescaling(simd, queries, maxima, state, factors.as_mut_slice());
            let block = Block {
                weights: S::as_simd_f32s(block).0,
                from_here: S::as_simd_f32s(&weights[index * BLOCK * lanes..]).0,
                factors: S::as_simd_f32s(factors.as_slice()).0,
                head_width: queries.head_lanes / S::F32_LANES,
                group_size: queries.group_size,
            };
            let first = index * BLOCK;
            block.norms_and_sums(simd, self.columns, first);
            for (head, last) in self.columns.last.iter_mut().enumerate() {
                let lane = head * queries.head_lanes + queries.rows - 1;
                let weights = weights[first * lanes..].iter().skip(lane).step_by(lanes);
                let factor = factors.as_slice()[lane];
                last[first..]
                    .iter_mut()
                    .zip(weights)
                    .take(BLOCK)
                    .for_each(|(last, weight)| *last = weight * factor);
            }
            for norms in &mut self.columns.group_norms {
                block.group_norms(simd, &mut norms[first..]);
            }
        }
    }
}

/// Some keys' weights with the factors that make them attention.
struct Block<'a, S: Simd> {
    weights: &'a [S::f32s],
    /// These, and the rest of the chunk.
    from_here: &'a [S::f32s],
    factors: &'a [S::f32s],
    head_width: usize,
    group_size: usize,
}

impl<S: Simd> Block<'_, S> {
    /// The norm and the sum of every head's column, for the keys of the block. Its first key is key `first` of the columns.
    ///
    /// The outer loop is over keys and the inner one over heads, so the weights are read in memory order.
    #[inline(always)]
    fn norms_and_sums(&self, simd: S, columns: &mut Columns, first: usize) {
        let Columns { norms, sums, .. } = columns;
        if norms.is_empty() && sums.is_empty() {
            return;
        }
        for (i, key) in self.weights.chunks_exact(self.factors.len()).enumerate() {
            prefetch(self.from_here, (i + AHEAD) * self.factors.len(), self.factors.len());
            let heads = key.chunks_exact(self.head_width).zip(self.factors.chunks_exact(self.head_width));
            for (head, (weights, factors)) in heads.enumerate() {
                let (mut squares, mut sum) = (simd.splat_f32s(0.0), simd.splat_f32s(0.0));
                for (&weight, &factor) in weights.iter().zip(factors) {
                    let scaled = simd.mul_f32s(weight, factor);
                    squares = simd.mul_add_e_f32s(scaled, scaled, squares);
                    sum = simd.mul_add_e_f32s(weight, factor, sum);
                }
                if let Some(norms) = norms.get_mut(head) {
                    norms[first + i] = simd.reduce_sum_f32s(squares);
                }
                if let Some(sums) = sums.get_mut(head) {
                    sums[first + i] = simd.reduce_sum_f32s(sum);
                }
            }
        }
        let last = first + self.weights.len() / self.factors.len();
        for norms in norms {
            norms[first..last].iter_mut().for_each(|square| *square = square.sqrt());
        }
    }

    #[inline(always)]
    fn group_norms(&self, simd: S, norms: &mut [f32]) {
        for (norm, weights) in norms.iter_mut().zip(self.weights.chunks_exact(self.factors.len())) {
            let mut sum = simd.splat_f32s(0.0);
            for v in 0..self.head_width {
                let mut total = simd.splat_f32s(0.0);
                for head in 0..self.group_size {
                    let register = head * self.head_width + v;
                    total = simd.mul_add_e_f32s(weights[register], self.factors[register], total);
                }
                sum = simd.mul_add_e_f32s(total, total, sum);
            }
            *norm = simd.reduce_sum_f32s(sum).sqrt();
        }
    }
}
