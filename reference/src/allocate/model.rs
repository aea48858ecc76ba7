//! `allocation=model` and `model-raw`: all layers flattened, the top `L * Hkv * (b - w)` candidates.

use super::Supply;
use crate::select::Ranking;

pub(super) fn quotas(ranking: &Ranking<'_>, supply: Supply) -> Vec<usize> {
    let heads: Vec<usize> = (0..ranking.heads().len()).collect();
    ranking.counts_in_top(&heads, heads.len() * supply.per_head, supply.least)
}
