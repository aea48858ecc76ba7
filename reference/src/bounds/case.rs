//! The data that bounds are evaluated on: a layer, and one eviction of it.

use nalgebra::{DMatrix, DVector};

use crate::error::{Error, finite};
use crate::evaluate::{OutputNorms, evaluate};
use crate::layer::Layer;
use crate::oracle::{LayerGram, Rows};
use crate::output_error::{Form, OutputErrors};
use crate::project::head_output;
use crate::retained::LayerRetained;
use crate::rounding::gamma;
use crate::shape::{KvHead, QueryHead};

/// A layer's column-row pairs `(h, i)`, the window's included, by their norms.
#[derive(Debug)]
pub struct LayerPairs<'a> {
    /// The layer.
    pub layer: &'a Layer,
    /// `M` over the candidates, layer-wise.
    pub gram: LayerGram<'a>,
    /// The norms that errors are relative to.
    output_norms: OutputNorms,
    /// `O`, `[w, D]`.
    pub output: DMatrix<f64>,
    /// The pairs of each query head.
    pub heads: Vec<HeadPairs>,
}

/// One query head's pairs, `n` of each.
#[derive(Clone, Debug)]
pub struct HeadPairs {
    /// `norm2(a_{h,i})`.
    pub attention_norms: DVector<f64>,
    /// `norm2(b_{h,i})`.
    pub value_norms: DVector<f64>,
    /// `p_{h,i} = norm2(a_{h,i}) norm2(b_{h,i})`.
    pub scores: DVector<f64>,
    /// `norm2(|v_i| |W_h|)`: the scale of rounding in `b_{h,i}`, at least its norm.
    pub value_magnitudes: DVector<f64>,
    /// `norm2(a_{h,i}) norm2(|v_i| |W_h|)`: the same for the whole pair.
    pub magnitudes: DVector<f64>,
}

impl HeadPairs {
    fn new(layer: &Layer, head: QueryHead) -> Self {
        let context = layer.shape.context_len;
        let (values, projection) = (layer.values_of(head).rows(0, context), &layer.output_projection[head.0]);
        let row_norms = |rows: &DMatrix<f64>| DVector::from_fn(context, |i, _| rows.row(i).norm());
        let weights = &layer.attention.weights[head.0];
        let attention_norms = DVector::from_fn(context, |i, _| weights.column(i).norm());
        let value_norms = row_norms(&(values * projection));
        let value_magnitudes = row_norms(&(values.abs() * projection.abs()));
        Self {
            scores: attention_norms.component_mul(&value_norms),
            magnitudes: attention_norms.component_mul(&value_magnitudes),
            attention_norms,
            value_norms,
            value_magnitudes,
        }
    }
}

impl<'a> LayerPairs<'a> {
    /// Projects, measures and adds up a layer's pairs, one query head in memory at a time.
    ///
    /// # Errors
    /// [`Error::Shape`] when the layer has no quadratic form; [`Error::Range`] when f64 does not hold the squares of its pairs.
    pub fn new(layer: &'a Layer) -> Result<Self, Error> {
        let shape = layer.shape;
        let zero = DMatrix::zeros(shape.window_len, shape.hidden_dim);
        let output = |head: QueryHead| head_output(layer, head, &layer.attention.weights[head.0]);
        let pairs = Self {
            layer,
            gram: LayerGram::of(layer, Form::LayerWise, Rows::Window)?,
            output_norms: OutputNorms::new(layer),
            output: shape.query_heads().map(output).fold(zero, |sum, head| sum + head),
            heads: shape.query_heads().map(|head| HeadPairs::new(layer, head)).collect(),
        };
        let magnitude: f64 = pairs.heads.iter().map(|head| head.magnitudes.sum()).sum();
        finite(layer.index, "the squared sum of the pairs' norms", magnitude * magnitude)?;
        Ok(pairs)
    }

