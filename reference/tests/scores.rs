//! Stage score: every policy's score and its pooling equal plain loops.

mod common;

use std::collections::BTreeSet;

use laprox_reference::{Backend, LayerIndex, Pooling, Reference};
use proptest::prelude::*;

use common::compare::{Stated, assert_heads_agree};
use common::problem::{Problem, Sizes, problems};
use common::stated_scores as stated;
use common::{config, policy, prepare, scored, scores};

type StatedScores = fn(&Problem) -> Vec<Vec<Stated>>;

fn assert_score(problem: &Problem, text: &str, stated: StatedScores) {
    assert_heads_agree(text, &scores(problem, text), &stated(problem), problem.rounding());
}

proptest! {
    #![proptest_config(config(192, "tests/scores.proptest-regressions"))]

    #[test]
    fn laprox_is_the_group_mean_of_pair_norms(problem in problems()) {
        assert_score(&problem, "laprox:pool=none", stated::laprox_mean);
    }

    #[test]
    fn laprox_attention_is_the_norm_of_mean_attention_times_the_mean_value_norm(problem in problems()) {
        assert_score(&problem, "laprox:gqa=attention,pool=none", stated::laprox_attention);
    }

    #[test]
    fn laprox_exact_is_the_norm_of_the_removed_block(problem in problems()) {
        assert_score(&problem, "laprox:gqa=exact,pool=none", stated::laprox_exact);
    }

    #[test]
    fn snapkv_is_the_mean_attention(problem in problems()) {
        assert_score(&problem, "snapkv:pool=none", stated::snapkv_mean);
    }

    #[test]
    fn snapkv_max_is_the_largest_mean_attention_of_the_group(problem in problems()) {
        assert_score(&problem, "snapkv:gqa=max,pool=none", stated::snapkv_max);
    }

    #[test]
    fn tova_is_the_last_rows_mean_over_all_heads_for_every_kv_head(problem in problems()) {
        assert_score(&problem, "tova", stated::tova);
        let scores = scores(&problem, "tova");
        prop_assert!(scores.iter().all(|head| *head == scores[0]));
    }

    #[test]
    fn sharp_rows_score_like_any_other(problem in problems()) {
        let problem = problem.sharpened(1000.0);
        assert_score(&problem, "laprox:pool=none", stated::laprox_mean);
        assert_score(&problem, "laprox:gqa=exact,pool=none", stated::laprox_exact);
        assert_score(&problem, "snapkv:pool=none", stated::snapkv_mean);
    }

    #[test]
    fn streaming_counts_positions(problem in problems()) {
        let recency: Vec<f64> = (0..problem.sizes.candidate_len).map(|i| i as f64 + 1.0).collect();
        prop_assert_eq!(scores(&problem, "streaming"), vec![recency; problem.sizes.kv_heads]);
    }

    /// Adding up `K` neighbours and dividing rounds far less often than the problem's rounding allows for.
    #[test]
    fn average_pooling_divides_by_the_kernel_whatever_lies_inside(
        problem in problems(),
        reach in 0..=6_usize,
    ) {
        let kernel = 2 * reach + 1;
        let pooled: Vec<_> =
            stated::laprox_mean(&problem).iter().map(|head| stated::averaged(head, kernel)).collect();
        let found = scores(&problem, &format!("laprox:pool=avg:{kernel}"));
        assert_heads_agree("averaged", &found, &pooled, problem.rounding());
    }

    /// Attention norms are pooled before they meet the value norms: with one query head per group, term by term.
    #[test]
    fn pooling_at_the_attention_smooths_the_attention_alone(problem in problems(), reach in 0..=4_usize) {
        let kernel = 2 * reach + 1;
        for (rule, stated) in [
            ("mean", stated::laprox_mean_of_pooled(&problem, kernel)),
            ("attention", stated::laprox_attention_of_pooled(&problem, kernel)),
        ] {
            let text = format!("laprox:gqa={rule},pool=avg:{kernel}@attention");
            assert_heads_agree(&text, &scores(&problem, &text), &stated, problem.rounding());
        }
    }

    #[test]
    fn max_pooling_takes_the_largest_neighbour(problem in problems(), reach in 0..=6_usize) {
        let kernel = 2 * reach + 1;
        let pooled: Vec<_> =
            stated::snapkv_mean(&problem).iter().map(|head| stated::maximal(head, kernel)).collect();
        let found = scores(&problem, &format!("snapkv:pool=max:{kernel}"));
        assert_heads_agree("maximal", &found, &pooled, problem.rounding());
    }

    #[test]
    fn the_defaults_pool_over_seven_where_the_paper_does(problem in problems()) {
        prop_assert_eq!(scores(&problem, "laprox"), scores(&problem, "laprox:pool=avg:7"));
        prop_assert_eq!(scores(&problem, "snapkv"), scores(&problem, "snapkv:pool=avg:7"));
        for name in ["centred", "tova", "random", "streaming"] {
            prop_assert_eq!(scores(&problem, name), scores(&problem, &format!("{name}:pool=none")));
        }
    }

    #[test]
    fn allocation_norm_and_sinks_leave_scores_alone(problem in problems()) {
        let plain = scores(&problem, "laprox");
        for options in ["allocation=head", "allocation=layer", "norm=output", "sinks=3"] {
            prop_assert_eq!(&scores(&problem, &format!("laprox:{options}")), &plain);
        }
    }
}

