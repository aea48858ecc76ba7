//! The centred quadratic form, row by row: the renormalised error to first order, as an operator that is never formed.
//!
//! ```text
//! E_t(x) = sum over heads h and candidates i of A_h[t,i] x_i (b_{h,i} - o_{h,t})
//! f_c(x) = sum over rows t of norm2(E_t(x))^2 = x^T M x,    M = sum over t of M_t
//! (M_t x)_i = sum over the group of A_h[t,i] <E_t(x) W_h^T, v_i - o_{h,t}>,    o_{h,t} before its projection
//! ```
//!
//! The form is layer-wise: heads may cancel. One product costs what that of the [plain form](super::gram) does.

use nalgebra::DMatrix;

use crate::error::{Error, all_finite};
use crate::layer::Layer;
use crate::shape::{LayerIndex, LayerShape, QueryHead};

/// One layer's `M_t`, in f64, with its own copy of the numbers that it needs.
#[derive(Clone, Debug)]
pub struct CentredForm {
    index: LayerIndex,
    shape: LayerShape,
    /// `A_h` of the candidates, `[w, n - w]` per query head.
    attention: Vec<DMatrix<f64>>,
    /// `A_h V`, `[w, d]` per query head.
    outputs: Vec<DMatrix<f64>>,
    /// `V` of the candidates, `[n - w, d]` per KV head.
    values: Vec<DMatrix<f64>>,
    /// `W_h`, `[d, D]` per query head.
    projections: Vec<DMatrix<f64>>,
    /// `M_t,ii`, `[w, Hkv * (n - w)]`.
    diagonals: DMatrix<f64>,
}

impl CentredForm {
    /// The form of one layer's window.
    ///
    /// # Errors
    /// [`Error::Range`] when f64 does not hold its diagonal.
    pub fn new(layer: &Layer) -> Result<Self, Error> {
        let (shape, candidates) = (layer.shape, layer.shape.candidate_len());
        let output = |head: QueryHead| {
            let weights = &layer.attention.weights[head.0];
            weights * layer.values_of(head).rows(0, weights.ncols())
        };
        let columns = |weights: &DMatrix<f64>| weights.columns(0, candidates).into_owned();
        let mut form = Self {
            index: layer.index,
            shape,
            attention: layer.attention.weights.iter().map(columns).collect(),
            outputs: shape.query_heads().map(output).collect(),
            values: layer.values.iter().map(|values| values.rows(0, candidates).into_owned()).collect(),
            projections: layer.output_projection.clone(),
            diagonals: DMatrix::zeros(0, 0),
        };
        form.diagonals = form.own_diagonals();
        all_finite(layer.index, "the squared error of a slot", form.diagonals.iter())?;
        Ok(form)
    }

    /// The layer's number in the model.
    #[must_use]
    pub fn index(&self) -> LayerIndex {
        self.index
    }

    /// The layer's sizes.
    #[must_use]
    pub fn shape(&self) -> LayerShape {
        self.shape
    }

    /// `M_t,ii`, `[w, Hkv * (n - w)]`.
    #[must_use]
    pub fn diagonals(&self) -> &DMatrix<f64> {
        &self.diagonals
    }

    /// `M_ii`.
    #[must_use]
    pub fn diagonal(&self) -> Vec<f64> {
        self.diagonals.row_sum().iter().copied().collect()
    }

    /// `M_t x` for every row, `[w, Hkv * (n - w)]`.
    #[must_use]
    pub fn row_products(&self, x: &[f64]) -> DMatrix<f64> {
        let error = self.error(x);
        let candidates = self.shape.candidate_len();
        let mut products = DMatrix::zeros(error.nrows(), self.shape.kv_heads * candidates);
        for head in self.shape.query_heads() {
            let kv_head = self.shape.kv_head_of(head).0;
            let pulled = &error * self.projections[head.0].transpose();
            let along = pulled.component_mul(&self.outputs[head.0]).column_sum();
            let mut reach = &pulled * self.values[kv_head].transpose();
            for (row, along) in along.iter().enumerate() {
                reach.row_mut(row).add_scalar_mut(-along);
            }
            let mut own = products.columns_mut(kv_head * candidates, candidates);
            own += self.attention[head.0].component_mul(&reach);
        }
        products
    }

    /// `M x`.
    #[must_use]
    pub fn product(&self, x: &[f64]) -> Vec<f64> {
        self.row_products(x).row_sum().iter().copied().collect()
    }

    /// `E(x)`, `[w, D]`.
    #[must_use]
    pub fn error(&self, x: &[f64]) -> DMatrix<f64> {
        let candidates = self.shape.candidate_len();
        let mut error = DMatrix::zeros(self.attention[0].nrows(), self.shape.hidden_dim);
        for head in self.shape.query_heads() {
            let kv_head = self.shape.kv_head_of(head).0;
            let mut scaled = self.attention[head.0].clone();
            for (mut column, &share) in scaled.column_iter_mut().zip(&x[kv_head * candidates..]) {
                column *= share;
            }
            let mut centred = &scaled * &self.values[kv_head];
            for (row, mass) in scaled.column_sum().iter().enumerate() {
                let moved = centred.row(row) - self.outputs[head.0].row(row) * *mass;
                centred.set_row(row, &moved);
            }
            error += centred * &self.projections[head.0];
        }
        error
    }

    /// `norm2(sum over the group of A_h[t,i] (b_{h,i} - o_{h,t}))^2`.
    fn own_diagonals(&self) -> DMatrix<f64> {
        let (rows, candidates) = (self.attention[0].nrows(), self.shape.candidate_len());
        let mut diagonals = DMatrix::zeros(rows, self.shape.kv_heads * candidates);
        for kv_head in self.shape.kv_heads() {
            let group: Vec<QueryHead> = self.shape.query_group(kv_head).collect();
            let values = &self.values[kv_head.0];
            let projected: Vec<_> = group.iter().map(|head| values * &self.projections[head.0]).collect();
            for row in 0..rows {
                let mut sum = DMatrix::<f64>::zeros(candidates, self.shape.hidden_dim);
                for (head, projected) in group.iter().zip(&projected) {
                    let output = self.outputs[head.0].row(row) * &self.projections[head.0];
                    let weights = self.attention[head.0].row(row);
                    for channel in 0..self.shape.hidden_dim {
                        for position in 0..candidates {
                            let centred = projected[(position, channel)] - output[channel];
                            sum[(position, channel)] += weights[position] * centred;
                        }
                    }
                }
                for (position, entry) in sum.row_iter().enumerate() {
                    diagonals[(row, kv_head.0 * candidates + position)] = entry.norm_squared();
                }
            }
        }
        diagonals
    }
}
