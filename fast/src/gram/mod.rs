//! The oracles' operator in f64, by large products: `M`, the Gram matrix of a layer's column-row pairs, never formed.
//!
//! As in the reference, `E(x) = sum_h (A_h diag x) V W_h` and `(M x)_i = sum over the group of a_{h,i}^T (E W_h^T) v_i`. Here a
//! query group is one matrix `A_g`, `[G w, n]`, and the output projection is one matrix for all heads:
//!
//! ```text
//! E(x) = sum_g (A_g (diag x V)) [W_h],    (M x)_i = <(A_g^T [E W_h^T])_i, v_i>
//! ```
//!
//! That takes four products per KV head and two per layer.
//!
//! **Rounding**, as the certificate needs it. Each entry of `E` goes through one product with `x` and at most `n + d + H`
//! multiply-adds, in any order. So it is off by `gamma_(n + d + H + 8)` times the same expression in magnitudes
//! ([`Product::drift`]). Each value goes through `D`, then `G w`, then `d` multiply-adds. So, given `E`, it is off by
//! `gamma_(D + G w + d + 8)` times `sum_h norm2(a_{h,i}) norm_F(E) norm_F(W_h) norm2(v_i)` ([`Product::errors`]). The 8 covers the
//! rounding of the magnitudes.

mod blocks;
mod group;

use std::ops::Range;

use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, MatRef, Par};
use laprox_reference::error::all_finite;
use laprox_reference::layer::Layer;
use laprox_reference::oracle::gram::{PairGram, Product, Rows};
use laprox_reference::oracle::{Stop, convexify};
use laprox_reference::rounding::gamma;
use laprox_reference::{Error, Form, KvHead, LayerIndex, LayerShape, QueryHead};
use nalgebra::DMatrix;

use self::group::{Group, row_dots};
use crate::factor::Faer;

/// The most candidates for which `M` is formed: 8192 of them take half a gibibyte.
const MOST_CANDIDATES: usize = 8192;

/// One layer's `M`.
pub struct FastGram {
    layer: LayerIndex,
    stop: Stop,
    shape: LayerShape,
    form: Form,
    /// Query rows per head.
    rows: usize,
    /// By KV head.
    groups: Vec<Group>,
    /// `o_proj.weight`, `[D, H d]`: the transposed `W_h` side by side.
    weight: Mat<f64>,
    /// `norm_F(W_h)`
    projection_norms: Vec<f64>,
    /// `W_h W_h'^T` of every pair of query heads, `[H d, H d]`.
    projection_gram: Mat<f64>,
    diagonal: Vec<f64>,
}

impl FastGram {
    /// The quadratic form of one layer.
    ///
    /// # Errors
    /// [`Error::Shape`] when the layer holds no such rows; [`Error::Range`] when f64 does not hold its diagonal.
    pub fn new(layer: &Layer, form: Form, rows: Rows) -> Result<Self, Error> {
        Self::until(layer, form, rows, Stop::NEVER)
    }

    /// The same, for a search that may have to end.
    ///
    /// # Errors
    /// As [`FastGram::new`]; [`Error::Stopped`] when it has to.
    pub fn until(layer: &Layer, form: Form, rows: Rows, stop: Stop) -> Result<Self, Error> {
        let attention = rows.attention(layer)?;
        let shape = layer.shape;
        let (width, head_dim) = (shape.query_heads * shape.head_dim, shape.head_dim);
        let weight = Mat::from_fn(shape.hidden_dim, width, |channel, column| {
            layer.output_projection[column / head_dim][(column % head_dim, channel)]
        });
        let groups = shape.kv_heads().map(|head| Group::new(layer, attention, head)).collect();
        let rows = attention.weights[0].nrows();
        let projection_gram = product(weight.transpose(), weight.as_ref());
        let projection_norms = layer.output_projection.iter().map(DMatrix::norm).collect();
        let mut gram = Self {
            layer: layer.index,
            stop,
            shape,
            form,
            rows,
            groups,
            weight,
            projection_norms,
            projection_gram,
            diagonal: Vec::new(),
        };
        for head in shape.kv_heads() {
            stop.check()?;
            gram.diagonal.extend(gram.group_diagonal(head));
        }
        all_finite(layer.index, "the squared drop error of a slot", &gram.diagonal)?;
        Ok(gram)
    }

    fn head_columns(&self, head: QueryHead) -> Range<usize> {
        head.0 * self.shape.head_dim..(head.0 + 1) * self.shape.head_dim
    }

