//! Statistical tests of claims against draws.
//!
//! There are two kinds. Student's test is sharp, but only as good as the normal approximation. If an estimate takes one
//! value nearly always and another one hardly ever, all draws agree, their deviation is 0, and a true mean looks
//! refuted. So verdicts come from inequalities that hold for every distribution with the given moments or range. They
//! are blunter, and never wrong more often than they say.

use statrs::distribution::{Binomial, ContinuousCDF, DiscreteCDF, StudentsT};

/// The sample mean.
#[must_use]
pub fn mean(draws: &[f64]) -> f64 {
    draws.iter().sum::<f64>() / draws.len() as f64
}

/// `|mean - claimed|` less how far rounding may have moved it.
#[must_use]
pub fn distance(draws: &[f64], claimed: f64, rounding: f64) -> f64 {
    ((mean(draws) - claimed).abs() - rounding).max(0.0)
}

/// Student's two-sided test that independent draws have a mean this far from theirs: `t = distance / (s / sqrt N)` with
/// `N - 1` degrees of freedom.
///
/// # Panics
/// With fewer than two draws.
#[must_use]
pub fn student_p_value(draws: &[f64], distance: f64) -> f64 {
    assert!(draws.len() >= 2, "a mean needs two draws for its error");
    if distance == 0.0 {
        return 1.0;
    }
    let distribution =
        StudentsT::new(0.0, 1.0, (draws.len() - 1) as f64).expect("one degree of freedom or more");
    let error = standard_error(draws);
    if error == 0.0 { 0.0 } else { 2.0 * distribution.cdf(-distance / error) }
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

/// `2 exp(-N t^2 / (2 V + 2 R t / 3))`: Bernstein's bound on the chance that the mean of `N` independent draws with variance
/// at most `V`, none further than `R` from its expectation, is `t` or more away from it.
#[must_use]
pub fn bounded_p_bound(distance: f64, count: f64, variance: f64, range: f64) -> f64 {
    if distance == 0.0 {
        return 1.0;
    }
    at_most_one(2.0 * (-count * distance.powi(2) / (2.0 * variance + 2.0 / 3.0 * range * distance)).exp())
}

/// The moments and the tail of draws `X >= 0` whose right tail falls exponentially.
#[derive(Clone, Copy, Debug)]
pub struct Exponential {
    /// `E X`, as claimed.
    pub mean: f64,
    /// An upper bound on `E X^2`.
    pub second_moment: f64,
    /// A `beta` with `P(X >= x) <= 2 exp(-x / beta)`.
    pub scale: f64,
}

impl Exponential {
    /// A bound on the chance that the mean of `count` draws is `distance` or more above or below its expectation.
    ///
    /// Below: `E exp(-l X) <= 1 - l mu + l^2 E X^2 / 2` for `X >= 0`, so at most `exp(-N t^2 / (2 E X^2))`. Above:
    /// `E X^k <= 2 k! beta^k` bounds the moments from the third on, so
    ///
    /// ```text
    /// E exp(l X) <= 1 + l mu + l^2 E X^2 / 2 + 2 (l beta)^3 / (1 - l beta),    0 < l < 1 / beta
    /// ```
    ///
    /// and Markov's inequality for `exp(l sum X)` holds at every `l`; the least over some of them is taken.
    #[must_use]
    pub fn p_bound(&self, above: bool, distance: f64, count: f64) -> f64 {
        let exponent = match (distance > 0.0, above) {
            (false, _) => return if distance.is_nan() { f64::NAN } else { 1.0 },
            (true, false) => -count * distance.powi(2) / (2.0 * self.second_moment),
            (true, true) => count * self.log_moment(distance),
        };
        at_most_one(2.0 * exponent.exp())
    }

    /// `min over l of ln E exp(l (X - mu - t))`, from above.
    fn log_moment(&self, distance: f64) -> f64 {
        let at = |step: i32| {
            let share = 0.9_f64.powi(step);
            let l = share / self.scale;
            let moment =
                l * self.mean + l * l * self.second_moment / 2.0 + 2.0 * share.powi(3) / (1.0 - share);
            moment.ln_1p() - l * (self.mean + distance)
        };
        (1..120).map(at).fold(0.0, f64::min)
    }
}

/// The least distance at which a bound on a chance, which falls with the distance, is below `rate`, to a relative 2^-30;
/// infinite if it never is.
#[must_use]
pub fn least_visible(rate: f64, p_bound: impl Fn(f64) -> f64) -> f64 {
    let visible = |distance: f64| p_bound(distance) < rate;
    let Some(upper) = (-1022..1024).map(|power| 2.0_f64.powi(power)).find(|&distance| visible(distance))
    else {
        return f64::INFINITY;
    };
    let halve = |(low, high): (f64, f64), _| {
        let middle = f64::midpoint(low, high);
        if visible(middle) { (low, middle) } else { (middle, high) }
    };
    (0..30).fold((upper / 2.0, upper), halve).1
}

fn at_most_one(bound: f64) -> f64 {
    // Unlike `min`, lets a NaN through.
    if bound > 1.0 { 1.0 } else { bound }
}
