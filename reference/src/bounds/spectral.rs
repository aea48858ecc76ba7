//! B3: the directions of the evicted pairs limit the norm of their sum.

use nalgebra::{DMatrix, DVector};

use super::bound::{Bound, Evidence};
use super::case::{Case, HeadPairs};
use crate::rounding::gamma;
use crate::shape::QueryHead;

/// B3.
#[must_use]
pub fn checks(case: &Case<'_>) -> Vec<Bound> {
    let steep = Steepest::new(case);
    vec![unit_pairs(case, &steep), largest_eigenvalue(case, &steep), stacked_factors(case)]
}

/// `norm_F(Delta)^2 <= lambda_max(Mhat_E) * sum over E of p_{h,i}^2`
///
/// `Mhat_E` is `M` over the evicted pairs with unit vectors `a / norm2(a)` and `b / norm2(b)`, so
/// `norm_F(Delta)^2 = p^T Mhat_E p`, a quadratic form at most its largest eigenvalue times `norm2(p)^2`. That
/// eigenvalue is 1 if no two pairs share a direction and `|E|` if all do.
///
/// The right side takes a Rayleigh quotient for `lambda_max`, which is never above it, so the check is stronger than
/// the claim and implies it. The quotient comes from a power iteration that starts at `p`. [`largest_eigenvalue`]
/// bounds `lambda_max` from above.
#[must_use]
pub fn unit_pairs(case: &Case<'_>, steepest: &Steepest) -> Bound {
    let squares = case.evicted_sum(|head, i| head.scores[i].powi(2));
    let (norm, error) = (case.error(), case.rounding());
    let of_squares = steepest.eigenvalue * (2.0 * squares.sqrt() + error) * error;
    Bound {
        id: "B3a",
        statement: "norm(Delta)^2 <= lambda_max(Mhat_E) * sum over E of p^2",
        left: case.squared_error(),
        right: steepest.eigenvalue * squares,
        evidence: Evidence::AtMost {
            rounding: (2.0 * norm + error) * error + steepest.rounding * squares + of_squares,
        },
    }
}

/// `lambda_max(Mhat_E) <= min(norm2(Ahat_E)^2, norm2(Bhat_E)^2)`, the factors with unit columns and unit rows
///
/// `Mhat_E = (Ahat^T Ahat) o (Bhat Bhat^T)`. For positive semidefinite matrices
/// `lambda_max(X o Y) <= max_i(Y_ii) lambda_max(X)` (Schur 1911; Horn and Johnson, Topics in Matrix Analysis, theorem
/// 5.3.4), and both diagonals are 1. So the right side, which costs two small Gram matrices, bounds B3 without an
/// eigenvalue of `Mhat_E`. It is computed from above ([`spectral_norm_from_above`]); the left side is the same Rayleigh
/// quotient as in [`unit_pairs`].
#[must_use]
pub fn largest_eigenvalue(case: &Case<'_>, steepest: &Steepest) -> Bound {
    let inverse_square = |norm: f64| 1.0 / norm.powi(2);
    let directed = |head: &HeadPairs, i: usize| head.scores[i] > 0.0;
    let attention = |head: &HeadPairs, i: usize| {
        if directed(head, i) { inverse_square(head.attention_norms[i]) } else { 0.0 }
    };
    let values = |head: &HeadPairs, i: usize| {
        if directed(head, i) { inverse_square(head.value_norms[i]) } else { 0.0 }
    };
    Bound {
        id: "B3b",
        statement: "lambda_max(Mhat_E) <= min(norm2(Ahat_E)^2, norm2(Bhat_E)^2)",
        left: steepest.eigenvalue,
        right: squared_attention_norm(case, attention).min(squared_value_norm(case, values)),
        evidence: Evidence::AtMost { rounding: steepest.rounding },
    }
}

