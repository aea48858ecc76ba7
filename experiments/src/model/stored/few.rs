//! The product of a stored matrix with few rows: every weight is read once for all of them.
//!
//! A sum runs over the columns in their order, in as many parts as a register has lanes. It depends neither on the other rows
//! nor on the number of threads.

use std::marker::PhantomData;
use std::ops::Range;

use faer::MatMut;
use laprox_fast::simd::prefetch;
use pulp::{Simd, WithSimd};

use super::blocks::Blocks;
use super::chunk::{CHUNK, Chunk, LANES};
use super::padded::PaddedRows;
use crate::model::lane_sums::lane_sums;

/// Weight rows that are multiplied at a time.
pub(super) const WEIGHT_ROWS: usize = 8;
/// Weight rows whose chunks are read at a time for one row.
const CHUNKS: usize = 4;
/// Weight rows between the one that is read and the one that is prefetched.
const AHEAD: usize = 8;
/// The most rows of one product.
pub(super) const MOST_ROWS: usize = 32;

/// `out[i][j] = x_i . w_j` for consecutive weight rows `w_j`.
pub(super) struct Few<'a, B> {
    /// The rows `x_i`.
    pub(super) rows: &'a PaddedRows,
    /// The weight rows, one after another.
    pub(super) weights: &'a [u8],
    /// The bytes of a weight row.
    pub(super) row_bytes: usize,
    /// The bytes of [`CHUNK`] columns.
    pub(super) chunk_bytes: usize,
    /// The products.
    pub(super) out: MatMut<'a, f32>,
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
        if self.rows.count() == 1 { self.one_row(simd) } else { self.several_rows(simd) }
    }
}

impl<B: Blocks> Few<'_, B> {
    /// The bytes of a chunk of a weight row. Prefetches those that are [`AHEAD`] rows behind.
    #[inline(always)]
    fn part(&self, row: usize, chunk: usize) -> &[u8] {
        let start = chunk * self.chunk_bytes;
        let len = self.chunk_bytes.min(self.row_bytes - start);
        let first = row * self.row_bytes + start;
        prefetch(self.weights, first + AHEAD * self.row_bytes, len);
        &self.weights[first..first + len]
    }

    /// The numbers of a chunk go from their codes straight into the sums.
    #[inline(always)]
    fn one_row<S: Simd>(mut self, simd: S) {
        let mut chunks: [B::Chunk; CHUNKS] = std::array::from_fn(|_| Chunk::empty());
        for first in (0..self.out.ncols()).step_by(WEIGHT_ROWS) {
            let group = first..self.out.ncols().min(first + WEIGHT_ROWS);
            let mut sums = [simd.splat_f32s(0.0); WEIGHT_ROWS];
            for (first, sums) in group.clone().step_by(CHUNKS).zip(sums.as_chunks_mut::<CHUNKS>().0) {
                for (index, x) in self.rows.chunks().enumerate() {
                    for (row, chunk) in (first..group.end).zip(&mut chunks) {
                        B::read(simd, self.part(row, index), chunk);
                    }
                    add_chunks(simd, x, &chunks, sums);
                }
            }
            self.set(0, group, lane_sums(simd, &sums));
        }
    }

    /// The numbers of a chunk are widened for all rows.
    #[inline(always)]
    fn several_rows<S: Simd>(mut self, simd: S) {
        let mut sums = [[simd.splat_f32s(0.0); WEIGHT_ROWS]; MOST_ROWS];
        let sums = &mut sums[..self.rows.count()];
        let mut chunk = B::Chunk::empty();
        let mut wide = Widened([[0.0; CHUNK]; WEIGHT_ROWS]);
        for first in (0..self.out.ncols()).step_by(WEIGHT_ROWS) {
            let group = first..self.out.ncols().min(first + WEIGHT_ROWS);
            sums.fill([simd.splat_f32s(0.0); WEIGHT_ROWS]);
            for (index, x) in self.rows.chunks().enumerate() {
                let width = x.len() / self.rows.count();
                for (row, wide) in group.clone().zip(&mut wide.0) {
                    B::read(simd, self.part(row, index), &mut chunk);
                    chunk.widen(simd, &mut wide[..width]);
                }
                add_products(simd, x, &wide.0, sums);
            }
            for (row, parts) in sums.iter().enumerate() {
                self.set(row, group.clone(), lane_sums(simd, parts));
            }
        }
    }

    /// Sets the products of a row with a few weight rows.
    #[inline(always)]
    fn set(&mut self, row: usize, group: Range<usize>, products: [f32; WEIGHT_ROWS]) {
        for (weight, product) in group.zip(products) {
            self.out[(row, weight)] = product;
        }
    }
}

/// `sums[j] += x * w_j`, lane by lane, over a chunk of columns.
#[inline(always)]
fn add_chunks<S: Simd, C: Chunk>(simd: S, x: &[f32], chunks: &[C; CHUNKS], sums: &mut [S::f32s; CHUNKS]) {
    for (sixteen, x) in x.as_chunks::<LANES>().0.iter().enumerate() {
        for (part, &x) in S::as_simd_f32s(x).0.iter().enumerate() {
            for (sum, chunk) in sums.iter_mut().zip(chunks) {
                *sum = simd.mul_add_e_f32s(x, chunk.numbers(simd, sixteen, part * S::F32_LANES), *sum);
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
    let step = if S::REGISTER_COUNT >= 32 { 2 } else { 1 };
    for (chunk, sums) in chunk.chunks(step * len).zip(sums.chunks_mut(step)) {
        if sums.len() == 2 {
            tile::<S, 2>(simd, chunk, wide, sums);
        } else {
            tile::<S, 1>(simd, chunk, wide, sums);
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
