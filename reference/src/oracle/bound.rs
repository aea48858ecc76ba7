//! Lower bounds that hold in floating point.
//!
//! For **any** matrix `E`, however it was computed, and any evicted set `s`,
//!
//! ```text
//! norm_F(E(s))^2 >= 2 <E, E(s)> - norm_F(E)^2 = sum over i in s of 2 <E, E(e_i)> - norm_F(E)^2
//! ```
//!
//! because `norm_F(E(s) - E)^2 >= 0`. So the least right side over the admissible sets is a lower bound on the best
//! admissible eviction. Sorting finds it, and `E` is its certificate. With `E = E(x)` it is the Frank-Wolfe bound
//! `f(x) - g(x)` of B9. Rounding enters only by `<E, E(e_i)>`, `norm_F(E)^2` and the final sum, which are computed from
//! the `E` in memory. Each of these errors is bounded and subtracted. The distance of `E` from `E(x)` matters only to a
//! [convexified](super::convexify) form, which subtracts it, too. Underflow is not accounted for.

use super::gram::Product;
use crate::rounding::gamma;

/// The decision about a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// None yet.
    Open,
    /// It stays.
    Retained,
    /// It goes.
    Evicted,
}

/// A proven lower bound on every admissible set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LowerBound {
    /// No admissible set's squared error is below this.
    pub value: f64,
    /// How much of the bound rounding has cost. Bound and error cannot get much nearer to each other than this.
    pub rounding: f64,
}

impl LowerBound {
    /// The larger of two bounds on the same sets.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        if other.value > self.value { other } else { self }
    }
}

/// A lower bound on `norm_F(E(s))^2` over all sets of `count` evicted candidates that respect the decisions.
///
/// # Panics
/// When the decisions leave no such set.
#[must_use]
pub fn lower_bound(product: &Product, decisions: &[Decision], count: usize) -> LowerBound {
    let least = least_slopes(product, decisions, count);
    let total = |number: fn(&(f64, f64)) -> f64| least.iter().map(number).sum::<f64>();
    let (sum, errors, magnitude) =
        (total(|slope| slope.0), total(|slope| slope.1), total(|slope| slope.0.abs()));
    let rounding = 2.0 * gamma(count + 8) * (magnitude + product.squared_norm.abs());
    let squared = (sum - product.squared_norm - rounding).max(0.0);
    let root = squared.sqrt() * (1.0 - f64::EPSILON) - product.root_loss;
    let value = root.max(0.0).powi(2) * (1.0 - 2.0 * f64::EPSILON);
    LowerBound { value, rounding: errors + rounding + (squared - value) }
}

/// The slopes of the admissible set with the least sum of `2 <E, E(e_i)>`: each slope less its possible error, and the error.
fn least_slopes(product: &Product, decisions: &[Decision], count: usize) -> Vec<(f64, f64)> {
    let slope = |candidate: usize| {
        let error = 2.0 * product.errors[candidate];
        (2.0 * product.values[candidate] - error, error)
    };
    let candidates = |decision| {
        let decided = decisions.iter().enumerate().filter(move |(_, other)| **other == decision);
        decided.map(|(candidate, _)| slope(candidate))
    };
    let mut least: Vec<(f64, f64)> = candidates(Decision::Evicted).collect();
    let mut open: Vec<(f64, f64)> = candidates(Decision::Open).collect();
    let wanted = count.checked_sub(least.len()).filter(|&wanted| wanted <= open.len());
    let wanted = wanted.expect("the decisions leave a set of this size");
    if wanted > 0 && wanted < open.len() {
        open.select_nth_unstable_by(wanted - 1, |one, two| one.0.total_cmp(&two.0));
    }
    open.truncate(wanted);
    least.append(&mut open);
    least
}
