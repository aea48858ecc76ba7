//! Small evictions whose outcome is written down.

mod common;

use laprox_reference::select::select;
use laprox_reference::{Backend, HeadScores, KvHead, LayerIndex, ModelScores, Reference, RetainedSet, evict};

use common::problem::{Problem, Sizes};
use common::{policy, refusal};

fn model(scores: &[Vec<Vec<f64>>], output_norms: &[f64]) -> ModelScores {
    let layers = scores.iter().enumerate().map(|(i, heads)| HeadScores::new(LayerIndex(i), heads).unwrap());
    ModelScores::new(layers.collect(), output_norms.to_vec(), scores[0].len()).unwrap()
}

/// The retained positions of each head, with a window of one position.
fn kept(text: &str, scores: &[Vec<Vec<f64>>], per_head: usize) -> Vec<Vec<u32>> {
    lists(&evict(&policy(text), &model(scores, &vec![1.0; scores.len()]), per_head, 1).unwrap())
}

fn lists(retained: &RetainedSet) -> Vec<Vec<u32>> {
    retained.offsets().windows(2).map(|ends| retained.positions()[ends[0]..ends[1]].to_vec()).collect()
}

/// Two layers of two heads with three candidates; the sums are 16 and 8.
fn two_layers() -> Vec<Vec<Vec<f64>>> {
    vec![vec![vec![8.0, 1.0, 2.0], vec![4.0, 1.0, 0.0]], vec![vec![3.0, 0.0, 0.0], vec![1.0, 2.0, 2.0]]]
}

#[test]
fn head_cuts_every_head() {
    assert_eq!(kept("snapkv", &two_layers(), 1), [[0, 3], [0, 3], [0, 3], [1, 3]]);
}

#[test]
fn layer_cuts_every_layer() {
    let expected = [vec![0, 3], vec![0, 3], vec![0, 3], vec![1, 3]];
    assert_eq!(kept("snapkv:allocation=layer", &two_layers(), 1), expected);
    let expected = [vec![0, 1, 2, 3], vec![0, 3], vec![0, 3], vec![0, 1, 2, 3]];
    assert_eq!(kept("snapkv:allocation=layer", &two_layers(), 2), expected);
}

/// 8/16, 3/8, then three of 1/4 for the last two places: layer 0's before the first of layer 1's. With eight places
/// the third follows, then 2/16 and its equal 1/8, and the first of two 1/16.
#[test]
fn model_cuts_shares_of_their_layer() {
    let expected = [vec![0, 3], vec![0, 3], vec![0, 3], vec![1, 3]];
    assert_eq!(kept("laprox", &two_layers(), 1), expected);
    let expected = [vec![0, 1, 2, 3], vec![0, 3], vec![0, 3], vec![0, 1, 2, 3]];
    assert_eq!(kept("laprox", &two_layers(), 2), expected);
}

/// 8, 4, 3, and the first of three twos.
#[test]
fn model_raw_cuts_the_scores_themselves() {
    let expected = [vec![0, 2, 3], vec![0, 3], vec![0, 3], vec![3]];
    assert_eq!(kept("snapkv:allocation=model-raw", &two_layers(), 1), expected);
    assert_eq!(kept("laprox:norm=none", &two_layers(), 1), expected);
}

/// Norms 16 and 2: layer 1's five scores above 1/2 win.
#[test]
fn norm_output_cuts_scores_over_their_layers_output() {
    let scores = model(&two_layers(), &[16.0, 2.0]);
    let retained = evict(&policy("laprox:norm=output"), &scores, 1, 1).unwrap();
    assert_eq!(lists(&retained), [vec![0, 3], vec![3], vec![0, 3], vec![1, 2, 3]]);
}

#[test]
fn ties_go_to_the_lower_layer_head_and_position() {
    let even = vec![vec![vec![1.0; 3]; 2]; 2];
    assert_eq!(kept("snapkv", &even, 1), [[0, 3]; 4]);
    let expected = [vec![0, 1, 3], vec![3], vec![0, 1, 3], vec![3]];
    assert_eq!(kept("snapkv:allocation=layer", &even, 1), expected);
    for text in ["laprox", "laprox:norm=output", "laprox:norm=none", "laprox:allocation=model-raw"] {
        assert_eq!(kept(text, &even, 1), [vec![0, 1, 2, 3], vec![0, 3], vec![3], vec![3]], "{text}");
    }
}

#[test]
fn a_layer_of_zeros_comes_last_but_is_no_error() {
    let scores = vec![vec![vec![0.0; 2]], vec![vec![1.0, 3.0]]];
    assert_eq!(kept("laprox", &scores, 1), [vec![2], vec![0, 1, 2]]);
    let zeros = vec![vec![vec![0.0; 2]], vec![vec![0.0; 2]]];
    assert_eq!(kept("laprox", &zeros, 1), [vec![0, 1, 2], vec![2]]);
}

