//! Stage *project*: `norm2(b_{h,i})` as `norm2(v_i T_h)`, without any `b`.
//!
//! With the Gram matrix `W_h W_h^T = T_h T_h^T`, `T_h` lower triangular, `norm2(v W_h) = norm2(v T_h)`: `d^2 / 2`
//! multiply-adds instead of `d D`. Each register of a panel starts at its first row that is not zero, and the sums are
//! squared in registers.

use laprox_reference::{KvHead, LayerProblem};
use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use crate::factor::Factor;
use crate::simd::widen::{Source, value_scale};
use crate::simd::{Buffer, Level, Panels, ROWS, Rows, tile};

/// Values per block: they are widened together, and their norms stay in cache.
const BLOCK: usize = 16 * ROWS;

/// Values per task.
const CHUNK: usize = 8 * BLOCK;

/// A lower triangular factor, packed.
pub struct PackedFactor {
    panels: Panels,
    /// The factor that undoes the scaling of the packed numbers.
    scale: f64,
}

impl PackedFactor {
    /// Packs a factor.
    #[must_use]
    pub(crate) fn new(level: Level, factor: &Factor) -> Self {
        let entry = |k: usize, column: usize| factor.entry(k, column);
        Self { panels: Panels::pack(level, factor.len(), factor.len(), entry), scale: factor.scale() }
    }
}

/// `norm2(b_{h,i})` of one query head's candidates, divided by a power of two.
#[derive(Clone, Debug)]
pub struct ValueNorms {
    /// One per candidate.
    pub(crate) norms: Vec<f32>,
    /// The power of two.
    pub(crate) scale: f64,
}

/// `norm2(b_{h,i})` of every candidate, by query head.
#[must_use]
pub fn projected_value_norms(
    level: Level,
    problem: &LayerProblem<'_>,
    factors: &[PackedFactor],
) -> Vec<ValueNorms> {
    let shape = problem.shape();
    let of_kv_head = |kv_head: KvHead| {
        let group = &factors[kv_head.0 * shape.group_size()..][..shape.group_size()];
        let scale = value_scale(problem, kv_head);
        let chunk = |first: usize| {
            let values = Source::range(
                &problem.activations().value,
                kv_head,
                first..(first + CHUNK).min(shape.candidate_len()),
            )
            .over(scale);
            level.run(Norms { group, values, head_dim: shape.head_dim })
        };
        let starts: Vec<usize> = (0..shape.candidate_len()).step_by(CHUNK).collect();
        let chunks: Vec<Vec<Vec<f32>>> = starts.into_par_iter().map(chunk).collect();
        let head = |(head, factor): (usize, &PackedFactor)| {
            let norms: Vec<&[f32]> = chunks.iter().map(|chunk| chunk[head].as_slice()).collect();
            ValueNorms { norms: norms.concat(), scale: factor.scale * scale }
        };
        group.iter().enumerate().map(head).collect::<Vec<_>>()
    };
    (0..shape.kv_heads).into_par_iter().map(KvHead).flat_map_iter(of_kv_head).collect()
}

/// The norms of some values under each factor of a group, divided by the factors' scales.
struct Norms<'a> {
    group: &'a [PackedFactor],
    values: Source<'a>,
    head_dim: usize,
}

impl WithSimd for Norms<'_> {
    type Output = Vec<Vec<f32>>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Vec<Vec<f32>> {
        let count = self.values.len();
        let mut norms = vec![vec![f32::NAN; count]; self.group.len()];
        let mut wide = Buffer::filled(BLOCK * self.head_dim, f32::NAN);
        let mut squares = Buffer::default();
        for first in (0..count).step_by(BLOCK) {
            let last = (first + BLOCK).min(count);
            let values = self.values.slice(first..last);
            let wide = &mut wide.as_mut_slice()[..values.len() * self.head_dim];
            values.widen(simd, 0..values.len(), self.head_dim, wide);
            for (factor, norms) in self.group.iter().zip(&mut norms) {
                let squares = squares.resize((last - first).next_multiple_of(ROWS) * S::F32_LANES);
                squares.fill(0.0);
                let (squares, _) = S::as_mut_simd_f32s(squares);
                add_squares(simd, &factor.panels, wide, self.head_dim, squares);
                for (norm, &square) in norms[first..last].iter_mut().zip(&*squares) {
                    *norm = simd.reduce_sum_f32s(square).sqrt();
                }
            }
        }
        norms
    }
}

/// Adds the squares of each row's product with a triangle to the row's register.
#[inline(always)]
fn add_squares<S: Simd>(simd: S, panels: &Panels, values: &[f32], head_dim: usize, squares: &mut [S::f32s]) {
    for (first, wide, panel) in panels.iter::<S>() {
        match wide {
            1 => add_panel_squares::<S, 1>(simd, panel, first, values, head_dim, squares),
            2 => add_panel_squares::<S, 2>(simd, panel, first, values, head_dim, squares),
            3 => add_panel_squares::<S, 3>(simd, panel, first, values, head_dim, squares),
            _ => add_panel_squares::<S, 4>(simd, panel, first, values, head_dim, squares),
        }
    }
}

#[inline(always)]
fn add_panel_squares<S: Simd, const C: usize>(
    simd: S,
    panel: &[S::f32s],
    first: usize,
    values: &[f32],
    head_dim: usize,
    squares: &mut [S::f32s],
) {
    let count = values.len() / head_dim;
    for (value, squares) in (0..count).step_by(ROWS).zip(squares.chunks_exact_mut(ROWS)) {
        let rows = Rows::new(values, value, count, head_dim, 1);
        let sums = triangle::<S, C>(simd, rows, panel, first * S::F32_LANES, 0, head_dim);
        for (square, sums) in squares.iter_mut().zip(sums) {
            for sum in sums {
                *square = simd.mul_add_e_f32s(sum, sum, *square);
            }
        }
    }
}

/// Rows times a panel of rows `above..above + len` of a lower triangle. The panel's first column is `column`. Entries above
/// the diagonal are skipped, except inside a register.
#[inline(always)]
pub(crate) fn triangle<S: Simd, const C: usize>(
    simd: S,
    rows: Rows<'_>,
    panel: &[S::f32s],
    column: usize,
    above: usize,
    len: usize,
) -> [[S::f32s; C]; ROWS] {
    let mut sums = [[simd.splat_f32s(0.0); C]; ROWS];
    let lanes = S::F32_LANES;
    let begin = |register: usize| (column + register * lanes).saturating_sub(above).min(len);
    let part = |register: usize| (begin(register), begin(register + 1) - begin(register));
    if C > 1 {
        let (k, count) = part(0);
        tile::<S, f32, 1, C>(simd, rows.from(k), &panel[k * C..], C, count, &mut sums);
    }
    if C > 2 {
        let (k, count) = part(1);
        tile::<S, f32, 2, C>(simd, rows.from(k), &panel[k * C..], C, count, &mut sums);
    }
    if C > 3 {
        let (k, count) = part(2);
        tile::<S, f32, 3, C>(simd, rows.from(k), &panel[k * C..], C, count, &mut sums);
    }
    let k = begin(C - 1);
    tile::<S, f32, C, C>(simd, rows.from(k), &panel[k * C..], C, len - k, &mut sums);
    sums
}
