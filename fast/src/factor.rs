//! Cholesky factorisations by faer: of the Gram matrix of an output projection, and of the oracles' dense forms.

use std::ops::Range;

use faer::linalg::solvers::{DenseSolveCore, Llt};
use faer::{Mat, MatRef, Side};
use laprox_reference::oracle::convexify::{self, summary};
use laprox_reference::{Elements, TensorView};
use nalgebra::DMatrix;

use crate::simd::Level;
use crate::simd::syrk::Gram;
use crate::simd::widen::{largest, power_of_two};

/// A lower triangular `T`, divided by a power of two, with `T T^T = W W^T`: the Gram matrix of some columns of `o_proj.weight`.
#[derive(Clone, Debug)]
pub struct Factor {
    lower: Mat<f64>,
    scale: f64,
}

impl Factor {
    /// The factor of `columns`, computed in f64.
    ///
    /// If `W` lacks full rank, rounding may make its Gram matrix indefinite. Then [`shift`] times its trace is added to the
    /// diagonal. That adds as much times `norm2(v)^2` to `norm2(v T)^2`, and the root of that is below the rounding of an
    /// f32 product of this length.
    #[must_use]
    pub fn new(level: Level, weight: &TensorView<'_, 2>, columns: Range<usize>) -> Self {
        let [hidden_dim, width] = weight.shape();
        let row =
            |row: usize| weight.elements().slice(row * width + columns.start..row * width + columns.end);
        let rows: Vec<Elements<'_>> = (0..hidden_dim).map(row).collect();
        // f64 holds the square of every half and single.
        let units = match weight.elements() {
            Elements::F64(_) => power_of_two(rows.iter().copied().map(largest).fold(0.0, f64::max)),
            Elements::F16(_) | Elements::F32(_) => 1.0,
        };
        let len = columns.len();
        let gram = Gram::new(level, len, &rows, 1.0 / units);
        let scale = power_of_two((0..len).map(|i| gram.entry(i, i)).fold(0.0, f64::max).sqrt());
        let over = 1.0 / scale;
        let entry = |i: usize, j: usize| if j <= i { gram.entry(i, j) * over * over } else { 0.0 };
        let gram = Mat::from_fn(len, len, entry);
        Self { lower: lower_factor(gram, hidden_dim), scale: units * scale }
    }

    /// Rows and columns.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lower.nrows()
    }

    /// The power of two that the entries are divided by. It is just below the length of the longest row of `W`.
    #[must_use]
    pub fn scale(&self) -> f64 {
        self.scale
    }

    /// `T[k, column] / scale`, rounded. 0 above the diagonal.
    #[must_use]
    pub fn entry(&self, k: usize, column: usize) -> f32 {
        if column <= k { self.lower[(k, column)] as f32 } else { 0.0 }
    }
}

/// The Cholesky factor of a Gram matrix of sums of `terms` products. A matrix without one is shifted.
///
/// # Panics
/// Never, by the theorem behind the shift.
fn lower_factor(mut gram: Mat<f64>, terms: usize) -> Mat<f64> {
    let len = gram.nrows();
    let trace: f64 = (0..len).map(|i| gram[(i, i)]).sum();
    if trace == 0.0 {
        return gram;
    }
    if let Ok(factor) = gram.llt(Side::Lower) {
        return factor.L().to_owned();
    }
    for i in 0..len {
        gram[(i, i)] += shift(len, terms) * trace;
    }
    gram.llt(Side::Lower).expect("a shifted Gram matrix has a factor").L().to_owned()
}

/// The shift, relative to the trace, that makes a rounded Gram matrix factor.
///
/// Each entry of `W W^T` is off by `gamma_terms |w_i| |w_j|`, all of them by less than `gamma_terms trace` in the 2-norm, and
/// the factorisation succeeds above a least eigenvalue of `len gamma_(len + 1)` times the largest diagonal entry
/// (Higham 2002, Theorem 10.7).
#[must_use]
pub fn shift(len: usize, terms: usize) -> f64 {
    2.0 * (terms + len * (len + 2)) as f64 * (f64::EPSILON / 2.0)
}

/// faer's factorisation on one thread. Layers are factored in parallel.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faer;

fn factor(matrix: &DMatrix<f64>) -> Option<Llt<f64>> {
    MatRef::from_column_major_slice(matrix.as_slice(), matrix.nrows(), matrix.ncols()).llt(Side::Lower).ok()
}

impl convexify::Factor for Faer {
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
