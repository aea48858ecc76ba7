//! Wrong statements are caught.

use laprox_reference::LayerOrdinal;
use laprox_reference::bounds::chance::{Exponential, least_visible};
use laprox_reference::bounds::sampling::{Trials, expected_error, mean_error, proportional, uniform};
use laprox_reference::bounds::{Bound, Case, Draws, Evidence, FALSE_ALARM_RATE, LayerPairs};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::common::hostile::{layer, some_candidates, without};
use crate::common::problem::{Problem, Sizes};

const SIZES: Sizes = Sizes {
    kv_heads: 2,
    group_size: 2,
    head_dim: 4,
    hidden_dim: 6,
    candidate_len: 12,
    window_len: 4,
    future_len: 0,
};

fn bound(left: f64, right: f64, evidence: Evidence) -> Bound {
    Bound { id: "B0", statement: "left and right", left, right, evidence }
}

#[test]
fn a_side_that_is_no_number_proves_nothing() {
    let at_most = Evidence::AtMost { rounding: 1.0 };
    assert!(bound(1.0, 0.5, at_most).holds());
    for (left, right) in [(f64::NAN, 1.0), (1.0, f64::NAN), (1.0, f64::INFINITY), (f64::NEG_INFINITY, 1.0)] {
        assert!(!bound(left, right, at_most).holds(), "{left} and {right}");
    }
    for rounding in [f64::NAN, f64::INFINITY] {
        assert!(!bound(1.0, 0.5, Evidence::AtMost { rounding }).holds());
        assert!(!bound(1.0, 1.0, Evidence::Equal { distance: 0.0, rounding }).holds());
    }
    assert!(!bound(1.0, 1.0, Evidence::Equal { distance: f64::NAN, rounding: 1.0 }).holds());
    assert!(!bound(1.0, 1.0, Evidence::Chance { p_value: 1.0, p_bound: f64::NAN, resolution: None }).holds());
}

#[test]
fn the_nearest_to_failing_is_the_one_that_fails() {
    let at_most = |left, right| bound(left, right, Evidence::AtMost { rounding: 0.0 });
    for worst in [at_most(2.0, 1.0), at_most(f64::NAN, 1.0)] {
        for order in [[at_most(0.5, 1.0), worst.clone()], [worst.clone(), at_most(1.0, 1.0)]] {
            assert!(!Bound::nearest_to_failing(order).unwrap().holds());
        }
    }
    assert_eq!(Bound::nearest_to_failing([at_most(0.5, 1.0), at_most(0.9, 1.0)]).unwrap().left, 0.9);
}

/// `norm_F(Delta) <= max over E of p` would be wrong, and is seen to be on any ordinary problem.
#[test]
fn the_largest_score_in_place_of_the_sum_is_violated() {
    let layer = layer(&Problem::alive(SIZES, 0));
    let pairs = LayerPairs::new(&layer).unwrap();
    let evicted = some_candidates(24, 18, &mut ChaCha8Rng::seed_from_u64(0));
    let retained = without(&layer, &evicted);
    let case = Case::new(&pairs, retained.layer(LayerOrdinal(0)), Draws { seed: 0, trials: 2 }).unwrap();
    let largest = |head: &laprox_reference::bounds::HeadPairs| {
        (0..12).map(|i| head.scores[i]).fold(0.0, f64::max) / 4.0
    };
    let right = pairs.heads.iter().map(largest).fold(0.0, f64::max);
    let rounding = 2.0 * case.rounding();
    assert!(!bound(case.error(), right, Evidence::AtMost { rounding }).holds());
}

/// Draws by other probabilities than the claim is about are found out, and so is an expectation that is off.
#[test]
fn an_expected_error_of_other_draws_is_violated() {
    let layer = layer(&Problem::alive(SIZES, 3));
    let pairs = LayerPairs::new(&layer).unwrap();
    let trials =
        |seed, probabilities| Trials::new(&pairs, probabilities, 16, Draws { seed, trials: 2000 }, 0);
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    for _ in 0..8 {
        let seed = rng.random();
        let honest = trials(seed, proportional(&pairs));
        assert!(mean_error("B4e", "", &pairs, &honest).holds());
        let swapped = Trials { probabilities: uniform(&pairs), ..honest };
        assert!(!mean_error("B4e", "", &pairs, &swapped).holds());
    }
}

/// The formula of the expected error is held to its sum over all draws: scores that are off in one pair are found out.
#[test]
fn an_expected_error_of_other_scores_is_violated() {
    let layer = layer(&Problem::alive(SIZES, 3));
    let mut pairs = LayerPairs::new(&layer).unwrap();
    let trials =
        |pairs: &LayerPairs<'_>| Trials::new(pairs, uniform(pairs), 16, Draws { seed: 0, trials: 2 }, 0);
    assert!(expected_error("B4c", "", &pairs, &trials(&pairs)).holds());
    let scores = &mut pairs.heads[1].scores;
    let largest = scores.imax();
    scores[largest] *= 1.0 + 1e-9;
    assert!(!expected_error("B4c", "", &pairs, &trials(&pairs)).holds());
}

/// The resolution is where the verdict of draws turns: a claim that is further off is refuted, a nearer one is not.
#[test]
fn draws_see_a_difference_above_their_resolution_only() {
    for (above, distance) in [(true, 1.0), (false, 1.0), (true, 1e-9), (false, 1e9)] {
        let spread =
            Exponential { mean: distance, second_moment: 2.0 * distance * distance, scale: distance };
        let visible = least_visible(FALSE_ALARM_RATE, |distance| spread.p_bound(above, distance, 256.0));
        assert!(spread.p_bound(above, visible * 1.0001, 256.0) < FALSE_ALARM_RATE);
        assert!(spread.p_bound(above, visible * 0.9999, 256.0) >= FALSE_ALARM_RATE);
    }
    assert_eq!(least_visible(FALSE_ALARM_RATE, |_| 1.0), f64::INFINITY);
}
