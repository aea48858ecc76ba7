//! Small evictions whose outcome is written down.

mod common;

use laprox_reference::protected::Protected;
use laprox_reference::select::select;
use laprox_reference::{
    Allocation, CandidatesPerHead, Error, HeadScores, KvHead, LayerIndex, LayerOrdinal, ModelScores,
    RetainedSet, Statistic, cut,
};

use common::problem::{Problem, Sizes};
use common::{evicted, lists, policy, ranking_policies, refusal};

fn model(scores: &[Vec<Vec<f64>>]) -> ModelScores {
    let layers =
        scores.iter().enumerate().map(|(i, heads)| HeadScores::new(LayerIndex(i), heads.clone()).unwrap());
    ModelScores::new(layers.collect()).unwrap()
}

/// The set that a policy keeps by scores, with a window of one position.
fn evict(text: &str, scores: &ModelScores, per_head: usize) -> Result<RetainedSet, Error> {
    cut(&policy(text), scores, CandidatesPerHead(per_head), 1)
}

/// The retained positions of each head, with a window of one position.
fn kept(text: &str, scores: &[Vec<Vec<f64>>], per_head: usize) -> Vec<Vec<u32>> {
    let norms = vec![1.0; scores.len()];
    let scores = model(scores).with(Statistic::OutputNorm, norms).unwrap();
    lists(&evict(text, &scores, per_head).unwrap())
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
    let scores = model(&two_layers()).with(Statistic::OutputNorm, vec![16.0, 2.0]).unwrap();
    let retained = evict("laprox:norm=output", &scores, 1).unwrap();
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

#[test]
fn streaming_keeps_four_sinks_and_the_most_recent() {
    let problem = [Problem::alive(SIZES, 0)];
    assert_eq!(lists(&evicted(&problem, "streaming", 6)), [[0, 1, 2, 3, 6, 7, 8, 9]; 2]);
    assert_eq!(lists(&evicted(&problem, "streaming:sinks=1", 3)), [[0, 6, 7, 8, 9]; 2]);
    assert_eq!(lists(&evicted(&problem, "streaming:sinks=0", 2)), [[6, 7, 8, 9]; 2]);
}

/// How many of its ten candidates each head of `L` layers of two heads keeps.
fn counts(text: &str, scores: &[Vec<Vec<f64>>], per_head: usize) -> Vec<usize> {
    kept(text, scores, per_head).iter().map(|head| head.len() - 1).collect()
}

fn even(layers: usize) -> Vec<Vec<Vec<f64>>> {
    vec![vec![vec![1.0; 10]; 2]; layers]
}

/// `b - w = 4` over three layers: 7.8, 4 and 0.2 with beta = 20, so 8, 4 and 0; 6, 4 and 2 with beta = 2. With 8 the
/// first would keep 15.6 of 10, so 10, 8 and 6.
#[test]
fn pyramid_falls_in_a_line() {
    assert_eq!(counts("snapkv:allocation=pyramid", &even(3), 4), [8, 8, 4, 4, 0, 0]);
    assert_eq!(counts("snapkv:allocation=pyramid,beta=2", &even(3), 4), [6, 6, 4, 4, 2, 2]);
    assert_eq!(counts("snapkv:allocation=pyramid,beta=1", &even(3), 4), [4; 6]);
    assert_eq!(counts("snapkv:allocation=pyramid", &even(3), 8), [10, 10, 8, 8, 6, 6]);
    assert_eq!(counts("snapkv:allocation=pyramid", &even(1), 4), [4, 4]);
    // 3 are left to each head on average after the first: 5.85, 3 and 0.15.
    assert_eq!(counts("snapkv:allocation=pyramid,min_per_head=1", &even(3), 4), [7, 7, 4, 4, 1, 1]);
}

/// A layer whose first head holds the top seven and second head the eighth: 0.8 * (7, 1) + 0.2 * 4 is (6.4, 1.6).
#[test]
fn ada_mixes_the_layers_cut_with_an_even_share() {
    let mut scores = even(1);
    scores[0][0][..7].fill(3.0);
    scores[0][1][5] = 2.0;
    assert_eq!(counts("snapkv:allocation=layer", &scores, 4), [7, 1]);
    assert_eq!(counts("adakv", &scores, 4), [6, 2]);
    assert_eq!(counts("adakv:alpha=0", &scores, 4), [7, 1]);
    assert_eq!(counts("adakv:alpha=1", &scores, 4), [4, 4]);
    // (5.5, 2.5): the first of equal remainders is rounded up.
    assert_eq!(counts("adakv:alpha=0.5", &scores, 4), [6, 2]);
    // Two each, and 0.8 * (4, 0) + 0.2 * 2 of the four that are left: (3.6, 0.4).
    assert_eq!(counts("adakv:min_per_head=2", &scores, 4), [6, 2]);
    assert_eq!(counts("adakv:min_per_head=4", &scores, 4), [4, 4]);
}

fn spread_kept(text: &str, spreads: [(f64, f64); 3], per_head: usize) -> Vec<usize> {
    let (entropies, variances) = (spreads.map(|spread| spread.0), spreads.map(|spread| spread.1));
    let scores = model(&even(3)).with(Statistic::AttentionEntropy, entropies.to_vec()).unwrap();
    let scores = scores.with(Statistic::AttentionVariance, variances.to_vec()).unwrap();
    let retained = evict(text, &scores, per_head).unwrap();
    lists(&retained).chunks(2).map(|layer| layer[0].len() - 1).collect()
}

/// Weights 1, 2 and 3 of twelve are 2, 4 and 6; of twenty-four they would be 4, 8 and 12 of 10, so 4.67, 9.33 and 10.
#[test]
fn cake_divides_in_proportion_to_the_layers_spread() {
    let spreads = [(1.0, 1.0), (2.0, 1.0), (1.0, 3.0)];
    assert_eq!(spread_kept("cake", spreads, 4), [2, 4, 6]);
    assert_eq!(spread_kept("cake", spreads, 8), [5, 9, 10]);
    // One each, and 1.5, 3 and 4.5 of the nine that are left.
    assert_eq!(spread_kept("cake:min_per_head=1", spreads, 4), [3, 4, 5]);
    // Weights 1, 4 and 4 of nine with one temperature halved, with the other 1, 2 and 9 of twelve.
    assert_eq!(spread_kept("cake:tau2=0.5", [(1.0, 1.0), (1.0, 2.0), (4.0, 1.0)], 3), [1, 4, 4]);
    assert_eq!(spread_kept("cake:tau1=0.5", [(1.0, 1.0), (1.0, 2.0), (3.0, 1.0)], 4), [1, 2, 9]);
}

/// A layer that attends to one position, or steadily, has no weight; without any weight all are alike.
#[test]
fn cake_without_spread_divides_evenly() {
    assert_eq!(spread_kept("cake", [(0.0, 1.0), (1.0, 1.0), (1.0, 0.0)], 3), [0, 9, 0]);
    assert_eq!(spread_kept("cake", [(0.0, 1.0), (1.0, 1.0), (1.0, 0.0)], 4), [1, 10, 1]);
    assert_eq!(spread_kept("cake", [(0.0, 0.0); 3], 4), [4, 4, 4]);
}

#[test]
fn a_statistic_that_is_missing_is_refused() {
    let message = refusal(evict("cake", &model(&even(3)), 4));
    assert_eq!(message, "statistics: expected one AttentionEntropy per layer, found none");
    let message = refusal(evict("laprox:norm=output", &model(&even(3)), 4));
    assert_eq!(message, "statistics: expected one OutputNorm per layer, found none");
    let message = refusal(model(&even(3)).with(Statistic::OutputNorm, vec![1.0; 2]));
    assert_eq!(message, "statistics: expected 3, one OutputNorm per layer, found 2");
}

/// Entropies ln 4, ln 16 and 0: of twelve, 4, 8 and 0 per head; of the nine left after a minimum of one, 3, 6 and 0.
#[test]
fn lava_divides_in_proportion_to_the_entropy_of_the_scores() {
    let mut scores = vec![vec![vec![0.0; 10]; 2]; 3];
    scores[0].iter_mut().for_each(|head| head[..2].fill(5.0));
    scores[1].iter_mut().for_each(|head| head[..8].fill(0.25));
    scores[2][0][7] = 1.0;
    assert_eq!(counts("snapkv:allocation=lava,alpha=1", &scores, 4), [4, 4, 8, 8, 0, 0]);
    assert_eq!(counts("snapkv:allocation=lava,alpha=1,min_per_head=1", &scores, 4), [4, 4, 7, 7, 1, 1]);
    // The first layer's cut takes its four fives and then, of even zeros, the first head's: 0.8 * (6, 2) + 0.2 * 4.
    assert_eq!(counts("snapkv:allocation=lava", &scores, 4), [6, 2, 8, 8, 0, 0]);
    let zeros = vec![vec![vec![0.0; 10]; 2]; 3];
    assert_eq!(counts("lava:alpha=1", &zeros, 4), [4; 6]);
}

/// Every head has its own best two first; the other four places go to the highest scores that are left.
#[test]
fn a_minimum_comes_before_the_rule() {
    let mut scores = even(2);
    scores[0][0].fill(9.0);
    assert_eq!(counts("snapkv:allocation=model-raw", &scores, 3), [10, 2, 0, 0]);
    assert_eq!(counts("snapkv:allocation=model-raw,min_per_head=2", &scores, 3), [6, 2, 2, 2]);
    assert_eq!(counts("snapkv:allocation=layer,min_per_head=2", &scores, 3), [4, 2, 4, 2]);
    assert_eq!(counts("snapkv:allocation=model-raw,min_per_head=9", &scores, 3), [3; 4]);
}

/// Of four places the base score fills two; the other two go by the second score.
#[test]
fn two_stages_fill_a_share_one_after_another() {
    let first = vec![vec![5.0, 4.0, 3.0, 2.0, 1.0, 0.0]];
    let second = vec![vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0]];
    let kept = |text: &str, ratio: f64, per_head: usize| {
        let layer =
            HeadScores::new(LayerIndex(0), first.clone()).unwrap().then(second.clone(), ratio).unwrap();
        lists(&evict(text, &ModelScores::new(vec![layer]).unwrap(), per_head).unwrap()).concat()
    };
    assert_eq!(kept("criticalkv", 0.5, 4), [0, 1, 4, 5, 6]);
    assert_eq!(kept("criticalkv", 0.5, 3), [0, 4, 5, 6]);
    assert_eq!(kept("criticalkv", 0.0, 2), [4, 5, 6]);
    assert_eq!(kept("criticalkv", 1.0, 2), [0, 1, 6]);
    assert_eq!(kept("criticalkv:sinks=1", 0.0, 2), [0, 5, 6]);
    assert_eq!(kept("criticalkv:allocation=model", 0.5, 4), [0, 1, 4, 5, 6]);
}

