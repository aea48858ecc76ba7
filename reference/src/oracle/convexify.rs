//! A tighter relaxation of the same sets: quadratic convex reformulation.
//!
//! For `x` in `{0, 1}` every `x_i^2` is `x_i`, so part of the diagonal may move into a linear term,
//!
//! ```text
//! x^T M x = x^T (M - Diag(lambda)) x + lambda^T x,
//! ```
//!
//! which changes nothing on sets and raises the relaxation between them, as long as `M - Diag(lambda)` stays positive
//! semidefinite. Here `lambda = c / diag(M^-1)` with the largest `c` that fits: `1 / (M^-1)_ii` is the part of a
//! candidate's squared error that no combination of the others can cancel.
//!
//! **Why the bound holds.** Let `y` be a relaxed point and `E` the matrix in memory, `norm_F(E - E(y)) <= drift`. For
//! any set `s`, with `t = norm_F(E(s))`,
//!
//! ```text
//! t^2 = norm_F(E(s) - E(y))^2 + 2 <E(y), E(s)> - norm_F(E(y))^2
//!    >= sum_i lambda_i (s_i - y_i)^2 + 2 <E, E(s)> - (norm_F(E) + drift)^2 - 2 drift t  =  R(s) - 2 drift t
//! ```
//!
//! so `t >= sqrt(R(s) + drift^2) - drift >= sqrt(R(s)) - drift`. And `(s_i - y_i)^2 = s_i (1 - 2 y_i) + y_i^2` for a
//! set, so `R` is linear in `s`, and sorting again finds its least value.
//!
//! **Why `M - Diag(lambda)` is positive semidefinite.** A Cholesky factorisation of the computed matrix, scaled to a
//! unit diagonal, less `lambda`, less an allowance, must succeed. The allowance covers the factorisation's own backward
//! error, `N gamma_{N+1}` for a matrix of unit diagonal (Rump 2006), and the rounding of the matrix's entries, row sum
//! by row sum (Gershgorin). If it fails, `lambda` is zero.

use std::time::Duration;

use nalgebra::{Cholesky, DMatrix, DVector, Dyn};

use super::gram::{PairGram, Product};
use super::stop::Stop;
use crate::error::Error;
use crate::rounding::gamma;

/// The most candidates for which the reference path factors `M`.
pub const MOST_CANDIDATES: usize = 1536;

/// A Cholesky factorisation by some library.
pub trait Factor {
    /// `diag(M^-1)` and the largest eigenvalue of `D^(1/2) M^-1 D^(1/2)` with `D = Diag(1 / diag(M^-1))`, roughly;
    /// `None` if `matrix` is not positive definite.
    fn inverse(&self, matrix: &DMatrix<f64>) -> Option<(Vec<f64>, f64)>;

    /// Whether the factorisation of `matrix` succeeds.
    fn succeeds(&self, matrix: &DMatrix<f64>) -> bool;
}

/// nalgebra's.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nalgebra;

impl Factor for Nalgebra {
    fn inverse(&self, matrix: &DMatrix<f64>) -> Option<(Vec<f64>, f64)> {
        let factor: Cholesky<f64, Dyn> = Cholesky::new(matrix.clone())?;
        let inverse = factor.inverse();
        Some(summary(inverse.diagonal().as_slice().to_vec(), |x| {
            let product = &inverse * DVector::from_column_slice(x);
            product.as_slice().to_vec()
        }))
    }

    fn succeeds(&self, matrix: &DMatrix<f64>) -> bool {
        Cholesky::new(matrix.clone()).is_some()
    }
}

/// The diagonal of an inverse beside the largest eigenvalue of the inverse scaled to a unit diagonal, by the power
/// method. It need not be exact, because `lambda` is verified afterwards.
#[must_use]
pub fn summary(diagonal: Vec<f64>, inverse_times: impl Fn(&[f64]) -> Vec<f64>) -> (Vec<f64>, f64) {
    let root: Vec<f64> = diagonal.iter().map(|entry| entry.recip().sqrt()).collect();
    let mut x = vec![1.0 / (diagonal.len() as f64).sqrt(); diagonal.len()];
    let mut largest = 1.0;
    for _ in 0..60 {
        let scaled: Vec<f64> = x.iter().zip(&root).map(|(x, root)| x * root).collect();
        x = inverse_times(&scaled).iter().zip(&root).map(|(x, root)| x * root).collect();
        largest = x.iter().map(|x| x * x).sum::<f64>().sqrt();
        x.iter_mut().for_each(|x| *x /= largest);
    }
    (diagonal, largest)
}