    /// `W_h^T`, `[D, d]`.
    fn projection(&self, head: QueryHead) -> MatRef<'_, f64> {
        let columns = self.head_columns(head);
        self.weight.as_ref().subcols(columns.start, columns.len())
    }

    /// `W_h W_h'^T`, `[d, d]`.
    fn projection_gram_of(&self, one: QueryHead, two: QueryHead) -> MatRef<'_, f64> {
        let (rows, columns) = (self.head_columns(one), self.head_columns(two));
        self.projection_gram.as_ref().submatrix(rows.start, columns.start, rows.len(), columns.len())
    }

    /// The query heads of a group, each with its rows of `A_g`.
    fn group_rows(&self, kv_head: KvHead) -> impl Iterator<Item = (QueryHead, usize)> {
        let rows = self.rows;
        self.shape.query_group(kv_head).enumerate().map(move |(place, head)| (head, place * rows))
    }

    /// `M_ii = sum over pairs (h, h') of the group of <a_{h,i}, a_{h',i}> <b_{h,i}, b_{h',i}>`.
    fn group_diagonal(&self, kv_head: KvHead) -> Vec<f64> {
        let group = &self.groups[kv_head.0];
        let candidate_len = self.shape.candidate_len();
        let mut diagonal = vec![0.0; candidate_len];
        for (one, one_rows) in self.group_rows(kv_head) {
            for (two, two_rows) in self.group_rows(kv_head).filter(|(two, _)| self.interact(one, *two)) {
                // <v W_h, v W_h'> = v (W_h W_h'^T) v.
                let moved = product(group.values.as_ref(), self.projection_gram_of(one, two));
                let column = |i, first| &group.column(i)[first..first + self.rows];
                for (i, (entry, values)) in
                    diagonal.iter_mut().zip(row_dots(&moved, &group.values)).enumerate()
                {
                    *entry += dot(column(i, one_rows), column(i, two_rows)) * values;
                }
            }
        }
        // A sum of squares in exact arithmetic.
        diagonal.iter().map(|entry| entry.max(0.0)).collect()
    }

    /// Whether the product of two query heads counts.
    fn interact(&self, one: QueryHead, two: QueryHead) -> bool {
        self.form == Form::LayerWise || one == two
    }

    /// The part of `x` that belongs to a KV head.
    fn part<'x>(&self, x: &'x [f64], kv_head: KvHead) -> &'x [f64] {
        let candidate_len = self.shape.candidate_len();
        &x[kv_head.0 * candidate_len..(kv_head.0 + 1) * candidate_len]
    }

    /// `A_h diag x V` of every head side by side, `[rows, H d]`.
    fn attended(&self, x: &[f64]) -> Mat<f64> {
        let mut attended = Mat::zeros(self.rows, self.weight.ncols());
        for (kv_head, group) in self.shape.kv_heads().zip(&self.groups) {
            let sums = group.attended(self.part(x, kv_head));
            for (head, first) in self.group_rows(kv_head) {
                let columns = self.head_columns(head);
                let mut target = attended.as_mut().subcols_mut(columns.start, columns.len());
                target.copy_from(sums.as_ref().subrows(first, self.rows));
            }
        }
        attended
    }

    /// `E(x)`: one matrix for the layer, or one per query head.
    fn errors(&self, x: &[f64]) -> Vec<Mat<f64>> {
        let attended = self.attended(x);
        match self.form {
            Form::LayerWise => vec![product(attended.as_ref(), self.weight.transpose())],
            Form::HeadWise => {
                let error = |head| {
                    let columns = self.head_columns(head);
                    let attended = attended.as_ref().subcols(columns.start, columns.len());
                    product(attended, self.projection(head).transpose())
                };
                self.shape.query_heads().map(error).collect()
            }
        }
    }

    fn drift(&self, x: &[f64]) -> f64 {
        let shape = self.shape;
        let head = |head: QueryHead| {
            let (kv_head, place) = (shape.kv_head_of(head), head.0 % shape.group_size());
            let group = &self.groups[kv_head.0];
            let norms = group.attention_norms[place].iter().zip(&group.value_norms);
            let pairs: f64 =
                norms.zip(self.part(x, kv_head)).map(|((one, two), share)| one * two * share.abs()).sum();
            pairs * self.projection_norms[head.0]
        };
        let terms = shape.candidate_len() + shape.head_dim + shape.query_heads + 8;
        2.0 * gamma(terms) * shape.query_heads().map(head).sum::<f64>()
    }

    /// `E W_h^T` of every head side by side, `[rows, H d]`, and `norm_F(E) norm_F(W_h)` of each.
    fn pulled(&self, errors: &[Mat<f64>]) -> (Mat<f64>, Vec<f64>) {
        // One error for all heads, or one per head.
        let sizes: Vec<f64> = errors.iter().map(Mat::norm_l2).collect();
        let sizes = self.projection_norms.iter().zip(sizes.iter().cycle()).map(|(norm, size)| norm * size);
        let sizes = sizes.collect();
        match self.form {
            Form::LayerWise => (product(errors[0].as_ref(), self.weight.as_ref()), sizes),
            Form::HeadWise => {
                let mut pulled = Mat::zeros(self.rows, self.weight.ncols());
                for (head, error) in self.shape.query_heads().zip(errors) {
                    let columns = self.head_columns(head);
                    let target = pulled.as_mut().subcols_mut(columns.start, columns.len());
                    matmul(target, Accum::Replace, error.as_ref(), self.projection(head), 1.0, Par::Seq);
                }
                (pulled, sizes)
            }
        }
    }

    /// One KV head's part of the values and of their errors.
    fn group_values(&self, kv_head: KvHead, pulled: &Mat<f64>, magnitudes: &[f64], product: &mut Product) {
        let (shape, group) = (self.shape, &self.groups[kv_head.0]);
        let mut stacked = Mat::zeros(group.attention.nrows(), shape.head_dim);
        for (head, first) in self.group_rows(kv_head) {
            let columns = self.head_columns(head);
            let mut rows = stacked.as_mut().subrows_mut(first, self.rows);
            rows.copy_from(pulled.as_ref().subcols(columns.start, columns.len()));
        }
        let terms = shape.hidden_dim + group.attention.nrows() + shape.head_dim + 8;
        let factor = gamma(terms);
        product.values.extend(group.reach(&stacked));
        let mut sums = vec![0.0; shape.candidate_len()];
        for ((head, _), norms) in self.group_rows(kv_head).zip(&group.attention_norms) {
            sums.iter_mut().zip(norms).for_each(|(sum, norm)| *sum += magnitudes[head.0] * norm);
        }
        product.errors.extend(sums.iter().zip(&group.value_norms).map(|(sum, norm)| factor * sum * norm));
    }
}

