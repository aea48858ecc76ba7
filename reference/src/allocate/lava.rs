//! `allocation=lava`: layers in proportion to the entropy of their scores, their heads as under `allocation=ada`.
//!
//! With `p` the layer's scores over their sum, its weight is `-sum p ln p / ln(Hkv (n - w))`; the divisor is the same
//! for all layers. Magnitudes are taken where scores are negative. A layer without scores weighs nothing. What a layer
//! cannot take goes to the others in proportion; whole numbers are made by the largest remainder.
//!
//! The paper (arXiv 2509.09754) flattens a layer's heads; its code then mixes in an even share, `floor_alpha = 0.2`, and so
//! does this rule: `alpha=0` is the paper's. The code also settles the layers one by one during the prefill, each
//! time dividing among those seen so far; the outcome differs only by the rounding, which does not keep the budget there.

use super::Supply;
use super::ada;
use super::shares::proportional;
use crate::scores::{HeadScores, ModelScores};
use crate::select::Ranking;
use crate::spread::entropy_term;

pub(super) const FORMULA: &str =
    "layers in proportion to the entropy of their scores over their sum, then as allocation=ada";

pub(super) fn quotas(scores: &ModelScores, ranking: &Ranking<'_>, supply: Supply, alpha: f64) -> Vec<usize> {
    let entropies: Vec<f64> = scores.layers().iter().map(entropy).collect();
    let shares = proportional(&entropies, entropies.len() * supply.free(), supply.room());
    let heads: Vec<usize> = (0..ranking.heads().len()).collect();
    let layers = heads.chunks(scores.kv_heads()).zip(shares);
    layers
        .flat_map(|(layer, share)| {
            let supply = Supply { per_head: supply.least + share, ..supply };
            ada::of_layer(ranking, layer, supply, alpha)
        })
        .collect()
}

/// `-sum p ln p`, `p` the magnitudes over their sum.
fn entropy(layer: &HeadScores) -> f64 {
    let sum: f64 = layer.values().map(f64::abs).sum();
    let shares = layer.values().map(|score| score.abs() / sum).filter(|&p| p > 0.0);
    shares.map(entropy_term).sum()
}
