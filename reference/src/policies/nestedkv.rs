//! NestedKV: keys that are unlike the others at three scales.
//!
//! ```text
//! s_i = mean of 1 - cos(k_i, g), 1 - cos(k_i, b_i) and 1 - cos(k_i, r)
//! ```
//!
//! The anchors are means of keys: `g` over the context, `b_i` over the `block` positions around `i` (counted from the context's start),
//! `r` over the last `trail` positions of the context, the window included. Known of the method (arXiv 2605.26678) is that it blends
//! three such anomalies, global, block and trailing. Its weights, its lengths and whether a trailing anchor ends at `i` or at the
//! context's end remained unknown to us: equal weights, 64 positions and the context's end are this project's choice. A key or an anchor of norm
//! 0 has no direction: its cosine counts as 0.

use nalgebra::{DMatrix, RowDVector};

use crate::layer::Layer;
use crate::policies::keydiff::unit;
use crate::{
    Family, OptionKey, OptionList, Parameter, PolicyEntry, PolicyOptions, PoolStage, Rule, ScoreEntry,
    ScoreRule,
};

/// The positions of a block.
static BLOCK: Parameter = Parameter::whole("block", [1, 1_000_000_000], 64);

/// The positions of the trailing anchor.
static TRAIL: Parameter = Parameter::whole("trail", [1, 1_000_000_000], 64);

static SCORE: ScoreEntry = ScoreEntry { family: Family::Other, rule: ScoreRule::Once(score) };

pub(super) const ENTRY: PolicyEntry = PolicyEntry {
    name: "nestedkv",
    formula: "s_i = mean over three anchors of 1 - cos(k_i, anchor): the mean key of the context, of i's block, of the last positions",
    source: "arXiv 2605.26678",
    caveat: "nestedkv blends its three anomalies with equal weights; the published weights are not known to this project.",
    rule: Rule::Score(&SCORE),
    options: OptionList::Ranking(&[
        OptionKey::Pool(&[PoolStage::Score]),
        OptionKey::Number(&BLOCK),
        OptionKey::Number(&TRAIL),
    ]),
    defaults: PolicyOptions::PLAIN,
};

fn score(layer: &Layer, options: &PolicyOptions) -> Vec<Vec<f64>> {
    let [block, trail] = [&BLOCK, &TRAIL].map(|length| options.parameters.get(length) as usize);
    let context_len = layer.shape.context_len;
    let of_head = |keys: &DMatrix<f64>| {
        let anchor = |first: usize, len: usize| unit(&keys.rows(first, len).row_mean());
        let trail = trail.min(context_len);
        let shared = [anchor(0, context_len), anchor(context_len - trail, trail)];
        let starts = (0..context_len).step_by(block);
        let blocks: Vec<RowDVector<f64>> =
            starts.map(|first| anchor(first, block.min(context_len - first))).collect();
        let anomaly = |position: usize| {
            let key = unit(&keys.row(position).into_owned());
            let anchors = shared.iter().chain([&blocks[position / block]]);
            anchors.map(|anchor| 1.0 - key.dot(anchor)).sum::<f64>() / 3.0
        };
        (0..layer.shape.candidate_len()).map(anomaly).collect()
    };
    layer.keys.iter().map(of_head).collect()
}
