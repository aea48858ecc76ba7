//! StreamingLLM: the first positions and the most recent ones, whatever they hold.

use crate::layer::Layer;
use crate::{
    Family, OptionKey, OptionList, PolicyEntry, PolicyOptions, PoolStage, Rule, ScoreEntry, ScoreRule,
};

static SCORE: ScoreEntry = ScoreEntry { family: Family::Unseen, rule: ScoreRule::Once(score) };

pub(super) const ENTRY: PolicyEntry = PolicyEntry {
    name: "streaming",
    formula: "s_i = i + 1; the first `sinks` positions come before all others",
    source: "arXiv 2309.17453",
    caveat: "",
    rule: Rule::Score(&SCORE),
    options: OptionList::Ranking(&[OptionKey::Pool(&[PoolStage::Score])]),
    defaults: PolicyOptions { sinks: 4, ..PolicyOptions::PLAIN },
};

fn score(layer: &Layer, _: &PolicyOptions) -> Vec<Vec<f64>> {
    let recency = (1..=layer.shape.candidate_len()).map(|rank| rank as f64).collect();
    vec![recency; layer.shape.kv_heads]
}
