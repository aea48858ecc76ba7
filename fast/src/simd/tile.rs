//! The one product: `sums[r][c] = sum over k of rows[r][k] * panel[k][c]`, all sums in registers.
//!
//! Six rows by four registers of the panel keep 24 sums, a register for the rows' number and four for the panel's row:
//! 29 of the 32 of AVX-512 and NEON. With 16 registers, the panel is two registers wide.
#![allow(unsafe_code)]

use bytemuck::Pod;
use pulp::Simd;

/// The numbers that a tile multiplies and adds.
pub trait Number: Pod {
    /// A register of them.
    type Register<S: Simd>: Copy;

    /// The number in every lane.
    fn splat<S: Simd>(simd: S, number: Self) -> Self::Register<S>;

    /// `one * two + three`, rounded once where the machine can.
    fn mul_add<S: Simd>(
        simd: S,
        one: Self::Register<S>,
        two: Self::Register<S>,
        three: Self::Register<S>,
    ) -> Self::Register<S>;
}

impl Number for f32 {
    type Register<S: Simd> = S::f32s;

    #[inline(always)]
    fn splat<S: Simd>(simd: S, number: f32) -> S::f32s {
        simd.splat_f32s(number)
    }

    #[inline(always)]
    fn mul_add<S: Simd>(simd: S, one: S::f32s, two: S::f32s, three: S::f32s) -> S::f32s {
        simd.mul_add_e_f32s(one, two, three)
    }
}

impl Number for f64 {
    type Register<S: Simd> = S::f64s;

    #[inline(always)]
    fn splat<S: Simd>(simd: S, number: f64) -> S::f64s {
        simd.splat_f64s(number)
    }

    #[inline(always)]
    fn mul_add<S: Simd>(simd: S, one: S::f64s, two: S::f64s, three: S::f64s) -> S::f64s {
        simd.mul_add_e_f64s(one, two, three)
    }
}

/// Rows per tile.
pub const ROWS: usize = 6;

/// A tile's rows in memory: element `(r, k)` is `data[offsets[r] + k * step]`.
///
/// An offset that a `usize` does not hold becomes the largest one, which no data has: [`tile()`] refuses it.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a, T = f32> {
    data: &'a [T],
    offsets: [usize; ROWS],
    step: usize,
}

impl<'a, T> Rows<'a, T> {
    /// Rows `first..` of `count`, `stride` apart, elements `step` apart. The last row fills the tile.
    ///
    /// # Panics
    /// When there are no rows.
    #[inline(always)]
    #[must_use]
    pub fn new(data: &'a [T], first: usize, count: usize, stride: usize, step: usize) -> Self {
        Self::at(data, first, count, step, |row| row.saturating_mul(stride))
    }

    /// Rows `first..` of `count`, each with its first element at its offset.
    ///
    /// # Panics
    /// When there are no rows.
    #[inline(always)]
    #[must_use]
    pub(crate) fn at(
        data: &'a [T],
        first: usize,
        count: usize,
        step: usize,
        offset: impl Fn(usize) -> usize,
    ) -> Self {
        let last = count.checked_sub(1).expect("a tile of at least one row");
        let offsets = std::array::from_fn(|r| offset(first.saturating_add(r).min(last)));
        Self { data, offsets, step }
    }

    /// The rows from their element `k` on.
    #[inline(always)]
    #[must_use]
    pub fn from(self, k: usize) -> Self {
        let skipped = k.saturating_mul(self.step);
        Self { offsets: self.offsets.map(|offset| offset.saturating_add(skipped)), ..self }
    }
}

/// The index of the last of `len` elements, `step` apart. `None` if there are none, or if a `usize` does not hold it.
#[inline(always)]
fn last_index(first: usize, len: usize, step: usize) -> Option<usize> {
    len.checked_sub(1)?.checked_mul(step)?.checked_add(first)
}

/// Adds `len` products to the first `C` of the sums' columns. The panel's rows are `stride` registers apart.
///
/// # Panics
/// When the rows or the panel are shorter than `len`.
#[inline(always)]
pub fn tile<S: Simd, T: Number, const C: usize, const WIDE: usize>(
    simd: S,
    rows: Rows<'_, T>,
    panel: &[T::Register<S>],
    stride: usize,
    len: usize,
    sums: &mut [[T::Register<S>; WIDE]; ROWS],
) {
    if len == 0 {
        return;
    }
    let furthest = rows.offsets.iter().fold(0, |most, &offset| most.max(offset));
    let last = last_index(furthest, len, rows.step);
    assert!(last.is_some_and(|last| last < rows.data.len()), "rows end before the sum does");
    let last = last_index(C - 1, len, stride);
    assert!(last.is_some_and(|last| last < panel.len()), "a panel ends before the sum does");
    // SAFETY: an offset is at most the furthest element's index, below the length of the data.
    let starts = rows.offsets.map(|offset| unsafe { rows.data.as_ptr().add(offset) });
    for k in 0..len {
        let mut columns = [T::splat(simd, T::zeroed()); C];
        for (c, column) in columns.iter_mut().enumerate() {
            // SAFETY: k < len and c < C, so the index is at most the last one, which is below the panel's length.
            *column = unsafe { *panel.get_unchecked(k * stride + c) };
        }
        for (r, sums) in sums.iter_mut().enumerate() {
            // SAFETY: k < len, so the index is at most the last one, which is below the length of the data.
            let number = unsafe { *starts[r].add(k * rows.step) };
            let number = T::splat(simd, number);
            for c in 0..C {
                sums[c] = T::mul_add(simd, number, columns[c], sums[c]);
            }
        }
    }
}
