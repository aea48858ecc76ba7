//! How far a path that computes as [`Arithmetic`] says may be from the f64 definition.
//!
//! All bounds start from two quantities. With `m_{h,t} = scale * max_i sum_k |q| |k|` and `gamma_k = k u / (1 - k u)`,
//!
//! - every weight is off **relatively**: a logit by `gamma_(2d+3) m` (a product and a sum per term, the rounded query,
//!   the rounded key), which its exponential turns into a relative error; twice, for the numerator and the sum. On top
//!   come the subtraction of the largest logit, a number of up to `2 m`, the exponentials, one more of each if a
//!   block's weights are rescaled, and the depth of the sum. Weights below `least` may vanish;
//! - a projected value is off by `(gamma_(4d+12) + f) norm2(v) norm_F(W_h)`, `f` the rounding of the factor as the path stores
//!   it, and by what the factor itself, computed in f64, is off: `e^2 = 4 (D + d (d + 2)) 2^-53 norm2(v)^2 norm_F(W_h)^2` in
//!   its square, so `min(e, e^2 / x)` in the norm `x`.
//!
//! Scores and errors follow by the triangle inequality and a few more roundings, those of pooling last. Two f64 paths
//! differ by far less, and the f64 reference's own rounding is covered by the factor 2 of every bound.

use crate::layer::Layer;
use crate::options::GroupRule;
use crate::problem::LayerProblem;
use crate::retained::LayerRetained;
use crate::score::{Family, Score};
use crate::shape::{KvHead, LayerShape, QueryHead};
use crate::statistic::Statistic;

use super::arithmetic::Arithmetic;
use super::compare::Stated;

/// The bounds of one layer.
pub struct Bounds<'a> {
    layer: &'a Layer,
    arithmetic: Arithmetic,
    window: RowErrors,
    future: Option<RowErrors>,
    /// `norm2(v_i)` of every cached position, per KV head.
    value_norms: Vec<Vec<f64>>,
    /// `norm_F(W_h)`
    projection_norms: Vec<f64>,
}

/// The relative error of each row's weights, `[H][rows]`.
type RowErrors = Vec<Vec<f64>>;

/// How far each score may be off, `[Hkv][n - w]`.
pub type ScoreBounds = Vec<Vec<f64>>;

impl<'a> Bounds<'a> {
    /// The bounds of a path on the layer that the reference made of `problem`.
    #[must_use]
    pub fn new(problem: &LayerProblem<'_>, layer: &'a Layer, arithmetic: Arithmetic) -> Self {
        let activations = problem.activations();
        let errors = |query, first_row| row_errors(problem, query, first_row, &arithmetic);
        let window = errors(&activations.query, layer.shape.candidate_len());
        let future = activations.future_query.as_ref().map(|query| errors(query, layer.shape.context_len));
        let norms = |values: &nalgebra::DMatrix<f64>| values.row_iter().map(|row| row.norm()).collect();
        Self {
            layer,
            arithmetic,
            window,
            future,
            value_norms: layer.values.iter().map(norms).collect(),
            projection_norms: layer.output_projection.iter().map(nalgebra::DMatrix::norm).collect(),
        }
    }

    fn shape(&self) -> LayerShape {
        self.layer.shape
    }

    /// The largest relative error of one head's window weights, with a sum over the rows.
    fn columns(&self, head: QueryHead) -> f64 {
        let worst = self.window[head.0].iter().fold(0.0, |most: f64, &error| most.max(error));
        worst + self.arithmetic.gamma(2.0 * self.shape().window_len as f64 + 8.0)
    }

    /// `norm2(v_i) norm_F(W_h)`
    fn reach(&self, head: QueryHead, position: usize) -> f64 {
        self.value_norms[self.shape().kv_head_of(head).0][position] * self.projection_norms[head.0]
    }

    /// The relative error of `v T` for a factor of `len` rows.
    fn product(&self, len: usize) -> f64 {
        self.arithmetic.gamma(4.0 * len as f64 + 12.0) + self.arithmetic.factor
    }

