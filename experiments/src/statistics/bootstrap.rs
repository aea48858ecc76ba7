//! The percentile bootstrap.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// How often samples are drawn anew.
pub const RESAMPLES: usize = 10_000;
/// The default share of draws on either side of an interval: 95 % are inside.
pub const TAIL: f64 = 0.025;

/// A stratum: several columns measured on the same units, `[unit][column]`. Prompts of a task, policies side by side.
pub type Stratum = Vec<Vec<f64>>;

/// The 2.5th and 97.5th percentile of the means of `RESAMPLES` draws of as many values, with replacement.
///
/// The draws depend on `seed` and the number of values alone, so that columns of one table are drawn alike. `None` for
/// fewer than two values.
#[must_use]
pub fn interval(values: &[f64], seed: u64) -> Option<[f64; 2]> {
    let mean = |draw: &[usize]| Some(draw.iter().map(|&i| values[i]).sum::<f64>() / values.len() as f64);
    interval_of(values.len(), seed, mean)
}

/// The same of any statistic of `count` cases, given by the indices that were drawn; draws without one do not count.
#[must_use]
pub fn interval_of(count: usize, seed: u64, statistic: impl Fn(&[usize]) -> Option<f64>) -> Option<[f64; 2]> {
    if count < 2 {
        return None;
    }
    percentiles(TAIL, seed, |generator| {
        let draw: Vec<usize> = (0..count).map(|_| generator.random_range(0..count)).collect();
        statistic(&draw)
    })
}

/// The interval of a statistic of columns' means that leaves `tail` of the draws on either side.
///
/// The units of each stratum are drawn anew, whole, so that pairs stay pairs; a column's mean is the mean over strata of
/// the means over their units. `None` if a stratum has fewer than two units, or there is none.
#[must_use]
pub fn paired_interval(
    strata: &[Stratum],
    tail: f64,
    seed: u64,
    statistic: impl Fn(&[f64]) -> f64,
) -> Option<[f64; 2]> {
    if strata.is_empty() || strata.iter().any(|units| units.len() < 2) {
        return None;
    }
    percentiles(tail, seed, |generator| {
        Some(statistic(&column_means(strata, |_, units| generator.random_range(0..units))))
    })
}

/// The two numbers that leave `tail` of `RESAMPLES` draws on either side.
fn percentiles(
    tail: f64,
    seed: u64,
    mut draw: impl FnMut(&mut ChaCha8Rng) -> Option<f64>,
) -> Option<[f64; 2]> {
    let mut generator = ChaCha8Rng::seed_from_u64(seed);
    let mut found: Vec<f64> = (0..RESAMPLES).filter_map(|_| draw(&mut generator)).collect();
    found.sort_by(f64::total_cmp);
    (!found.is_empty()).then(|| [tail, 1.0 - tail].map(|quantile| percentile(&found, quantile)))
}

/// A column's mean over strata of the means over their units, for every column.
#[must_use]
pub fn means(strata: &[Stratum]) -> Vec<f64> {
    column_means(strata, |unit, _| unit)
}

/// The same over the units that `pick` puts in place of each, given its place and their number.
fn column_means(strata: &[Stratum], mut pick: impl FnMut(usize, usize) -> usize) -> Vec<f64> {
    let columns = strata.iter().flatten().next().map_or(0, Vec::len);
    let mut means = vec![0.0; columns];
    for units in strata {
        let mut sums = vec![0.0; columns];
        for unit in 0..units.len() {
            let drawn = &units[pick(unit, units.len())];
            sums.iter_mut().zip(drawn).for_each(|(sum, value)| *sum += value);
        }
        let share = (units.len() * strata.len()) as f64;
        means.iter_mut().zip(sums).for_each(|(mean, sum)| *mean += sum / share);
    }
    means
}

/// The value at `quantile` of the way through a sorted list, between neighbours on a straight line.
fn percentile(sorted: &[f64], quantile: f64) -> f64 {
    let place = quantile * (sorted.len() - 1) as f64;
    let (below, part) = (place.floor() as usize, place.fract());
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + part * (sorted[above] - sorted[below])
}

#[cfg(test)]
mod tests {
    use super::{TAIL, interval, means, paired_interval, percentile};

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
        assert_eq!(
            paired_interval(&strata, TAIL, 5, |means| means[0]),
            None,
            "one unit says nothing of others"
        );
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
}
