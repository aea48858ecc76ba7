//! Matrices packed for [`tile`](super::tile()): panels of a few registers, one after another.

use pulp::Simd;

use super::buffer::Buffer;
use super::level::{Level, Registers};

/// A matrix `[len, columns]`, cut into panels of columns. The last one's missing columns are zero.
#[derive(Clone)]
pub struct Panels {
    numbers: Buffer,
    len: usize,
    registers: Registers,
    /// Registers that hold columns.
    width: usize,
}

impl Panels {
    /// Packs `entry(k, column)`.
    ///
    /// # Panics
    /// When a `usize` does not hold the number of entries.
    #[must_use]
    pub fn pack(level: Level, len: usize, columns: usize, entry: impl Fn(usize, usize) -> f32) -> Self {
        let registers = level.registers();
        let width = columns.div_ceil(registers.lanes);
        let numbers = len.checked_mul(width).and_then(|numbers| numbers.checked_mul(registers.lanes));
        let numbers = Buffer::filled(numbers.expect("panels that memory holds"), 0.0);
        let mut panels = Self { numbers, len, registers, width };
        let numbers = panels.numbers.as_mut_slice();
        for first in (0..width).step_by(registers.panel) {
            let wide = registers.panel.min(width - first) * registers.lanes;
            let panel = &mut numbers[first * registers.lanes * len..][..wide * len];
            for (k, row) in panel.chunks_exact_mut(wide).enumerate() {
                for (c, number) in row.iter_mut().enumerate() {
                    let column = first * registers.lanes + c;
                    if column < columns {
                        *number = entry(k, column);
                    }
                }
            }
        }
        panels
    }

    /// The number of rows.
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Registers over all panels.
    #[must_use]
    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// The panels: the first register, the number of registers, and the numbers row by row.
    pub fn iter<S: Simd>(&self) -> impl Iterator<Item = (usize, usize, &[S::f32s])> {
        let (numbers, rest) = S::as_simd_f32s(self.numbers.as_slice());
        assert!(rest.is_empty() && S::F32_LANES == self.registers.lanes, "packed for another level");
        (0..self.width).step_by(self.registers.panel).map(move |first| {
            let wide = self.registers.panel.min(self.width - first);
            (first, wide, &numbers[first * self.len..][..wide * self.len])
        })
    }
}
