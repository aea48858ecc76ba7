//! KeyDiff: keys that point where most keys point are worth least.
//!
//! The mean of the unit keys runs over the whole context, the window included, as in NVIDIA's kvpress and the paper
//! (arXiv 2504.15364). A key of norm 0 has no direction: its cosine counts as 0.

use nalgebra::{DMatrix, RowDVector};

use crate::layer::Layer;
use crate::{
    Family, OptionKey, OptionList, PolicyEntry, PolicyOptions, PoolStage, Rule, ScoreEntry, ScoreRule,
};

static SCORE: ScoreEntry = ScoreEntry { family: Family::Other, rule: ScoreRule::Once(score) };

pub(super) const ENTRY: PolicyEntry = PolicyEntry {
    name: "keydiff",
    formula: "s_i = -cos(k_i, mean_j k_j / norm2(k_j))",
    source: "arXiv 2504.15364",
    caveat: "",
    rule: Rule::Score(&SCORE),
    options: OptionList::Ranking(&[OptionKey::Pool(&[PoolStage::Score])]),
    defaults: PolicyOptions::PLAIN,
};

fn score(layer: &Layer, _: &PolicyOptions) -> Vec<Vec<f64>> {
    let candidate_len = layer.shape.candidate_len();
    let of_head = |keys: &DMatrix<f64>| {
        let context = keys.rows(0, layer.shape.context_len);
        let units: Vec<_> = context.row_iter().map(|key| unit(&key.into_owned())).collect();
        let anchor = unit(&DMatrix::from_rows(&units).row_mean());
        units[..candidate_len].iter().map(|key| -key.dot(&anchor)).collect()
    };
    layer.keys.iter().map(of_head).collect()
}

/// `k / norm2(k)`; 0 if the norm is 0.
pub(super) fn unit(key: &RowDVector<f64>) -> RowDVector<f64> {
    let norm = key.norm();
    if norm > 0.0 { key / norm } else { key.clone() }
}