    /// `e^2` over `norm2(v)^2 norm_F(W)^2`, for a factor of `len` rows.
    fn squared_factor_error(&self, len: usize) -> f64 {
        4.0 * (self.shape().hidden_dim + len * (len + 2)) as f64 * f64::EPSILON / 2.0
    }

    /// How far `norm2(b_{h,i})` may be off.
    fn value_norm(&self, head: QueryHead, position: usize, norm: f64) -> f64 {
        let (len, reach) = (self.shape().head_dim, self.reach(head, position));
        self.product(len) * reach + root_error(self.squared_factor_error(len) * reach * reach, norm)
    }

    /// The bounds of pooled scores; 0 for a score that every path leaves to the reference.
    #[must_use]
    pub fn scores(&self, score: &Score, scores: &[Vec<f64>]) -> ScoreBounds {
        let slot: SlotBound<'_> = match (score.family(), score.options().group_rule) {
            (Family::PairNorms, GroupRule::Mean) => self.pair_norms(),
            (Family::PairNorms, GroupRule::Attention) => self.mean_attention_norm(),
            (Family::PairNorms, _) => self.removed_block(),
            (Family::Centred, _) => self.centred(),
            (Family::MeanAttention, rule) => self.mean_attention(rule),
            (Family::LastQuery, _) => self.last_row(),
            (Family::Unseen | Family::Supplied(_) | Family::Other, _) => {
                return scores.iter().map(|scores| vec![0.0; scores.len()]).collect();
            }
        };
        let pooling = score.options().pool.pooling;
        let rounding = 2.0 * self.arithmetic.pooled(pooling);
        let head = |(head, scores): (usize, &Vec<f64>)| {
            let raw = (0..scores.len()).map(|position| 2.0 * slot(KvHead(head), position)).collect();
            let bounds = pooling.apply(raw).into_iter().zip(scores);
            bounds.map(|(bound, score)| bound + rounding * score.abs()).collect()
        };
        scores.iter().enumerate().map(head).collect()
    }

    fn attention_norm(&self, head: QueryHead, position: usize) -> f64 {
        self.layer.attention.weights[head.0].column(position).norm()
    }

    fn group(&self, head: KvHead) -> Vec<QueryHead> {
        self.shape().query_group(head).collect()
    }

    fn pair_norms(&self) -> SlotBound<'_> {
        let norms = self.projected_norms();
        self.mean_over_group(move |head, position| {
            let (attention, value) = (self.attention_norm(head, position), norms[head.0][position]);
            let value_error = self.value_norm(head, position, value);
            let relative = self.columns(head) + self.arithmetic.gamma(self.group_roundings());
            relative * attention * value
                + (1.0 + relative) * attention * value_error
                + self.least() * (value + value_error)
        })
    }

    fn mean_attention_norm(&self) -> SlotBound<'_> {
        let norms = self.projected_norms();
        Box::new(move |kv_head, position| {
            let group = self.group(kv_head);
            let count = group.len() as f64;
            let columns =
                group.iter().map(|head| self.layer.attention.weights[head.0].column(position).into_owned());
            let attention = columns.reduce(|sum, next| sum + next).map_or(0.0, |sum| sum.norm()) / count;
            let relative = group.iter().map(|&head| self.columns(head)).fold(0.0, f64::max)
                + self.arithmetic.gamma(self.group_roundings());
            let value = group.iter().map(|head| norms[head.0][position]).sum::<f64>() / count;
            let errors = group.iter().map(|&head| self.value_norm(head, position, norms[head.0][position]));
            let value_error = errors.sum::<f64>() / count;
            relative * attention * value
                + (1.0 + relative) * attention * value_error
                + self.least() * (value + value_error)
        })
    }

    /// `norm_F(sum_h a_h b_h^T)`: each pair off by its weights and its value, the joint factor by its own error.
    fn removed_block(&self) -> SlotBound<'_> {
        Box::new(|kv_head, position| {
            let group = self.group(kv_head);
            let len = group.len() * self.shape().head_dim;
            let parts = group.iter().map(|&head| {
                let (attention, reach) = (self.attention_norm(head, position), self.reach(head, position));
                let relative =
                    self.columns(head) + self.product(len) + self.arithmetic.gamma(self.group_roundings());
                let whole = attention * self.value_norms[kv_head.0][position] * self.group_norm(kv_head);
                (whole, (relative * attention + self.least()) * reach)
            });
            let (size, error) = parts.fold((0.0, 0.0), |sum, part| (sum.0 + part.0, sum.1 + part.1));
            error + self.squared_factor_error(len).sqrt() * size
        })
    }

    /// `norm_F` of the group's stacked projections, to which the joint factor's error is relative.
    fn group_norm(&self, kv_head: KvHead) -> f64 {
        self.group(kv_head).iter().map(|head| self.projection_norms[head.0].powi(2)).sum::<f64>().sqrt()
    }

    /// `sum_t norm2(sum_h c_{h,t} (b_h - o_{h,t}))^2` under its root: coefficients off relatively, values and averages by
    /// their weights and products.
    fn centred(&self) -> SlotBound<'_> {
        let averages: Vec<Vec<f64>> = self
            .shape()
            .query_heads()
            .map(|head| self.average_norms(head, &self.layer.attention.weights[head.0]))
            .collect();
        let largest: Vec<f64> = self
            .value_norms
            .iter()
            .map(|norms| norms.iter().fold(0.0, |most: f64, &norm| most.max(norm)))
            .collect();
        Box::new(move |kv_head, position| {
            let group = self.group(kv_head);
            let len = group.len() * self.shape().head_dim;
            let factor = self.squared_factor_error(len).sqrt() * self.group_norm(kv_head);
            let own = self.value_norms[kv_head.0][position];
            let row = |row: usize| -> f64 {
                let head = |&head: &QueryHead| {
                    let weight = self.layer.attention.weights[head.0][(row, position)];
                    // If the weight is about a half, a path may take either form.
                    let (coefficient, centre) = if weight < 0.5 - 1e-3 {
                        (weight / (1.0 - weight), averages[head.0][row])
                    } else {
                        (1.01, averages[head.0][row].max(largest[kv_head.0]))
                    };
                    let relative = 5.0 * self.window[head.0][row]
                        + self.product(len)
                        + self
                            .arithmetic
                            .gamma(self.group_roundings() + self.arithmetic.depth(self.shape().context_len));
                    let size = (coefficient + self.least()) * (own + centre);
                    (relative * self.projection_norms[head.0] + factor) * size
                };
                group.iter().map(head).sum()
            };
            (0..self.shape().window_len).map(|t| row(t).powi(2)).sum::<f64>().sqrt() + self.least()
        })
    }

    fn mean_attention(&self, rule: GroupRule) -> SlotBound<'_> {
        let window = self.shape().window_len as f64;
        let mean = self.mean_over_group(move |head, position| {
            let relative = self.columns(head) + self.arithmetic.gamma(self.group_roundings());
            relative * self.layer.attention.weights[head.0].column(position).sum() / window + self.least()
        });
        // The largest of a group is off by no more than its heads are together.
        let heads = if rule == GroupRule::Max { self.shape().group_size() as f64 } else { 1.0 };
        Box::new(move |head, position| heads * mean(head, position))
    }

    fn last_row(&self) -> SlotBound<'_> {
        let (last, heads) = (self.shape().window_len - 1, self.shape().query_heads as f64);
        Box::new(move |_, position| {
            let head = |head: QueryHead| {
                let relative = self.columns(head) + self.arithmetic.gamma(heads);
                relative * self.layer.attention.weights[head.0][(last, position)] + self.least()
            };
            self.shape().query_heads().map(head).sum::<f64>() / heads
        })
    }

    fn mean_over_group<'b>(&'b self, of: impl Fn(QueryHead, usize) -> f64 + 'b) -> SlotBound<'b> {
        Box::new(move |kv_head, position| {
            let group = self.group(kv_head);
            group.iter().map(|&head| of(head, position)).sum::<f64>() / group.len() as f64
        })
    }

    fn projected_norms(&self) -> Vec<Vec<f64>> {
        let norms = |head| crate::project::projected_value_norms(self.layer, head).as_slice().to_vec();
        self.shape().query_heads().map(norms).collect()
    }

    /// Products, sums and a root over a group.
    fn group_roundings(&self) -> f64 {
        2.0 * self.shape().group_size() as f64 + 16.0
    }

    fn least(&self) -> f64 {
        self.arithmetic.least * (self.shape().window_len as f64).sqrt()
    }

    /// `sum_i A[t, i] norm2(v_i)` of each row.
    fn average_norms(&self, head: QueryHead, weights: &nalgebra::DMatrix<f64>) -> Vec<f64> {
        let norms = &self.value_norms[self.shape().kv_head_of(head).0];
        (0..weights.nrows())
            .map(|row| (0..weights.ncols()).map(|i| weights[(row, i)] * norms[i]).sum())
            .collect()
    }

    /// How far `norm_F(O)` may be off.
    #[must_use]
    pub fn output_norm(&self) -> Stated {
        let magnitude = self.rows(&self.window, &self.layer.attention.weights, Self::average_norms);
        Stated {
            value: Statistic::OutputNorm.of(self.layer, self.shape().window_len),
            magnitude: 2.0 * magnitude.0,
        }
    }

    /// How far the roots of the squared errors of `drop`, `renormalised` and, if present, `future` may be off,
    /// layer-wise and head-wise.
    #[must_use]
    pub fn errors(&self, retained: LayerRetained<'_>) -> Vec<[f64; 2]> {
        let both = |(layer_wise, head_wise): (f64, f64)| [2.0 * layer_wise, 2.0 * head_wise];
        let lost = |bounds: &Self, head: QueryHead, weights: &nalgebra::DMatrix<f64>| {
            let norms = &bounds.value_norms[bounds.shape().kv_head_of(head).0];
            let keeps = retained.keeps(bounds.shape().kv_head_of(head));
            let evicted: Vec<usize> = (0..keeps.len()).filter(|&i| !keeps[i]).collect();
            let row = |row| evicted.iter().map(|&i| weights[(row, i)] * norms[i]).sum();
            (0..weights.nrows()).map(row).collect::<Vec<f64>>()
        };
        // The reference takes a difference of weights, which rounds as they do, in f64.
        let difference = f64::EPSILON / 2.0 / self.arithmetic.unit;
        let moved = |bounds: &Self, head: QueryHead, weights: &nalgebra::DMatrix<f64>| {
            let moved = bounds.moved_norms(head, weights, &retained.keeps(bounds.shape().kv_head_of(head)));
            let all = bounds.average_norms(head, weights);
            moved.iter().zip(all).map(|(moved, all)| moved + difference * all).collect()
        };
        let window = &self.layer.attention.weights;
        let mut bounds =
            vec![both(self.rows(&self.window, window, lost)), both(self.rows(&self.window, window, moved))];
        if let (Some(errors), Some(attention)) = (&self.future, &self.layer.future_attention) {
            bounds.push(both(self.rows(errors, &attention.weights, moved)));
        }
        bounds
    }

    /// `s (mean of norm2(v) over what stays + over what goes)` of each row, `s` the share of weight that goes.
    fn moved_norms(&self, head: QueryHead, weights: &nalgebra::DMatrix<f64>, keeps: &[bool]) -> Vec<f64> {
        let norms = &self.value_norms[self.shape().kv_head_of(head).0];
        let largest = norms.iter().fold(0.0, |most: f64, &norm| most.max(norm));
        let row = |row: usize| {
            let evicted = |i: usize| keeps.get(i) == Some(&false);
            let part = |wanted: bool| {
                let chosen = (0..weights.ncols()).filter(|&i| evicted(i) == wanted);
                chosen.fold((0.0, 0.0), |sum: (f64, f64), i| {
                    (sum.0 + weights[(row, i)], sum.1 + weights[(row, i)] * norms[i])
                })
            };
            let ((lost, lost_norms), (kept, kept_norms)) = (part(true), part(false));
            // A retained mass that is itself rounding says nothing about its average.
            lost_norms + lost * if kept > 1e-9 { kept_norms / kept } else { largest }
        };
        (0..weights.nrows()).map(row).collect()
    }

    /// The norm over rows of the sum over heads of the rows' errors, and of all rows of all heads.
    fn rows(
        &self,
        errors: &RowErrors,
        weights: &[nalgebra::DMatrix<f64>],
        magnitudes: impl Fn(&Self, QueryHead, &nalgebra::DMatrix<f64>) -> Vec<f64>,
    ) -> (f64, f64) {
        let shape = self.shape();
        let (mut layer_wise, mut head_wise) = (vec![0.0; weights[0].nrows()], 0.0);
        let products = self.arithmetic.gamma(
            4.0 * shape.head_dim as f64
                + 2.0 * self.arithmetic.depth(shape.cached_len())
                + shape.query_heads as f64
                + self.arithmetic.depth(weights[0].nrows() * shape.hidden_dim)
                + 32.0,
        );
        for head in shape.query_heads() {
            let magnitudes = magnitudes(self, head, &weights[head.0]);
            for ((row, magnitude), error) in magnitudes.into_iter().enumerate().zip(&errors[head.0]) {
                let error =
                    (5.0 * error + products) * magnitude * self.projection_norms[head.0] + self.least();
                layer_wise[row] += error;
                head_wise += error * error;
            }
        }
        (layer_wise.iter().map(|error| error * error).sum::<f64>().sqrt(), f64::sqrt(head_wise))
    }
}

