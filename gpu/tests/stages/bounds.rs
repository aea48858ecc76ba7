//! The tests' own tools: comparators that must fail, bounds that must be small.

use laprox_gpu::Format;

use crate::common::bounds::{Bounded, assert_within};
use crate::common::expected::Expected;
use crate::common::problem::{Problem, Sizes};

#[test]
#[should_panic(expected = "of the bound")]
fn a_nan_is_within_no_bound() {
    assert_within("number", &[f64::NAN], &[Bounded { value: 1.0, error: 1.0 }]);
}

#[test]
#[should_panic(expected = "proves nothing")]
fn an_infinite_bound_proves_nothing() {
    assert_within("number", &[1.0], &[Bounded { value: 1.0, error: f64::INFINITY }]);
}

#[test]
#[should_panic(expected = "lengths differ")]
fn a_shorter_list_is_not_within() {
    assert_within("numbers", &[1.0], &[Bounded::exact(1.0); 2]);
}

#[test]
#[should_panic(expected = "of the bound")]
fn a_number_just_outside_is_not_within() {
    assert_within("number", &[1.0 + 1.1e-6], &[Bounded { value: 1.0, error: 1e-6 }]);
}

/// A bound as large as its number would let everything pass. A missing key of a flat row changes it by 1 / n.
#[test]
fn bounds_are_small_on_alive_layers() {
    for head_dim in [64, 128] {
        let problem = Problem::alive(Sizes { head_dim, ..Sizes::with_context(200) }, Format::Bf16, 1);
        let expected = Expected::new(&problem, Format::Bf16);
        let scores = expected.laprox_mean().concat();
        assert!(scores.iter().all(|score| score.error < 2e-3 * score.value), "{head_dim}");
        let norms = expected.norms.concat();
        assert!(norms.iter().all(|norm| norm.error < 1e-3 * norm.value), "{head_dim}");
    }
}

/// Peaked, flat and sinking rows are all there.
#[test]
fn the_layers_are_alive() {
    let problem = Problem::alive(Sizes { group_size: 3, ..Sizes::with_context(200) }, Format::Bf16, 1);
    let expected = Expected::new(&problem, Format::Bf16);
    let rows: Vec<Vec<f64>> =
        expected.weights.concat().iter().map(|row| row.iter().map(|weight| weight.value).collect()).collect();
    let largest = |row: &[f64]| row.iter().copied().fold(0.0, f64::max);
    assert!(rows.iter().filter(|row| largest(row) > 0.5).count() > 10);
    assert!(rows.iter().filter(|row| largest(row) < 0.1).count() > 10);
    assert!(rows.iter().filter(|row| row[0] > 0.3).count() > 10);
}
