//! Several layers' quadratic forms side by side, computed at the same time.

use std::ops::Range;

use laprox_reference::Error;
use laprox_reference::oracle::gram::{PairGram, Product, StackedGram, inside};
use nalgebra::DMatrix;
use rayon::prelude::*;

/// [`StackedGram`] with one layer a task. Every layer is computed as it is alone and the layers are joined in order,
/// so the results do not depend on the number of threads.
pub struct ParallelStack<'a>(StackedGram<'a>);

impl<'a> ParallelStack<'a> {
    /// Stacks layers in order.
    #[must_use]
    pub fn new(layers: Vec<Box<dyn PairGram + 'a>>) -> Self {
        Self(StackedGram::new(layers))
    }

    fn each<T: Send>(&self, compute: impl Fn(&dyn PairGram, Range<usize>) -> T + Sync) -> Vec<T> {
        let parts: Vec<_> = self.0.parts().collect();
        parts.into_par_iter().map(|(layer, range)| compute(layer, range)).collect()
    }
}

impl PairGram for ParallelStack<'_> {
    fn candidates(&self) -> usize {
        self.0.candidates()
    }

    fn product(&self, x: &[f64]) -> Result<Product, Error> {
        let products = self.each(|layer, range| layer.product(&x[range])).into_iter();
        Ok(self.0.join(products.collect::<Result<_, _>>()?))
    }

    fn diagonal(&self) -> &[f64] {
        self.0.diagonal()
    }

    fn blocks(&self, candidates: &[usize]) -> Vec<DMatrix<f64>> {
        self.each(|layer, range| layer.blocks(&inside(candidates, &range))).concat()
    }

    fn magnitudes(&self) -> Vec<f64> {
        self.0.magnitudes()
    }

    fn convexity(&self) -> Vec<f64> {
        self.each(|layer, _| layer.convexity()).concat()
    }
}
