//! KVzip: positions that the model needs to repeat the context.
//!
//! ```text
//! kvzip:   s_i = max over the group h and over the queries t of A_h[t, i]
//! kvzip+:  s_i = max over the group h and over the queries t of A_h[t, i] norm2(v_i W_h) / norm2(x_t)
//! ```
//!
//! The queries are those of a prompt behind the context that asks to repeat it, and of the context itself after that, in chunks of
//! 2048 tokens (arXiv 2505.23416; `KVzipPress` of NVIDIA's kvpress). `A` is the softmax over the first 4 positions, the chunk and
//! the prompt up to the query; `x_t` is the query's input of the attention. The scores do not depend on a question.
//! A capture runs the prompt and stores the maxima ([`RepeatMax`](Supplement::RepeatMax),
//! [`RepeatRelativeMax`](Supplement::RepeatRelativeMax)).
//!
//! In kvpress the beginning of a chat template counts to no chunk, and is evicted first; here it is part of the context. The window
//! stays, as for every policy.

use nalgebra::DVector;

use crate::group::grouped;
use crate::layer::Layer;
use crate::project::projected_value_norms;
use crate::quantity::Supplement;
use crate::{
    Allocation, Family, GroupRule, OptionKey, OptionList, PolicyEntry, PolicyOptions, PoolStage, Rule,
    ScoreEntry, ScoreRule,
};

static PLAIN: ScoreEntry = ScoreEntry {
    family: Family::Supplied(&[Supplement::RepeatMax]),
    rule: ScoreRule::Once(largest_attention),
};

static WEIGHED: ScoreEntry = ScoreEntry {
    family: Family::Supplied(&[Supplement::RepeatRelativeMax]),
    rule: ScoreRule::Once(largest_part),
};

pub(super) const ENTRY: PolicyEntry = PolicyEntry {
    name: "kvzip",
    formula: "s_i = max over the group and over the queries t of a repetition of the context of A_h[t,i]",
    source: "arXiv 2505.23416",
    caveat: "",
    rule: Rule::Score(&PLAIN),
    options: OptionList::Ranking(&[OptionKey::Pool(&[PoolStage::Score])]),
    defaults: PolicyOptions { allocation: Allocation::MODEL_RAW, sinks: 4, ..PolicyOptions::PLAIN },
};

pub(super) const PLUS: PolicyEntry = PolicyEntry {
    name: "kvzip+",
    formula: "s_i = max over the group and over the queries t of a repetition of the context of A_h[t,i] norm2(v_i W_h) / norm2(x_t)",
    rule: Rule::Score(&WEIGHED),
    ..ENTRY
};

fn largest_attention(layer: &Layer, _: &PolicyOptions) -> Vec<Vec<f64>> {
    let maxima = layer.supplement(Supplement::RepeatMax).chunks(layer.shape.context_len);
    maxima.map(|head| head[..layer.shape.candidate_len()].to_vec()).collect()
}

fn largest_part(layer: &Layer, _: &PolicyOptions) -> Vec<Vec<f64>> {
    let maxima = layer.supplement(Supplement::RepeatRelativeMax);
    grouped(layer, GroupRule::Max, |head| {
        let own = &maxima[head.0 * layer.shape.context_len..][..layer.shape.candidate_len()];
        projected_value_norms(layer, head).component_mul(&DVector::from_column_slice(own))
    })
}
