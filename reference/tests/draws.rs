//! Draws with known probabilities: water-filling, the pivotal method, and what a drawn set says about its own error.

mod common;

use laprox_reference::bounds::interval::Along;
use laprox_reference::draw::{inclusion_probabilities, pivotal};
use laprox_reference::protected::Protected;
use laprox_reference::{
    CandidatesPerHead, InMemory, InTurn, LayerIndex, LayerOrdinal, Policy, Reference, ReferenceLayer,
    RetainedSet, Searching, pipeline,
};
use nalgebra::DMatrix;
use proptest::prelude::*;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use common::problem::{Problem, Sizes};
use common::{config, lists, policy, refusal};

const SIZES: Sizes = Sizes {
    kv_heads: 2,
    group_size: 3,
    head_dim: 6,
    hidden_dim: 9,
    candidate_len: 40,
    window_len: 4,
    future_len: 2,
};

/// `min(1, c s)` with the `c` at which these add up to `quota`, by halving.
fn water_filled(scores: &[f64], quota: usize) -> Vec<f64> {
    let filled = |c: f64| scores.iter().map(|score| (c * score).min(1.0)).collect::<Vec<_>>();
    let (mut low, mut high) = (0.0, 1e12);
    for _ in 0..200 {
        let middle = f64::midpoint(low, high);
        if filled(middle).iter().sum::<f64>() < quota as f64 { low = middle } else { high = middle }
    }
    filled(high)
}

proptest! {
    #![proptest_config(config(256, "tests/draws.proptest-regressions"))]

    #[test]
    fn probabilities_are_scores_filled_to_the_quota(
        scores in prop::collection::vec(0.001..1000.0_f64, 1..40),
        share in 0.0..=1.0_f64,
    ) {
        let quota = (share * scores.len() as f64) as usize;
        let found = inclusion_probabilities(&scores, Protected::NONE, quota);
        for (found, expected) in found.iter().zip(water_filled(&scores, quota)) {
            prop_assert!((found - expected).abs() < 1e-9, "{found} against {expected}");
        }
    }

    #[test]
    fn a_draw_keeps_exactly_the_quota_and_all_that_is_certain(
        scores in prop::collection::vec(prop_oneof![Just(0.0), 0.001..1000.0_f64], 1..60),
        share in 0.0..=1.0_f64,
        seed in any::<u64>(),
    ) {
        let quota = (share * scores.len() as f64) as usize;
        let protected = Protected::new(2, 0.0, quota, scores.len());
        let probabilities = inclusion_probabilities(&scores, protected, quota);
        prop_assert!(probabilities.iter().all(|p| (0.0..=1.0).contains(p)));
        let certain = (0..scores.len().min(2)).filter(|_| quota >= 2).all(|i| probabilities[i] == 1.0);
        prop_assert!(certain, "{probabilities:?}");
        let drawn = pivotal(&probabilities, &mut ChaCha8Rng::seed_from_u64(seed));
        prop_assert_eq!(drawn.len(), quota);
        prop_assert!(drawn.windows(2).all(|pair| pair[0] < pair[1]));
        prop_assert!((0..scores.len()).all(|i| probabilities[i] < 1.0 || drawn.contains(&i)));
        prop_assert!(drawn.iter().all(|&i| probabilities[i] > 0.0));
    }
}

#[test]
fn each_candidate_is_drawn_as_often_as_its_probability_says() {
    let scores: Vec<f64> = (1..=12).map(|i| f64::from(i).powi(2)).collect();
    let probabilities = inclusion_probabilities(&scores, Protected::NONE, 5);
    assert!(probabilities[11] == 1.0 && probabilities[0] < 0.01);
    let (draws, mut counts) = (40_000, [0_u32; 12]);
    let mut generator = ChaCha8Rng::seed_from_u64(3);
    for _ in 0..draws {
        pivotal(&probabilities, &mut generator).into_iter().for_each(|i| counts[i] += 1);
    }
    for (count, p) in counts.iter().zip(&probabilities) {
        let deviation = (f64::from(draws) * p * (1.0 - p)).sqrt();
        let off = (f64::from(*count) - f64::from(draws) * p).abs();
        assert!(off <= 4.5 * deviation, "{count} of {draws} at {p}");
    }
}

