//! SnapKV: the mean attention that the window pays to a position.
//!
//! The paper (arXiv 2404.14469) pools by the maximum or the average over 5 in its experiments and over 7 in its code;
//! the LaProx paper gives all policies the average over 7. SnapKV's code repeats keys for grouped queries and so keeps
//! one set per query head; its successors take the group's mean.

use crate::columns::{mean_attention, pooled};
use crate::group::grouped;
use crate::layer::Layer;
use crate::{
    Family, GroupRule, OptionKey, OptionList, PolicyEntry, PolicyOptions, Pool, PoolStage, Pooling, Rule,
    ScoreEntry, ScoreRule,
};

static SCORE: ScoreEntry = ScoreEntry { family: Family::MeanAttention, rule: ScoreRule::Once(score) };

pub(super) const ENTRY: PolicyEntry = PolicyEntry {
    name: "snapkv",
    formula: "s_i = mean over the group of sum_t A_h[t,i] / w; gqa=max: the largest of the group",
    source: "arXiv 2404.14469",
    caveat: "",
    rule: Rule::Score(&SCORE),
    options: OptionList::Ranking(&[
        OptionKey::Window,
        OptionKey::Pool(&[PoolStage::Score, PoolStage::Attention]),
        OptionKey::Gqa(&[GroupRule::Mean, GroupRule::Max]),
    ]),
    defaults: PolicyOptions { pool: Pool::of_score(Pooling::Average(7)), ..PolicyOptions::PLAIN },
};

pub(super) fn score(layer: &Layer, options: &PolicyOptions) -> Vec<Vec<f64>> {
    grouped(layer, options.group_rule, |head| pooled(options, mean_attention(layer, head)))
}
