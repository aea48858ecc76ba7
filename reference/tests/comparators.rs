//! The tests' own tools: comparators that must fail, and inputs that must be alive.

mod common;

use common::compare::{Stated, assert_agrees, assert_all_agree, assert_heads_agree, gamma};
use common::problem::{Problem, Sizes};
use common::statement::{Rows, weights};

#[test]
#[should_panic(expected = "of the bound")]
fn a_nan_does_not_agree() {
    assert_agrees("score", f64::NAN, Stated::of(1.0), 1e-12);
}

#[test]
#[should_panic(expected = "of the bound")]
fn a_stated_nan_does_not_agree() {
    assert_agrees("score", 1.0, Stated { value: f64::NAN, magnitude: 1.0 }, 1e-12);
}

#[test]
#[should_panic(expected = "proves nothing")]
fn an_infinite_bound_does_not_agree() {
    assert_agrees("score", 1.0, Stated { value: 1.0, magnitude: f64::INFINITY }, 1e-12);
}

#[test]
#[should_panic(expected = "proves nothing")]
fn a_nan_bound_does_not_agree() {
    assert_agrees("score", 1.0, Stated { value: 1.0, magnitude: f64::NAN }, 1e-12);
}

#[test]
#[should_panic(expected = "lengths differ")]
fn a_shorter_list_does_not_agree() {
    assert_all_agree("scores", &[1.0], &[Stated::of(1.0); 2], 1e-12);
}

#[test]
#[should_panic(expected = "numbers of heads differ")]
fn a_missing_head_does_not_agree() {
    assert_heads_agree("scores", &[], &[vec![Stated::of(1.0)]], 1e-12);
}

#[test]
#[should_panic(expected = "of the bound")]
fn twice_the_bound_does_not_agree() {
    assert_agrees("score", 1.0 + 2e-12, Stated::of(1.0), 1e-12);
}

#[test]
fn half_the_bound_agrees() {
    assert_agrees("score", 1.0 + 0.5e-12, Stated::of(1.0), 1e-12);
}

#[test]
fn gamma_of_one_rounding_is_just_above_the_unit_roundoff() {
    let unit = f64::EPSILON / 2.0;
    assert!(gamma(1.0) >= unit && gamma(1.0) < 1.0001 * unit);
}

/// Problems of the middle of the shapes that the strategies build.
fn sample() -> impl Iterator<Item = Problem> {
    let sizes = Sizes {
        kv_heads: 2,
        group_size: 3,
        head_dim: 4,
        hidden_dim: 6,
        candidate_len: 16,
        window_len: 4,
        future_len: 2,
    };
    (0..50).map(move |seed| Problem::alive(sizes, seed))
}

fn window_rows() -> Vec<Vec<f64>> {
    sample().flat_map(|problem| weights(&problem, Rows::Window, &problem.all_kept()).concat()).collect()
}

/// How many of the 1200 window rows are so.
fn count(is: impl Fn(&[f64]) -> bool) -> usize {
    let rows = window_rows();
    assert_eq!(rows.len(), 1200);
    rows.iter().filter(|row| is(row)).count()
}

#[test]
fn many_rows_are_peaked() {
    assert!(count(|row| row.iter().any(|&weight| weight > 0.999)) > 200);
}

#[test]
fn some_candidates_weigh_one_but_for_rounding() {
    assert!(count(|row| row[..16].iter().any(|&weight| weight > 1.0 - 1e-9)) > 50);
}

#[test]
fn many_rows_are_flat() {
    assert!(count(|row| row.iter().filter(|&&weight| weight > 0.0).all(|&w| w < 1.0 / 16.0)) > 200);
}

#[test]
fn many_rows_sink_into_position_zero() {
    assert!(count(|row| row[0] > 0.9 && row[0] < 0.9999) > 200);
}

#[test]
fn the_rest_are_neither_peaked_nor_flat() {
    let between = |&weight: &f64| weight > 0.1 && weight < 0.6;
    assert!(count(|row| row.iter().any(between)) > 200);
}

#[test]
fn the_last_value_channel_is_an_outlier() {
    for problem in sample() {
        let size =
            |channel: usize| problem.value.iter().skip(channel).step_by(4).map(|x| x.abs()).sum::<f64>();
        assert!((0..3).all(|channel| size(3) > 15.0 * size(channel)));
    }
}

/// A bound as large as the number would let everything pass.
#[test]
fn the_derived_rounding_is_small_on_alive_problems() {
    assert!(sample().all(|problem| problem.rounding() < 1e-11));
    assert!(sample().all(|problem| problem.sharpened(1000.0).rounding() < 1e-8));
}
