//! Stage *evaluate*: the error of an eviction in the layer's output, streaming.
//!
//! Each query row attends twice, to the retained and to the evicted keys, each time with its own largest logit. Let `r` and
//! `e` be the averages of the values over both, and `s` the evicted keys' share of the weight:
//!
//! ```text
//! o = (1 - s) r + s e,    drop: -s e W,    renormalised: (r - o) W = s (r - e) W
//! ```
//!
//! Nothing is computed as a small difference of large numbers, so a row that loses nearly all its weight keeps its digits.
//! Then the rows of all heads, `[rows, H d]`, are multiplied by the output projection `W_O` once.

use bytemuck::Pod;
use laprox_reference::retained::LayerRetained;
use laprox_reference::{
    Error, KvHead, LayerProblem, LayerShape, ObjectiveError, OutputError, OutputErrors, QueryHead, TensorView,
};
use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use crate::attend::GroupQueries;
use crate::average::{Attended, Keys, average};
use crate::simd::widen::{scale_of, widen_times};
use crate::simd::{Buffer, Level, Panels, ROWS, Rows, tile};

/// Output channels per task.
const CHANNELS: usize = 8 * ROWS;

/// The three objectives for one retained set, which is not reweighted.
///
/// # Errors
/// [`Error::Shape`] when the set was made for other sizes.
pub fn evaluate(
    level: Level,
    problem: &LayerProblem<'_>,
    retained: LayerRetained<'_>,
) -> Result<OutputErrors, Error> {
    retained.check(problem.layer(), problem.shape())?;
    let objectives = |queries: &TensorView<'_, 3>, own: usize| {
        let changes = changes(level, problem, queries, own, retained);
        let [output, dropped, moved] = squared_norms(level, problem, &changes);
        [dropped, moved].map(|error| objective(error, output))
    };
    let [drop, renormalised] = objectives(&problem.activations().query, problem.shape().candidate_len());
    let future = problem.activations().future_query.as_ref();
    let future = future.map(|queries| objectives(queries, problem.shape().context_len)[1]);
    Ok(OutputErrors { drop: Some(drop), renormalised, future })
}

fn objective(error: SquaredNorm, output: SquaredNorm) -> ObjectiveError {
    let of = |squared_error, squared_norm| OutputError { squared_error, squared_norm };
    ObjectiveError {
        layer_wise: of(error.layer_wise, output.layer_wise),
        head_wise: of(error.head_wise, output.head_wise),
    }
}

/// `norm_F(O)`, `O = sum_h A_h B_h` over the window.
#[must_use]
pub fn output_norm(level: Level, problem: &LayerProblem<'_>) -> f64 {
    let shape = problem.shape();
    let seen: Vec<u32> = (0..shape.candidate_len() as u32).collect();
    let rows = Attentions::new(level, problem, &problem.activations().query, |queries, kv_head| {
        let keys = Keys { seen: &seen, own: Some(shape.candidate_len()), left_out: &[] };
        let attended = average(level, problem, kv_head, queries, keys);
        vec![per_lane(queries, |lane| attended.average(lane).collect())]
    });
    squared_norms::<1>(level, problem, &rows)[0].layer_wise.sqrt()
}

/// `o`, `s e` and `s (r - e)` of every query row.
fn changes(
    level: Level,
    problem: &LayerProblem<'_>,
    queries: &TensorView<'_, 3>,
    own: usize,
    retained: LayerRetained<'_>,
) -> Attentions {
    let shape = problem.shape();
    Attentions::new(level, problem, queries, |queries, kv_head| {
        let keeps = retained.keeps(kv_head);
        let positions = |kept: bool| -> Vec<u32> {
            (0..own.min(shape.context_len)).filter(|&i| keeps[i] == kept).map(|i| i as u32).collect()
        };
        let attended = |kept: bool| {
            let keys = Keys { seen: &positions(kept), own: kept.then_some(own), left_out: &[] };
            average(level, problem, kv_head, queries, keys)
        };
        let (stays, goes) = rayon::join(|| attended(true), || attended(false));
        changes_of_group(queries, &stays, &goes)
    })
}

