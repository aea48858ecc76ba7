//! `allocation=ada`: within a layer, heads between an even share and what the layer's cut would give them.
//!
//! A head that holds `f_g` of the top `Hkv * (b - w)` of its flattened layer keeps `(1 - alpha) f_g + alpha (b - w)`,
//! rounded to whole numbers by the largest remainder.
//!
//! So the paper's code (arXiv 2407.11550, `floor_alpha`), but for its rounding, which does not keep the budget.
//! NVIDIA's kvpress has another safeguard, `alpha b` best entries of each head before the cut: that is
//! `allocation=layer` with `min_per_head`.

use super::Supply;
use super::shares::rounded;
use crate::parameter::Parameter;
use crate::select::Ranking;

/// How much of a share is even.
pub static ALPHA: Parameter = Parameter { name: "alpha", least: 0.0, most: 1.0, default: 0.2 };

pub(super) const FORMULA: &str =
    "head g of a layer: (1-alpha) f_g + alpha (b-w), f_g its part of allocation=layer, largest remainder";

pub(super) fn quotas(ranking: &Ranking<'_>, supply: Supply, alpha: f64) -> Vec<usize> {
    let heads: Vec<usize> = (0..ranking.heads().len()).collect();
    heads.chunks(ranking.kv_heads()).flat_map(|layer| of_layer(ranking, layer, supply, alpha)).collect()
}

/// The shares of one layer's heads.
pub(super) fn of_layer(ranking: &Ranking<'_>, heads: &[usize], supply: Supply, alpha: f64) -> Vec<usize> {
    let cut = ranking.counts_in_top(heads, heads.len() * supply.per_head, supply.least);
    let even = alpha * supply.free() as f64;
    let targets: Vec<f64> =
        cut.iter().map(|&count| (1.0 - alpha) * (count - supply.least) as f64 + even).collect();
    let shares = rounded(&targets, heads.len() * supply.free(), supply.room());
    shares.into_iter().map(|share| share + supply.least).collect()
}
