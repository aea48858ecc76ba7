//! Cholesky factorisations by faer: of the Gram matrix of an output projection, and of the oracles' dense forms.

use std::ops::Range;

use faer::linalg::matmul::triangular::{BlockStructure, matmul};
use faer::linalg::solvers::{DenseSolveCore, Llt};
use faer::{Accum, Mat, MatRef, Par, Side};
use laprox_reference::oracle::convexify::{self, summary};
use laprox_reference::{Elements, TensorView};
use nalgebra::DMatrix;
use pulp::{Simd, WithSimd};

use crate::simd::Level;
use crate::simd::widen::{largest, widen_to_f64};

/// Rows of `W^T` that are widened at a time.
const BLOCK: usize = 256;

/// A lower triangular `T` over a power of two, with `T T^T = C`, `C = W W^T` the Gram matrix of some columns of `o_proj.weight`.
#[derive(Clone, Debug)]
pub struct Factor {
    lower: Mat<f64>,
    scale: f64,
}

impl Factor {
    /// The factor of `columns`, computed in f64.
    ///
    /// A Gram matrix that rounding makes indefinite, as one whose `W` lacks full rank may be, is shifted by [`shift`] times
    /// its trace: `norm2(v T)^2` is then larger by that times `norm2(v)^2`, whose root is below what rounding may do to
    /// an f32 product of that length.
    #[must_use]
    pub fn new(level: Level, weight: &TensorView<'_, 2>, columns: Range<usize>) -> Self {
        let [hidden_dim, width] = weight.shape();
        let row =
            |row: usize| weight.elements().slice(row * width + columns.start..row * width + columns.end);
        let scale = power_of_two((0..hidden_dim).map(|index| largest(row(index))).fold(0.0, f64::max));
        let mut gram = Mat::zeros(columns.len(), columns.len());
        let mut wide = vec![0.0; BLOCK * columns.len()];
        for first in (0..hidden_dim).step_by(BLOCK) {
            let rows: Vec<Elements<'_>> = (first..hidden_dim.min(first + BLOCK)).map(row).collect();
            let wide = &mut wide[..rows.len() * columns.len()];
            level.run(Widened { rows: &rows, factor: 1.0 / scale, wide });
            add_gram(&mut gram, wide);
        }
        Self { lower: lower_factor(gram, hidden_dim), scale }
    }

    /// Rows and columns.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lower.nrows()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The power of two that the entries are over: the one below the largest of `W`.
    #[must_use]
    pub fn scale(&self) -> f64 {
        self.scale
    }

    /// `T[k, column] / scale`, rounded; 0 above the diagonal.
    #[must_use]
    pub fn entry(&self, k: usize, column: usize) -> f32 {
        if column <= k { self.lower[(k, column)] as f32 } else { 0.0 }
    }
}

/// Rows as f64, times a factor.
struct Widened<'a> {
    rows: &'a [Elements<'a>],
    factor: f64,
    wide: &'a mut [f64],
}

impl WithSimd for Widened<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let width = self.rows[0].len();
        for (&row, wide) in self.rows.iter().zip(self.wide.chunks_exact_mut(width)) {
            widen_to_f64(row, wide);
            for number in wide {
                *number *= self.factor;
            }
        }
    }
}

/// Adds to `W W^T`, its lower triangle, what some rows of `W^T` contribute.
fn add_gram(gram: &mut Mat<f64>, rows: &[f64]) {
    let len = gram.nrows();
    let block = MatRef::from_column_major_slice(rows, len, rows.len() / len);
    let (lower, full) = (BlockStructure::TriangularLower, BlockStructure::Rectangular);
    matmul(gram.as_mut(), lower, Accum::Add, block, full, block.transpose(), full, 1.0, Par::Seq);
}

/// The largest power of two that is at most `number`; 1 where that is not normal.
#[must_use]
pub fn power_of_two(number: f64) -> f64 {
    let power = f64::from_bits(number.to_bits() & f64::INFINITY.to_bits());
    if power.is_normal() { power } else { 1.0 }
}

/// The Cholesky factor of a Gram matrix of sums of `terms` products, shifted where it has none.
///
/// # Panics
/// Never, by the theorem that the shift is chosen by.
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
/// Each entry of `W W^T` is off by `gamma_terms |w_i| |w_j|`, together less than `gamma_terms trace` in the 2-norm, and
/// the factorisation succeeds above a least eigenvalue of `len gamma_(len + 1)` times the largest diagonal entry
/// (Higham 2002, Theorem 10.7).
#[must_use]
pub fn shift(len: usize, terms: usize) -> f64 {
    2.0 * (terms + len * (len + 2)) as f64 * (f64::EPSILON / 2.0)
}

/// faer's, on one thread: layers are factored beside each other.
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
