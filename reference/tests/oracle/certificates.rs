//! A search may end at any time: its set and its bound are valid.

use laprox_reference::oracle::{Certified, PairGram, Rows, exhaustive};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::common::hostile::{hostile, layer, sizes, some_candidates, window_gram};
use crate::problems::{FORMS, Rounding, certify, early};

/// A case: a form, its optimum, a start, and the rounding of any set.
struct Case<'a> {
    gram: &'a dyn PairGram,
    count: usize,
    start: Vec<usize>,
    least: f64,
    rounding: f64,
}

fn for_each_case(cases: u64, check: impl Fn(Case<'_>)) {
    for seed in 0..cases {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let candidates = rng.random_range(2..=14);
        let layer = layer(&hostile(sizes(candidates, &mut rng), seed));
        let rounding = Rounding::of(&layer, Rows::Window).of_any();
        for form in FORMS {
            let gram = window_gram(&layer, form);
            let count = rng.random_range(0..=candidates);
            let start = some_candidates(candidates, count, &mut rng);
            let least = exhaustive(&gram, count).unwrap().0.squared_error;
            check(Case { gram: &gram, count, start, least, rounding });
        }
    }
}

#[track_caller]
fn assert_valid(case: &Case<'_>, found: &Certified) {
    assert_eq!(found.eviction.evicted.len(), case.count);
    assert!(found.eviction.evicted.is_sorted_by(|one, two| one < two));
    assert!(found.eviction.evicted.last().is_none_or(|&last| last < case.gram.candidates()));
    assert!(found.squared_lower_bound >= 0.0);
    assert!(found.squared_lower_bound <= case.least + case.rounding);
    assert!(found.eviction.squared_error >= case.least - case.rounding);
    assert!(found.gap() >= 0.0, "the gap is {}", found.gap());
}

#[test]
fn a_search_that_is_ended_at_once_is_valid() {
    for_each_case(150, |case| {
        let mut heard = 0;
        let found = certify(case.gram, case.count, &case.start, early(64), &mut |state| {
            assert_valid(&case, state);
            heard += 1;
            false
        });
        assert!(heard <= 1, "a search that was ended went on {heard} times");
        assert_valid(&case, &found);
    });
}

#[test]
fn everything_that_a_search_says_on_its_way_is_valid() {
    for_each_case(100, |case| {
        let found = certify(case.gram, case.count, &case.start, early(64), &mut |state| {
            assert_valid(&case, state);
            true
        });
        assert_valid(&case, &found);
    });
}

#[test]
fn a_search_ends_wherever_it_is_told_to() {
    for_each_case(40, |case| {
        for last in 1..12 {
            let mut heard = 0;
            let found = certify(case.gram, case.count, &case.start, early(64), &mut |_| {
                heard += 1;
                heard < last
            });
            assert!(heard <= last);
            assert_valid(&case, &found);
        }
    });
}

#[test]
fn more_nodes_make_neither_the_set_nor_the_bound_worse() {
    for_each_case(60, |case| {
        let search = |nodes| certify(case.gram, case.count, &case.start, early(nodes), &mut |_| true);
        let mut before = search(1);
        for nodes in [2, 4, 8, 16, 32, 64] {
            let found = search(nodes);
            assert!(found.nodes <= nodes + 1, "{} nodes of {nodes}", found.nodes);
            assert!(found.eviction.squared_error <= before.eviction.squared_error);
            assert!(found.squared_lower_bound >= before.squared_lower_bound - case.rounding);
            before = found;
        }
    });
}

#[test]
fn a_search_is_never_worse_than_its_start() {
    for_each_case(100, |case| {
        let start = case
            .gram
            .product(&laprox_reference::oracle::gram::indicator(case.gram.candidates(), &case.start))
            .unwrap();
        let found = certify(case.gram, case.count, &case.start, early(1), &mut |_| true);
        assert!(found.eviction.squared_error <= start.value);
    });
}

#[test]
fn a_search_is_deterministic() {
    for_each_case(40, |case| {
        let search = || certify(case.gram, case.count, &case.start, early(32), &mut |_| true);
        let (one, two) = (search(), search());
        assert_eq!(one.eviction, two.eviction);
        assert_eq!(one.squared_lower_bound.to_bits(), two.squared_lower_bound.to_bits());
        assert_eq!(one.nodes, two.nodes);
    });
}
