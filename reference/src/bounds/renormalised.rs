//! B6: the change of one head's output by renormalising the retained weights, row by row.
//!
//! With the weights `a_i` of one query row and head, `o = sum_i a_i v_i`, and the retained mass `m`, eviction followed by
//! renormalisation gives `a_hat_i = a_i / m` on the retained positions and 0 on the evicted ones `E`. Each statement is
//! checked for every row and head, and the one nearest to failing is returned.
//!
//! Rounding, for all four: both softmaxes are within `gamma_k` of the exact ones, relative to each weight, and `k`
//! counts the sum over the positions and the logits' distance from their maximum (`exp` magnifies a rounded argument's
//! error by the argument). So sums of weights times values are off by `gamma_k T`, `T = norm2(sum_i a_i |v_i|)`, and
//! after the division by `m` by `gamma_k T / m`; at most a dozen such terms meet in one statement. Weights that
//! underflow are off by at most the least normal number each, which counts against `m`.

use nalgebra::{DMatrix, DVector, RowDVector};

use super::bound::{Bound, Evidence};
use super::case::Case;
use crate::attend::softmax_of_retained;
use crate::rounding::gamma;
use crate::shape::QueryHead;

/// B6.
#[must_use]
pub fn checks(case: &Case<'_>) -> Vec<Bound> {
    let heads: Vec<Renormalised> =
        case.pairs.layer.shape.query_heads().map(|head| Renormalised::new(case, head)).collect();
    let statements: [fn(&Renormalised, usize) -> Bound; 4] = [change, change_norm, moved_mass, divergence];
    let worst = |statement: fn(&Renormalised, usize) -> Bound| {
        let rows = heads.iter().flat_map(|head| head.rows().map(move |row| statement(head, row)));
        Bound::nearest_to_failing(rows)
    };
    statements.into_iter().filter_map(worst).collect()
}

/// `o_hat - o = -(1/m) sum over E of a_i (v_i - o)`
///
/// `m o_hat = o - sum over E of a_i v_i` and `m = 1 - sum over E of a_i`, so
/// `m (o_hat - o) = -sum over E of a_i v_i + (1 - m) o`. The left side comes from the softmax over the retained logits
/// only, the right side from the original weights. They are compared as vectors.
#[must_use]
pub fn change(head: &Renormalised, row: usize) -> Bound {
    let (left, right) = (head.output_change.row(row), head.evicted_change.row(row));
    Bound {
        id: "B6a",
        statement: "o_hat - o = -(1/m) sum over E of a_i (v_i - o)",
        left: left.norm(),
        right: right.norm(),
        evidence: Evidence::Equal { distance: (left - right).norm(), rounding: head.output_rounding(row) },
    }
}

/// `norm2(o_hat - o) <= (1/m) sum over E of a_i norm2(v_i - o)`: the triangle inequality for [`change`]
#[must_use]
pub fn change_norm(head: &Renormalised, row: usize) -> Bound {
    Bound {
        id: "B6b",
        statement: "norm(o_hat - o) <= (1/m) sum over E of a_i norm(v_i - o)",
        left: head.output_change.row(row).norm(),
        right: head.evicted_distances[row] / head.mass[row],
        evidence: Evidence::AtMost { rounding: head.output_rounding(row) },
    }
}

/// `norm1(a_hat - a) = 2 (1 - m)`
///
/// The evicted weights lose `1 - m` in all, the retained ones gain as much.
#[must_use]
pub fn moved_mass(head: &Renormalised, row: usize) -> Bound {
    let left = (head.renormalised.row(row) - head.weights.row(row)).abs().sum();
    let right = 2.0 * head.evicted_mass[row];
    Bound {
        id: "B6c",
        statement: "norm1(a_hat - a) = 2 (1 - m)",
        left,
        right,
        evidence: Evidence::Equal {
            distance: (left - right).abs(),
            rounding: 16.0 * head.relative_rounding(row),
        },
    }
}

/// `KL(a_hat, a) = sum_i a_hat_i ln(a_hat_i / a_i) = -ln m`
///
/// Every retained weight has the ratio `a_hat_i / a_i = 1 / m`, and `a_hat` sums to 1.
#[must_use]
pub fn divergence(head: &Renormalised, row: usize) -> Bound {
    let (before, after) = (head.weights.row(row), head.renormalised.row(row));
    // A weight of 0 after renormalising adds nothing, and one that was 0 before it underflowed.
    let pairs = after.iter().zip(before.iter()).filter(|&(&after, &before)| after > 0.0 && before > 0.0);
    let left: f64 = pairs.map(|(after, before)| after * (after / before).ln()).sum();
    let right = -head.mass[row].ln();
    let rounding = 16.0 * head.relative_rounding(row) * (1.0 + right.abs());
    Bound {
        id: "B6d",
        statement: "KL(a_hat, a) = -ln m",
        left,
        right,
        evidence: Evidence::Equal { distance: (left - right).abs(), rounding },
    }
}