    /// `sum over h of (A_h diag y_h) V_{h/G} W_h`, `[w, D]`: the sum of all pairs with weights `y_{h,i}`, `n` per head.
    #[must_use]
    pub fn weighted_sum(&self, weights: &[DVector<f64>]) -> DMatrix<f64> {
        let shape = self.layer.shape;
        let mut sum = DMatrix::zeros(shape.window_len, shape.hidden_dim);
        for (head, weights) in shape.query_heads().zip(weights) {
            let positions: Vec<usize> = (0..weights.len()).filter(|&i| weights[i] != 0.0).collect();
            let mut columns = self.layer.attention.weights[head.0].select_columns(&positions);
            for (mut column, &i) in columns.column_iter_mut().zip(&positions) {
                column *= weights[i];
            }
            let values = self.layer.values_of(head).select_rows(&positions);
            sum += (columns * values) * &self.layer.output_projection[head.0];
        }
        sum
    }

    /// `<matrix, a_{h,i} b_{h,i}^T> = a_{h,i}^T (matrix W_h^T) v_i` for every pair, `n` per head; `matrix` is `[w, D]`.
    #[must_use]
    pub fn inner_products(&self, matrix: &DMatrix<f64>) -> Vec<DVector<f64>> {
        let of = |head: QueryHead| {
            let weights = &self.layer.attention.weights[head.0];
            let pulled = matrix * self.layer.output_projection[head.0].transpose();
            let reach = pulled * self.layer.values_of(head).rows(0, weights.ncols()).transpose();
            DVector::from_fn(weights.ncols(), |i, _| weights.column(i).dot(&reach.column(i)))
        };
        self.layer.shape.query_heads().map(of).collect()
    }

    /// `norm_F(a_{h,i} b_{h,i}^T) = norm2(a_{h,i}) sqrt(v_i^T (W_h W_h^T) v_i)` for every pair, `n` per head: `p` without `b`.
    #[must_use]
    pub fn norms(&self) -> Vec<DVector<f64>> {
        let of = |head: QueryHead| {
            let weights = &self.layer.attention.weights[head.0];
            let projection = &self.layer.output_projection[head.0];
            let values = self.layer.values_of(head).rows(0, weights.ncols());
            let forms = values * (projection * projection.transpose());
            // A square of 0 may come out below it.
            let norm = |i| weights.column(i).norm() * forms.row(i).dot(&values.row(i)).max(0.0).sqrt();
            DVector::from_fn(weights.ncols(), |i, _| norm(i))
        };
        self.layer.shape.query_heads().map(of).collect()
    }

    /// The sum of all `p_{h,i}`, `Z_l`.
    #[must_use]
    pub fn score_sum(&self) -> f64 {
        self.heads.iter().map(|head| head.scores.sum()).sum()
    }

    /// The longest chain of rounded operations between the layer's numbers and any entry of a sum of pairs or any
    /// `p`: a sum over positions, one over the head's width, one over heads or norms' squares.
    #[must_use]
    pub fn terms(&self) -> usize {
        let shape = self.layer.shape;
        shape.context_len + shape.head_dim + shape.hidden_dim + shape.window_len + shape.query_heads + 16
    }

    /// The factor of [`LayerPairs::terms`] roundings.
    #[must_use]
    pub fn rounding(&self) -> f64 {
        gamma(self.terms())
    }
}

/// How random statements are tried.
#[derive(Clone, Copy, Debug)]
pub struct Draws {
    /// The seed; layers draw from different streams of it.
    pub seed: u64,
    /// Independent trials, at least two.
    pub trials: usize,
}

/// One eviction of one layer.
#[derive(Debug)]
pub struct Case<'a> {
    /// The layer's pairs.
    pub pairs: &'a LayerPairs<'a>,
    /// The three errors of the eviction, as the stage *evaluate* computes them.
    pub errors: OutputErrors,
    /// Which positions each KV head keeps, `n` of each.
    pub keeps: Vec<Vec<bool>>,
    /// How random statements are tried.
    pub draws: Draws,
}

