//! Stage *attend*: `A_h = softmax(Q_h K^T * scale + causal mask)`, row by row.

use nalgebra::{DMatrix, RowDVector};

/// Attention of consecutive query rows, per query head.
#[derive(Clone, Debug, Default)]
pub struct Attention {
    /// `Q_h K^T * scale`, `[rows, keys]`; negative infinity where the causal mask hides the key.
    pub logits: Vec<DMatrix<f64>>,
    /// The softmax of each row of the logits, `[rows, keys]`.
    pub weights: Vec<DMatrix<f64>>,
}

impl Attention {
    /// The number of query rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.weights[0].nrows()
    }

    /// The last `rows` rows of every query head.
    #[must_use]
    pub fn last_rows(&self, rows: usize) -> Self {
        let last = |matrices: &[DMatrix<f64>]| {
            matrices.iter().map(|matrix| matrix.rows(matrix.nrows() - rows, rows).into_owned()).collect()
        };
        Self { logits: last(&self.logits), weights: last(&self.weights) }
    }
}

/// The attention of `queries` (`[rows, d]` per query head) to `keys` (`[positions, d]` per KV head).
///
/// Row `r` is at position `first_row + r` and sees the positions up to its own. The result has `first_row + rows`
/// columns: keys after the last row's position are left out.
#[must_use]
pub fn attend(
    queries: &[DMatrix<f64>],
    keys: &[DMatrix<f64>],
    first_row: usize,
    attention_scale: f64,
) -> Attention {
    let group_size = queries.len() / keys.len();
    let logits: Vec<_> = queries
        .iter()
        .enumerate()
        .map(|(head, query)| causal_logits(query, &keys[head / group_size], first_row, attention_scale))
        .collect();
    let weights = logits.iter().map(softmax_rows).collect();
    Attention { logits, weights }
}

fn causal_logits(query: &DMatrix<f64>, key: &DMatrix<f64>, first_row: usize, scale: f64) -> DMatrix<f64> {
    let visible = key.rows(0, first_row + query.nrows());
    let mut logits = query * visible.transpose() * scale;
    for row in 0..query.nrows() {
        logits.row_mut(row).columns_range_mut(first_row + row + 1..).fill(f64::NEG_INFINITY);
    }
    logits
}

/// `exp(l_i - max l) / sum_j exp(l_j - max l)` along each row; a logit of negative infinity gets weight 0.
#[must_use]
pub fn softmax_rows(logits: &DMatrix<f64>) -> DMatrix<f64> {
    let mut weights = logits.clone();
    let largest = RowDVector::from_fn(logits.nrows(), |_, row| logits.row(row).max());
    for mut column in weights.column_iter_mut() {
        for (weight, max) in column.iter_mut().zip(largest.iter()) {
            *weight = (*weight - max).exp();
        }
    }
    let sums = weights.column_sum();
    for mut column in weights.column_iter_mut() {
        column.component_div_assign(&sums);
    }
    weights
}

/// The softmax over the retained keys only, as a model computes it after eviction.
///
/// `keeps[i]` says whether key `i` is retained. The result equals the full softmax with each row divided by its
/// retained mass, but no mass that has underflowed is divided by.
#[must_use]
pub fn softmax_of_retained(logits: &DMatrix<f64>, keeps: &[bool]) -> DMatrix<f64> {
    let mut retained = logits.clone();
    for (mut column, &keep) in retained.column_iter_mut().zip(keeps) {
        if !keep {
            column.fill(f64::NEG_INFINITY);
        }
    }
    softmax_rows(&retained)
}