#[test]
fn negative_scores_keep_their_order_under_the_sum() {
    let scores = vec![vec![vec![-4.0, -1.0, -3.0]], vec![vec![-2.0, -4.0, -2.0]]];
    // -1/8, then twice -2/8.
    assert_eq!(kept("laprox", &scores, 1), [vec![1, 3], vec![0, 3]]);
    assert_eq!(kept("laprox", &scores, 2), [vec![1, 2, 3], vec![0, 2, 3]]);
}

#[test]
fn sinks_stay_whatever_they_score() {
    let scores = vec![vec![vec![0.0, 1.0, 9.0]], vec![vec![5.0, 1.0, 7.0]]];
    assert_eq!(kept("snapkv:sinks=1", &scores, 2), [[0, 2, 3], [0, 2, 3]]);
    assert_eq!(kept("laprox:allocation=model-raw,sinks=1", &scores, 1), [[0, 3], [0, 3]]);
}

/// Among sinks, as among the rest, the higher score wins.
#[test]
fn more_sinks_than_the_budget_compete_by_score() {
    let scores = vec![vec![vec![0.0, 1.0, 9.0]], vec![vec![5.0, 1.0, 7.0]]];
    assert_eq!(kept("snapkv:sinks=2", &scores, 1), [[1, 3], [0, 3]]);
    assert_eq!(kept("snapkv:sinks=9", &scores, 2), [[1, 2, 3], [0, 2, 3]]);
}

const SIZES: Sizes = Sizes {
    kv_heads: 2,
    group_size: 1,
    head_dim: 1,
    hidden_dim: 1,
    candidate_len: 8,
    window_len: 2,
    future_len: 0,
};

/// What a policy keeps of one layer, from its own scores.
fn evicted(problem: &Problem, text: &str, per_head: usize) -> RetainedSet {
    let layer = Reference.prepare(&problem.layer_problem(LayerIndex(0))).unwrap();
    let scores = vec![layer.score(&policy(text)).unwrap()];
    let scores = ModelScores::new(scores, vec![layer.output_norm()], problem.sizes.kv_heads).unwrap();
    evict(&policy(text), &scores, per_head, problem.sizes.window_len).unwrap()
}

#[test]
fn streaming_keeps_four_sinks_and_the_most_recent() {
    let problem = Problem::alive(SIZES, 0);
    assert_eq!(lists(&evicted(&problem, "streaming", 6)), [[0, 1, 2, 3, 6, 7, 8, 9]; 2]);
    assert_eq!(lists(&evicted(&problem, "streaming:sinks=1", 3)), [[0, 6, 7, 8, 9]; 2]);
    assert_eq!(lists(&evicted(&problem, "streaming:sinks=0", 2)), [[6, 7, 8, 9]; 2]);
}

#[test]
fn retained_lists_are_those_of_their_layer_and_head() {
    let retained = RetainedSet::from_candidates(2, 5, 2, &[vec![0], vec![], vec![1, 2], vec![0, 2]]).unwrap();
    assert_eq!(retained.layer_count(), 2);
    assert_eq!(retained.offsets(), [0, 3, 5, 9, 13]);
    assert_eq!(retained.layer(0).head(KvHead(1)), [3, 4]);
    assert_eq!(retained.layer(1).head(KvHead(0)), [1, 2, 3, 4]);
    assert_eq!(retained.layer(1).keeps(KvHead(1)), [true, false, true, true, true]);
    assert_eq!(RetainedSet::everything(2, 1, 2).unwrap().positions(), [0, 1, 0, 1]);
}

#[test]
fn quotas_that_are_not_one_a_head_are_refused() {
    let scores = model(&two_layers(), &[1.0, 1.0]);
    let message = refusal(select(&scores, &[1, 1, 1], 0, 1));
    assert_eq!(message, "quotas: expected 4, one a KV head, found 3");
}

/// `w = n`: there is nothing to evict, whatever the policy.
#[test]
fn a_window_as_long_as_the_context_keeps_everything() {
    let problem = Problem::alive(Sizes { candidate_len: 0, ..SIZES }, 0);
    let everything = RetainedSet::everything(1, 2, 2).unwrap();
    for name in ["full", "random", "streaming", "tova", "snapkv", "centred", "laprox"] {
        assert_eq!(evicted(&problem, name, 0), everything, "{name}");
    }
    for allocation in ["head", "layer", "model", "model-raw"] {
        let text = format!("laprox:allocation={allocation}");
        assert_eq!(evicted(&problem, &text, 0), everything, "{text}");
    }
}