#[test]
fn second_scores_of_another_shape_are_refused() {
    let first = || HeadScores::new(LayerIndex(0), vec![vec![1.0, 2.0]]).unwrap();
    let message = refusal(first().then(vec![vec![1.0]], 0.5));
    assert_eq!(message, "second scores: expected 1 KV heads of 2 candidates, found 1 of 1");
    assert!(
        refusal(first().then(vec![vec![1.0, f64::NAN]], 0.5))
            .starts_with("score of layer 0, KV head 0, position 1")
    );
}

#[test]
fn retained_lists_are_those_of_their_layer_and_head() {
    let retained = RetainedSet::from_candidates(2, 5, 2, &[vec![0], vec![], vec![1, 2], vec![0, 2]]).unwrap();
    assert_eq!(retained.layer_count(), 2);
    assert_eq!(retained.offsets(), [0, 3, 5, 9, 13]);
    assert_eq!(retained.layer(LayerOrdinal(0)).head(KvHead(1)), [3, 4]);
    assert_eq!(retained.layer(LayerOrdinal(1)).head(KvHead(0)), [1, 2, 3, 4]);
    assert_eq!(retained.layer(LayerOrdinal(1)).keeps(KvHead(1)), [true, false, true, true, true]);
    assert_eq!(RetainedSet::everything(2, 1, 2).unwrap().positions(), [0, 1, 0, 1]);
}

#[test]
fn quotas_that_are_not_one_per_head_are_refused() {
    let scores = model(&two_layers());
    let message = refusal(select(&scores, &[1, 1, 1], Protected::NONE, 1));
    assert_eq!(message, "quotas: expected 4, one per KV head, found 3");
}

/// `w = n`: there is nothing to evict, whatever the policy.
#[test]
fn a_window_as_long_as_the_context_keeps_everything() {
    let problem = [Problem::alive(Sizes { candidate_len: 0, ..SIZES }, 0)];
    let everything = RetainedSet::everything(1, 2, 2).unwrap();
    for entry in ranking_policies() {
        for allocation in Allocation::ALL {
            let text = format!("{}:allocation={}", entry.name, allocation.name());
            assert_eq!(evicted(&problem, &text, 0), everything, "{text}");
        }
    }
}
