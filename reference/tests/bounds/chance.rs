//! The tests behind the random statements, against tables, frequencies and each other.

use approx::assert_relative_eq;
use laprox_reference::bounds::chance::{
    Exponential, bounded_p_bound, distance, frequency_p_value, mean, student_p_value,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Exp1};

/// Eleven draws with mean 0 and standard error `1`: `t_{0.975}` with ten degrees of freedom is 2.2281 in every table.
#[test]
fn students_test_agrees_with_the_table() {
    let half = (11.0_f64 * 10.0 / 2.0 / 5.0).sqrt();
    let draws: Vec<f64> = (0..5).flat_map(|_| [half, -half]).chain([0.0]).collect();
    assert_eq!(mean(&draws), 0.0);
    assert_relative_eq!(student_p_value(&draws, 2.228_138_851_964_939), 0.05, max_relative = 1e-9);
    assert_eq!(student_p_value(&draws, 0.0), 1.0);
}

/// `P(X >= 3)` of ten draws at a tenth: `1 - 0.9^10 - 10 * 0.1 * 0.9^9 - 45 * 0.01 * 0.9^8`.
#[test]
fn frequencies_are_tested_exactly() {
    let expected = 1.0 - 0.9_f64.powi(10) - 0.9_f64.powi(9) - 0.45 * 0.9_f64.powi(8);
    assert_relative_eq!(frequency_p_value(3, 10, 0.1), expected, max_relative = 1e-12);
    assert_eq!(frequency_p_value(0, 10, 0.1), 1.0);
    assert_relative_eq!(frequency_p_value(10, 10, 0.1), 1e-10, max_relative = 1e-9);
}

#[test]
fn a_distance_within_rounding_is_none() {
    assert_eq!(distance(&[1.0, 2.0], 1.0, 0.25), 0.25);
    assert_eq!(distance(&[1.0, 2.0], 1.5, 0.0), 0.0);
    assert_eq!(distance(&[1.0, 2.0], 1.0, 0.5), 0.0);
}

/// How often means of `count` draws are as far off as a bound allows for, against the bound.
fn assert_bounds_frequency(
    draw: impl Fn(&mut ChaCha8Rng) -> f64,
    expected: f64,
    count: usize,
    p_bound: impl Fn(bool, f64) -> f64,
) {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let repeats = 20_000;
    let means: Vec<f64> =
        (0..repeats).map(|_| (0..count).map(|_| draw(&mut rng)).sum::<f64>() / count as f64).collect();
    let mut said_something = 0;
    for step in 1..40 {
        let distance = 0.05 * f64::from(step) * expected;
        for above in [false, true] {
            let beyond = |mean: &&f64| {
                if above { **mean >= expected + distance } else { **mean <= expected - distance }
            };
            let times = means.iter().filter(beyond).count() as u64;
            let bound = p_bound(above, distance);
            assert!((0.0..=1.0).contains(&bound));
            let chance = if bound < 1.0 { frequency_p_value(times, repeats, bound) } else { 1.0 };
            assert!(chance > 1e-9, "{times} of {repeats} are {distance} off, for a bound of {bound}");
            said_something += usize::from(bound < 1.0);
        }
    }
    assert!(said_something > 20, "bounds of 1 prove nothing");
}

#[test]
fn bernsteins_bound_is_never_exceeded() {
    // One value nearly always, another one hardly ever: where Student's test fails.
    let rare = |rng: &mut ChaCha8Rng| if rng.random_bool(0.02) { 50.0 } else { 0.0 };
    let variance = 0.02 * 0.98 * 2500.0;
    assert_bounds_frequency(rare, 1.0, 200, |_, distance| bounded_p_bound(distance, 200.0, variance, 49.0));
}

#[test]
fn the_bound_for_exponential_tails_is_never_exceeded() {
    let exponential = Exponential { mean: 1.0, second_moment: 2.0, scale: 1.0 };
    let draw = |rng: &mut ChaCha8Rng| Exp1.sample(rng);
    assert_bounds_frequency(draw, 1.0, 60, |above, distance| exponential.p_bound(above, distance, 60.0));
}

#[test]
fn bounds_let_no_nan_through_as_a_pass() {
    let exponential = Exponential { mean: 1.0, second_moment: 2.0, scale: 1.0 };
    for above in [false, true] {
        assert!(exponential.p_bound(above, f64::NAN, 10.0).is_nan());
    }
    assert!(bounded_p_bound(f64::NAN, 10.0, 1.0, 1.0).is_nan());
}
