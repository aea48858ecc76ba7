//! f32 memory aligned to cache lines, so that no register is loaded from two of them.

use bytemuck::{Pod, Zeroable};

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([f32; 16]);

/// Numbers that start at a cache line.
#[derive(Clone, Default)]
pub struct Buffer {
    lines: Vec<Line>,
    len: usize,
}

impl Buffer {
    /// `len` copies of `value`.
    #[must_use]
    pub fn filled(len: usize, value: f32) -> Self {
        Self { lines: vec![Line([value; 16]); len.div_ceil(16)], len }
    }

    /// Resizes to `len` numbers of no particular value.
    pub fn resize(&mut self, len: usize) -> &mut [f32] {
        if self.lines.len() < len.div_ceil(16) {
            self.lines.resize(len.div_ceil(16), Line([f32::NAN; 16]));
        }
        self.len = len;
        self.as_mut_slice()
    }

    /// The numbers.
    #[must_use]
    pub fn as_slice(&self) -> &[f32] {
        &bytemuck::cast_slice(&self.lines)[..self.len]
    }

    /// The numbers.
    pub fn as_mut_slice(&mut self) -> &mut [f32] {
        &mut bytemuck::cast_slice_mut(&mut self.lines)[..self.len]
    }
}
