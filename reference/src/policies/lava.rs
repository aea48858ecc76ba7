//! LAVa: pooled mean attention, times the largest value of the head, so that heads of a layer compare.
//!
//! `max_j norm1(v_j)` runs over the candidates of the KV head, as in the published code. Attention is pooled before the
//! group's maximum is taken; `pool=avg:7@score` pools after it. The published runs use the maximum over 7,
//! `pool=max:7`; the paper says only 7. The budgets are described under [`allocation=lava`](crate::allocations::lava).

use crate::columns::{mean_attention, pooled, value_sizes};
use crate::group::grouped;
use crate::layer::Layer;
use crate::{
    Allocation, Family, GroupRule, OptionKey, OptionList, PolicyEntry, PolicyOptions, Pool, PoolStage,
    Pooling, Rule, ScoreEntry, ScoreRule,
};

static SCORE: ScoreEntry = ScoreEntry { family: Family::Other, rule: ScoreRule::Once(score) };

pub(super) const ENTRY: PolicyEntry = PolicyEntry {
    name: "lava",
    formula: "s_i = max_j norm1(v_j) * max over the group of pool(sum_t A_h[t,i] / w)",
    source: "arXiv 2509.09754",
    caveat: "",
    rule: Rule::Score(&SCORE),
    options: OptionList::Ranking(&[
        OptionKey::Window,
        OptionKey::Pool(&[PoolStage::Attention, PoolStage::Score]),
        OptionKey::Gqa(&[GroupRule::Mean, GroupRule::Max]),
    ]),
    defaults: PolicyOptions {
        allocation: Allocation::LAVA,
        group_rule: GroupRule::Max,
        pool: Pool::of_attention(Pooling::Average(7)),
        ..PolicyOptions::PLAIN
    },
};

fn score(layer: &Layer, options: &PolicyOptions) -> Vec<Vec<f64>> {
    grouped(layer, options.group_rule, |head| {
        let largest = value_sizes(layer, head).iter().copied().fold(0.0, f64::max);
        pooled(options, mean_attention(layer, head)) * largest
    })
}