type SlotBound<'a> = Box<dyn Fn(KvHead, usize) -> f64 + 'a>;

/// `sqrt(x^2 + e) - x` at most.
fn root_error(squared: f64, norm: f64) -> f64 {
    let root = squared.sqrt();
    if norm > 0.0 { root.min(squared / norm) } else { root }
}

/// The relative error of each row's weights.
fn row_errors(
    problem: &LayerProblem<'_>,
    query: &crate::tensor::TensorView<'_, 3>,
    first_row: usize,
    arithmetic: &Arithmetic,
) -> RowErrors {
    let shape = problem.shape();
    let [heads, rows, head_dim] = query.shape();
    let head = |head: usize| {
        let queries = query.outer(head).to_f64();
        let keys = problem.activations().key.outer(shape.kv_head_of(QueryHead(head)).0).to_f64();
        let magnitude = |row: usize| {
            let query = &queries[row * head_dim..(row + 1) * head_dim];
            let seen = keys.chunks_exact(head_dim).take(first_row + row + 1);
            let logit = |key: &[f64]| query.iter().zip(key).map(|(q, k)| (q * k).abs()).sum::<f64>();
            seen.map(logit).fold(0.0, f64::max) * problem.attention_scale()
        };
        (0..rows).map(|row| weight_error(magnitude(row), head_dim, first_row + rows, arithmetic)).collect()
    };
    (0..heads).map(head).collect()
}

/// The relative error of a weight whose logits have products of up to `magnitude`.
fn weight_error(magnitude: f64, head_dim: usize, keys: usize, arithmetic: &Arithmetic) -> f64 {
    let rescalings = 4.0 + keys.div_ceil(arithmetic.block) as f64;
    let logits = 2.0 * magnitude * (2.0 * head_dim as f64 + 3.0) + 8.0 * magnitude;
    let exponentials = 2.0 * arithmetic.exponential + rescalings * (arithmetic.exponential + 2.0);
    let roundings = logits + exponentials + arithmetic.depth(keys) + 8.0;
    let drift = roundings * arithmetic.unit;
    drift.exp_m1() + drift * drift
}
