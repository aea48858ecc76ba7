//! Small dense pieces of `M`: the candidates of one working set, and swaps among them.

use std::ops::Range;

use nalgebra::DMatrix;

/// A block-diagonal piece of `M`.
#[derive(Clone, Debug)]
pub struct Block {
    blocks: Vec<DMatrix<f64>>,
    /// `M_ii`
    diagonal: Vec<f64>,
    /// For each candidate: its block, and its row there.
    places: Vec<(usize, usize)>,
    /// The first candidate of each block.
    first: Vec<usize>,
}

impl Block {
    /// Takes the blocks along the diagonal, in the order of the candidates.
    #[must_use]
    pub fn new(blocks: Vec<DMatrix<f64>>) -> Self {
        let mut places = Vec::new();
        let mut first = Vec::new();
        for (index, block) in blocks.iter().enumerate() {
            first.push(places.len());
            places.extend((0..block.nrows()).map(|row| (index, row)));
        }
        let diagonal = blocks.iter().flat_map(|block| block.diagonal().iter().copied().collect::<Vec<_>>());
        Self { diagonal: diagonal.collect(), blocks, places, first }
    }

    /// The blocks, in order.
    #[must_use]
    pub fn blocks(&self) -> &[DMatrix<f64>] {
        &self.blocks
    }

    /// A candidate's block, and its row there.
    #[must_use]
    pub fn place(&self, candidate: usize) -> (usize, usize) {
        self.places[candidate]
    }

    /// `M_ij`.
    #[must_use]
    pub fn entry(&self, one: usize, two: usize) -> f64 {
        let ((block, row), (other, column)) = (self.places[one], self.places[two]);
        if block == other { self.blocks[block][(row, column)] } else { 0.0 }
    }

    /// `M_ii + M_jj - 2 M_ij`, the curvature between two candidates.
    #[must_use]
    pub fn curvature(&self, one: usize, two: usize) -> f64 {
        self.diagonal[one] + self.diagonal[two] - 2.0 * self.entry(one, two)
    }

    /// Adds `step` to a candidate's share: `gradient += step * M[:, candidate]`.
    pub fn shift(&self, gradient: &mut [f64], candidate: usize, step: f64) {
        let (block, column) = self.places[candidate];
        let column = self.blocks[block].column(column);
        for (value, entry) in gradient[self.first[block]..].iter_mut().zip(column.iter()) {
            *value += step * entry;
        }
    }

    /// The candidates of one block.
    fn candidates(&self, block: usize) -> Range<usize> {
        self.first[block]..self.first[block] + self.blocks[block].nrows()
    }
}

/// Swaps of a retained for an evicted candidate, one after another.
///
/// Evicting `e` and retaining `r` changes `x^T M x` by `(2 g_e + M_ee) + (M_rr - 2 g_r) - 2 M_er`. Across blocks the
/// last term is zero, so the best swap takes the best of either side. A swap changes the gradient only in the blocks of
/// its two candidates.
pub struct Swaps<'a> {
    block: &'a Block,
    /// Whether each candidate is evicted.
    pub evicted: Vec<bool>,
    gradient: Vec<f64>,
    best: Vec<Best>,
}

/// A swap: the candidate to evict, the candidate to retain, the change.
type Swap = (usize, usize, f64);

/// The best moves of one block.
#[derive(Clone, Copy, Default)]
struct Best {
    /// A retained candidate, and the change by evicting it.
    evict: Option<(usize, f64)>,
    /// An evicted candidate, and the change by retaining it.
    retain: Option<(usize, f64)>,
    /// A swap inside the block that lowers the value.
    swap: Option<Swap>,
}

impl<'a> Swaps<'a> {
    /// Starts from a set and half the gradient there.
    #[must_use]
    pub fn new(block: &'a Block, evicted: Vec<bool>, gradient: Vec<f64>) -> Self {
        let mut swaps = Self { block, evicted, gradient, best: Vec::new() };
        swaps.best = (0..block.blocks.len()).map(|index| swaps.best_of(index)).collect();
        swaps
    }

    /// The swap that lowers `x^T M x` most.
    #[must_use]
    pub fn best(&self) -> Option<Swap> {
        let inside = self.best.iter().filter_map(|best| best.swap);
        let across = self.best.iter().enumerate().flat_map(|(block, one)| {
            let others = self.best.iter().enumerate().filter(move |(other, _)| *other != block);
            others.filter_map(move |(_, two)| {
                let ((evict, rise), (retain, fall)) = (one.evict?, two.retain?);
                Some((evict, retain, rise + fall))
            })
        });
        let least = |one: Swap, two: Swap| if two.2 < one.2 { two } else { one };
        inside.chain(across).reduce(least).filter(|swap| swap.2 < 0.0)
    }

    /// Evicts one candidate and retains another.
    pub fn apply(&mut self, evict: usize, retain: usize) {
        self.block.shift(&mut self.gradient, evict, 1.0);
        self.block.shift(&mut self.gradient, retain, -1.0);
        (self.evicted[evict], self.evicted[retain]) = (true, false);
        for candidate in [evict, retain] {
            let (block, _) = self.block.place(candidate);
            self.best[block] = self.best_of(block);
        }
    }

    fn best_of(&self, block: usize) -> Best {
        let least = |one: (usize, f64), two: (usize, f64)| if two.1 < one.1 { two } else { one };
        let change = |candidate: usize| {
            let sign = if self.evicted[candidate] { -2.0 } else { 2.0 };
            (candidate, self.block.diagonal[candidate] + sign * self.gradient[candidate])
        };
        let (gone, kept): (Vec<usize>, Vec<usize>) =
            self.block.candidates(block).partition(|&candidate| self.evicted[candidate]);
        Best {
            evict: kept.iter().map(|&candidate| change(candidate)).reduce(least),
            retain: gone.iter().map(|&candidate| change(candidate)).reduce(least),
            swap: self.best_inside(block, &kept, &gone),
        }
    }

    fn best_inside(&self, block: usize, kept: &[usize], gone: &[usize]) -> Option<Swap> {
        let (matrix, first) = (&self.block.blocks[block], self.block.first[block]);
        let steepest = gone.iter().map(|&retain| self.gradient[retain]).fold(f64::NEG_INFINITY, f64::max);
        let diagonal = &self.block.diagonal;
        let mut best = None;
        let mut least = 0.0;
        for &evict in kept {
            let (slope, own) = (self.gradient[evict], diagonal[evict]);
            // `M` is positive semidefinite, so the curvature is not negative.
            if 2.0 * (slope - steepest) >= least {
                continue;
            }
            let column = matrix.column(evict - first);
            for &retain in gone {
                let curvature = own + diagonal[retain] - 2.0 * column[retain - first];
                let change = 2.0 * (slope - self.gradient[retain]) + curvature;
                if change < least {
                    least = change;
                    best = Some((evict, retain, change));
                }
            }
        }
        best
    }
}
