//! Rank correlations, with ties and without.

use laprox_experiments::statistics::spearman::{correlation, ranks};

#[test]
fn ties_share_their_mean_rank() {
    assert_eq!(ranks(&[3.0, 1.0, 3.0, 0.5]), [3.5, 2.0, 3.5, 1.0]);
}

#[test]
fn any_growing_relation_is_one_and_any_falling_one_minus_one() {
    let values = [0.1, 2.0, 5.0, 40.0];
    assert_eq!(correlation(&values, &values.map(f64::exp)), Some(1.0));
    assert_eq!(correlation(&values, &values.map(|value| -value)), Some(-1.0));
}

/// Ranks 1 2 3 4 5 and 2 1 4 3 5: `1 - 6 * 4 / (5 * 24)`.
#[test]
fn the_formula_without_ties_is_met() {
    let found = correlation(&[1.0, 2.0, 3.0, 4.0, 5.0], &[20.0, 10.0, 40.0, 30.0, 50.0]);
    approx::assert_relative_eq!(found.unwrap(), 0.8, max_relative = 1e-15);
}

/// Ranks 1 2 3 and 1.5 1.5 3: covariance 1.5 over the root of 2 * 1.5.
#[test]
fn ties_count_by_their_mean_rank() {
    let found = correlation(&[1.0, 2.0, 3.0], &[0.0, 0.0, 1.0]).unwrap();
    approx::assert_relative_eq!(found, 1.5 / 3.0_f64.sqrt(), max_relative = 1e-15);
}

#[test]
fn what_does_not_vary_has_no_correlation() {
    assert_eq!(correlation(&[1.0, 1.0], &[1.0, 2.0]), None);
    assert_eq!(correlation(&[], &[]), None);
}
