//! The percentile bootstrap.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// How often samples are drawn anew.
pub const RESAMPLES: usize = 10_000;

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
    let mut generator = ChaCha8Rng::seed_from_u64(seed);
    let mut draw = || -> Vec<usize> { (0..count).map(|_| generator.random_range(0..count)).collect() };
    let mut found: Vec<f64> = (0..RESAMPLES).filter_map(|_| statistic(&draw())).collect();
    found.sort_by(f64::total_cmp);
    (!found.is_empty()).then(|| [0.025, 0.975].map(|quantile| percentile(&found, quantile)))
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
    use super::{interval, percentile};

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
}
