//! CAOTE: how far the last query's output moves when this entry alone is evicted, before the projection.
//!
//! For a weight near 1, `1 - A` loses its digits. The output without the entry is then computed anew, which is the same
//! in exact arithmetic. The paper (arXiv 2504.14051) states the score for one head and for the attention of any other
//! policy. Here it is the last query's, as in TOVA. The group's mean is this project's choice.

use nalgebra::{DVector, RowDVector};

use crate::columns::{attended_values, weights_without};
use crate::group::grouped;
use crate::layer::Layer;
use crate::{
    Family, GroupRule, OptionKey, OptionList, PolicyEntry, PolicyOptions, PoolStage, QueryHead, Rule,
    ScoreEntry, ScoreRule,
};

static SCORE: ScoreEntry = ScoreEntry { family: Family::Other, rule: ScoreRule::Once(score) };

pub(super) const ENTRY: PolicyEntry = PolicyEntry {
    name: "caote",
    formula: "s_i = mean over the group of A_h[w-1,i] / (1 - A_h[w-1,i]) * norm2(o_{h,w-1} - v_i)",
    source: "arXiv 2504.14051",
    caveat: "",
    rule: Rule::Score(&SCORE),
    options: OptionList::Ranking(&[
        OptionKey::Pool(&[PoolStage::Score]),
        OptionKey::Gqa(&[GroupRule::Mean, GroupRule::Max]),
    ]),
    defaults: PolicyOptions::PLAIN,
};

fn score(layer: &Layer, options: &PolicyOptions) -> Vec<Vec<f64>> {
    grouped(layer, options.group_rule, |head| {
        let outputs = attended_values(layer, head);
        let last = outputs.nrows() - 1;
        DVector::from_fn(layer.shape.candidate_len(), |position, _| {
            let weight = layer.attention.weights[head.0][(last, position)];
            if weight <= 0.5 {
                let away = outputs.row(last) - layer.values_of(head).row(position);
                weight / (1.0 - weight) * away.norm()
            } else {
                (outputs.row(last) - output_without(layer, head, position, last)).norm()
            }
        })
    })
}

fn output_without(layer: &Layer, head: QueryHead, position: usize, row: usize) -> RowDVector<f64> {
    let weights = weights_without(layer, head, position, row);
    (weights * layer.values_of(head).rows(0, layer.shape.context_len)).row(0).into_owned()
}
