//! Groups keep the order in which rows come.

use laprox_experiments::group::{distinct, grouped, require_distinct};

#[test]
fn keys_and_rows_stay_in_their_order() {
    let groups = grouped([5, 2, 7, 4, 9], |row| row % 2);
    assert_eq!(groups, [(1, vec![5, 7, 9]), (0, vec![2, 4])]);
    assert!(grouped([0; 0], |row| *row).is_empty());
}

#[test]
fn a_value_that_comes_again_stays_at_its_first_place() {
    assert_eq!(distinct([3, 1, 3, 2, 1]), [3, 1, 2]);
}

#[test]
fn a_value_that_is_given_twice_is_refused() {
    assert!(require_distinct("--context", &[1, 2, 3]).is_ok());
    let refusal = require_distinct("--context", &[1, 2, 1]).unwrap_err().to_string();
    assert_eq!(refusal, "--context: 1 is given twice");
}
