//! `allocation=layer`: a layer's KV heads flattened, its top `Hkv * (b - w)` candidates.

use crate::select::Ranking;

pub(super) fn quotas(ranking: &Ranking<'_>, per_head: usize) -> Vec<usize> {
    let kv_heads = ranking.kv_heads();
    let heads: Vec<usize> = (0..ranking.heads().len()).collect();
    heads.chunks(kv_heads).flat_map(|layer| ranking.counts_in_top(layer, kv_heads * per_head)).collect()
}
