//! `allocation=lava`: layers in proportion to the entropy of their scores, their heads as under `allocation=ada`.
//!
//! With `p` the layer's scores over their sum, its weight is `-sum p ln p / ln(Hkv (n - w))`; the divisor is the same
//! for all layers. Negative scores count by their magnitude. A layer whose scores are all zero weighs nothing. A
//! surplus that a layer cannot take goes to the others in proportion. The largest remainder makes whole numbers.
//!
//! The paper (arXiv 2509.09754) flattens a layer's heads; its code then mixes in an even share, `floor_alpha = 0.2`. So
//! does this rule, and `alpha=0` is the paper's. The code also settles the layers one by one during the prefill and
//! divides among those seen so far. The outcome differs only by the rounding, which does not keep the budget there.

use super::shares::proportional;
use super::{AllocationEntry, Division, Request, Supply, ada};
use crate::error::Result;
use crate::scores::HeadScores;
use crate::statistic::entropy_term;

pub(super) static ENTRY: AllocationEntry = AllocationEntry {
    name: "lava",
    formula: "layers in proportion to the entropy of their scores over their sum, then as allocation=ada",
    source: "arXiv 2509.09754",
    parameters: &[&ada::ALPHA],
    wants: &[],
    within_layers: false,
    division: Division::Quotas(quotas),
};

fn quotas(request: &Request<'_>) -> Result<Vec<usize>> {
    let (scores, supply, ranking) = (request.scores, request.supply, request.ranking());
    let alpha = request.parameters.get(&ada::ALPHA);
    let entropies: Vec<f64> = scores.layers().iter().map(entropy).collect();
    let shares = proportional(&entropies, entropies.len() * supply.free(), supply.room());
    let of_layer = |(heads, share)| {
        let supply = Supply { per_head: supply.least + share, ..supply };
        ada::of_layer(&ranking, heads, supply, alpha)
    };
    Ok(scores.layer_heads().zip(shares).flat_map(of_layer).collect())
}

/// `-sum p ln p`, `p` the magnitudes over their sum.
fn entropy(layer: &HeadScores) -> f64 {
    let sum: f64 = layer.values().map(f64::abs).sum();
    let shares = layer.values().map(|score| score.abs() / sum).filter(|&p| p > 0.0);
    shares.map(entropy_term).sum()
}
