//! LaProx: the size of a slot's column-row pairs in the product of attention maps and projected values.
//!
//! `pool=avg:7@attention` smooths `norm2(a_{h,i})` over neighbouring candidates, not its product with the value norm.
//! `gqa=exact` has no such factor.

use nalgebra::{DMatrix, DVector};

use crate::columns::{attention_norms, pooled};
use crate::group::mean_over;
use crate::layer::Layer;
use crate::project::{projected_value_norms, projected_values};
use crate::{
    Allocation, Family, GroupRule, OptionKey, OptionList, PolicyEntry, PolicyOptions, Pool, PoolStage,
    Pooling, QueryHead, Rule, ScoreEntry, ScoreRule,
};

static SCORE: ScoreEntry = ScoreEntry { family: Family::PairNorms, rule: ScoreRule::Once(score) };

pub(super) const ENTRY: PolicyEntry = PolicyEntry {
    name: "laprox",
    formula: "p_i = mean over the group of norm2(a_{h,i}) * norm2(b_{h,i}); gqa=attention: norm2(mean of a_{h,i}) * \
              mean of norm2(b_{h,i}); gqa=exact: norm_F(sum over the group of a_{h,i} b_{h,i}^T)",
    source: "arXiv 2605.07234 (gqa=exact: this project)",
    caveat: "",
    rule: Rule::Score(&SCORE),
    options: OptionList::Ranking(&[
        OptionKey::Window,
        OptionKey::Pool(&[PoolStage::Score, PoolStage::Attention]),
        OptionKey::Gqa(&[GroupRule::Mean, GroupRule::Attention, GroupRule::Exact]),
    ]),
    defaults: PolicyOptions {
        allocation: Allocation::MODEL,
        pool: Pool::of_score(Pooling::Average(7)),
        ..PolicyOptions::PLAIN
    },
};

fn score(layer: &Layer, options: &PolicyOptions) -> Vec<Vec<f64>> {
    let group_score = match options.group_rule {
        GroupRule::Attention => norm_of_mean_attention,
        GroupRule::Exact => norm_of_removed_block,
        GroupRule::Mean | GroupRule::Sum | GroupRule::Max => mean_of_pair_norms,
    };
    layer.query_groups().map(|(_, group)| group_score(layer, options, &group).as_slice().to_vec()).collect()
}

/// `mean over the group of norm2(a_{h,i}) * norm2(b_{h,i})`.
fn mean_of_pair_norms(layer: &Layer, options: &PolicyOptions, group: &[QueryHead]) -> DVector<f64> {
    mean_over(group, |head| {
        pooled(options, attention_norms(layer, head)).component_mul(&projected_value_norms(layer, head))
    })
}

/// `norm2(mean over the group of a_{h,i}) * mean over the group of norm2(b_{h,i})`.
fn norm_of_mean_attention(layer: &Layer, options: &PolicyOptions, group: &[QueryHead]) -> DVector<f64> {
    let value_norms = mean_over(group, |head| projected_value_norms(layer, head));
    let attention_norms = DVector::from_fn(value_norms.len(), |position, _| {
        let column = |head: QueryHead| layer.attention.weights[head.0].column(position).clone_owned();
        mean_over(group, column).norm()
    });
    pooled(options, attention_norms).component_mul(&value_norms)
}

/// `norm_F(sum over the group of a_{h,i} b_{h,i}^T)`: the `drop` error of evicting this slot alone.
fn norm_of_removed_block(layer: &Layer, _: &PolicyOptions, group: &[QueryHead]) -> DVector<f64> {
    let projected: Vec<_> = group.iter().map(|&head| projected_values(layer, head)).collect();
    DVector::from_fn(layer.shape.candidate_len(), |position, _| {
        let mut block = DMatrix::zeros(layer.attention.rows(), layer.shape.hidden_dim);
        for (&head, projected) in group.iter().zip(&projected) {
            let attention = layer.attention.weights[head.0].column(position);
            block.ger(1.0, &attention, &projected.row(position).transpose(), 1.0);
        }
        block.norm()
    })
}
