//! One KV head's weights over the candidates, held until every row's largest logit and sum are known.
//!
//! The weights of a block of keys are stored relative to the largest logit so far, which is stored beside them. A task is a
//! chunk of keys of a fixed size. Row states are merged in order, so the result does not depend on the number of threads.

use std::cell::Cell;

use laprox_reference::{KvHead, LayerProblem};
use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use crate::attend::{BLOCK, GroupQueries, RowState, hide_later};
use crate::simd::widen::Source;
use crate::simd::{Buffer, Level, exp2};

/// Keys per task.
const CHUNK: usize = 40 * BLOCK;

/// The factor of every weight, so that its square does not underflow before the weight does: `2^-119` still has a normal
/// square, and a column of ones stays below the largest number for any window.
pub const WEIGHT_SCALE: f64 = (1_u64 << 56) as f64;

thread_local! {
    /// The memory of an earlier head's weights and maxima. Getting fresh memory from the system takes longer than writing it.
    static MEMORY: Cell<(Buffer, Buffer)> = Cell::default();
}

/// One KV head's weights over the candidates, and the factors that turn them into its attention.
pub struct Held {
    /// `[n - w, lanes]`. Each block is relative to the largest logits of its chunk up to the block's end.
    weights: Buffer,
    /// These largest logits, `[blocks, lanes]`.
    maxima: Buffer,
    /// The softmax's state over all keys that each row sees.
    state: RowState,
    queries: GroupQueries,
}

impl Held {
    /// Attends with one KV head's query group, and calls `make` with the weights. Their memory is kept for the thread's next
    /// head.
    pub fn with<T>(
        level: Level,
        problem: &LayerProblem<'_>,
        kv_head: KvHead,
        make: impl FnOnce(&Self) -> T,
    ) -> T {
        let held = Self::new(level, problem, kv_head, MEMORY.take());
        let made = make(&held);
        MEMORY.set((held.weights, held.maxima));
        made
    }

    fn new(
        level: Level,
        problem: &LayerProblem<'_>,
        kv_head: KvHead,
        (mut weights, mut maxima): (Buffer, Buffer),
    ) -> Self {
        let queries = GroupQueries::new(level, problem, &problem.activations().query, kv_head);
        let state = attend(level, problem, kv_head, &queries, &mut weights, &mut maxima);
        Self { weights, maxima, state, queries }
    }

    /// The query group.
    #[must_use]
    pub fn queries(&self) -> &GroupQueries {
        &self.queries
    }

    /// The candidates' weights as tasks. Each comes with its first candidate.
    pub fn chunks(&self) -> impl IndexedParallelIterator<Item = (usize, Chunk<'_>)> {
        let lanes = self.queries.lanes();
        let weights = self.weights.as_slice().par_chunks(CHUNK * lanes);
        let maxima = self.maxima.as_slice().par_chunks(CHUNK / BLOCK * lanes);
        let chunk = |(index, (weights, maxima))| {
            (index * CHUNK, Chunk { queries: &self.queries, weights, maxima, state: &self.state })
        };
        weights.zip(maxima).enumerate().map(chunk)
    }

    /// The number of candidates.
    #[must_use]
    pub fn candidates(&self) -> usize {
        self.weights.as_slice().len() / self.queries.lanes()
    }

