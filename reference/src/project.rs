//! Stage *project*: `B_h = V_{h/G} W_h`.

use nalgebra::{DMatrix, DVector};

use crate::layer::Layer;
use crate::shape::QueryHead;

/// `B_h = V_{h/G} W_h` of the candidates, `[n - w, D]`.
#[must_use]
pub fn projected_values(layer: &Layer, head: QueryHead) -> DMatrix<f64> {
    layer.values_of(head).rows(0, layer.shape.candidate_len()) * &layer.output_projection[head.0]
}

/// `norm2(b_{h,i})` of every candidate, from the definition.
#[must_use]
pub fn projected_value_norms(layer: &Layer, head: QueryHead) -> DVector<f64> {
    let projected = projected_values(layer, head);
    DVector::from_fn(projected.nrows(), |position, _| projected.row(position).norm())
}

/// `(A V_{h/G}) W_h`, `[rows, D]`: a query head's share of the layer's output under the weights `A`.
#[must_use]
pub fn head_output(layer: &Layer, head: QueryHead, weights: &DMatrix<f64>) -> DMatrix<f64> {
    let attended = weights * layer.values_of(head).rows(0, weights.ncols());
    attended * &layer.output_projection[head.0]
}
