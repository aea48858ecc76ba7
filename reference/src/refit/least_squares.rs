//! Least squares: non-negative, from the normal equations, and with a ridge.

use nalgebra::{DMatrix, DVector};

/// The most sweeps over the unknowns.
const SWEEPS: usize = 2000;

/// A sweep that lowers the sum of squares by less than this share of what all sweeps have gained is the last one.
const TOLERANCE: f64 = 1e-12;

/// The `u >= 0` with the least `u^T gram u - 2 u^T target`, by coordinate descent: each unknown in turn takes its best value, the others
/// held. An unknown without weight, `gram_jj = 0`, stays 0.
#[must_use]
pub fn non_negative(gram: &DMatrix<f64>, target: &DVector<f64>) -> DVector<f64> {
    let mut u = DVector::<f64>::zeros(target.len());
    // `target - gram u`
    let mut residual = target.clone();
    let mut gained = 0.0;
    for _ in 0..SWEEPS {
        let mut gain = 0.0;
        for j in 0..u.len() {
            let own = gram[(j, j)];
            if own <= 0.0 {
                continue;
            }
            let step = (u[j] + residual[j] / own).max(0.0) - u[j];
            if step != 0.0 {
                gain += step * (2.0 * residual[j] - step * own);
                u[j] += step;
                residual.axpy(-step, &gram.column(j), 1.0);
            }
        }
        gained += gain;
        if gain <= TOLERANCE * gained {
            break;
        }
    }
    u
}

/// The `X` with the least `norm_F(rows X - target)^2 + lambda norm_F(X)^2`, `lambda` the share `ridge` of the mean diagonal entry of
/// `rows rows^T`: `X = rows^T (rows rows^T + lambda)^-1 target`. Zero where all rows are.
#[must_use]
pub fn ridge(rows: &DMatrix<f64>, target: &DMatrix<f64>, ridge: f64) -> DMatrix<f64> {
    let mut kernel = rows * rows.transpose();
    let lambda = ridge * kernel.trace() / kernel.nrows() as f64;
    for i in 0..kernel.nrows() {
        kernel[(i, i)] += lambda;
    }
    match kernel.cholesky() {
        Some(factor) => rows.tr_mul(&factor.solve(target)),
        None => DMatrix::zeros(rows.ncols(), target.ncols()),
    }
}
