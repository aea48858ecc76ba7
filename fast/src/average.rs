//! Softmax averages of values over some of the keys, streaming: `sum_i A_h[t, i] v_i / sum_i A_h[t, i]`.
//!
//! One block of keys at a time: logits, weights relative to the largest logit so far, then the weighted values. They are
//! added to the earlier blocks' sums, which are rescaled when the largest logit has grown.

use std::ops::Range;

use laprox_reference::{KvHead, LayerProblem};
use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use crate::attend::{BLOCK, GroupQueries, RowState, hide_later};
use crate::simd::widen::{Source, value_scale};
use crate::simd::{Buffer, Level, ROWS, Rows, tile};

/// Keys per task.
const CHUNK: usize = 20 * BLOCK;

/// The keys that the rows of a query group attend to.
#[derive(Clone, Copy)]
pub struct Keys<'a> {
    /// Positions that every row sees.
    pub seen: &'a [u32],
    /// The first of the rows' own positions, if they are keys. A row sees those up to its own.
    pub own: Option<usize>,
    /// The position that each lane leaves out. If empty, no lane does.
    pub left_out: &'a [Option<u32>],
}

/// Weighted values of every lane.
#[derive(Clone)]
pub struct Attended {
    /// The largest logit and the sum of the weights.
    pub state: RowState,
    /// `sum_i 2^(l_i - max) v_i`, `[lanes, width]`.
    values: Buffer,
    /// `d`, up to a whole register.
    width: usize,
    /// The power of two that the values are divided by.
    scale: f64,
}

impl Attended {
    fn new(lanes: usize, width: usize, scale: f64) -> Self {
        Self { state: RowState::new(lanes), values: Buffer::filled(lanes * width, 0.0), width, scale }
    }

    /// One lane's average. Zero if it has seen no key.
    pub fn average(&self, lane: usize) -> impl Iterator<Item = f64> {
        let sum = f64::from(self.state.sum.as_slice()[lane]);
        let inverse = if sum > 0.0 { 1.0 / sum } else { 0.0 };
        let scale = self.scale;
        self.values.as_slice()[lane * self.width..][..self.width]
            .iter()
            .map(move |&value| f64::from(value) * inverse * scale)
    }

    /// The share of a lane's weight that is here and not in `other`: `sum here / (sum here + sum there)`.
    #[must_use]
    pub fn share(&self, other: &Self, lane: usize) -> f64 {
        let part =
            |state: &RowState| (f64::from(state.max.as_slice()[lane]), f64::from(state.sum.as_slice()[lane]));
        let ((max, sum), (other_max, other_sum)) = (part(&self.state), part(&other.state));
        if sum == 0.0 {
            return 0.0;
        }
        1.0 / (1.0 + other_sum / sum * (other_max - max).exp2())
    }

    /// Joins the averages over the keys that follow.
    fn merge(&mut self, other: &Self) {
        let before = self.state.max.clone();
        self.state.merge(&other.state);
        let shrink = |before: f32, max: f32| if before == max { 1.0 } else { (before - max).exp2() };
        let width = self.width;
        let rows = self
            .values
            .as_mut_slice()
            .chunks_exact_mut(width)
            .zip(other.values.as_slice().chunks_exact(width));
        for (lane, (values, others)) in rows.enumerate() {
            let max = self.state.max.as_slice()[lane];
            let (mine, theirs) =
                (shrink(before.as_slice()[lane], max), shrink(other.state.max.as_slice()[lane], max));
            values.iter_mut().zip(others).for_each(|(value, other)| *value = *value * mine + other * theirs);
        }
    }
}

/// The averages of one KV head's query group. Tasks are chunks of a fixed size, merged in order.
#[must_use]
pub fn average(
    level: Level,
    problem: &LayerProblem<'_>,
    kv_head: KvHead,
    queries: &GroupQueries,
    keys: Keys<'_>,
) -> Attended {
    let scale = value_scale(problem, kv_head);
    let run = |positions: &[u32], own| {
        level.run(Average {
            problem,
            kv_head,
            queries,
            positions,
            own,
            left_out: keys.left_out,
            lanes: level.registers().lanes,
            scale,
        })
    };
    let chunks: Vec<Attended> = keys.seen.par_chunks(CHUNK).map(|positions| run(positions, false)).collect();
    let own: Vec<u32> =
        keys.own.map_or(0..0, |first| first..first + queries.rows).map(|i| i as u32).collect();
    let mut attended = run(&own, true);
    chunks.iter().for_each(|chunk| attended.merge(chunk));
    attended
}

struct Average<'a> {
    problem: &'a LayerProblem<'a>,
    kv_head: KvHead,
    queries: &'a GroupQueries,
    positions: &'a [u32],
    own: bool,
    left_out: &'a [Option<u32>],
    lanes: usize,
    scale: f64,
}