impl PairGram for FastGram {
    fn candidates(&self) -> usize {
        self.shape.kv_heads * self.shape.candidate_len()
    }

    fn product(&self, x: &[f64]) -> Result<Product, Error> {
        self.stop.check()?;
        let errors = self.errors(x);
        let entries = errors.len() * errors[0].nrows() * errors[0].ncols();
        let value = errors.iter().map(Mat::squared_norm_l2).sum::<f64>();
        let mut product = Product {
            values: Vec::with_capacity(self.candidates()),
            errors: Vec::with_capacity(self.candidates()),
            value,
            squared_norm: value * (1.0 + 2.0 * gamma(entries)),
            drift: self.drift(x),
            root_loss: 0.0,
        };
        let (pulled, magnitudes) = self.pulled(&errors);
        for kv_head in self.shape.kv_heads() {
            self.stop.check()?;
            self.group_values(kv_head, &pulled, &magnitudes, &mut product);
        }
        product.finite(self.layer)
    }

    fn diagonal(&self) -> &[f64] {
        &self.diagonal
    }

    fn blocks(&self, candidates: &[usize]) -> Vec<DMatrix<f64>> {
        vec![self.block(candidates)]
    }

    /// Each entry of a block is a sum of products of inner products of `w`, and of `D` after `d`, terms.
    fn magnitudes(&self) -> Vec<f64> {
        let shape = self.shape;
        let heads = shape.query_heads * shape.query_heads;
        let factor = gamma(self.rows + shape.hidden_dim + 2 * shape.head_dim + heads + 8).sqrt();
        let mut magnitudes = vec![0.0; self.candidates()];
        for head in shape.query_heads() {
            let (kv_head, place) = (shape.kv_head_of(head), head.0 % shape.group_size());
            let group = &self.groups[kv_head.0];
            let absolute = |matrix: MatRef<'_, f64>| {
                Mat::from_fn(matrix.nrows(), matrix.ncols(), |i, k| matrix[(i, k)].abs())
            };
            let (weight, values) = (absolute(self.projection(head)), absolute(group.values.as_ref()));
            let reach = product(weight.as_ref(), values.transpose());
            let first = kv_head.0 * shape.candidate_len();
            for (i, norm) in group.attention_norms[place].iter().enumerate() {
                magnitudes[first + i] += factor * norm * reach.as_ref().col(i).norm_l2();
            }
        }
        magnitudes
    }

    fn convexity(&self) -> Vec<f64> {
        if self.candidates() > MOST_CANDIDATES {
            return vec![0.0; self.candidates()];
        }
        convexify::diagonal(self, &Faer, self.stop)
    }
}

fn product(one: MatRef<'_, f64>, two: MatRef<'_, f64>) -> Mat<f64> {
    let mut product = Mat::zeros(one.nrows(), two.ncols());
    matmul(product.as_mut(), Accum::Replace, one, two, 1.0, Par::Seq);
    product
}

fn dot(one: &[f64], two: &[f64]) -> f64 {
    one.iter().zip(two).map(|(one, two)| one * two).sum()
}
