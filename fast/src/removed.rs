//! `norm_F(sum over the group of a_{h,i} b_{h,i}^T)`: the exact `drop` error of evicting one slot.
//!
//! With `[a_1 .. a_G] = Q R` for the slot's columns, `Q` orthonormal, and `y_h = v_i L_h`, it is the norm of
//! `R [y_1 .. y_G]^T`: terms cancel before anything is squared.

use pulp::{Simd, WithSimd};

use crate::attend::BLOCK;
use crate::columns::Scored;
use crate::group::GroupFactor;
use crate::held::{Attention, Chunk};
use crate::simd::widen::{Source, power_of_two};
use crate::simd::{Buffer, ROWS, Rows};

/// Scores a chunk of candidates. The scores are times the weights' scale and over the factor's.
pub struct Removed<'a> {
    /// The candidates' attention.
    pub chunk: Chunk<'a>,
    /// The candidates' values.
    pub values: Source<'a>,
    /// The group's factor.
    pub factor: &'a GroupFactor,
}

impl WithSimd for Removed<'_> {
    type Output = Scored;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Scored {
        let queries = self.chunk.queries;
        let (group_size, head_dim) = (queries.group_size, queries.head_dim);
        let mut scores = vec![f64::NAN; self.chunk.len()];
        let mut wide = Buffer::filled(BLOCK * head_dim, f32::NAN);
        let mut projected = vec![[simd.splat_f32s(0.0); ROWS]; group_size * self.factor.width];
        let mut columns = vec![0.0; group_size * queries.head_lanes];
        let mut mixing = vec![0.0; group_size * group_size];
        let mut attention = Attention::default();
        for index in 0..self.chunk.blocks() {
            let (first, block) = (index * BLOCK, self.chunk.attention(simd, index, &mut attention));
            let count = block.len() / queries.lanes();
            let values = self.values.slice(first..first + count);
            values.widen(simd, 0..count, head_dim, wide.as_mut_slice());
            for begin in (0..count).step_by(ROWS) {
                let rows = Rows::new(wide.as_slice(), begin, count, head_dim, 1);
                for (head, projected) in projected.chunks_exact_mut(self.factor.width).enumerate() {
                    self.factor.project(simd, head, rows, projected);
                }
                for r in 0..ROWS.min(count - begin) {
                    let weights = &block[(begin + r) * queries.lanes()..][..queries.lanes()];
                    columns.iter_mut().zip(weights).for_each(|(wide, &weight)| *wide = f64::from(weight));
                    triangular(&mut columns, queries.head_lanes, &mut mixing);
                    // Scaled to the order of 1, so that no square overflows or vanishes.
                    let scale = power_of_two(mixing.iter().fold(0.0, |most, entry| entry.abs().max(most)));
                    mixing.iter_mut().for_each(|entry| *entry /= scale);
                    let norm = mixed_norm(simd, self.factor, &mixing, &projected, r);
                    scores[first + begin + r] = f64::from(norm) * scale;
                }
            }
        }
        scores
    }
}

/// `R` of the columns' QR decomposition, row by row, by modified Gram-Schmidt. The columns are overwritten.
///
/// `R` is as good as Householder's, whatever the columns' rank (Higham 2002, Section 19.8).
fn triangular(columns: &mut [f64], len: usize, upper: &mut [f64]) {
    let count = columns.len() / len;
    for i in 0..count {
        let (head, tail) = columns[i * len..].split_at_mut(len);
        let norm = dot(head, head).sqrt();
        upper[i * count + i] = norm;
        if norm > 0.0 {
            head.iter_mut().for_each(|entry| *entry /= norm);
        }
        for (j, column) in tail.chunks_exact_mut(len).enumerate() {
            let along = dot(head, column);
            upper[i * count + i + 1 + j] = along;
            column.iter_mut().zip(&*head).for_each(|(entry, &unit)| *entry -= along * unit);
        }
    }
}

/// The dot product, as eight sums that are added up in order.
fn dot(one: &[f64], two: &[f64]) -> f64 {
    let mut sums = [0.0; 8];
    for (one, two) in one.chunks(8).zip(two.chunks(8)) {
        for ((sum, one), two) in sums.iter_mut().zip(one).zip(two) {
            *sum += one * two;
        }
    }
    sums.iter().sum()
}

/// `norm_F(R Y)` for the rows `Y` of one candidate, row `r` of its tile.
#[inline(always)]
fn mixed_norm<S: Simd>(
    simd: S,
    factor: &GroupFactor,
    mixing: &[f64],
    projected: &[[S::f32s; ROWS]],
    r: usize,
) -> f32 {
    let count = factor.group_size();
    let mut squares = simd.splat_f32s(0.0);
    for i in 0..count {
        for v in 0..factor.width {
            let mut mixed = simd.splat_f32s(0.0);
            for head in i..count {
                if v < factor.head_width(head) {
                    let share = simd.splat_f32s(mixing[i * count + head] as f32);
                    mixed = simd.mul_add_e_f32s(share, projected[head * factor.width + v][r], mixed);
                }
            }
            squares = simd.mul_add_e_f32s(mixed, mixed, squares);
        }
    }
    simd.reduce_sum_f32s(squares).sqrt()
}
