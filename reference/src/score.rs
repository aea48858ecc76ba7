//! Stage *score*: what a policy thinks each candidate is worth.

use nalgebra::{DMatrix, DVector};

use crate::attend::softmax_of_retained;
use crate::error::Error;
use crate::layer::Layer;
use crate::policy::{GroupRule, Policy, PolicyOptions, Rule, TwoStage};
use crate::pool::PoolStage;
use crate::project::projected_values;
use crate::scores::HeadScores;
use crate::shape::QueryHead;

/// Raw scores, one list of `n - w` for each KV head; attention is pooled already where a policy pools that.
pub type ScoreFn = fn(&Layer, &PolicyOptions) -> Vec<Vec<f64>>;

/// The policy's scores after pooling, before normalising, `[Hkv, n - w]`.
///
/// A policy that does not rank (`full`, an oracle) scores every candidate 1.
///
/// # Errors
/// [`Error::Score`] names the first slot whose score is NaN or infinite; [`Error::Policy`] when the options exclude each
/// other, more queries are asked for than there are, or the policy needs what no dump holds.
pub fn score(layer: &Layer, policy: &Policy) -> Result<HeadScores, Error> {
    policy.check()?;
    let options = policy.options();
    let layer = layer.observed(policy.queries_read(layer.shape.window_len)?);
    let scores = |score: ScoreFn| -> Vec<Vec<f64>> {
        score(&layer, options).into_iter().map(|scores| options.pool.at(PoolStage::Score, scores)).collect()
    };
    let scored = |heads: Vec<Vec<f64>>| HeadScores::new(layer.index, heads);
    match policy.rule() {
        Rule::Score(score) => scored(scores(score)),
        Rule::TwoStage(TwoStage { first, second, ratio }) => {
            scored(scores(first))?.then(scores(second), options.parameters.get(ratio))
        }
        Rule::Everything | Rule::Oracle(_) => {
            scored(vec![vec![1.0; layer.shape.candidate_len()]; layer.shape.kv_heads])
        }
        Rule::Unavailable(missing) => {
            Err(Error::Policy { policy: policy.to_string(), reason: missing.into() })
        }
    }
}

/// The scores of a layer's query heads, made one score a KV head.
///
/// The group rules that are not one number a query head are their policy's own, and count as the mean here.
#[must_use]
pub fn grouped(layer: &Layer, rule: GroupRule, of_head: impl Fn(QueryHead) -> DVector<f64>) -> Vec<Vec<f64>> {
    let group = |heads: Vec<QueryHead>| {
        let scores = heads.iter().map(|&head| of_head(head));
        let joined = match rule {
            GroupRule::Max => scores.reduce(|most, next| most.sup(&next)),
            GroupRule::Sum => scores.reduce(|sum, next| sum + next),
            GroupRule::Mean | GroupRule::Attention | GroupRule::Exact => Some(mean_over(&heads, &of_head)),
        };
        joined.unwrap_or_default().as_slice().to_vec()
    };
    layer.query_groups().map(|(_, heads)| group(heads)).collect()
}

/// What a query head pays, as it leaves the stage at which attention is pooled.
#[must_use]
pub fn pooled(options: &PolicyOptions, attention: DVector<f64>) -> DVector<f64> {
    options.pool.at(PoolStage::Attention, attention.data.into()).into()
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

/// `norm1(v_i)` of every candidate.
#[must_use]
pub fn value_sizes(layer: &Layer, head: QueryHead) -> DVector<f64> {
    let values = layer.values_of(head);
    DVector::from_fn(layer.shape.candidate_len(), |position, _| values.row(position).lp_norm(1))
}

/// `norm1(v_i W_h)` of every candidate.
#[must_use]
pub fn projected_value_sizes(layer: &Layer, head: QueryHead) -> DVector<f64> {
    let projected = projected_values(layer, head);
    DVector::from_fn(projected.nrows(), |position, _| projected.row(position).lp_norm(1))
}

/// `A_h V_{h/G}`, `[rows, d]`: a query head's output before its projection.
#[must_use]
pub fn attended_values(layer: &Layer, head: QueryHead) -> DMatrix<f64> {
    &layer.attention.weights[head.0] * layer.values_of(head).rows(0, layer.shape.context_len)
}

/// The attention of one row, `[1, n]`, had `position` been evicted.
///
/// For where a weight nears 1 and `A / (1 - A)` keeps no digits; in each row that happens to one position at most.
#[must_use]
pub fn weights_without(layer: &Layer, head: QueryHead, position: usize, row: usize) -> DMatrix<f64> {
    let logits = layer.attention.logits[head.0].rows(row, 1).into_owned();
    let keeps: Vec<_> = (0..logits.ncols()).map(|other| other != position).collect();
    softmax_of_retained(&logits, &keeps)
}
