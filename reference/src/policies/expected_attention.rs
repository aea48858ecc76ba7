//! Expected attention: the attention that later queries would pay if they were distributed as the context's.
//!
//! ```text
//! s_i = softmax over i of (scale k_i^T mu + scale^2 k_i^T Sigma k_i / 2) * norm2(v_i), group mean
//! mu = R m,   Sigma = R C R^T
//! ```
//!
//! `m` and `C` are mean and covariance of the context's queries before RoPE, per query head, and `R` is the mean rotation of
//! the next 512 positions: the paper (arXiv 2510.00636) and NVIDIA's kvpress. Both leave the first 4 positions out of the statistics
//! and of the softmax, and keep them: `sinks=4`. `scale` is the model's, mostly `1 / sqrt(d)`.
//!
//! A capture stores the three tensors ([`QueryMean`](Supplement::QueryMean), [`QueryCovariance`](Supplement::QueryCovariance),
//! [`QueryRotation`](Supplement::QueryRotation)); a layer without them is refused.

use nalgebra::{DMatrix, DVector};

use crate::group::grouped;
use crate::layer::Layer;
use crate::quantity::Supplement;
use crate::shape::QueryHead;
use crate::{
    Family, GroupRule, OptionKey, OptionList, PolicyEntry, PolicyOptions, PoolStage, Rule, ScoreEntry,
    ScoreRule,
};

static SCORE: ScoreEntry = ScoreEntry {
    family: Family::Supplied(&[
        Supplement::QueryMean,
        Supplement::QueryCovariance,
        Supplement::QueryRotation,
    ]),
    rule: ScoreRule::Once(score),
};

pub(super) const ENTRY: PolicyEntry = PolicyEntry {
    name: "expected_attention",
    formula: "s_i = mean over the group of softmax_i(k_i^T mu / sqrt(d) + k_i^T Sigma k_i / (2d)) * norm2(v_i)",
    source: "arXiv 2510.00636",
    caveat: "",
    rule: Rule::Score(&SCORE),
    options: OptionList::Ranking(&[
        OptionKey::Pool(&[PoolStage::Score]),
        OptionKey::Gqa(&[GroupRule::Mean, GroupRule::Max]),
    ]),
    defaults: PolicyOptions { sinks: 4, ..PolicyOptions::PLAIN },
};

fn score(layer: &Layer, options: &PolicyOptions) -> Vec<Vec<f64>> {
    grouped(layer, options.group_rule, |head| {
        let (attention, values) = (expected(layer, head), layer.values_of(head));
        DVector::from_fn(layer.shape.candidate_len(), |position, _| {
            attention[position] * values.row(position).norm()
        })
    })
}

/// The softmax over the context without its first positions, which get at most the largest of the others.
fn expected(layer: &Layer, head: QueryHead) -> Vec<f64> {
    let logits = logits(layer, head);
    let others = &logits.as_slice()[Supplement::first_query(logits.len())..];
    let largest = others.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = others.iter().map(|logit| (logit - largest).exp()).sum();
    logits.iter().map(|logit| (logit - largest).min(0.0).exp() / sum).collect()
}

/// `scale k_i^T mu + scale^2 k_i^T Sigma k_i / 2` of the context's positions.
fn logits(layer: &Layer, QueryHead(head): QueryHead) -> DVector<f64> {
    let (dim, scale) = (layer.shape.head_dim, layer.attention_scale);
    let of_head = |which, columns: usize| {
        let numbers = &layer.supplement(which)[head * dim * columns..][..dim * columns];
        DMatrix::from_row_slice(dim, columns, numbers)
    };
    let rotation = DMatrix::from_row_slice(dim, dim, layer.supplement(Supplement::QueryRotation));
    let mean = &rotation * of_head(Supplement::QueryMean, 1);
    let covariance = &rotation * of_head(Supplement::QueryCovariance, dim) * rotation.transpose();
    let keys = layer.keys_of(QueryHead(head)).rows(0, layer.shape.context_len);
    let spread = (keys * covariance).component_mul(&keys).column_sum();
    (keys * mean).column(0) * scale + spread * (scale * scale / 2.0)
}
