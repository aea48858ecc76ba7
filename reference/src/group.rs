//! Stage *group*: the scores of a KV head's query heads become one.

use nalgebra::DVector;

use crate::layer::Layer;
use crate::options::GroupRule;
use crate::shape::QueryHead;

/// The scores of a layer's query heads, joined to one list per KV head.
///
/// The rules `attention` and `exact` join no scores. Their policy computes them, and they count as the mean here.
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

/// The mean of one vector per query head.
#[must_use]
pub fn mean_over(heads: &[QueryHead], per_head: impl Fn(QueryHead) -> DVector<f64>) -> DVector<f64> {
    let sum = heads.iter().map(|&head| per_head(head)).reduce(|sum, next| sum + next);
    sum.unwrap_or_default() / heads.len() as f64
}
