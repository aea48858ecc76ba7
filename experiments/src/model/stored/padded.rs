//! Rows of activations as [`Few`](super::few::Few) reads them.

use bytemuck::{Pod, Zeroable};

use super::chunk::{CHUNK, LANES};

/// Rows, cut into chunks of columns: chunk by chunk, row by row. The last chunk ends with zeros, so that it fills registers.
pub(super) struct PaddedRows {
    numbers: Vec<Line>,
    count: usize,
}

/// A cache line.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([f32; LANES]);

impl PaddedRows {
    /// Takes rows of `len` columns, one after another.
    pub(super) fn new(rows: &[f32], len: usize) -> Self {
        let (count, padded) = (rows.len() / len, len.next_multiple_of(LANES));
        let mut padded_rows = Self { numbers: vec![Line::zeroed(); count * padded / LANES], count };
        let numbers: &mut [f32] = bytemuck::cast_slice_mut(&mut padded_rows.numbers);
        for (index, row) in rows.chunks_exact(len).enumerate() {
            for (chunk, part) in row.chunks(CHUNK).enumerate() {
                let width = (padded - chunk * CHUNK).min(CHUNK);
                let first = chunk * CHUNK * count + index * width;
                numbers[first..first + part.len()].copy_from_slice(part);
            }
        }
        padded_rows
    }

    /// How many rows there are.
    #[inline(always)]
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// The chunks of columns.
    #[inline(always)]
    pub(super) fn chunks(&self) -> impl Iterator<Item = &[f32]> {
        let numbers: &[f32] = bytemuck::cast_slice(&self.numbers);
        numbers.chunks(CHUNK * self.count)
    }
}
