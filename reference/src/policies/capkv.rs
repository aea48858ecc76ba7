//! CapKV: values that span directions that no other attended value spans.
//!
//! ```text
//! w_i = exp(tau cos(k_i, q)), over the largest;   s_i = w_i v_i^T (I + sum_j (w_j + eps) v_j v_j^T)^-1 v_i, group mean
//! ```
//!
//! `q` stands for the queries of the context: the published code (arXiv 2604.25976, `CapPress` of NVIDIA's kvpress) takes the
//! mean of all queries before RoPE, turned by the mean rotation of the next 512 positions. A dump holds the window's
//! queries alone, after RoPE, so `q` is their mean here. The sum runs over the context without its first 4 positions, which
//! are kept. The paper takes the inner product of key and query in place of the cosine.

use nalgebra::{DMatrix, DVector};

use crate::group::grouped;
use crate::layer::Layer;
use crate::policies::keydiff::unit;
use crate::shape::QueryHead;
use crate::{
    Family, GroupRule, OptionKey, OptionList, Parameter, PolicyEntry, PolicyOptions, PoolStage, Rule,
    ScoreEntry, ScoreRule,
};

/// How sharply weights follow the cosine.
static TAU: Parameter = Parameter::new("tau", [0.0, 100.0], 5.0);

/// The addition to a weight under the sum, as in the published code.
const EPS: f64 = 1e-6;

static SCORE: ScoreEntry = ScoreEntry { family: Family::Other, rule: ScoreRule::Once(score) };

pub(super) const ENTRY: PolicyEntry = PolicyEntry {
    name: "capkv",
    formula: "s_i = mean over the group of w_i v_i^T (I + sum_j w_j v_j v_j^T)^-1 v_i, w_i = exp(tau cos(k_i, mean_t q_t))",
    source: "arXiv 2604.25976",
    caveat: "capkv takes the mean of the window's queries, all that a dump holds, for that of the context's.",
    rule: Rule::Score(&SCORE),
    options: OptionList::Ranking(&[
        OptionKey::Window,
        OptionKey::Pool(&[PoolStage::Score]),
        OptionKey::Gqa(&[GroupRule::Mean, GroupRule::Max]),
        OptionKey::Number(&TAU),
    ]),
    defaults: PolicyOptions { sinks: SINKS, ..PolicyOptions::PLAIN },
};

/// The first positions, which are not part of the sum.
const SINKS: usize = 4;

fn score(layer: &Layer, options: &PolicyOptions) -> Vec<Vec<f64>> {
    let tau = options.parameters.get(&TAU);
    grouped(layer, options.group_rule, |head| {
        let (weights, values) = (weights(layer, head, tau), layer.values_of(head));
        let mut capacity = DMatrix::identity(values.ncols(), values.ncols());
        for (weight, value) in weights.iter().zip(values.row_iter()).skip(SINKS) {
            let value = value.transpose();
            capacity.ger(weight + EPS, &value, &value, 1.0);
        }
        // The identity and squares are positive definite, unless f64 does not hold the squares.
        let factor = capacity.cholesky();
        let span = |position: usize| {
            let value = values.row(position).transpose();
            let solved = factor.as_ref().map(|factor| factor.solve(&value));
            solved.map_or(f64::NAN, |solved| weights[position] * value.dot(&solved))
        };
        DVector::from_fn(layer.shape.candidate_len(), |position, _| span(position))
    })
}

/// `exp(tau cos(k_i, q))` of the context, over its largest after the first positions.
fn weights(layer: &Layer, head: QueryHead, tau: f64) -> Vec<f64> {
    let query = unit(&layer.queries[head.0].row_mean());
    let keys = layer.keys_of(head).rows(0, layer.shape.context_len);
    let cosines: Vec<f64> = keys.row_iter().map(|key| unit(&key.into_owned()).dot(&query)).collect();
    let largest = cosines.iter().skip(SINKS).copied().fold(f64::NEG_INFINITY, f64::max);
    cosines.into_iter().map(|cosine| (tau * (cosine - largest).min(0.0)).exp()).collect()
}