fn changes_of_group(queries: &GroupQueries, stays: &Attended, goes: &Attended) -> Vec<Vec<Vec<f64>>> {
    let change = |mix: fn(f64, f64, f64) -> f64| {
        per_lane(queries, |lane| {
            let share = goes.share(stays, lane);
            stays.average(lane).zip(goes.average(lane)).map(|(stays, goes)| mix(share, stays, goes)).collect()
        })
    };
    vec![
        change(|share, stays, goes| (1.0 - share) * stays + share * goes),
        change(|share, _, goes| share * goes),
        change(|share, stays, goes| share * (stays - goes)),
    ]
}

/// One row of `d` numbers per query row of every head of the group.
fn per_lane(queries: &GroupQueries, row: impl Fn(usize) -> Vec<f64>) -> Vec<Vec<f64>> {
    let lanes = (0..queries.group_size)
        .flat_map(|head| (0..queries.rows).map(move |row| head * queries.head_lanes + row));
    lanes.map(|lane| row(lane)[..queries.head_dim].to_vec()).collect()
}

/// Matrices `[rows, H d]` before the output projection.
struct Attentions {
    /// By KV head, then matrix, then row of the group, head after head.
    groups: Vec<Vec<Vec<Vec<f64>>>>,
    rows: usize,
    /// The power of two that entries are divided by: the largest of the values'.
    scale: f64,
}

impl Attentions {
    fn new(
        level: Level,
        problem: &LayerProblem<'_>,
        queries: &TensorView<'_, 3>,
        of_group: impl Fn(&GroupQueries, KvHead) -> Vec<Vec<Vec<f64>>> + Sync,
    ) -> Self {
        let group = |head| of_group(&GroupQueries::new(level, problem, queries, head), head);
        let heads = (0..problem.shape().kv_heads).into_par_iter().map(KvHead);
        let scale = scale_of(problem.activations().value.elements());
        Self { groups: heads.map(group).collect(), rows: queries.shape()[1], scale }
    }

    /// Number `k` of one query head's row of one matrix.
    fn entry(&self, shape: LayerShape, head: QueryHead, matrix: usize, row: usize, k: usize) -> f32 {
        let place = head.0 % shape.group_size();
        (self.groups[shape.kv_head_of(head).0][matrix][place * self.rows + row][k] / self.scale) as f32
    }
}

/// `norm_F(sum_h X_h W_h)^2` and `sum_h norm_F(X_h W_h)^2`.
#[derive(Clone, Copy, Debug, Default)]
struct SquaredNorm {
    layer_wise: f64,
    head_wise: f64,
}

/// The squared norms of the first `N` matrices times the output projection.
fn squared_norms<const N: usize>(
    level: Level,
    problem: &LayerProblem<'_>,
    attentions: &Attentions,
) -> [SquaredNorm; N] {
    let shape = problem.shape();
    let rows = attentions.rows;
    let pack = |head: QueryHead| {
        let entry = |k: usize, lane: usize| attentions.entry(shape, head, lane / rows, lane % rows, k);
        Panels::pack(level, shape.head_dim, N * rows, entry)
    };
    let heads: Vec<Panels> = (0..shape.query_heads).into_par_iter().map(QueryHead).map(pack).collect();
    let weight = &problem.activations().output_projection;
    let scale = scale_of(weight.elements());
    let starts: Vec<usize> = (0..shape.hidden_dim).step_by(CHANNELS).collect();
    let channels = |first: usize| {
        let last = (first + CHANNELS).min(shape.hidden_dim);
        let width = weight.shape()[1];
        level.run(Channels {
            heads: &heads,
            weight: weight.elements().slice(first * width..last * width),
            width,
            factor: 1.0 / scale,
        })
    };
    let parts: Vec<(Vec<f64>, Vec<f64>)> = starts.into_par_iter().map(channels).collect();
    let mut norms = [SquaredNorm::default(); N];
    for (layer_wise, head_wise) in parts {
        for (matrix, norm) in norms.iter_mut().enumerate() {
            let lanes = matrix * rows..(matrix + 1) * rows;
            norm.layer_wise += layer_wise[lanes.clone()].iter().sum::<f64>();
            norm.head_wise += head_wise[lanes].iter().sum::<f64>();
        }
    }
    let unit = (attentions.scale * scale).powi(2);
    norms.map(|norm| SquaredNorm { layer_wise: norm.layer_wise * unit, head_wise: norm.head_wise * unit })
}

