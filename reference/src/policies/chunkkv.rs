//! ChunkKV: whole chunks of the context, by the mean attention that the window pays to them.
//!
//! One set is shared by a layer's heads: scores are summed over the KV heads, then averaged over chunks of `chunk` positions
//! (arXiv 2502.00299; `ChunkKVPress` of NVIDIA's kvpress on top of SnapKV's unpooled scores). Both keep whole chunks, and so
//! miss the budget by up to one; here the last chunk is kept in part, its lower positions first. Chunks are counted from the
//! context's start and end before the window. The paper's reuse of one layer's set in the next is left out.

use crate::layer::Layer;
use crate::policies::snapkv;
use crate::{
    Family, OptionKey, OptionList, Parameter, PolicyEntry, PolicyOptions, Rule, ScoreEntry, ScoreRule,
};

/// The positions of a chunk.
static CHUNK: Parameter = Parameter::whole("chunk", [1, 1_000_000_000], 20);

static SCORE: ScoreEntry = ScoreEntry { family: Family::Other, rule: ScoreRule::Once(score) };

pub(super) const ENTRY: PolicyEntry = PolicyEntry {
    name: "chunkkv",
    formula: "s_i = mean over i's chunk of the sum over KV heads of snapkv's unpooled score, the same for every KV head",
    source: "arXiv 2502.00299",
    caveat: "",
    rule: Rule::Score(&SCORE),
    options: OptionList::Ranking(&[OptionKey::Window, OptionKey::Number(&CHUNK)]),
    defaults: PolicyOptions::PLAIN,
};

fn score(layer: &Layer, options: &PolicyOptions) -> Vec<Vec<f64>> {
    let chunk = options.parameters.get(&CHUNK) as usize;
    let heads = snapkv::score(layer, options);
    let summed: Vec<f64> =
        (0..layer.shape.candidate_len()).map(|i| heads.iter().map(|head| head[i]).sum()).collect();
    let mean = |chunk: &[f64]| vec![chunk.iter().sum::<f64>() / chunk.len() as f64; chunk.len()];
    let shared: Vec<f64> = summed.chunks(chunk).flat_map(mean).collect();
    vec![shared; layer.shape.kv_heads]
}
