//! Small dense problems: pairwise steps and swaps over the slots of one working set.

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

    /// Minimises `x^T M x` over `0 <= x <= 1` with `sum x` fixed, by exact steps between pairs of slots.
    ///
    /// `gradient` is `M x` on these slots (slots outside included in it), and is kept. Ends when no pair's slopes
    /// differ by more than `tolerance` of their size; false where nothing moved.
    pub fn descend(&mut self, x: &mut [f64], gradient: &mut [f64], tolerance: f64) -> bool {
        let scale = gradient.iter().fold(0.0_f64, |most, value| most.max(value.abs()));
        let mut moved = false;
        // Each step lowers the value; the limit only guards against steps that rounding makes endless.
        for _ in 0..200 * self.len() {
            let Some((rising, falling)) = self.steepest_pair(x, gradient, 0.01 * tolerance * scale) else {
                break;
            };
            let slope = gradient[falling] - gradient[rising];
            let curvature = self.curvature(rising, falling).max(f64::MIN_POSITIVE);
            let step = (slope / curvature).min(1.0 - x[rising]).min(x[falling]);
            if step <= 0.0 {
                break;
            }
            x[rising] = if step == 1.0 - x[rising] { 1.0 } else { x[rising] + step };
            x[falling] -= step;
            self.shift(gradient, rising, step);
            self.shift(gradient, falling, -step);
            moved = true;
        }
        moved
    }

    /// The slot that rises most willingly, and the one whose fall beside it gains most.
    fn steepest_pair(&self, x: &[f64], gradient: &[f64], threshold: f64) -> Option<(usize, usize)> {
        let rising = (0..x.len()).filter(|&slot| x[slot] < 1.0);
        let rising = rising.min_by(|&one, &two| gradient[one].total_cmp(&gradient[two]))?;
        let gain = |slot: usize| {
            let slope = gradient[slot] - gradient[rising];
            if slope <= threshold {
                0.0
            } else {
                slope * slope / self.curvature(rising, slot).max(f64::MIN_POSITIVE)
            }
        };
        let falling = (0..x.len()).filter(|&slot| x[slot] > 0.0).map(|slot| (slot, gain(slot)));
        let best = falling.max_by(|one, two| one.1.total_cmp(&two.1))?;
        (best.1 > 0.0).then_some((rising, best.0))
    }

    /// The swap of an evicted for a retained slot that lowers `x^T M x` most: `(evict, retain, change)`.
    #[must_use]
    pub fn best_swap(&self, evicted: &[bool], gradient: &[f64]) -> Option<(usize, usize, f64)> {
        let mut best = None;
        let mut least = 0.0;
        for evict in (0..evicted.len()).filter(|&slot| !evicted[slot]) {
            for retain in (0..evicted.len()).filter(|&slot| evicted[slot]) {
                let change = 2.0 * (gradient[evict] - gradient[retain]) + self.curvature(evict, retain);
                if change < least {
                    least = change;
                    best = Some((evict, retain, change));
                }
            }
        }
        best
    }
}
