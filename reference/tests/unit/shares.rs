//! Shares of a whole number, worked out by hand.

use super::{proportional, rounded};

#[test]
fn the_largest_remainders_get_what_rounding_down_leaves() {
    assert_eq!(rounded(&[1.5, 2.25, 3.25], 7, 9), [2, 2, 3]);
    assert_eq!(rounded(&[0.9, 0.9, 0.2], 2, 9), [1, 1, 0]);
    assert_eq!(rounded(&[0.5; 4], 2, 9), [1, 1, 0, 0]);
    assert_eq!(rounded(&[3.0, 4.0], 7, 4), [3, 4]);
    assert_eq!(rounded(&[], 0, 4), [0; 0]);
}

#[test]
fn rounding_of_the_targets_themselves_loses_nothing() {
    assert_eq!(rounded(&[2.999_999_999, 3.0], 6, 3), [3, 3]);
    assert_eq!(rounded(&[3.000_000_001, 2.999_999_999], 6, 3), [3, 3]);
}

#[test]
fn shares_are_in_proportion() {
    assert_eq!(proportional(&[1.0, 2.0, 3.0], 12, 12), [2, 4, 6]);
    // 10/7, 20/7 and 40/7: the remainders are 3/7, 6/7 and 5/7.
    assert_eq!(proportional(&[1.0, 2.0, 4.0], 10, 10), [1, 3, 6]);
}

#[test]
fn what_one_cannot_take_goes_to_the_others_in_proportion() {
    assert_eq!(proportional(&[1.0, 2.0, 9.0], 12, 6), [2, 4, 6]);
    // First the last one is full, then, with 9 left, the second.
    assert_eq!(proportional(&[1.0, 4.0, 9.0], 15, 6), [3, 6, 6]);
    assert_eq!(proportional(&[1.0, 4.0, 9.0], 18, 6), [6, 6, 6]);
}

#[test]
fn without_weights_all_are_alike() {
    assert_eq!(proportional(&[0.0, 0.0], 5, 4), [3, 2]);
    assert_eq!(proportional(&[0.0, 5.0, 0.0], 6, 4), [1, 4, 1]);
    assert_eq!(proportional(&[3.0, 1.0], 0, 4), [0, 0]);
    assert_eq!(proportional(&[3.0, 1.0], 0, 0), [0, 0]);
}
