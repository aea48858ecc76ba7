//! TOVA: the last query's attention, one set for all heads of a layer.

use crate::layer::Layer;
use crate::{
    Family, OptionKey, OptionList, PolicyEntry, PolicyOptions, PoolStage, Rule, ScoreEntry, ScoreRule,
};

static SCORE: ScoreEntry = ScoreEntry { family: Family::LastQuery, rule: ScoreRule::Once(score) };

pub(super) const ENTRY: PolicyEntry = PolicyEntry {
    name: "tova",
    formula: "s_i = mean over all query heads of A_h[w-1,i], the same for every KV head of the layer",
    source: "arXiv 2401.06104",
    caveat: "",
    rule: Rule::Score(&SCORE),
    options: OptionList::Ranking(&[OptionKey::Pool(&[PoolStage::Score])]),
    defaults: PolicyOptions::PLAIN,
};

pub(super) fn score(layer: &Layer, _: &PolicyOptions) -> Vec<Vec<f64>> {
    let last = layer.attention.rows() - 1;
    let heads = &layer.attention.weights;
    let attention =
        |position| heads.iter().map(|weights| weights[(last, position)]).sum::<f64>() / heads.len() as f64;
    let shared: Vec<_> = (0..layer.shape.candidate_len()).map(attention).collect();
    vec![shared; layer.shape.kv_heads]
}
