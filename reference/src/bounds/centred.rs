//! B10: the centred quadratic form bounds the `renormalised` error of the heads from below.
//!
//! ```text
//! f_c = sum over heads h and rows t of norm2(sum over E of A_h[t,i] (b_{h,i} - o_{h,t}))^2
//! ```
//!
//! It is a quadratic form in the evicted set, and the `renormalised` error where every retained mass `m` is 1: by B6a a head's
//! row changes by `1 / m` of what `f_c` adds up, and `m <= 1`. The sum over heads before the norm has no such bound: heads with
//! different masses may cancel after renormalising and not before (`reference/tests/bounds/centred.rs` has an example).

use super::bound::{Bound, Evidence};
use super::case::Case;
use super::renormalised::Renormalised;

/// `(sum_h norm(sum over E of a_i (b_i - o))^2)^(1/2) <= (sum_h norm(O_hat_h - O_h)^2)^(1/2)`
///
/// The right side comes from the softmax over the retained logits, the left side from the original weights. Rounding: both are off
/// by what B6a allows in a head's row, times the norm of its projection.
#[must_use]
pub fn checks(case: &Case<'_>) -> Vec<Bound> {
    let layer = case.pairs.layer;
    let (mut left, mut right, mut rounding, mut rows) = (0.0, 0.0, 0.0, 0);
    for head in layer.shape.query_heads() {
        let (projection, changes) = (&layer.output_projection[head.0], Renormalised::new(case, head));
        let factor = projection.norm();
        for row in changes.rows() {
            left += (changes.centred(row) * projection).norm_squared();
            right += (changes.moved(row) * projection).norm_squared();
            rounding += (changes.output_rounding(row) * factor).powi(2);
            rows += 1;
        }
    }
    let bound = Bound {
        id: "B10",
        statement: "centred form <= renormalised error, head-wise",
        left: f64::sqrt(left),
        right: f64::sqrt(right),
        evidence: Evidence::AtMost { rounding: f64::sqrt(rounding) },
    };
    if rows > 0 { vec![bound] } else { Vec::new() }
}