/// `norm_F(Delta) <= min(norm2(A_E) norm_F(B_E), norm_F(A_E) norm2(B_E))`
///
/// `Delta = -A_E B_E`, with the evicted columns of all heads side by side, `[w, |E|]`, and their rows of `B` stacked,
/// `[|E|, D]`; the Frobenius norm of a product is at most one factor's spectral norm times the other's Frobenius norm.
/// The bound does not see which column meets which row, so it is best if `A_E` or `B_E` has no preferred direction.
#[must_use]
pub fn stacked_factors(case: &Case<'_>) -> Bound {
    let one = |_: &HeadPairs, _: usize| 1.0;
    let attention_frobenius = case.evicted_sum(|head, i| head.attention_norms[i].powi(2)).sqrt();
    let value_frobenius = case.evicted_sum(|head, i| head.value_norms[i].powi(2)).sqrt();
    let value_magnitude = case.evicted_sum(|head, i| head.value_magnitudes[i].powi(2)).sqrt();
    let by_attention = squared_attention_norm(case, one).sqrt() * value_frobenius;
    let by_values = attention_frobenius * squared_value_norm(case, one).sqrt();
    // The spectral norms are rounded up; a Frobenius norm of B is off by at most gamma times that of |B|.
    let of_frobenius = entry_rounding(case) * attention_frobenius * value_magnitude;
    Bound {
        id: "B3c",
        statement: "norm(Delta) <= min(norm2(A_E) norm(B_E), norm(A_E) norm2(B_E))",
        left: case.error(),
        right: by_attention.min(by_values),
        evidence: Evidence::AtMost { rounding: case.rounding() + 2.0 * of_frobenius },
    }
}

/// How steep `x^T Mhat_E x` gets over unit vectors, from below.
#[derive(Clone, Copy, Debug)]
pub struct Steepest {
    /// A Rayleigh quotient of `Mhat_E`, at most `lambda_max` but for rounding; 0 if nothing is evicted.
    pub eigenvalue: f64,
    /// How far rounding may have lifted it.
    pub rounding: f64,
}

/// Steps of the power iteration. After `k` of them, from a start that is not special, the quotient of a positive
/// semidefinite matrix is within about `ln(|E|) / 2k` of its largest eigenvalue.
const STEPS: usize = 24;

impl Steepest {
    /// Iterates `z <- Mhat_E z` from `z = p`: the quotient never falls, as `Mhat_E` is positive semidefinite.
    ///
    /// In pair weights `y = z / p` the quotient is `norm_F(E(y))^2 / sum (p y)^2` and a step is
    /// `y <- <E(y), a b^T> / p^2`. Pairs of norm 0 have no direction and stay out.
    ///
    /// Rounding, for the `y` in memory: `norm_F(E(y))` and `norm2(p y)` are each off by at most
    /// `e = gamma_k sum |y| norm2(a) norm2(|v| |W_h|)`, and the quotient of their squares by twice each relative error,
    /// doubled for the terms of second order.
    #[must_use]
    pub fn new(case: &Case<'_>) -> Self {
        let pairs = case.pairs;
        let evicted = |head: &HeadPairs, kept: &[bool], i: usize| head.scores[i] > 0.0 && !kept[i];
        let on_evicted = |number: &dyn Fn(usize, &HeadPairs, usize) -> f64| -> Vec<DVector<f64>> {
            let of = |(h, head): (usize, &HeadPairs)| {
                let kept = &case.keeps[pairs.layer.shape.kv_head_of(QueryHead(h)).0];
                let entry = |i| if evicted(head, kept, i) { number(h, head, i) } else { 0.0 };
                DVector::from_fn(kept.len(), |i, _| entry(i))
            };
            pairs.heads.iter().enumerate().map(of).collect()
        };
        let mut weights = on_evicted(&|_, _, _| 1.0);
        for _ in 0..STEPS {
            let products = pairs.inner_products(&pairs.weighted_sum(&weights));
            let next = on_evicted(&|h, head, i| products[h][i] / head.scores[i].powi(2));
            let length = scaled_norm(pairs.heads.iter().zip(&next));
            if !(length > 0.0 && length.is_finite()) {
                break;
            }
            weights = next.into_iter().map(|head| head / length).collect();
        }
        Self::quotient(case, &weights)
    }

    fn quotient(case: &Case<'_>, weights: &[DVector<f64>]) -> Self {
        let length = scaled_norm(case.pairs.heads.iter().zip(weights));
        if length == 0.0 {
            return Self { eigenvalue: 0.0, rounding: 0.0 };
        }
        let norm = case.pairs.weighted_sum(weights).norm();
        let eigenvalue = (norm / length).powi(2);
        let magnitudes = case.pairs.heads.iter().zip(weights);
        let magnitude: f64 = magnitudes.map(|(head, weights)| head.magnitudes.dot(&weights.abs())).sum();
        let error = entry_rounding(case) * magnitude;
        let rounding = 4.0 * (error / length) * (norm / length + eigenvalue);
        Self { eigenvalue, rounding }
    }
}

