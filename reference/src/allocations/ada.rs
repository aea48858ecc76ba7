//! `allocation=ada`: within a layer, each head between an even share and its share of the layer's cut.
//!
//! A head that holds `f_g` of the top `Hkv * (b - w)` of its flattened layer keeps `(1 - alpha) f_g + alpha (b - w)`,
//! rounded to whole numbers by the largest remainder.
//!
//! This is the paper's code (arXiv 2407.11550, `floor_alpha`) except for its rounding, which does not keep the budget.
//! NVIDIA's kvpress instead protects the best `alpha b` entries of each head before the cut: that is `allocation=layer`
//! with `min_per_head`.

use std::ops::Range;

use super::shares::rounded;
use super::{AllocationEntry, Division, Request, Supply};
use crate::error::Result;
use crate::parameter::Parameter;
use crate::select::Ranking;

/// The even part of a share.
pub static ALPHA: Parameter = Parameter::new("alpha", [0.0, 1.0], 0.2);

pub(super) static ENTRY: AllocationEntry = AllocationEntry {
    name: "ada",
    formula: "head g of a layer: (1-alpha) f_g + alpha (b-w), f_g its part of allocation=layer, largest remainder",
    source: "arXiv 2407.11550",
    parameters: &[&ALPHA],
    wants: &[],
    within_layers: true,
    division: Division::Quotas(quotas),
};

fn quotas(request: &Request<'_>) -> Result<Vec<usize>> {
    let ranking = request.ranking();
    let alpha = request.parameters.get(&ALPHA);
    let layers = request.scores.layer_heads();
    Ok(layers.flat_map(|heads| of_layer(&ranking, heads, request.supply, alpha)).collect())
}

/// The shares of one layer's heads.
pub(super) fn of_layer(ranking: &Ranking<'_>, heads: Range<usize>, supply: Supply, alpha: f64) -> Vec<usize> {
    let cut = ranking.counts_in_top(heads.clone(), heads.len() * supply.per_head, supply.least);
    let even = alpha * supply.free() as f64;
    let targets: Vec<f64> =
        cut.iter().map(|&count| (1.0 - alpha) * (count - supply.least) as f64 + even).collect();
    let shares = rounded(&targets, heads.len() * supply.free(), supply.room());
    shares.into_iter().map(|share| share + supply.least).collect()
}
