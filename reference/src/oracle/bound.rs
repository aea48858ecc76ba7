//! Lower bounds that hold in floating point.
//!
//! For **any** matrix `E`, however it was computed, and any evicted set `s`,
//!
//! ```text
//! norm_F(E(s))^2 >= 2 <E, E(s)> - norm_F(E)^2 = sum over i in s of 2 <E, E(e_i)> - norm_F(E)^2
//! ```
//!
//! because `norm_F(E(s) - E)^2 >= 0`. So the least of the right side over the admissible sets, which is a matter of
//! sorting, is a lower bound on the best admissible eviction, and `E` is its certificate. With `E = E(x)` it is the
//! Frank-Wolfe bound `f(x) - g(x)` of B9. Rounding enters only where `<E, E(e_i)>`, `norm_F(E)^2` and the final sum
//! are computed from the `E` in memory, and each of these is bounded and subtracted; how far `E` is from `E(x)` does
//! not matter. Underflow is not accounted for.

use super::gram::{Product, gamma};

/// What is already decided about each slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Nothing.
    Open,
    /// It stays.
    Retained,
    /// It goes.
    Evicted,
}

/// A lower bound on `norm_F(E(s))^2` over all sets of `count` evicted slots that respect the decisions.
///
/// # Panics
/// When the decisions leave no such set.
#[must_use]
pub fn lower_bound(product: &Product, decisions: &[Decision], count: usize) -> f64 {
    let slope = |slot: usize| 2.0 * (product.values[slot] - product.errors[slot]);
    let slots = |decision| {
        let decided = decisions.iter().enumerate().filter(move |(_, other)| **other == decision);
        decided.map(|(slot, _)| slot)
    };
    let forced: Vec<f64> = slots(Decision::Evicted).map(slope).collect();
    let mut open: Vec<f64> = slots(Decision::Open).map(slope).collect();
    let wanted = count.checked_sub(forced.len()).filter(|&wanted| wanted <= open.len());
    let wanted = wanted.expect("the decisions leave a set of this size");
    if wanted > 0 && wanted < open.len() {
        open.select_nth_unstable_by(wanted - 1, f64::total_cmp);
    }
    open.truncate(wanted);

    let chosen = forced.iter().chain(&open);
    let (sum, magnitude) =
        chosen.fold((0.0, 0.0), |(sum, size), slope: &f64| (sum + slope, size + slope.abs()));
    let bound = sum - product.squared_norm;
    let rounding = 2.0 * gamma(count + 8) * (magnitude + product.squared_norm.abs());
    (bound - rounding).min(product.cap).max(0.0)
}
