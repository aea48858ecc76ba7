//! CAKE: mean attention, and more for unsteady attention.
//!
//! `var_t` divides by `w - 1`, as the published code does (the paper does not say). It is 0 for a single query. The
//! layers' budgets and the temperatures are described under [`allocation=cake`](crate::allocations::cake).

use nalgebra::DVector;

use crate::group::grouped;
use crate::layer::Layer;
use crate::statistic::variance;
use crate::{
    Allocation, Family, GroupRule, OptionKey, OptionList, Parameter, PolicyEntry, PolicyOptions, Pool,
    PoolStage, Pooling, Rule, ScoreEntry, ScoreRule,
};

/// The weight of the variance.
static GAMMA: Parameter = Parameter::new("gamma", [0.0, 1e6], 200.0);

static SCORE: ScoreEntry = ScoreEntry { family: Family::Other, rule: ScoreRule::Once(score) };

pub(super) const ENTRY: PolicyEntry = PolicyEntry {
    name: "cake",
    formula: "s_i = mean over the group of (mean_t A_h[t,i] + gamma var_t A_h[t,i])",
    source: "arXiv 2503.12491",
    caveat: "cake's temperatures are tuned by model in the paper; here tau1 = tau2 = 1 unless given.",
    rule: Rule::Score(&SCORE),
    options: OptionList::Ranking(&[
        OptionKey::Window,
        OptionKey::Pool(&[PoolStage::Score]),
        OptionKey::Gqa(&[GroupRule::Mean, GroupRule::Max]),
        OptionKey::Number(&GAMMA),
    ]),
    defaults: PolicyOptions {
        allocation: Allocation::CAKE,
        pool: Pool::of_score(Pooling::Average(5)),
        ..PolicyOptions::PLAIN
    },
};

fn score(layer: &Layer, options: &PolicyOptions) -> Vec<Vec<f64>> {
    let gamma = options.parameters.get(&GAMMA);
    grouped(layer, options.group_rule, |head| {
        let weights = &layer.attention.weights[head.0];
        DVector::from_fn(layer.shape.candidate_len(), |position, _| {
            let column = weights.column(position);
            column.mean() + gamma * variance(column.iter().copied())
        })
    })
}