impl WithSimd for Average<'_> {
    type Output = Attended;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Attended {
        let (queries, lanes) = (self.queries, self.queries.lanes());
        let head_dim = queries.head_dim;
        let width = head_dim.next_multiple_of(self.lanes);
        let activations = self.problem.activations();
        let mut attended = Attended::new(lanes, width, self.scale);
        let mut keys = Buffer::filled(BLOCK * head_dim, f32::NAN);
        let mut values = Buffer::filled(BLOCK * width, 0.0);
        let mut block = Buffer::filled(BLOCK * lanes, f32::NAN);
        let mut largest = Buffer::filled(lanes, f32::NEG_INFINITY);
        for (index, positions) in self.positions.chunks(BLOCK).enumerate() {
            let source = |tensor| Source::at(tensor, self.kv_head, positions);
            let block = block.resize(positions.len() * lanes);
            let logits = S::as_mut_simd_f32s(block).0;
            // Some logits are masked below, so the largest is not known yet.
            let (largest, _) = S::as_mut_simd_f32s(largest.as_mut_slice());
            queries.logits(simd, source(&activations.key), keys.as_mut_slice(), logits, largest);
            source(&activations.value).over(self.scale).widen(
                simd,
                0..positions.len(),
                width,
                values.as_mut_slice(),
            );
            if self.own {
                hide_later(block, queries, index * BLOCK);
            }
            leave_out(block, lanes, positions, self.left_out);
            attended.add(simd, block, values.as_slice());
        }
        attended
    }
}

impl Attended {
    /// Adds a block of keys, given its logits and values.
    #[inline(always)]
    fn add<S: Simd>(&mut self, simd: S, block: &mut [f32], values: &[f32]) {
        let before = self.state.max.clone();
        self.state.weigh(simd, S::as_mut_simd_f32s(block).0);
        let grown = before.as_slice().iter().zip(self.state.max.as_slice());
        for (sums, (before, max)) in self.values.as_mut_slice().chunks_exact_mut(self.width).zip(grown) {
            if before < max {
                let shrunk = simd.splat_f32s((before - max).exp2());
                S::as_mut_simd_f32s(sums).0.iter_mut().for_each(|sum| *sum = simd.mul_f32s(*sum, shrunk));
            }
        }
        let registers = self.width / S::F32_LANES;
        let (values, _) = S::as_simd_f32s(values);
        let (sums, _) = S::as_mut_simd_f32s(self.values.as_mut_slice());
        let wide = if S::REGISTER_COUNT >= 32 { 4 } else { 2 };
        for first in (0..registers).step_by(wide) {
            match wide.min(registers - first) {
                1 => add_weighted::<S, 1>(simd, block, values, first, registers, sums),
                2 => add_weighted::<S, 2>(simd, block, values, first, registers, sums),
                3 => add_weighted::<S, 3>(simd, block, values, first, registers, sums),
                _ => add_weighted::<S, 4>(simd, block, values, first, registers, sums),
            }
        }
    }
}

/// Adds `weights^T values` to the sums, for `C` registers of the values.
#[inline(always)]
fn add_weighted<S: Simd, const C: usize>(
    simd: S,
    weights: &[f32],
    values: &[S::f32s],
    first: usize,
    registers: usize,
    sums: &mut [S::f32s],
) {
    let lanes = sums.len() / registers;
    let keys = weights.len() / lanes;
    for lane in (0..lanes).step_by(ROWS) {
        let count = ROWS.min(lanes - lane);
        let mut tile_sums = [[simd.splat_f32s(0.0); C]; ROWS];
        for (r, row) in tile_sums.iter_mut().enumerate().take(count) {
            row.copy_from_slice(&sums[(lane + r) * registers + first..][..C]);
        }
        let rows = Rows::new(weights, lane, lanes, 1, lanes);
        tile::<S, f32, C, C>(simd, rows, &values[first..], registers, keys, &mut tile_sums);
        for (r, row) in tile_sums.iter().enumerate().take(count) {
            sums[(lane + r) * registers + first..][..C].copy_from_slice(row);
        }
    }
}

/// Masks for each lane the position that it leaves out.
fn leave_out(block: &mut [f32], lanes: usize, positions: &[u32], left_out: &[Option<u32>]) {
    let range: Range<u32> = match (positions.first(), positions.last()) {
        (Some(&first), Some(&last)) => first..last + 1,
        _ => return,
    };
    for (lane, position) in left_out.iter().enumerate() {
        if let Some(position) = position.filter(|position| range.contains(position))
            && let Ok(row) = positions.binary_search(&position)
        {
            block[row * lanes + lane] = f32::NEG_INFINITY;
        }
    }
}
