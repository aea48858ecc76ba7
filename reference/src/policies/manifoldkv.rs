//! ManifoldKV: keys that lie far from the centre of the keys are worth most.
//!
//! The centre is the mean of the context's keys, the window included, after RoPE, as a cache holds them. The paper (arXiv
//! 2602.08343) compares it with KeyDiff, which sees directions alone. Its windowed variant for long contexts takes the
//! mean of a block of the context in place of the whole: `block=4096`; the last block may be shorter.

use nalgebra::DMatrix;

use crate::layer::Layer;
use crate::{
    Family, OptionKey, OptionList, Parameter, PolicyEntry, PolicyOptions, PoolStage, Rule, ScoreEntry,
    ScoreRule,
};

/// The positions that share a centre; 0 for the whole context.
static BLOCK: Parameter = Parameter::whole("block", [0, 1_000_000_000], 0);

static SCORE: ScoreEntry = ScoreEntry { family: Family::Other, rule: ScoreRule::Once(score) };

pub(super) const ENTRY: PolicyEntry = PolicyEntry {
    name: "manifoldkv",
    formula: "s_i = norm2(k_i - mean_j k_j), the mean over the context or over i's block of it",
    source: "arXiv 2602.08343",
    caveat: "",
    rule: Rule::Score(&SCORE),
    options: OptionList::Ranking(&[OptionKey::Pool(&[PoolStage::Score]), OptionKey::Number(&BLOCK)]),
    defaults: PolicyOptions::PLAIN,
};

fn score(layer: &Layer, options: &PolicyOptions) -> Vec<Vec<f64>> {
    let context_len = layer.shape.context_len;
    let block = match options.parameters.get(&BLOCK) as usize {
        0 => context_len,
        block => block,
    };
    let of_head = |keys: &DMatrix<f64>| {
        let of_block = |first: usize| {
            let keys = keys.rows(first, block.min(context_len - first));
            let centre = keys.row_mean();
            keys.row_iter().map(|key| (key - &centre).norm()).collect::<Vec<_>>()
        };
        let mut scores: Vec<f64> = (0..context_len).step_by(block).flat_map(of_block).collect();
        scores.truncate(layer.shape.candidate_len());
        scores
    };
    layer.keys.iter().map(of_head).collect()
}