#[test]
fn pooling_whole_numbers_is_exact() {
    let numbers = vec![3.0, 6.0, 0.0, 9.0, 12.0];
    assert_eq!(Pooling::Average(3).apply(numbers.clone()), [3.0, 3.0, 5.0, 7.0, 7.0]);
    assert_eq!(Pooling::Max(3).apply(numbers.clone()), [6.0, 6.0, 9.0, 12.0, 12.0]);
    assert_eq!(Pooling::None.apply(numbers.clone()), numbers);
    assert_eq!(Pooling::Average(1).apply(numbers.clone()), numbers);
    assert_eq!(Pooling::Average(15).apply(numbers.clone()), [2.0; 5]);
    assert_eq!(Pooling::Max(15).apply(numbers), [12.0; 5]);
}

#[test]
fn max_pooling_does_not_count_what_lies_outside() {
    assert_eq!(Pooling::Max(3).apply(vec![-5.0, -7.0, -9.0]), [-5.0, -5.0, -7.0]);
}

#[test]
fn pooling_nothing_gives_nothing() {
    for pooling in [Pooling::None, Pooling::Average(7), Pooling::Max(7)] {
        assert_eq!(pooling.apply(Vec::new()), [0.0; 0]);
    }
}

/// Candidates alone are pooled: the window's own attention does not leak into the last candidates.
#[test]
fn pooling_stops_at_the_window() {
    let sizes = Sizes {
        kv_heads: 1,
        group_size: 1,
        head_dim: 1,
        hidden_dim: 1,
        candidate_len: 3,
        window_len: 1,
        future_len: 0,
    };
    assert_eq!(scores(&Problem::zero(sizes), "snapkv:pool=avg:5"), [[0.15; 3]]);
    assert_eq!(scores(&Problem::zero(sizes), "snapkv:pool=none"), [[0.25; 3]]);
}

#[test]
fn an_even_or_missing_kernel_is_refused() {
    for text in ["avg:0", "avg:2", "max:8", "avg", "avg:", "avg:-1", "avg:x", "min:3", "", "AVG:3", "avg:3:3"]
    {
        assert!(text.parse::<Pooling>().is_err(), "{text}");
    }
}

const WIDE: Sizes = Sizes {
    kv_heads: 2,
    group_size: 4,
    head_dim: 2,
    hidden_dim: 2,
    candidate_len: 200,
    window_len: 1,
    future_len: 0,
};

fn random_bits(layer: usize, options: &str) -> Vec<u64> {
    let problem = Problem::zero(WIDE);
    let prepared = Reference.prepare(&problem.layer_problem(LayerIndex(layer))).unwrap();
    let scores = scored(prepared.as_ref(), &policy(&format!("random{options}"))).unwrap();
    assert!(scores.values().all(|score| (0.0..1.0).contains(&score)));
    scores.values().map(f64::to_bits).collect()
}

#[test]
fn random_is_reproducible() {
    assert_eq!(random_bits(3, ":seed=5"), random_bits(3, ":seed=5"));
    assert_eq!(random_bits(3, ""), random_bits(3, ":seed=0"));
}

#[test]
fn random_reads_nothing_of_the_layer_but_its_place() {
    let mut problem = Problem::alive(WIDE, 9);
    problem.scale = 1.0;
    assert_eq!(scores(&problem, "random").concat(), scores(&Problem::zero(WIDE), "random").concat());
}

/// 800 draws that no two heads, layers or seeds share.
#[test]
fn random_differs_across_heads_layers_and_seeds() {
    let draws =
        [random_bits(0, ""), random_bits(1, ""), random_bits(0, ":seed=1"), random_bits(1, ":seed=1")];
    let distinct: BTreeSet<u64> = draws.concat().into_iter().collect();
    assert_eq!(distinct.len(), 4 * 2 * 200);
}

/// The mean of 400 uniform draws is off by `1 / sqrt(12 * 400) = 0.0144`; six of those happen to nobody.
#[test]
fn random_is_spread_over_the_unit_interval() {
    let draws = scores(&Problem::zero(WIDE), "random").concat();
    let mean = draws.iter().sum::<f64>() / draws.len() as f64;
    assert!((mean - 0.5).abs() < 6.0 * 0.0144, "{mean}");
    assert!(draws.iter().any(|&x| x < 0.05) && draws.iter().any(|&x| x > 0.95));
}

#[test]
fn reseeding_draws_anew() {
    let problem = Problem::zero(WIDE);
    let layer = prepare(&problem);
    let draw = |seed| scored(layer.as_ref(), &policy("random:seed=5").reseeded(seed)).unwrap();
    assert_eq!(draw(0), scored(layer.as_ref(), &policy("random:seed=5")).unwrap());
    assert_ne!(draw(0), draw(1));
}
