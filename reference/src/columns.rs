//! Stage *columns*: sizes of the columns of `A_h`, and of the values and projected values that they multiply.

use nalgebra::{DMatrix, DVector};

use crate::attend::softmax_of_retained;
use crate::layer::Layer;
use crate::options::PolicyOptions;
use crate::pool::PoolStage;
use crate::project::projected_values;
use crate::shape::QueryHead;

/// `norm2(a_{h,i})` of every candidate: the columns of `A_h`.
#[must_use]
pub fn attention_norms(layer: &Layer, head: QueryHead) -> DVector<f64> {
    let weights = &layer.attention.weights[head.0];
    DVector::from_fn(layer.shape.candidate_len(), |position, _| weights.column(position).norm())
}

/// `sum_t A_h[t, i] / w` of every candidate.
#[must_use]
pub fn mean_attention(layer: &Layer, head: QueryHead) -> DVector<f64> {
    let weights = &layer.attention.weights[head.0];
    DVector::from_fn(layer.shape.candidate_len(), |position, _| weights.column(position).mean())
}

/// A query head's attention, pooled if the policy pools attention.
#[must_use]
pub fn pooled(options: &PolicyOptions, attention: DVector<f64>) -> DVector<f64> {
    options.pool.at(PoolStage::Attention, attention.data.into()).into()
}

/// `norm1(v_i)` of every candidate.
#[must_use]
pub fn value_sizes(layer: &Layer, head: QueryHead) -> DVector<f64> {
    let values = layer.values_of(head);
    DVector::from_fn(layer.shape.candidate_len(), |position, _| values.row(position).lp_norm(1))
}

/// `norm1(v_i W_h)` of every candidate.
#[must_use]
pub fn projected_value_sizes(layer: &Layer, head: QueryHead) -> DVector<f64> {
    let projected = projected_values(layer, head);
    DVector::from_fn(projected.nrows(), |position, _| projected.row(position).lp_norm(1))
}

/// `A_h V_{h/G}`, `[rows, d]`: a query head's output before its projection.
#[must_use]
pub fn attended_values(layer: &Layer, head: QueryHead) -> DMatrix<f64> {
    let weights = &layer.attention.weights[head.0];
    weights * layer.values_of(head).rows(0, weights.ncols())
}

/// One row's attention, `[1, n]`, after evicting `position`.
///
/// It is for weights near 1, for which `1 - A` loses its digits. A row has at most one such position.
#[must_use]
pub fn weights_without(layer: &Layer, head: QueryHead, position: usize, row: usize) -> DMatrix<f64> {
    let logits = layer.attention.logits[head.0].rows(row, 1).into_owned();
    let keeps: Vec<_> = (0..logits.ncols()).map(|other| other != position).collect();
    softmax_of_retained(&logits, &keeps)
}
