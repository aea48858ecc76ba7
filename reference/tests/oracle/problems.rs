//! How far searches go, and how far rounding may carry their numbers.

use laprox_reference::Form;
use laprox_reference::layer::Layer;
use laprox_reference::oracle::relax::Effort;
use laprox_reference::oracle::{Certified, Limits, PairGram, Rows, Stop};
use laprox_reference::{OutputError, OutputErrors};

use crate::common::compare::gamma;

pub const FORMS: [Form; 2] = [Form::LayerWise, Form::HeadWise];

/// The distance that [`to_the_end`]'s searches leave between bound and error, relative to the squared error.
pub const TOLERANCE: f64 = 3e-9;

/// Limits under which a search ends with the optimum; up to `leaf_sets` sets are rather all tried than branched on.
#[must_use]
pub fn to_the_end(leaf_sets: usize) -> Limits {
    Limits { leaf_sets, ..Limits::exact(256) }
}

/// Limits under which a search ends early.
#[must_use]
pub fn early(nodes: usize) -> Limits {
    let effort = Effort { tolerance: 1e-4, products: 20, block: 8, stop: Stop::NEVER };
    Limits { gap: 0.0, nodes, leaf_sets: 4, effort, convexify: true, swap_rounds: 2 }
}

/// The `drop` error in one form.
#[must_use]
pub fn dropped(errors: &OutputErrors, form: Form) -> OutputError {
    match form {
        Form::LayerWise => errors.drop.unwrap().layer_wise,
        Form::HeadWise => errors.drop.unwrap().head_wise,
    }
}

/// The `renormalised` error in one form.
#[must_use]
pub fn renormalised(errors: &OutputErrors, form: Form) -> OutputError {
    match form {
        Form::LayerWise => errors.renormalised.layer_wise,
        Form::HeadWise => errors.renormalised.head_wise,
    }
}

/// How far rounding carries squared errors of one layer.
pub struct Rounding {
    /// `sum over the group of norm2(a_{h,i}) norm2(|v_i| |W_h|)` of every candidate.
    weights: Vec<f64>,
    /// The same with `norm2(v_i) norm_F(W_h)`: the scale of the searches' own rounding.
    coarse_weights: Vec<f64>,
    factor: f64,
}

impl Rounding {
    /// The longest chain: entries of `E` take `n + d + H` roundings, of `M` or a slope `w + D + d + H^2`, their sums
    /// as many as there are candidates, and a squared norm `w D`.
    #[must_use]
    pub fn of(layer: &Layer, rows: Rows) -> Self {
        let (shape, candidate_len) = (layer.shape, layer.shape.candidate_len());
        let attention = match rows {
            Rows::Window => &layer.attention,
            Rows::Future => layer.future_attention.as_ref().unwrap(),
        };
        let mut weights = vec![0.0; shape.kv_heads * candidate_len];
        let mut coarse_weights = weights.clone();
        for head in shape.query_heads() {
            let (values, projection) = (layer.values_of(head), &layer.output_projection[head.0]);
            for i in 0..candidate_len {
                let candidate = shape.kv_head_of(head).0 * candidate_len + i;
                let norm = attention.weights[head.0].column(i).norm();
                weights[candidate] += norm * (values.row(i).abs() * projection.abs()).norm();
                coarse_weights[candidate] += norm * values.row(i).norm() * projection.norm();
            }
        }
        let rows = attention.weights[0].nrows();
        let chain = shape.cached_len()
            + (rows + 1) * (shape.hidden_dim + 1)
            + shape.head_dim
            + shape.query_heads * shape.query_heads
            + 2 * weights.len()
            + 16;
        Self { weights, coarse_weights, factor: gamma(chain as f64) }
    }

    /// Of the squared error of one evicted set, computed in any way:
    /// `|E - E'| <= gamma S` moves the square by `2 gamma S norm(E) + (gamma S)^2`, and `norm(E) <= S`.
    #[must_use]
    pub fn of_set(&self, evicted: &[usize]) -> f64 {
        4.0 * self.factor * evicted.iter().map(|&candidate| self.weights[candidate]).sum::<f64>().powi(2)
    }

    /// Of any set's.
    #[must_use]
    pub fn of_any(&self) -> f64 {
        4.0 * self.factor * self.weights.iter().sum::<f64>().powi(2)
    }

    /// The part that a bound subtracts for its own rounding: slopes lose `gamma` of their magnitudes, twice, and a
    /// convexified form's tangent four times the drift of `E`, twice `gamma` of them, times the norm.
    #[must_use]
    pub fn of_a_bound(&self) -> f64 {
        16.0 * self.factor * self.coarse_weights.iter().sum::<f64>().powi(2)
    }
}

/// The search, on grams that the reference computes and that cannot fail.
pub fn certify(
    gram: &dyn PairGram,
    count: usize,
    start: &[usize],
    limits: Limits,
    watch: &mut dyn FnMut(&Certified) -> bool,
) -> Certified {
    laprox_reference::oracle::certify(gram, count, start, limits, watch).unwrap()
}
