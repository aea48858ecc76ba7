//! H2O: heavy hitters, by the attention that they have gathered.
//!
//! The paper (arXiv 2306.14048) sums over all queries of the context, and keeps half of the budget for the most recent
//! positions. A dump holds the window's queries alone, so the sum runs over those. The recent positions are the
//! protected window, as for every policy here. On a dump the score therefore ranks as `snapkv:pool=none` does. Grouped
//! queries came after the paper: the group's mean is this project's choice.

use nalgebra::DVector;

use crate::group::grouped;
use crate::layer::Layer;
use crate::{
    Family, GroupRule, OptionKey, OptionList, PolicyEntry, PolicyOptions, PoolStage, Rule, ScoreEntry,
    ScoreRule,
};

static SCORE: ScoreEntry = ScoreEntry { family: Family::Other, rule: ScoreRule::Once(score) };

pub(super) const ENTRY: PolicyEntry = PolicyEntry {
    name: "h2o",
    formula: "s_i = mean over the group of sum_t A_h[t,i]",
    source: "arXiv 2306.14048",
    caveat: "h2o sums over the window's queries, all that a dump holds; the paper sums over all of the context's.",
    rule: Rule::Score(&SCORE),
    options: OptionList::Ranking(&[
        OptionKey::Window,
        OptionKey::Pool(&[PoolStage::Score]),
        OptionKey::Gqa(&[GroupRule::Mean, GroupRule::Max]),
    ]),
    defaults: PolicyOptions::PLAIN,
};

pub(super) fn score(layer: &Layer, options: &PolicyOptions) -> Vec<Vec<f64>> {
    grouped(layer, options.group_rule, |head| {
        let weights = &layer.attention.weights[head.0];
        DVector::from_fn(layer.shape.candidate_len(), |position, _| weights.column(position).sum())
    })
}
