//! Bootstrap intervals of draws whose distribution is known.

use laprox_experiments::statistics::bootstrap::{TAIL, interval, means, paired_interval, percentile};

#[test]
fn percentiles_lie_between_neighbours() {
    assert_eq!(percentile(&[1.0, 2.0, 4.0], 0.0), 1.0);
    assert_eq!(percentile(&[1.0, 2.0, 4.0], 0.5), 2.0);
    assert_eq!(percentile(&[1.0, 2.0, 4.0], 0.75), 3.0);
    assert_eq!(percentile(&[1.0, 2.0, 4.0], 1.0), 4.0);
    assert_eq!(percentile(&[3.0], 0.3), 3.0);
}

#[test]
fn equal_values_leave_no_doubt() {
    assert_eq!(interval(&[0.25; 9], 1), Some([0.25, 0.25]));
}

#[test]
fn one_value_has_no_interval() {
    assert_eq!(interval(&[0.25], 1), None);
    assert_eq!(interval(&[], 1), None);
}

#[test]
fn the_seed_decides_the_draws() {
    let values = [2.0_f64, 3.0, 5.0, 7.0, 11.0, 13.0, 17.0].map(f64::sqrt);
    assert_eq!(interval(&values, 7), interval(&values, 7));
    assert_ne!(interval(&values, 7), interval(&values, 8));
}

/// Of two values 0 and 1 the mean is 0, a half or 1 with probabilities a quarter, a half and a quarter.
#[test]
fn two_values_reach_from_one_to_the_other() {
    assert_eq!(interval(&[0.0, 1.0], 3), Some([0.0, 1.0]));
}

/// Forty values in two equal halves: the mean is a binomial count over 40, whose 2.5th percentile is 14 (probability
/// 0.040 at or below 14, 0.019 at or below 13) and whose 97.5th is 26.
#[test]
fn halves_have_the_binomials_percentiles() {
    let mut values = [0.0; 40];
    values[20..].fill(1.0);
    assert_eq!(interval(&values, 11), Some([14.0 / 40.0, 26.0 / 40.0]));
}

/// Both columns move together, so their difference does not move at all.
#[test]
fn what_is_paired_stays_paired() {
    let units = [1.0, 5.0, 2.0, 9.0].map(|value| vec![value + 0.5, value]);
    let strata = [units.to_vec()];
    assert_eq!(paired_interval(&strata, TAIL, 5, |means| means[0] - means[1]), Some([0.5, 0.5]));
    assert!(paired_interval(&strata, TAIL, 5, |means| means[0]).is_some_and(|[low, high]| low < high));
}

/// Two tasks of unequal size count alike: (1 + (2 + 4 + 6) / 3) / 2.
#[test]
fn strata_count_alike_whatever_their_size() {
    let strata = [vec![vec![1.0]], vec![vec![2.0], vec![4.0], vec![6.0]]];
    assert_eq!(means(&strata), [2.5]);
    assert_eq!(paired_interval(&strata, TAIL, 5, |means| means[0]), None, "one unit says nothing of others");
}

/// Between strata nothing is drawn: constants of different size leave no doubt.
#[test]
fn differences_between_strata_are_no_doubt() {
    let strata = [vec![vec![1.0]; 3], vec![vec![3.0]; 4]];
    assert_eq!(paired_interval(&strata, TAIL, 5, |means| means[0]), Some([2.0, 2.0]));
}

/// The binomial of above once more: the 10th percentile of 40 halves is 16 (probability 0.134 at or below 16,
/// 0.077 at or below 15).
#[test]
fn longer_tails_give_a_narrower_interval() {
    let units = (0..40).map(|i| vec![f64::from(i / 20)]).collect();
    let strata = [units];
    assert_eq!(paired_interval(&strata, 0.1, 11, |means| means[0]), Some([16.0 / 40.0, 24.0 / 40.0]));
}
