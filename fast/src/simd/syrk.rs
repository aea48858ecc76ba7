//! The symmetric rank-k update in f64: the lower triangle of `C += X^T X`, by [`tile()`].
//!
//! A block of `X` lies in panels of a few registers' columns. The tile's columns are those of one panel. Its rows are six
//! columns of `X`, which may lie in several panels. Registers right of the diagonal are left out.

use laprox_reference::Elements;
use pulp::{Simd, WithSimd};

use super::buffer::Buffer;
use super::level::{Level, registers};
use super::tile::{ROWS, Rows, tile};
use super::widen::{prefetch_elements, widen_scaled};

/// Rows of `X` per block: a panel of them stays in the first-level cache.
const BLOCK: usize = 128;

/// Rows between the one that is widened and the one that is prefetched. Parts of rows are far apart.
const AHEAD: usize = 8;

/// `X^T X`, row by row. Only the lower triangle may be read.
pub struct Gram {
    /// Entries from one row to the next.
    width: usize,
    /// Two places per number.
    entries: Buffer,
}

impl Gram {
    /// The Gram matrix of the columns of some rows, each times a power of two.
    ///
    /// # Panics
    /// When a row does not have `len` columns.
    #[must_use]
    pub fn new(level: Level, len: usize, rows: &[Elements<'_>], factor: f64) -> Self {
        level.run(Syrk { len, rows, factor })
    }

    /// `C[i, j]`, for `j <= i`.
    #[must_use]
    pub fn entry(&self, i: usize, j: usize) -> f64 {
        bytemuck::cast_slice(self.entries.as_slice())[i * self.width + j]
    }
}

struct Syrk<'a> {
    len: usize,
    rows: &'a [Elements<'a>],
    factor: f64,
}

impl WithSimd for Syrk<'_> {
    type Output = Gram;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Gram {
        let len = self.len;
        let wide = registers::<S>().panel * S::F64_LANES;
        let width = len.next_multiple_of(wide);
        let zeros = |numbers: usize| Buffer::filled(2 * numbers, 0.0);
        let (mut block, mut entries) = (zeros(width * BLOCK), zeros(len.next_multiple_of(ROWS) * width));
        let numbers: &mut [f64] = bytemuck::cast_slice_mut(block.as_mut_slice());
        let sums: &mut [f64] = bytemuck::cast_slice_mut(entries.as_mut_slice());
        for start in (0..self.rows.len()).step_by(BLOCK) {
            let count = BLOCK.min(self.rows.len() - start);
            for k in 0..count {
                self.widen(simd, start + k, wide, numbers.chunks_exact_mut(BLOCK * wide), k);
            }
            Panels { numbers, len, wide, count }.add_products(simd, width, sums);
        }
        Gram { width, entries }
    }
}

impl Syrk<'_> {
    /// Writes a row to row `k` of the panels.
    #[inline(always)]
    fn widen<'a, S: Simd>(
        &self,
        simd: S,
        row: usize,
        wide: usize,
        panels: impl Iterator<Item = &'a mut [f64]>,
        k: usize,
    ) {
        if let Some(later) = self.rows.get(row + AHEAD) {
            prefetch_elements(*later);
        }
        let row = self.rows[row];
        assert_eq!(row.len(), self.len, "columns");
        for (panel, first) in panels.zip((0..self.len).step_by(wide)) {
            let count = wide.min(self.len - first);
            let numbers = &mut panel[k * wide..][..count];
            widen_scaled(simd, row.slice(first..first + count), self.factor, numbers);
        }
    }
}

/// A block of `X`.
#[derive(Clone, Copy)]
struct Panels<'a> {
    numbers: &'a [f64],
    len: usize,
    wide: usize,
    count: usize,
}

impl Panels<'_> {
    /// Adds the products of all columns to the sums, whose rows are `width` apart.
    #[inline(always)]
    fn add_products<S: Simd>(self, simd: S, width: usize, sums: &mut [f64]) {
        for first in (0..self.len).step_by(self.wide) {
            for row in (first / ROWS * ROWS..self.len).step_by(ROWS) {
                let sums = &mut sums[row * width + first..];
                match ((row + ROWS - 1 - first) / S::F64_LANES + 1).min(self.wide / S::F64_LANES) {
                    1 => self.add::<S, 1>(simd, row, first, width, sums),
                    2 => self.add::<S, 2>(simd, row, first, width, sums),
                    3 => self.add::<S, 3>(simd, row, first, width, sums),
                    _ => self.add::<S, 4>(simd, row, first, width, sums),
                }
            }
        }
    }

    /// Adds the products of columns `row..` with `C` registers of columns from `first` on. The sums' rows are `width` apart.
    #[inline(always)]
    fn add<S: Simd, const C: usize>(self, simd: S, row: usize, first: usize, width: usize, sums: &mut [f64]) {
        let place = |column: usize| column / self.wide * BLOCK * self.wide + column % self.wide;
        let rows = Rows::at(self.numbers, row, self.len, self.wide, place);
        let (panel, _) = S::as_simd_f64s(&self.numbers[place(first)..][..BLOCK * self.wide]);
        let mut tile_sums = [[simd.splat_f64s(0.0); C]; ROWS];
        tile::<S, f64, C, C>(simd, rows, panel, self.wide / S::F64_LANES, self.count, &mut tile_sums);
        for (r, tile_sums) in tile_sums.iter().enumerate() {
            let (sums, _) = S::as_mut_simd_f64s(&mut sums[r * width..][..C * S::F64_LANES]);
            for (sum, &tile_sum) in sums.iter_mut().zip(tile_sums) {
                *sum = simd.add_f64s(*sum, tile_sum);
            }
        }
    }
}