fn evicted(problems: &[Problem], policy: Policy, per_head: usize) -> RetainedSet {
    let layers = problems.iter().enumerate().map(|(index, problem)| problem.layer_problem(LayerIndex(index)));
    let layers = InMemory::new(&Reference, layers.collect(), InTurn).unwrap();
    pipeline::evict(&Reference, &layers, &[policy], &[CandidatesPerHead(per_head)], &Searching::FREE)
        .unwrap()
        .concat()
        .remove(0)
}

#[test]
fn poisson_keeps_the_budget_with_the_biases_of_its_probabilities() {
    let problems: Vec<Problem> = (0..2).map(|seed| Problem::alive(SIZES, seed)).collect();
    let set = evicted(&problems, policy("poisson"), 9);
    assert_eq!(set.layer_count(), 2);
    let mut bias = set.reweighting().unwrap().bias().iter();
    for (head, kept) in lists(&set).iter().enumerate() {
        assert_eq!(kept.len(), 9 + SIZES.window_len);
        let scores = common::scores(&problems[head / 2], "centred").swap_remove(head % 2);
        let probabilities = water_filled(&scores, 9);
        for &position in kept {
            let expected = if position < 40 { -probabilities[position as usize].ln() } else { 0.0 };
            let found = f64::from(*bias.next().unwrap());
            assert!((found - expected).abs() <= 1e-6 * expected.max(1.0), "{found} against {expected}");
        }
    }
    assert_eq!(set, evicted(&problems, policy("poisson"), 9), "one seed, one draw");
    assert_ne!(lists(&set), lists(&evicted(&problems, policy("poisson:seed=1"), 9)));
    let everything = evicted(&problems, policy("poisson"), 40);
    assert!(everything.reweighting().unwrap().bias().iter().all(|&bias| bias == 0.0));
}

#[test]
fn poisson_refuses_a_refit() {
    let refused = refusal("poisson:refit=bias".parse::<Policy>());
    assert!(refused.starts_with("policy 'poisson': no option 'refit'"), "{refused}");
}

/// The numerator that a draw estimates is unbiased whatever it keeps, and a full set has no error.
#[test]
fn estimates_are_unbiased_and_a_full_set_is_exact() {
    let problem = Problem::alive(SIZES, 11);
    let layer = ReferenceLayer::new(&problem.layer_problem(LayerIndex(0))).unwrap();
    let direction = DMatrix::from_fn(4, 9, |row, column| ((row * 9 + column) as f64).sin());
    let along = Along::new(&layer, &direction);
    let of = |seed: u64, per_head| {
        let set = evicted(std::slice::from_ref(&problem), policy("poisson").reseeded(seed), per_head);
        along.estimate(set.layer(LayerOrdinal(0))).unwrap()
    };
    let full = of(0, 40);
    let scale = 1e-12 * along.exact().abs().max(1.0);
    for found in [full.hajek, full.horvitz_thompson, full.value] {
        assert!((found - along.exact()).abs() <= scale, "{found} against {}", along.exact());
    }
    assert_eq!((full.variance, full.half_width(0.95)), (0.0, 0.0));
    assert_eq!(
        of(0, 1).half_width(0.95),
        f64::INFINITY,
        "one drawn candidate says nothing about its own error"
    );

    let estimates: Vec<f64> = (0..1000).map(|seed| of(seed, 12).horvitz_thompson).collect();
    let mean = estimates.iter().sum::<f64>() / 1000.0;
    let variance = estimates.iter().map(|estimate| (estimate - mean).powi(2)).sum::<f64>() / 999.0;
    let error = (variance / 1000.0).sqrt();
    assert!(
        error > 0.0 && (mean - along.exact()).abs() <= 4.0 * error,
        "{mean} +- {error}, {}",
        along.exact()
    );
}
