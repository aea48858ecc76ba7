//! Comparators: every one fails on NaN, on an infinite bound and on lengths that differ.

use crate::rounding::gamma_of;

/// A stated number beside the same formula with every term replaced by its magnitude.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stated {
    /// The number.
    pub value: f64,
    /// The sum of the magnitudes of its terms.
    pub magnitude: f64,
}

impl Stated {
    /// One term: nothing cancels in it.
    #[must_use]
    pub fn of(value: f64) -> Self {
        Self { value, magnitude: value.abs() }
    }

    /// The sum.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self { value: self.value + other.value, magnitude: self.magnitude + other.magnitude }
    }

    /// The product.
    #[must_use]
    pub fn product(self, other: Self) -> Self {
        Self { value: self.value * other.value, magnitude: self.magnitude * other.magnitude }
    }

    /// The multiple.
    #[must_use]
    pub fn times(self, factor: f64) -> Self {
        Self { value: self.value * factor, magnitude: self.magnitude * factor.abs() }
    }
}

/// The Frobenius norm of a list of stated numbers.
///
/// `| |x| - |y| | <= |x - y|`, and each entry of `x - y` is within the rounding times its magnitude, so the norm
/// is within the rounding times the norm of the magnitudes.
#[must_use]
pub fn norm(entries: &[Stated]) -> Stated {
    let root = |part: fn(&Stated) -> f64| entries.iter().map(|x| part(x).powi(2)).sum::<f64>().sqrt();
    Stated { value: root(|x| x.value), magnitude: root(|x| x.magnitude) }
}

/// `gamma_k = k u / (1 - k u)`: how far `k` roundings in a row can carry a number, relative to the magnitudes.
#[must_use]
pub fn gamma(roundings: f64) -> f64 {
    checked_gamma(roundings, f64::EPSILON / 2.0)
}

/// `gamma_k` of any unit.
///
/// # Panics
/// When so many roundings leave no digits.
pub(super) fn checked_gamma(roundings: f64, unit: f64) -> f64 {
    assert!(roundings * unit < 0.5, "{roundings} roundings leave no digits");
    gamma_of(roundings, unit)
}

/// The underflow of a norm, beside its relative error: a number below 1e-154 has a square below the smallest normal
/// one, and the norm of the at most a thousand that vanish here is below 1e-150.
const UNDERFLOW: f64 = 1e-150;

/// Asserts that `found` is within `rounding * magnitude` of the stated number, and says how much of it was used.
#[track_caller]
pub fn assert_agrees(what: &str, found: f64, stated: Stated, rounding: f64) {
    let bound = rounding * stated.magnitude + UNDERFLOW;
    assert!(bound.is_finite(), "{what}: a bound of {bound} proves nothing");
    let used = (found - stated.value).abs() / bound;
    assert!(used <= 1.0, "{what}: found {found}, stated {}, {used:.3} of the bound {bound:e}", stated.value);
}

/// Asserts it for each number of two lists of one length.
#[track_caller]
pub fn assert_all_agree(what: &str, found: &[f64], stated: &[Stated], rounding: f64) {
    assert_eq!(found.len(), stated.len(), "{what}: lengths differ");
    for (index, (&found, &stated)) in found.iter().zip(stated).enumerate() {
        assert_agrees(&format!("{what}[{index}]"), found, stated, rounding);
    }
}

/// Asserts it for each list of two lists of lists.
#[track_caller]
pub fn assert_heads_agree(what: &str, found: &[Vec<f64>], stated: &[Vec<Stated>], rounding: f64) {
    assert_eq!(found.len(), stated.len(), "{what}: numbers of heads differ");
    for (head, (found, stated)) in found.iter().zip(stated).enumerate() {
        assert_all_agree(&format!("{what}, head {head}"), found, stated, rounding);
    }
}