    /// For each lane, the candidate that has more than half of its row's weight, if there is one.
    #[must_use]
    pub fn heavier_than_half(&self, level: Level) -> Vec<Option<u32>> {
        let none = vec![None; self.queries.lanes()];
        let find = |(first, chunk): (usize, Chunk<'_>)| level.run(Heaviest { chunk, first });
        let join = |mut one: Vec<Option<u32>>, two: Vec<Option<u32>>| {
            one.iter_mut().zip(two).for_each(|(one, two)| *one = one.or(two));
            one
        };
        self.chunks().map(find).reduce(|| none.clone(), join)
    }

    /// The heaviest position's share of a lane's weight. `others` is the state of all other keys.
    #[must_use]
    pub fn share_beside(&self, lane: usize, others: &RowState) -> f64 {
        let difference = f64::from(others.max.as_slice()[lane]) - f64::from(self.state.max.as_slice()[lane]);
        1.0 / (1.0 + f64::from(others.sum.as_slice()[lane]) * difference.exp2())
    }
}

/// Weighs all keys of a KV head. The candidates' weights are kept, and the state is that of each row's softmax.
fn attend(
    level: Level,
    problem: &LayerProblem<'_>,
    kv_head: KvHead,
    queries: &GroupQueries,
    weights: &mut Buffer,
    maxima: &mut Buffer,
) -> RowState {
    let shape = problem.shape();
    let (candidates, lanes) = (shape.candidate_len(), queries.lanes());
    let key = |range| Source::range(&problem.activations().key, kv_head, range);
    let weights = weights.resize(candidates * lanes).par_chunks_mut(CHUNK * lanes);
    let maxima = maxima.resize(candidates.div_ceil(BLOCK) * lanes).par_chunks_mut(CHUNK / BLOCK * lanes);
    let weigh = |(chunk, (weights, maxima)): (usize, (&mut [f32], &mut [f32]))| {
        let first = chunk * CHUNK;
        let keys = key(first..(first + CHUNK).min(candidates));
        level.run(Weigh { queries, keys, window: false, weights, maxima: Some(maxima) })
    };
    let states: Vec<RowState> = weights.zip(maxima).enumerate().map(weigh).collect();

    let mut window = Buffer::filled(shape.window_len * lanes, f32::NAN);
    let keys = key(candidates..shape.context_len);
    let mut state =
        level.run(Weigh { queries, keys, window: true, weights: window.as_mut_slice(), maxima: None });
    states.iter().for_each(|chunk| state.merge(chunk));
    state
}

/// Some candidates' weights, and the factors that turn them into attention.
#[derive(Clone, Copy)]
pub struct Chunk<'a> {
    /// The query group.
    pub queries: &'a GroupQueries,
    pub(crate) weights: &'a [f32],
    pub(crate) maxima: &'a [f32],
    pub(crate) state: &'a RowState,
}

impl Chunk<'_> {
    /// The number of candidates.
    #[must_use]
    pub fn len(&self) -> usize {
        self.weights.len() / self.queries.lanes()
    }

    /// The number of blocks.
    #[must_use]
    pub fn blocks(&self) -> usize {
        self.len().div_ceil(BLOCK)
    }

    /// Attention times [`WEIGHT_SCALE`] of the block's candidates, `[keys, lanes]`, written to `attention`.
    ///
    /// Callers loop over blocks and use no closures: a closure does not inherit the instruction set of its kernel.
    #[inline(always)]
    pub fn attention<'b, S: Simd>(&self, simd: S, block: usize, attention: &'b mut Attention) -> &'b [f32] {
        let lanes = self.queries.lanes();
        let weights = &self.weights[block * BLOCK * lanes..];
        let weights = &weights[..weights.len().min(BLOCK * lanes)];
        let maxima = &self.maxima[block * lanes..][..lanes];
        rescaling(simd, self.queries, maxima, self.state, attention.factors.resize(lanes));
        let (factors, _) = S::as_simd_f32s(attention.factors.as_slice());
        let numbers = attention.numbers.resize(weights.len());
        let rows = S::as_mut_simd_f32s(numbers).0.chunks_exact_mut(factors.len());
        for (row, weights) in rows.zip(S::as_simd_f32s(weights).0.chunks_exact(factors.len())) {
            for ((number, &weight), &factor) in row.iter_mut().zip(weights).zip(factors) {
                *number = simd.mul_f32s(weight, factor);
            }
        }
        numbers
    }
}

