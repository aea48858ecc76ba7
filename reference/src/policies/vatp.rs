//! VATP: attention times the size of the value.
//!
//! The first 20 positions stay whatever they score, because sinks have small values. The paper (arXiv 2406.12335) puts
//! this on top of H2O's sum or of the mean attention of the last 400 queries (its code's SnapKV, unpooled); a dump's window is
//! shorter. Grouped queries came after the paper: the group's mean is this project's choice.

use crate::columns::{mean_attention, pooled, value_sizes};
use crate::group::grouped;
use crate::layer::Layer;
use crate::policies::snapkv;
use crate::{Family, PolicyEntry, PolicyOptions, Rule, ScoreEntry, ScoreRule};

static SCORE: ScoreEntry = ScoreEntry { family: Family::Other, rule: ScoreRule::Once(score) };

pub(super) const ENTRY: PolicyEntry = PolicyEntry {
    name: "vatp",
    formula: "s_i = norm1(v_i) * mean over the group of sum_t A_h[t,i] / w; the first `sinks` positions before all others",
    source: "arXiv 2406.12335",
    caveat: "",
    rule: Rule::Score(&SCORE),
    options: snapkv::ENTRY.options,
    defaults: PolicyOptions { sinks: 20, ..PolicyOptions::PLAIN },
};

fn score(layer: &Layer, options: &PolicyOptions) -> Vec<Vec<f64>> {
    grouped(layer, options.group_rule, |head| {
        pooled(options, mean_attention(layer, head)).component_mul(&value_sizes(layer, head))
    })
}
