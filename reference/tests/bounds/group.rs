//! B7: the group's sum of complete scores bounds the cost of a slot; the `attention` form does not.

use laprox_reference::oracle::PairGram;
use laprox_reference::project::projected_value_norms;
use laprox_reference::{Form, LayerIndex, ReferenceLayer};
use nalgebra::DVector;

use crate::common::hostile::{layer, window_gram};
use crate::common::problem::{Problem, Sizes};
use crate::common::{policy, scored};

const SIZES: Sizes = Sizes {
    kv_heads: 1,
    group_size: 2,
    head_dim: 1,
    hidden_dim: 1,
    candidate_len: 1,
    window_len: 1,
    future_len: 0,
};

/// `norm2(sum over the group of a_{h,i}) * mean over the group of norm2(b_{h,i})`, which is `G` times the score, and what
/// evicting slot `i` alone costs.
fn attention_form_and_cost(problem: &Problem) -> (f64, f64) {
    let layer = layer(problem);
    let heads: Vec<_> = layer.shape.query_heads().collect();
    let column = |h: &laprox_reference::QueryHead| layer.attention.weights[h.0].column(0).clone_owned();
    let attention: DVector<f64> = heads.iter().map(column).fold(DVector::zeros(1), |sum, next| sum + next);
    let norms: f64 = heads.iter().map(|&h| projected_value_norms(&layer, h)[0]).sum();
    (attention.norm() * norms / heads.len() as f64, window_gram(&layer, Form::LayerWise).diagonal()[0].sqrt())
}

/// The first seed at which a search over random problems found the form below the cost.
const COUNTEREXAMPLE: u64 = 2;

#[test]
fn the_attention_form_is_no_upper_bound() {
    let below = |seed: &u64| {
        let (form, cost) = attention_form_and_cost(&Problem::alive(SIZES, *seed));
        form < 0.99 * cost
    };
    assert_eq!((0..1000).find(below), Some(COUNTEREXAMPLE));
}

/// One head attends to the slot, and another one, that does not, projects its value to nothing: half the cost is lost.
#[test]
fn the_attention_form_pairs_one_heads_attention_with_anothers_values() {
    let mut problem = Problem::zero(SIZES);
    problem.query = vec![40.0, -40.0];
    problem.key = vec![1.0, 0.0];
    problem.value = vec![8.0, 0.0];
    problem.projection = vec![1.0, 0.0];
    let (form, cost) = attention_form_and_cost(&problem);
    assert_eq!((form, cost), (4.0, 8.0));
    let layer = ReferenceLayer::new(&problem.layer_problem(LayerIndex(0))).unwrap();
    let score = |rule: &str| {
        scored(&layer, &policy(&format!("laprox:pool=none,gqa={rule}"))).unwrap().values().next().unwrap()
    };
    assert_eq!((score("attention"), score("mean"), score("exact")), (2.0, 4.0, 8.0));
}