/// Some output channels of every lane: the sums of their squares, of the sum over heads and of each head alone.
struct Channels<'a> {
    heads: &'a [Panels],
    weight: laprox_reference::Elements<'a>,
    width: usize,
    /// The power of two that the weight is multiplied by.
    factor: f64,
}

impl WithSimd for Channels<'_> {
    type Output = (Vec<f64>, Vec<f64>);

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Self::Output {
        let lanes = self.heads[0].width() * S::F32_LANES;
        let count = self.weight.len() / self.width;
        let mut weight = Buffer::filled(self.weight.len(), f32::NAN);
        widen_times(simd, self.weight, self.factor, weight.as_mut_slice());
        let weight = weight.as_slice();
        let mut output = Buffer::filled(count * lanes, 0.0);
        let mut head_wise = vec![0.0; lanes];
        for (head, panels) in self.heads.iter().enumerate() {
            let head = &weight[head * panels.len()..];
            for (first, wide, panel) in panels.iter::<S>() {
                let part = Part { rows: head, count, stride: self.width, panel, first, len: panels.len() };
                let output = output.as_mut_slice();
                match wide {
                    1 => part.add::<S, 1>(simd, output, &mut head_wise),
                    2 => part.add::<S, 2>(simd, output, &mut head_wise),
                    3 => part.add::<S, 3>(simd, output, &mut head_wise),
                    _ => part.add::<S, 4>(simd, output, &mut head_wise),
                }
            }
        }
        let mut layer_wise = vec![0.0; lanes];
        for channel in output.as_slice().chunks_exact(lanes) {
            layer_wise.iter_mut().zip(channel).for_each(|(sum, &number)| *sum += f64::from(number).powi(2));
        }
        (layer_wise, head_wise)
    }
}

/// One head's rows of the weight and one panel of its lanes.
struct Part<'a, V> {
    rows: &'a [f32],
    count: usize,
    stride: usize,
    panel: &'a [V],
    first: usize,
    len: usize,
}

impl<V: Pod> Part<'_, V> {
    /// Adds the channels to the output, `[count, lanes]`, and their squares, in f64, to each lane's sum.
    #[inline(always)]
    fn add<S: Simd<f32s = V>, const C: usize>(&self, simd: S, output: &mut [f32], squares: &mut [f64]) {
        let (width, lanes) = (C * S::F32_LANES, squares.len());
        let squares = &mut squares[self.first * S::F32_LANES..][..width];
        for channel in (0..self.count).step_by(ROWS) {
            let mut sums = [[simd.splat_f32s(0.0); C]; ROWS];
            let rows = Rows::new(self.rows, channel, self.count, self.stride, 1);
            tile::<S, f32, C, C>(simd, rows, self.panel, C, self.len, &mut sums);
            for (r, sums) in sums.iter().enumerate().take(self.count - channel) {
                let sums: &[f32] = bytemuck::cast_slice(sums);
                let outputs = &mut output[(channel + r) * lanes + self.first * S::F32_LANES..][..width];
                for ((output, square), &sum) in outputs.iter_mut().zip(&mut *squares).zip(sums) {
                    *output += sum;
                    *square += f64::from(sum) * f64::from(sum);
                }
            }
        }
    }
}
