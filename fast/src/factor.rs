//! Cholesky factorisations by faer.

use faer::linalg::solvers::{DenseSolveCore, Llt};
use faer::{MatRef, Side};
use laprox_reference::oracle::convexify::{Factor, summary};
use nalgebra::DMatrix;

/// faer's, on one thread: layers are factored beside each other.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faer;

fn factor(matrix: &DMatrix<f64>) -> Option<Llt<f64>> {
    MatRef::from_column_major_slice(matrix.as_slice(), matrix.nrows(), matrix.ncols()).llt(Side::Lower).ok()
}

impl Factor for Faer {
    fn inverse(&self, matrix: &DMatrix<f64>) -> Option<(Vec<f64>, f64)> {
        let inverse = factor(matrix)?.inverse();
        let diagonal = (0..matrix.nrows()).map(|i| inverse[(i, i)]).collect();
        let times = |x: &[f64]| {
            let product = inverse.as_ref() * MatRef::from_column_major_slice(x, x.len(), 1);
            (0..x.len()).map(|i| product[(i, 0)]).collect()
        };
        Some(summary(diagonal, times))
    }

    fn succeeds(&self, matrix: &DMatrix<f64>) -> bool {
        factor(matrix).is_some()
    }
}
