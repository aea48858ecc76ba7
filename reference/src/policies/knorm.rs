//! K-norm: keys of small norm draw attention, so those of large norm go.
//!
//! NVIDIA's kvpress and the paper (arXiv 2406.11430) agree; the paper leaves the first two layers alone, which the shared
//! budget rule does not allow for.

use crate::layer::Layer;
use crate::{
    Family, OptionKey, OptionList, PolicyEntry, PolicyOptions, PoolStage, Rule, ScoreEntry, ScoreRule,
};

static SCORE: ScoreEntry = ScoreEntry { family: Family::Other, rule: ScoreRule::Once(score) };

pub(super) const ENTRY: PolicyEntry = PolicyEntry {
    name: "knorm",
    formula: "s_i = -norm2(k_i)",
    source: "arXiv 2406.11430",
    caveat: "",
    rule: Rule::Score(&SCORE),
    options: OptionList::Ranking(&[OptionKey::Pool(&[PoolStage::Score])]),
    defaults: PolicyOptions::PLAIN,
};

fn score(layer: &Layer, _: &PolicyOptions) -> Vec<Vec<f64>> {
    let candidate_len = layer.shape.candidate_len();
    let keys = layer.keys.iter();
    keys.map(|keys| keys.rows(0, candidate_len).row_iter().map(|key| -key.norm()).collect()).collect()
}