/// `norm2(p y)` over all heads.
fn scaled_norm<'a>(heads: impl Iterator<Item = (&'a HeadPairs, &'a DVector<f64>)>) -> f64 {
    heads.map(|(head, weights)| head.scores.component_mul(weights).norm_squared()).sum::<f64>().sqrt()
}

/// The factor of the roundings of a sum over all pairs and of the norm of the result.
fn entry_rounding(case: &Case<'_>) -> f64 {
    let shape = case.pairs.layer.shape;
    let pairs = shape.query_heads * shape.context_len;
    gamma(case.pairs.terms() + shape.window_len * shape.hidden_dim + pairs)
}

/// `norm2(A_E diag(sqrt weight))^2` from above, by way of the `[w, w]` Gram matrix of its rows.
///
/// Its entries are sums of products that are not negative, so the rounded Gram matrix is off by at most `gamma_k` times its
/// trace, the sum of the weighted squares.
fn squared_attention_norm(case: &Case<'_>, weight: impl Fn(&HeadPairs, usize) -> f64) -> f64 {
    let layer = case.pairs.layer;
    let mut gram = DMatrix::zeros(layer.shape.window_len, layer.shape.window_len);
    for head in layer.shape.query_heads() {
        let evicted = case.evicted(layer.shape.kv_head_of(head));
        let columns = layer.attention.weights[head.0].select_columns(&evicted);
        let weights = evicted.iter().map(|&i| weight(&case.pairs.heads[head.0], i));
        let weighted = scale_columns(columns.clone(), weights);
        gram += weighted * columns.transpose();
    }
    let squares = case.evicted_sum(|head, i| weight(head, i) * head.attention_norms[i].powi(2));
    spectral_norm_from_above(&gram) + 4.0 * entry_rounding(case) * squares
}

/// `norm2(diag(sqrt weight) B_E)^2` from above, by way of `sum over h of W_h^T (V_E^T diag(weight) V_E) W_h`, `[D, D]`.
///
/// The rounded Gram matrix is off by at most `gamma_k` times the sum of the weighted `norm2(|v| |W_h|)^2`.
fn squared_value_norm(case: &Case<'_>, weight: impl Fn(&HeadPairs, usize) -> f64) -> f64 {
    let layer = case.pairs.layer;
    let mut gram = DMatrix::zeros(layer.shape.hidden_dim, layer.shape.hidden_dim);
    for head in layer.shape.query_heads() {
        let evicted = case.evicted(layer.shape.kv_head_of(head));
        let values = layer.values_of(head).select_rows(&evicted);
        let weights = evicted.iter().map(|&i| weight(&case.pairs.heads[head.0], i));
        let inner = scale_columns(values.transpose(), weights) * &values;
        let projection = &layer.output_projection[head.0];
        gram += projection.transpose() * (inner * projection);
    }
    let squares = case.evicted_sum(|head, i| weight(head, i) * head.value_magnitudes[i].powi(2));
    spectral_norm_from_above(&gram) + 4.0 * entry_rounding(case) * squares
}

fn scale_columns(mut matrix: DMatrix<f64>, weights: impl Iterator<Item = f64>) -> DMatrix<f64> {
    for (mut column, weight) in matrix.column_iter_mut().zip(weights) {
        column *= weight;
    }
    matrix
}

/// An upper bound on `norm2(X)` that holds in floating point: `norm_F` of the `2^k`-th power, its root taken again.
///
/// `norm2(X)^2 = norm2(X^T X)`, and `norm2 <= norm_F <= sqrt(rank) norm2`, so after `k` squarings the bound is at most
/// `rank^(2^-k / 2)` too large: 1.3 % for rank 576 and `k = 8`, and not at all if one singular value leads clearly.
/// Each rounded square of a matrix of norm 1 is off by at most `gamma_D`, which is added before the root. Matrices
/// scaled to `norm_F = 1` keep the powers in range; an entry that underflows meanwhile is below `1e-300` of the norm.
#[must_use]
pub fn spectral_norm_from_above(matrix: &DMatrix<f64>) -> f64 {
    above(matrix, 8)
}

fn above(matrix: &DMatrix<f64>, squarings: usize) -> f64 {
    let norm = matrix.norm();
    let rounded_up = norm * (1.0 + gamma(matrix.len() + 8));
    if squarings == 0 || norm == 0.0 || !norm.is_finite() {
        return rounded_up;
    }
    let scaled = matrix / norm;
    let square = scaled.transpose() * &scaled;
    rounded_up * (above(&square, squarings - 1) + 2.0 * gamma(matrix.nrows() + 8)).sqrt()
}
