//! A statistic of columns' means, with its interval.

use super::bootstrap::{Stratum, means, paired_interval};

/// A number with its bootstrap interval, which needs at least two units in each stratum.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The number.
    pub value: f64,
    /// Its interval.
    pub interval: Option<[f64; 2]>,
    /// The units of all strata.
    pub units: usize,
}

impl Estimate {
    /// The statistic, and the interval that leaves `tail` of the draws on either side.
    #[must_use]
    pub fn of(strata: &[Stratum], tail: f64, seed: u64, statistic: impl Fn(&[f64]) -> f64) -> Self {
        Self {
            value: statistic(&means(strata)),
            interval: paired_interval(strata, tail, seed, &statistic),
            units: strata.iter().map(Vec::len).sum(),
        }
    }
}
