//! The one product: `sums[r][c] = sum over k of rows[r][k] * panel[k][c]`, all sums in registers.
//!
//! Six rows by four registers of the panel keep 24 sums, a register for the rows' number and four for the panel's row:
//! 29 of the 32 of AVX-512 and NEON. Where there are 16, the panel is two registers wide.
#![allow(unsafe_code)]

use pulp::Simd;

/// Rows of a tile.
pub const ROWS: usize = 6;

/// Where a tile's rows lie: element `(r, k)` is `data[offsets[r] + k * step]`.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    data: &'a [f32],
    offsets: [usize; ROWS],
    step: usize,
}

impl<'a> Rows<'a> {
    /// Rows `first..` of `count`, `stride` apart, elements `step` apart; behind the last row it is repeated.
    #[inline(always)]
    #[must_use]
    pub fn new(data: &'a [f32], first: usize, count: usize, stride: usize, step: usize) -> Self {
        let last = count - 1;
        let mut offsets = [0; ROWS];
        for (r, offset) in offsets.iter_mut().enumerate() {
            *offset = (first + r).min(last) * stride;
        }
        Self { data, offsets, step }
    }

    /// The rows from their element `k` on.
    #[inline(always)]
    #[must_use]
    pub fn from(self, k: usize) -> Self {
        Self { offsets: self.offsets.map(|offset| offset + k * self.step), ..self }
    }
}

/// Adds `len` products to the first `C` of the sums' columns; the panel's rows are `stride` registers apart.
///
/// # Panics
/// When the rows or the panel are shorter than `len`.
#[inline(always)]
pub fn tile<S: Simd, const C: usize, const WIDE: usize>(
    simd: S,
    rows: Rows<'_>,
    panel: &[S::f32s],
    stride: usize,
    len: usize,
    sums: &mut [[S::f32s; WIDE]; ROWS],
) {
    if len == 0 {
        return;
    }
    let furthest = rows.offsets.iter().fold(0, |most, &offset| most.max(offset)) + (len - 1) * rows.step;
    assert!(furthest < rows.data.len(), "rows end before the sum does");
    assert!((len - 1) * stride + C <= panel.len(), "a panel ends before the sum does");
    for k in 0..len {
        let mut columns = [simd.splat_f32s(0.0); C];
        for (c, column) in columns.iter_mut().enumerate() {
            // SAFETY: k < len and c < C, so the index is at most (len - 1) * stride + C - 1, below the panel's length.
            *column = unsafe { *panel.get_unchecked(k * stride + c) };
        }
        for (r, sums) in sums.iter_mut().enumerate() {
            // SAFETY: k < len, so the index is at most the furthest one, below the length of the data.
            let number = unsafe { *rows.data.get_unchecked(rows.offsets[r] + k * rows.step) };
            let number = simd.splat_f32s(number);
            for c in 0..C {
                sums[c] = simd.mul_add_e_f32s(number, columns[c], sums[c]);
            }
        }
    }
}
