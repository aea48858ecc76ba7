//! OBCache: the second-order change of a head's output when a value, a key, or both are taken to zero.
//!
//! With `Z` the scaled logits, `o_t` the head's output in row `t` before its projection, all `[d]`, taking `v_i` to zero
//! changes row `t` by `-A v_i`, taking `k_i` to zero (so `Z` to 0) by `-A Z (v_i - o_t)` to first order, and both by the sum:
//!
//! ```text
//! joint = sum_t norm2(A v_i + A Z (v_i - o_t))^2
//!       = value + key + 2 sum_t A^2 Z (norm2(v_i)^2 - <v_i, o_t>)
//! ```
//!
//! The paper (arXiv 2510.07651) pools by the maximum over 7. Its code could not be consulted.

use nalgebra::{DMatrix, DVector, RowDVector};

use crate::columns::attended_values;
use crate::group::grouped;
use crate::layer::Layer;
use crate::{
    Family, GroupRule, OptionKey, OptionList, PolicyEntry, PolicyOptions, Pool, PoolStage, Pooling,
    QueryHead, Rule, ScoreEntry, ScoreRule,
};

static VALUE_SCORE: ScoreEntry = ScoreEntry { family: Family::Other, rule: ScoreRule::Once(value) };

static KEY_SCORE: ScoreEntry = ScoreEntry { family: Family::Other, rule: ScoreRule::Once(key) };

static JOINT_SCORE: ScoreEntry = ScoreEntry { family: Family::Other, rule: ScoreRule::Once(joint) };

pub(super) const VALUE: PolicyEntry = PolicyEntry {
    name: "obcache_v",
    formula: "s_i = sum over the group of sum_t A_h[t,i]^2 norm2(v_i)^2",
    source: "arXiv 2510.07651",
    caveat: "",
    rule: Rule::Score(&VALUE_SCORE),
    options: OptionList::Ranking(&[
        OptionKey::Window,
        OptionKey::Pool(&[PoolStage::Score]),
        OptionKey::Gqa(&[GroupRule::Sum, GroupRule::Max]),
    ]),
    defaults: PolicyOptions {
        group_rule: GroupRule::Sum,
        pool: Pool::of_score(Pooling::Max(7)),
        ..PolicyOptions::PLAIN
    },
};

pub(super) const KEY: PolicyEntry = PolicyEntry {
    name: "obcache_k",
    formula: "s_i = sum over the group of sum_t (A_h[t,i] Z_h[t,i])^2 norm2(v_i - o_{h,t})^2, Z the scaled logits",
    rule: Rule::Score(&KEY_SCORE),
    ..VALUE
};

pub(super) const JOINT: PolicyEntry = PolicyEntry {
    name: "obcache_joint",
    formula: "s_i = obcache_v + obcache_k + 2 sum over the group of sum_t A^2 Z (norm2(v_i)^2 - <v_i, o_{h,t}>)",
    rule: Rule::Score(&JOINT_SCORE),
    ..VALUE
};

/// The loss of row `t` per unit of attention, from `v_i`, `Z` and `o_t`.
type Change = fn(&RowDVector<f64>, f64, &RowDVector<f64>) -> RowDVector<f64>;

fn value(layer: &Layer, options: &PolicyOptions) -> Vec<Vec<f64>> {
    scored(layer, options, |value, _, _| value.clone())
}

fn key(layer: &Layer, options: &PolicyOptions) -> Vec<Vec<f64>> {
    scored(layer, options, |value, logit, output| (value - output) * logit)
}

fn joint(layer: &Layer, options: &PolicyOptions) -> Vec<Vec<f64>> {
    scored(layer, options, |value, logit, output| value + (value - output) * logit)
}

fn scored(layer: &Layer, options: &PolicyOptions, change: Change) -> Vec<Vec<f64>> {
    grouped(layer, options.group_rule, |head| {
        let outputs = attended_values(layer, head);
        DVector::from_fn(layer.shape.candidate_len(), |position, _| {
            squared_change(layer, head, position, &outputs, change)
        })
    })
}

/// `sum_t A^2 norm2(change)^2`.
fn squared_change(
    layer: &Layer,
    head: QueryHead,
    position: usize,
    outputs: &DMatrix<f64>,
    change: Change,
) -> f64 {
    let value = layer.values_of(head).row(position).into_owned();
    let weights = layer.attention.weights[head.0].column(position);
    let logits = layer.attention.logits[head.0].column(position);
    let row =
        |t: usize| (change(&value, logits[t], &outputs.row(t).into_owned()) * weights[t]).norm_squared();
    (0..weights.len()).map(row).sum()
}
