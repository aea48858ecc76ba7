//! B9: a convex function's tangent bounds the best eviction from below.

use super::bound::{Bound, Evidence};
use super::case::Case;
use crate::oracle::bound::{Decision, lower_bound};
use crate::oracle::gram::indicator;
use crate::oracle::relax::{Effort, relax};
use crate::oracle::{PairGram, Stop};

/// B9, at three points.
#[must_use]
pub fn checks(case: &Case<'_>) -> Vec<Bound> {
    vec![at_uniform_point(case), at_evicted_set(case), at_relaxed_point(case)]
}

/// `f(x) - g(x) <= norm_F(Delta)^2` at `x_i = m / N`: every candidate evicted by the same share
///
/// `f(x) = x^T M x` is convex, so it lies above its tangent at any `x`; the tangent's least value over
/// `0 <= y <= 1, sum y = m` is `f(x) - g(x)` with the Frank-Wolfe gap `g(x) = max over y of <grad f(x), x - y>`
/// (Jaggi 2013), and it is taken at a set of `m` candidates: `2 *` the sum of the `m` least `(M x)_i`, less `f(x)`. So it is
/// below `norm_F(Delta)^2` of **every** evicted set of `m` candidates, the evaluated one among them.
///
/// The left side is [`lower_bound`]'s, rounded down already.
#[must_use]
pub fn at_uniform_point(case: &Case<'_>) -> Bound {
    let candidates = case.pairs.gram.candidates();
    let share = case.evicted_candidates().len() as f64 / candidates.max(1) as f64;
    tangent("B9a", "f(x) - g(x) <= norm(Delta)^2, x = |E|/N everywhere", case, &vec![share; candidates])
}

/// The same with `x` the indicator of the evicted set itself: `f(x)` is its squared error, and the gap says how much
/// another set of the same size could at most gain.
#[must_use]
pub fn at_evicted_set(case: &Case<'_>) -> Bound {
    let x = indicator(case.pairs.gram.candidates(), &case.evicted_candidates());
    tangent("B9b", "f(x) - g(x) <= norm(Delta)^2, x = 1 on E", case, &x)
}

/// A short relaxation: enough to be near the best bound on most layers.
const EFFORT: Effort = Effort { tolerance: 1e-2, products: 8, block: 256, stop: Stop::NEVER };

/// The same with `x` near the minimum of `f` over `0 <= x <= 1, sum x = m`, where the tangent is highest. It bounds the
/// part of the policy's error that no set of this size can avoid.
#[must_use]
pub fn at_relaxed_point(case: &Case<'_>) -> Bound {
    let start = indicator(case.pairs.gram.candidates(), &case.evicted_candidates());
    let open = vec![Decision::Open; start.len()];
    let count = case.evicted_candidates().len();
    let relaxed = relax(&case.pairs.gram, &open, count, start, EFFORT, &mut |_| true);
    let relaxed = relaxed.expect("no device computes the reference's products");
    tangent("B9c", "f(x) - g(x) <= norm(Delta)^2, x relaxed", case, &relaxed.x)
}

fn tangent(id: &'static str, statement: &'static str, case: &Case<'_>, x: &[f64]) -> Bound {
    let product = case.pairs.gram.product(x);
    let open = vec![Decision::Open; x.len()];
    let error = case.rounding();
    Bound {
        id,
        statement,
        left: lower_bound(&product, &open, case.evicted_candidates().len()).value,
        right: case.squared_error(),
        evidence: Evidence::AtMost { rounding: (2.0 * case.error() + error) * error },
    }
}
