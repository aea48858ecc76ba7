//! `allocation=layer`: a layer's KV heads flattened, its top `Hkv * (b - w)` candidates.

use super::Supply;
use crate::select::Ranking;

pub(super) fn quotas(ranking: &Ranking<'_>, supply: Supply) -> Vec<usize> {
    let kv_heads = ranking.kv_heads();
    let heads: Vec<usize> = (0..ranking.heads().len()).collect();
    let cut = |layer: &[usize]| ranking.counts_in_top(layer, kv_heads * supply.per_head, supply.least);
    heads.chunks(kv_heads).flat_map(cut).collect()
}
