//! Bounds on rounding.

/// `gamma_k = k u / (1 - k u)`: the relative error of a sum of `k` products, each rounded to a unit `u = 2^-53`.
#[must_use]
pub fn gamma(terms: usize) -> f64 {
    gamma_of(terms as f64, f64::EPSILON / 2.0)
}

/// `gamma_k` of any unit roundoff `u`; infinite or negative from `k u = 1` on.
#[must_use]
pub fn gamma_of(terms: f64, unit: f64) -> f64 {
    let rounding = terms * unit;
    rounding / (1.0 - rounding)
}
