//! Stage *score*: what a policy thinks each candidate is worth.

use nalgebra::DVector;

use crate::error::Error;
use crate::layer::Layer;
use crate::policy::{Policy, PolicyOptions, Rule};
use crate::scores::HeadScores;
use crate::shape::QueryHead;

/// Raw scores, one list of `n - w` for each KV head, before pooling.
pub type ScoreFn = fn(&Layer, &PolicyOptions) -> Vec<Vec<f64>>;

/// The policy's scores after pooling, before normalising, `[Hkv, n - w]`.
///
/// A policy that does not rank (`full`, an oracle) scores every candidate 1.
///
/// # Errors
/// [`Error::Score`] names the first slot whose score is NaN or infinite.
pub fn score(layer: &Layer, policy: &Policy) -> Result<HeadScores, Error> {
    let raw = match policy.rule() {
        Rule::Score(score) => score(layer, policy.options()),
        Rule::Everything | Rule::Oracle(_) => {
            vec![vec![1.0; layer.shape.candidate_len()]; layer.shape.kv_heads]
        }
    };
    let pooled: Vec<_> = raw.into_iter().map(|scores| policy.options().pool.apply(scores)).collect();
    HeadScores::new(layer.index, &pooled)
}

/// `norm2(a_{h,i})` of every candidate: the columns of `A_h`.
#[must_use]
pub fn attention_norms(layer: &Layer, head: QueryHead) -> DVector<f64> {
    let weights = &layer.attention.weights[head.0];
    DVector::from_fn(layer.shape.candidate_len(), |position, _| weights.column(position).norm())
}

/// `sum_t A_h[t, i] / w` of every candidate.
#[must_use]
pub fn mean_attention(layer: &Layer, head: QueryHead) -> DVector<f64> {
    let weights = &layer.attention.weights[head.0];
    DVector::from_fn(layer.shape.candidate_len(), |position, _| weights.column(position).mean())
}

/// The mean of one vector per query head.
#[must_use]
pub fn mean_over(heads: &[QueryHead], per_head: impl Fn(QueryHead) -> DVector<f64>) -> DVector<f64> {
    let sum = heads.iter().map(|&head| per_head(head)).reduce(|sum, next| sum + next);
    sum.unwrap_or_default() / heads.len() as f64
}