/// One query head before and after, `w` rows of each.
#[derive(Debug)]
pub struct Renormalised {
    /// `a`, `[w, n]`.
    weights: DMatrix<f64>,
    /// `a_hat`, `[w, n]`.
    renormalised: DMatrix<f64>,
    /// `m`.
    mass: DVector<f64>,
    /// `1 - m` as the sum of the evicted weights.
    evicted_mass: DVector<f64>,
    /// `o_hat - o = (a_hat - a) V`, `[w, d]`.
    output_change: DMatrix<f64>,
    /// `-(1/m) sum over E of a_i (v_i - o)`, `[w, d]`.
    evicted_change: DMatrix<f64>,
    /// `sum over E of a_i norm2(v_i - o)`.
    evicted_distances: DVector<f64>,
    /// `norm2(sum_i a_i |v_i|)`.
    magnitudes: DVector<f64>,
    /// `gamma_k` of the weights.
    rounding: f64,
}

impl Renormalised {
    /// Renormalises one query head's weights.
    #[must_use]
    pub fn new(case: &Case<'_>, head: QueryHead) -> Self {
        let layer = case.pairs.layer;
        let kv_head = layer.shape.kv_head_of(head);
        let (logits, weights) = (&layer.attention.logits[head.0], &layer.attention.weights[head.0]);
        let values = layer.values_of(head).rows(0, weights.ncols()).into_owned();
        let renormalised = softmax_of_retained(logits, &case.keeps[kv_head.0]);

        let evicted = case.evicted(kv_head);
        let (lost, lost_values) = (weights.select_columns(&evicted), values.select_rows(&evicted));
        let evicted_mass = lost.column_sum();
        let retained: Vec<usize> = (0..weights.ncols()).filter(|&i| case.keeps[kv_head.0][i]).collect();
        let mass = weights.select_columns(&retained).column_sum();
        let output = weights * &values;
        let mut evicted_change = &lost * &lost_values;
        for (row, mut change) in evicted_change.row_iter_mut().enumerate() {
            change -= output.row(row) * evicted_mass[row];
            change /= -mass[row];
        }
        let magnitude = weights * values.abs();
        Self {
            output_change: (&renormalised - weights) * &values,
            evicted_change,
            evicted_distances: distances(&lost, &lost_values, &output),
            magnitudes: DVector::from_fn(weights.nrows(), |row, _| magnitude.row(row).norm()),
            rounding: gamma(weights.ncols() + layer.shape.head_dim + 16 + logit_range(logits)),
            weights: weights.clone(),
            renormalised,
            mass,
            evicted_mass,
        }
    }

    /// `o_hat - o` of a row.
    pub(super) fn moved(&self, row: usize) -> RowDVector<f64> {
        self.output_change.row(row).into_owned()
    }

    /// `sum over E of a_i (v_i - o)` of a row.
    pub(super) fn centred(&self, row: usize) -> RowDVector<f64> {
        self.evicted_change.row(row) * -self.mass[row]
    }

    /// The rows whose retained mass, and its square in the norms, are normal numbers with all their digits. The others
    /// are beyond f64.
    pub(super) fn rows(&self) -> impl Iterator<Item = usize> {
        let least = self.weights.ncols() as f64 * f64::MIN_POSITIVE.sqrt() / f64::EPSILON;
        (0..self.mass.len()).filter(move |&row| self.mass[row] > least)
    }

    /// The relative rounding of the weights of a row and of its retained mass.
    fn relative_rounding(&self, row: usize) -> f64 {
        self.rounding + self.weights.ncols() as f64 * f64::MIN_POSITIVE / self.mass[row]
    }

    /// How far rounding may have moved the two sides of a statement about a row's output.
    pub(super) fn output_rounding(&self, row: usize) -> f64 {
        16.0 * self.relative_rounding(row) * self.magnitudes[row] / self.mass[row]
    }
}

/// `sum over E of a_i norm2(v_i - o)` for each row.
fn distances(lost: &DMatrix<f64>, lost_values: &DMatrix<f64>, output: &DMatrix<f64>) -> DVector<f64> {
    let of_row = |row: usize| {
        let distance = |i: usize| (lost_values.row(i) - output.row(row)).norm();
        (0..lost.ncols()).map(|i| lost[(row, i)] * distance(i)).sum()
    };
    DVector::from_fn(lost.nrows(), |row, _| of_row(row))
}

/// The largest distance between visible logits of a row, rounded up; beyond 746 the weight is 0.
fn logit_range(logits: &DMatrix<f64>) -> usize {
    let of_row = |row: usize| {
        let row = logits.row(row);
        let visible = row.iter().copied().filter(|logit| logit.is_finite());
        row.max() - visible.fold(f64::INFINITY, f64::min)
    };
    (0..logits.nrows()).map(of_row).fold(0.0, f64::max).min(746.0).ceil() as usize
}
