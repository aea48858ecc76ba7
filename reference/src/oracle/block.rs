//! Small dense pieces of `M`: the slots of one working set, and swaps among them.

use nalgebra::DMatrix;

/// A block-diagonal piece of `M`.
#[derive(Clone, Debug)]
pub struct Block {
    blocks: Vec<DMatrix<f64>>,
    /// For each slot: its block, and its row there.
    places: Vec<(usize, usize)>,
    /// Where each block's slots begin.
    first: Vec<usize>,
}

impl Block {
    /// Takes the blocks along the diagonal, in the order of the slots.
    #[must_use]
    pub fn new(blocks: Vec<DMatrix<f64>>) -> Self {
        let mut places = Vec::new();
        let mut first = Vec::new();
        for (index, block) in blocks.iter().enumerate() {
            first.push(places.len());
            places.extend((0..block.nrows()).map(|row| (index, row)));
        }
        Self { blocks, places, first }
    }

    /// The blocks, in order.
    #[must_use]
    pub fn blocks(&self) -> &[DMatrix<f64>] {
        &self.blocks
    }

    /// A slot's block, and its row there.
    #[must_use]
    pub fn place(&self, slot: usize) -> (usize, usize) {
        self.places[slot]
    }

    /// How many slots there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// `M_ij`.
    #[must_use]
    pub fn entry(&self, one: usize, two: usize) -> f64 {
        let ((block, row), (other, column)) = (self.places[one], self.places[two]);
        if block == other { self.blocks[block][(row, column)] } else { 0.0 }
    }

    /// `M_ii + M_jj - 2 M_ij`, the curvature between two slots.
    #[must_use]
    pub fn curvature(&self, one: usize, two: usize) -> f64 {
        self.entry(one, one) + self.entry(two, two) - 2.0 * self.entry(one, two)
    }

    /// Adds `step` to slot `slot`'s share: `gradient += step * M[:, slot]`.
    pub fn shift(&self, gradient: &mut [f64], slot: usize, step: f64) {
        let (block, column) = self.places[slot];
        let column = self.blocks[block].column(column);
        for (value, entry) in gradient[self.first[block]..].iter_mut().zip(column.iter()) {
            *value += step * entry;
        }
    }

    /// The swap of an evicted for a retained slot that lowers `x^T M x` most: `(evict, retain, change)`.
    #[must_use]
    pub fn best_swap(&self, evicted: &[bool], gradient: &[f64]) -> Option<(usize, usize, f64)> {
        let diagonal: Vec<f64> = (0..self.len()).map(|slot| self.entry(slot, slot)).collect();
        let (gone, kept): (Vec<usize>, Vec<usize>) = (0..self.len()).partition(|&slot| evicted[slot]);
        let mut changes = vec![0.0; self.len()];
        let mut best = None;
        let mut least = 0.0;
        let steepest = gone.iter().map(|&retain| gradient[retain]).fold(f64::NEG_INFINITY, f64::max);
        for evict in kept {
            // `M` is positive semidefinite: what two slots add to their slopes is not negative.
            if 2.0 * (gradient[evict] - steepest) >= least {
                continue;
            }
            self.swap_changes(evict, gradient, &diagonal, &mut changes);
            for &retain in &gone {
                if changes[retain] < least {
                    least = changes[retain];
                    best = Some((evict, retain, least));
                }
            }
        }
        best
    }

    /// `2 (g_e - g_r) + M_ee + M_rr - 2 M_er`, what evicting slot `e` and retaining slot `r` changes, for every `r`.
    fn swap_changes(&self, evict: usize, gradient: &[f64], diagonal: &[f64], changes: &mut [f64]) {
        let (slope, own) = (gradient[evict], diagonal[evict]);
        for ((change, gradient), diagonal) in changes.iter_mut().zip(gradient).zip(diagonal) {
            *change = 2.0 * (slope - gradient) + (own + diagonal);
        }
        let (block, row) = self.places[evict];
        let column = self.blocks[block].column(row);
        let slots = self.first[block]..self.first[block] + column.len();
        let near = changes[slots.clone()].iter_mut().zip(&gradient[slots.clone()]).zip(&diagonal[slots]);
        for (((change, gradient), diagonal), entry) in near.zip(column.iter()) {
            *change = 2.0 * (slope - gradient) + (own + diagonal - 2.0 * entry);
        }
    }
}