impl<'a> Case<'a> {
    /// Evaluates an eviction.
    ///
    /// # Errors
    /// [`Error::Shape`] when the set was made for other sizes or is reweighted; [`Error::Range`] when f64 does not hold an error.
    pub fn new(pairs: &'a LayerPairs<'a>, retained: LayerRetained<'_>, draws: Draws) -> Result<Self, Error> {
        retained.check_plain()?;
        let errors = evaluate(pairs.layer, &pairs.output_norms, retained)?.finite(pairs.layer.index)?;
        let keeps = pairs.layer.shape.kv_heads().map(|head| retained.keeps(head)).collect();
        Ok(Self { pairs, errors, keeps, draws })
    }

    /// `norm_F(Delta)^2`, layer-wise.
    #[must_use]
    pub fn squared_error(&self) -> f64 {
        self.errors.drop.map_or(f64::NAN, |drop| drop.layer_wise.squared_error)
    }

    /// `norm_F(Delta)`, layer-wise.
    #[must_use]
    pub fn error(&self) -> f64 {
        self.squared_error().sqrt()
    }

    /// The positions that one KV head loses, ascending.
    #[must_use]
    pub fn evicted(&self, head: KvHead) -> Vec<usize> {
        let keeps = &self.keeps[head.0];
        (0..keeps.len()).filter(|&position| !keeps[position]).collect()
    }

    /// The evicted candidates, numbered as [`LayerGram`] does: `KV head * (n - w) + position`.
    #[must_use]
    pub fn evicted_candidates(&self) -> Vec<usize> {
        let candidate_len = self.pairs.layer.shape.candidate_len();
        let of_head = |head: KvHead| self.evicted(head).into_iter().map(move |i| head.0 * candidate_len + i);
        self.pairs.layer.shape.kv_heads().flat_map(of_head).collect()
    }

    /// How many pairs stay: the query group of every retained slot.
    #[must_use]
    pub fn retained_pairs(&self) -> usize {
        let retained: usize = self.keeps.iter().flatten().filter(|&&keep| keep).count();
        retained * self.pairs.layer.shape.group_size()
    }

    /// The sum over the evicted pairs of one of their numbers.
    pub fn evicted_sum(&self, number: impl Fn(&HeadPairs, usize) -> f64) -> f64 {
        let shape = self.pairs.layer.shape;
        let of = |head: QueryHead| -> f64 {
            let pairs = &self.pairs.heads[head.0];
            self.evicted(shape.kv_head_of(head)).into_iter().map(|i| number(pairs, i)).sum()
        };
        shape.query_heads().map(of).sum()
    }

    /// A bound on how far rounding may have moved [`Case::error`], or any sum of the evicted `p`.
    ///
    /// An entry of `Delta` is off by at most `gamma_k sum_h |A_h| |V| |W_h|` over the evicted columns; the norm of that is at
    /// most the sum over the evicted pairs of `norm2(a) norm2(|v| |W_h|)`. Taking the norm of `w D` squares and the
    /// sum over the pairs add their own.
    #[must_use]
    pub fn rounding(&self) -> f64 {
        let shape = self.pairs.layer.shape;
        let squares = shape.window_len * shape.hidden_dim;
        let pairs = shape.query_heads * shape.candidate_len();
        gamma(self.pairs.terms() + squares + pairs) * self.evicted_sum(|head, i| head.magnitudes[i])
    }
}

/// The sum over a candidate's query group of one number of its pairs.
pub(super) fn group_sum(
    pairs: &LayerPairs<'_>,
    candidate: usize,
    number: impl Fn(&HeadPairs, usize) -> f64,
) -> f64 {
    let shape = pairs.layer.shape;
    let (head, position) = (KvHead(candidate / shape.candidate_len()), candidate % shape.candidate_len());
    shape.query_group(head).map(|head| number(&pairs.heads[head.0], position)).sum()
}
