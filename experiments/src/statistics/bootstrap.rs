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
#[must_use]
pub fn percentile(sorted: &[f64], quantile: f64) -> f64 {
    let place = quantile * (sorted.len() - 1) as f64;
    let (below, part) = (place.floor() as usize, place.fract());
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + part * (sorted[above] - sorted[below])
}
