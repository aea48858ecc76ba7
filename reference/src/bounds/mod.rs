//! The error bounds B1 to B10: the most and the least that an eviction can cost, evaluated on real activations.
//!
//! `E` is the evicted set of a layer and `Delta` the `drop` error matrix, minus the sum of the evicted column-row pairs
//! `a_{h,i} b_{h,i}^T` of norm `p_{h,i} = norm2(a_{h,i}) norm2(b_{h,i})`. Each statement is a function from a [`Case`], one
//! eviction of one layer, to a [`Bound`]: its two sides, and whether it holds. Rounding is allowed for by derived
//! bounds, chance by inequalities and exact tests at the [`FALSE_ALARM_RATE`]; there are no tolerances.
//!
//! | bound | about | module |
//! |---|---|---|
//! | B1, B8 | the sum of the evicted scores | [`triangle`] |
//! | B2 | the error as a quadratic form | [`quadratic`] |
//! | B3 | directions: eigenvalues and spectral norms | [`spectral`] |
//! | B4, B5 | random, rescaled draws of pairs | [`sampling`] |
//! | B6 | renormalised rows | [`renormalised`] |
//! | B7 | one slot's query group | [`triangle`] |
//! | B9 | the least error of any set of this size | [`certificate`] |
//! | B10 | the centred quadratic form | [`centred`] |
//!
//! [`interval`] is no bound but an estimate: how far off a draw is, from what it has kept.

mod bound;
mod case;
pub mod centred;
pub mod certificate;
pub mod chance;
pub mod interval;
pub mod quadratic;
pub mod renormalised;
pub mod sampling;
pub mod spectral;
pub mod triangle;

pub use bound::{Bound, Evidence, FALSE_ALARM_RATE};
pub use case::{Case, Draws, HeadPairs, LayerPairs};

/// Evaluates the statements of one family.
pub type Check = fn(&Case<'_>) -> Vec<Bound>;

/// Every statement, family by family.
pub static CHECKS: [Check; 8] = [
    triangle::of_eviction,
    quadratic::checks,
    spectral::checks,
    sampling::checks,
    renormalised::checks,
    triangle::of_candidates,
    certificate::checks,
    centred::checks,
];
