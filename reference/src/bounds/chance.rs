//! Tests of what was drawn against what was claimed.

use statrs::distribution::{Binomial, ContinuousCDF, DiscreteCDF, StudentsT};

/// Student's two-sided test that independent draws have this mean: `t = (mean - claimed) / (s / sqrt N)` with `N - 1`
/// degrees of freedom.
///
/// `rounding` is how far the computed mean and claim may be from the exact ones, and is taken off their distance. Exact
/// for normal draws, in the limit of many for others.
///
/// # Panics
/// With fewer than two draws.
#[must_use]
pub fn mean_p_value(draws: &[f64], claimed: f64, rounding: f64) -> f64 {
    assert!(draws.len() >= 2, "a mean needs two draws for its error");
    let error = standard_error(draws);
    let distance = (mean(draws) - claimed).abs() - rounding;
    if distance <= 0.0 {
        return 1.0;
    }
    let distribution = StudentsT::new(0.0, 1.0, (draws.len() - 1) as f64).expect("one degree of freedom or more");
    // A NaN among the draws is a distance and an error of NaN, and so is the p-value, which nothing accepts.
    if error == 0.0 { 0.0 } else { 2.0 * distribution.cdf(-distance / error) }
}

/// The sample mean.
#[must_use]
pub fn mean(draws: &[f64]) -> f64 {
    draws.iter().sum::<f64>() / draws.len() as f64
}

/// `s / sqrt N`, with the sample's own deviation `s`.
fn standard_error(draws: &[f64]) -> f64 {
    let mean = mean(draws);
    let squares: f64 = draws.iter().map(|draw| (draw - mean).powi(2)).sum();
    let count = draws.len() as f64;
    (squares / (count - 1.0) / count).sqrt()
}

/// The exact one-sided binomial test that something happens with probability at most `rate`: the chance of at least
/// `count` times in `trials` at that rate. Its acceptance region is that of the Clopper-Pearson lower limit.
///
/// # Panics
/// When `rate` is not a probability.
#[must_use]
pub fn frequency_p_value(count: u64, trials: u64, rate: f64) -> f64 {
    let distribution = Binomial::new(rate, trials).expect("a rate between 0 and 1");
    count.checked_sub(1).map_or(1.0, |below| distribution.sf(below))
}