/// A `lambda` for which `M - Diag(lambda)` is proven positive semidefinite. It forms `M`, so the candidates must be few
/// enough for a dense factorisation. Zeros if the search has to end before that is done.
#[must_use]
pub fn diagonal(gram: &dyn PairGram, factor: &dyn Factor, stop: Stop) -> Vec<f64> {
    let candidates = gram.candidates();
    // A candidate that weighs nothing has nothing to move, and would make the matrix singular.
    let heavy: Vec<usize> = (0..candidates).filter(|&candidate| gram.diagonal()[candidate] > 0.0).collect();
    let mut lambda = vec![0.0; candidates];
    if stop.is_within(factorisation_time(heavy.len())) {
        return lambda;
    }
    let Some(matrix) = gram.blocks(&heavy).into_iter().next().filter(|_| !heavy.is_empty()) else {
        return lambda;
    };
    let magnitudes = gram.magnitudes();
    let magnitudes: Vec<f64> = heavy.iter().map(|&candidate| magnitudes[candidate]).collect();
    let Scaled { mut matrix, scale } = Scaled::new(matrix, &magnitudes);
    let Some((inverse, largest)) = factor.inverse(&matrix) else { return lambda };
    let unit = matrix.diagonal();
    for share in [0.98, 0.9, 0.75, 0.5] {
        if stop.is_due() {
            break;
        }
        let moved: Vec<f64> = inverse.iter().map(|entry| share / (entry * largest)).collect();
        moved.iter().enumerate().for_each(|(i, moved)| matrix[(i, i)] = unit[i] - moved);
        if factor.succeeds(&matrix) {
            // Undoing the scale rounds, too, so the result is taken a few units down.
            let entries = heavy.iter().zip(moved.iter().zip(&scale));
            entries.for_each(|(&i, (moved, scale))| lambda[i] = moved * scale * (1.0 - 1e-14));
            break;
        }
    }
    lambda
}

/// About the time of an inverse, which cannot be stopped: `2 N^3` operations, a few in a nanosecond.
fn factorisation_time(candidates: usize) -> Duration {
    Duration::from_nanos((candidates as u64).saturating_pow(3))
}

/// A matrix scaled to a unit diagonal, less the allowance for rounding.
struct Scaled {
    matrix: DMatrix<f64>,
    /// The diagonal that was divided by.
    scale: Vec<f64>,
}

impl Scaled {
    fn new(mut matrix: DMatrix<f64>, magnitudes: &[f64]) -> Self {
        let candidates = matrix.nrows();
        // Powers of four, so that scaling by their roots does not round.
        let scale: Vec<f64> =
            matrix.diagonal().iter().map(|entry| 4.0_f64.powi((entry.log2() / 2.0).ceil() as i32)).collect();
        let root: Vec<f64> = scale.iter().map(|scale| scale.sqrt()).collect();
        for (mut column, root_column) in matrix.column_iter_mut().zip(&root) {
            column.iter_mut().zip(&root).for_each(|(entry, root_row)| *entry /= root_row * root_column);
        }
        let relative: Vec<f64> =
            magnitudes.iter().zip(&root).map(|(magnitude, root)| magnitude / root).collect();
        let row_sum: f64 = relative.iter().sum();
        let backward = candidates as f64 * gamma(candidates + 1);
        for (i, relative) in relative.iter().enumerate() {
            matrix[(i, i)] -= 2.0 * (backward + relative * row_sum);
        }
        Self { matrix, scale }
    }
}

/// A quadratic form with part of its diagonal made linear.
pub struct Convexified<'a> {
    gram: &'a dyn PairGram,
    lambda: Vec<f64>,
}

impl<'a> Convexified<'a> {
    /// The form with its own [`PairGram::convexity`].
    #[must_use]
    pub fn new(gram: &'a dyn PairGram) -> Self {
        Self { gram, lambda: gram.convexity() }
    }

    /// The form as it is.
    #[must_use]
    pub fn plain(gram: &'a dyn PairGram) -> Self {
        Self { gram, lambda: vec![0.0; gram.candidates()] }
    }
}

impl PairGram for Convexified<'_> {
    fn candidates(&self) -> usize {
        self.gram.candidates()
    }

    fn product(&self, x: &[f64]) -> Result<Product, Error> {
        let mut product = self.gram.product(x)?;
        let (mut linear, mut moved) = (0.0, 0.0);
        for ((value, error), (lambda, share)) in
            product.values.iter_mut().zip(&mut product.errors).zip(self.lambda.iter().zip(x))
        {
            *value += lambda * (0.5 - share);
            *error += 4.0 * f64::EPSILON * (value.abs() + lambda);
            linear += lambda * (share - share * share);
            moved += lambda * share * share;
        }
        if moved > 0.0 {
            product.value += linear;
            product.squared_norm += product.drift * (2.0 * product.squared_norm.sqrt() + product.drift);
            product.squared_norm *= 1.0 + 8.0 * f64::EPSILON;
            product.squared_norm -= moved * (1.0 - 2.0 * gamma(x.len() + 4));
            product.root_loss = product.drift;
        }
        Ok(product)
    }

    fn diagonal(&self) -> &[f64] {
        self.gram.diagonal()
    }

    fn magnitudes(&self) -> Vec<f64> {
        self.gram.magnitudes()
    }

    fn blocks(&self, candidates: &[usize]) -> Vec<DMatrix<f64>> {
        let mut blocks = self.gram.blocks(candidates);
        let mut lambdas = candidates.iter().map(|&candidate| self.lambda[candidate]);
        for block in &mut blocks {
            for (i, lambda) in (0..block.nrows()).zip(&mut lambdas) {
                block[(i, i)] -= lambda;
            }
        }
        blocks
    }
}
