//! DropKV: how far each query's output moves when this entry alone is evicted, before the projection.
//!
//! Evicting `i` and renormalising moves a head's output in row `t` by `A / (1 - A) (o_t - v_i)`; the score is the sum
//! of the squares over the last 8 queries, group mean. `eps` keeps the division finite if a query attends to nothing
//! else. It is [`centred`](super::centred) without the output projection, head by head.
//!
//! The defaults (8 queries, the maximum over 11) are the paper's as others report them. NVIDIA's kvpress has 32 queries
//! and the average over 7 (`window=32,pool=avg:7`) for the same formula. The paper (ICML 2026, openreview MqfNzH3TVH)
//! could not be read.

use nalgebra::DVector;

use crate::columns::attended_values;
use crate::group::grouped;
use crate::layer::Layer;
use crate::{
    Family, GroupRule, OptionKey, OptionList, Parameter, PolicyEntry, PolicyOptions, Pool, PoolStage,
    Pooling, Rule, ScoreEntry, ScoreRule,
};

/// The addition to `1 - A`.
static EPS: Parameter = Parameter::new("eps", [1e-12, 1.0], 1e-6);

static SCORE: ScoreEntry = ScoreEntry { family: Family::Other, rule: ScoreRule::Once(score) };

pub(super) const ENTRY: PolicyEntry = PolicyEntry {
    name: "dropkv",
    formula: "s_i = mean over the group of sum_t (A_h[t,i] / (1 - A_h[t,i] + eps))^2 norm2(o_{h,t} - v_i)^2",
    source: "ICML 2026, openreview MqfNzH3TVH",
    caveat: "",
    rule: Rule::Score(&SCORE),
    options: OptionList::Ranking(&[
        OptionKey::Window,
        OptionKey::Pool(&[PoolStage::Score]),
        OptionKey::Gqa(&[GroupRule::Mean, GroupRule::Max]),
        OptionKey::Number(&EPS),
    ]),
    defaults: PolicyOptions {
        window: Some(8),
        pool: Pool::of_score(Pooling::Max(11)),
        ..PolicyOptions::PLAIN
    },
};

fn score(layer: &Layer, options: &PolicyOptions) -> Vec<Vec<f64>> {
    let eps = options.parameters.get(&EPS);
    grouped(layer, options.group_rule, |head| {
        let (weights, outputs) = (&layer.attention.weights[head.0], attended_values(layer, head));
        DVector::from_fn(layer.shape.candidate_len(), |position, _| {
            let value = layer.values_of(head).row(position);
            let moved = |(t, &weight): (usize, &f64)| {
                (weight / (1.0 - weight + eps)).powi(2) * (outputs.row(t) - value).norm_squared()
            };
            weights.column(position).iter().enumerate().map(moved).sum()
        })
    })
}
