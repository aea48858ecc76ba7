//! The product of a stored matrix with few rows: every weight is read, and widened, once for all of them.
//!
//! A sum runs over the columns in their order, in as many parts as a register has lanes. It depends neither on the other rows
//! nor on the number of threads.

use std::marker::PhantomData;

use pulp::{Simd, WithSimd};

use super::blocks::Blocks;
use super::padded::{CHUNK, PaddedRows};

/// Weight rows that are multiplied at a time.
pub(super) const WEIGHT_ROWS: usize = 4;
/// The most rows of one product.
pub(super) const MOST_ROWS: usize = 32;

/// `out[j][i] = x_i . w_j` for consecutive weight rows `w_j`.
pub(super) struct Few<'a, B> {
    /// The rows `x_i`.
    pub(super) rows: &'a PaddedRows,
    /// The weight rows, one after another.
    pub(super) weights: &'a [u8],
    /// The bytes of a weight row.
    pub(super) row_bytes: usize,
    /// The bytes of [`CHUNK`] columns.
    pub(super) chunk_bytes: usize,
    /// The products, weight row by weight row.
    pub(super) out: &'a mut [f32],
    /// The weights' format.
    pub(super) format: PhantomData<B>,
}

/// The same columns of a few weight rows, widened. Aligned, so that no register is loaded from two cache lines.
#[repr(align(64))]
struct Widened([[f32; CHUNK]; WEIGHT_ROWS]);

impl<B: Blocks> WithSimd for Few<'_, B> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { rows, weights, row_bytes, chunk_bytes, out, .. } = self;
        let mut sums = [[simd.splat_f32s(0.0); WEIGHT_ROWS]; MOST_ROWS];
        let sums = &mut sums[..rows.count()];
        let mut wide = Widened([[0.0; CHUNK]; WEIGHT_ROWS]);
        let parts = out.chunks_mut(WEIGHT_ROWS * rows.count());
        for (out, weights) in parts.zip(weights.chunks(WEIGHT_ROWS * row_bytes)) {
            sums.fill([simd.splat_f32s(0.0); WEIGHT_ROWS]);
            for (index, chunk) in rows.chunks().enumerate() {
                for (weights, wide) in weights.chunks_exact(row_bytes).zip(&mut wide.0) {
                    let weights = &weights[index * chunk_bytes..];
                    B::widen(simd, &weights[..weights.len().min(chunk_bytes)], wide);
                }
                add_products(simd, chunk, &wide.0, sums);
            }
            for (weight, out) in out.chunks_exact_mut(rows.count()).enumerate() {
                for (sums, out) in sums.iter().zip(out) {
                    *out = simd.reduce_sum_f32s(sums[weight]);
                }
            }
        }
    }
}

/// `sums[i][j] += x_i * w_j`, lane by lane, over a chunk of columns, which `chunk` holds row by row.
#[inline(always)]
fn add_products<S: Simd>(
    simd: S,
    chunk: &[f32],
    wide: &[[f32; CHUNK]; WEIGHT_ROWS],
    sums: &mut [[S::f32s; WEIGHT_ROWS]],
) {
    let len = chunk.len() / sums.len();
    let step = if S::REGISTER_COUNT >= 32 { 4 } else { 2 };
    for (chunk, sums) in chunk.chunks(step * len).zip(sums.chunks_mut(step)) {
        match sums.len() {
            4 => tile::<S, 4>(simd, chunk, wide, sums),
            3 => tile::<S, 3>(simd, chunk, wide, sums),
            2 => tile::<S, 2>(simd, chunk, wide, sums),
            _ => tile::<S, 1>(simd, chunk, wide, sums),
        }
    }
}

/// The same for so few rows that the sums fit the registers.
#[inline(always)]
fn tile<S: Simd, const ROWS: usize>(
    simd: S,
    chunk: &[f32],
    wide: &[[f32; CHUNK]; WEIGHT_ROWS],
    sums: &mut [[S::f32s; WEIGHT_ROWS]],
) {
    let (numbers, _) = S::as_simd_f32s(chunk);
    let len = numbers.len() / ROWS;
    let mut rows = [&numbers[..len]; ROWS];
    for (row, numbers) in rows.iter_mut().zip(numbers.chunks_exact(len)) {
        *row = numbers;
    }
    let mut weights = [&S::as_simd_f32s(&wide[0]).0[..len]; WEIGHT_ROWS];
    for (weight, wide) in weights.iter_mut().zip(wide) {
        *weight = &S::as_simd_f32s(wide).0[..len];
    }
    let sums: &mut [[S::f32s; WEIGHT_ROWS]; ROWS] = sums.first_chunk_mut().expect("sums for every row");
    let mut held = *sums;
    for at in 0..len {
        for (row, held) in rows.iter().zip(&mut held) {
            for (weight, sum) in weights.iter().zip(held) {
                *sum = simd.mul_add_e_f32s(row[at], weight[at], *sum);
            }
        }
    }
    *sums = held;
}
