//! `allocation=head`: the top `b - w` candidates of every KV head.

use super::Supply;
use crate::scores::ModelScores;

pub(super) fn quotas(scores: &ModelScores, supply: Supply) -> Vec<usize> {
    vec![supply.per_head; scores.layers().len() * scores.kv_heads()]
}
