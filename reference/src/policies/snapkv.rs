//! SnapKV: the mean attention that the window pays to a position.

use crate::allocate::Allocation;
use crate::layer::Layer;
use crate::policy::{GroupRule, OptionKey, PolicyEntry, PolicyOptions, Rule};
use crate::pool::Pooling;
use crate::score::{mean_attention, mean_over};
use crate::shape::QueryHead;

pub(super) const ENTRY: PolicyEntry = PolicyEntry {
    name: "snapkv",
    formula: "s_i = mean over the group of sum_t A_h[t,i] / w; gqa=max: the largest of the group",
    source: "arXiv 2404.14469",
    rule: Rule::Score(score),
    options: &[
        OptionKey::Allocation(&Allocation::ALL),
        OptionKey::Norm,
        OptionKey::Pool,
        OptionKey::Gqa(&[GroupRule::Mean, GroupRule::Max]),
        OptionKey::Sinks,
    ],
    defaults: PolicyOptions { pool: Pooling::Average(7), ..PolicyOptions::PLAIN },
};

fn score(layer: &Layer, options: &PolicyOptions) -> Vec<Vec<f64>> {
    let attention = |head| mean_attention(layer, head);
    let group_score = |group: &[QueryHead]| match options.group_rule {
        GroupRule::Max => group.iter().map(|&head| attention(head)).reduce(|most, next| most.sup(&next)),
        _ => Some(mean_over(group, attention)),
    };
    layer
        .query_groups()
        .map(|(_, group)| group_score(&group).unwrap_or_default().as_slice().to_vec())
        .collect()
}
