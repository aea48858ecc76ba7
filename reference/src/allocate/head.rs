//! `allocation=head`: the top `b - w` candidates of every KV head.

use crate::scores::ModelScores;

pub(super) fn quotas(scores: &ModelScores, per_head: usize) -> Vec<usize> {
    vec![per_head; scores.layers().len() * scores.kv_heads()]
}