/// Memory for a block's attention.
#[derive(Default)]
pub struct Attention {
    factors: Buffer,
    numbers: Buffer,
}

/// Finds the candidates of a chunk that weigh more than one half.
struct Heaviest<'a> {
    chunk: Chunk<'a>,
    first: usize,
}

impl WithSimd for Heaviest<'_> {
    type Output = Vec<Option<u32>>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Self::Output {
        let lanes = self.chunk.queries.lanes();
        let mut heaviest = vec![None; lanes];
        let half = (WEIGHT_SCALE / 2.0) as f32;
        let mut attention = Attention::default();
        for index in 0..self.chunk.blocks() {
            let block = self.chunk.attention(simd, index, &mut attention);
            for (i, key) in block.chunks_exact(lanes).enumerate() {
                let mut most = simd.splat_f32s(0.0);
                for &weights in S::as_simd_f32s(key).0 {
                    most = simd.max_f32s(most, weights);
                }
                if simd.reduce_max_f32s(most) > half {
                    let heavy = key.iter().enumerate().filter(|(_, weight)| **weight > half);
                    heavy
                        .for_each(|(lane, _)| heaviest[lane] = Some((self.first + index * BLOCK + i) as u32));
                }
            }
        }
        heaviest
    }
}

/// First pass: the weights of some keys, and the state after them.
struct Weigh<'a> {
    queries: &'a GroupQueries,
    keys: Source<'a>,
    /// Whether the keys are at the window's own positions.
    window: bool,
    weights: &'a mut [f32],
    maxima: Option<&'a mut [f32]>,
}

impl WithSimd for Weigh<'_> {
    type Output = RowState;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> RowState {
        let Self { queries, keys, window, weights, mut maxima } = self;
        let lanes = queries.lanes();
        let mut state = RowState::new(lanes);
        let mut wide = Buffer::filled(BLOCK * queries.head_dim, f32::NAN);
        let mut largest = Buffer::filled(lanes, f32::NAN);
        for (index, block) in weights.chunks_mut(BLOCK * lanes).enumerate() {
            let (first, count) = (index * BLOCK, block.len() / lanes);
            let keys = keys.slice(first..first + count);
            largest.as_mut_slice().copy_from_slice(state.max.as_slice());
            let (largest, _) = S::as_mut_simd_f32s(largest.as_mut_slice());
            queries.logits(simd, keys, wide.as_mut_slice(), S::as_mut_simd_f32s(block).0, largest);
            if window {
                hide_later(block, queries, first);
                state.weigh(simd, S::as_mut_simd_f32s(block).0);
            } else {
                state.weigh_up_to(simd, S::as_mut_simd_f32s(block).0, largest);
            }
            if let Some(maxima) = &mut maxima {
                maxima[index * lanes..][..lanes].copy_from_slice(state.max.as_slice());
            }
        }
        state
    }
}

/// The factors that turn a block's weights into attention times [`WEIGHT_SCALE`]: `2^(block max - max) / sum`, and 0 for
/// lanes without a row.
#[inline(always)]
pub(crate) fn rescaling<S: Simd>(
    simd: S,
    queries: &GroupQueries,
    maxima: &[f32],
    state: &RowState,
    factors: &mut [f32],
) {
    let (maxima, max) = (S::as_simd_f32s(maxima).0, S::as_simd_f32s(state.max.as_slice()).0);
    let (sums, scale) = (S::as_simd_f32s(state.sum.as_slice()).0, simd.splat_f32s(WEIGHT_SCALE as f32));
    for (v, factor) in S::as_mut_simd_f32s(factors).0.iter_mut().enumerate() {
        let shrunk = exp2(simd, simd.sub_f32s(maxima[v], max[v]));
        *factor = simd.mul_f32s(simd.div_f32s(shrunk, sums[v]), scale);
    }
    for head in factors.chunks_exact_mut(queries.head_lanes) {
        head[queries.rows..].fill(0.0);
    }
}
