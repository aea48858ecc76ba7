//! B1, B7, B8: the triangle inequality over column-row pairs.
//!
//! A pair's norm is a product of two vectors' norms, `norm_F(a b^T) = norm2(a) norm2(b) = p`, so the norm of any sum of
//! removed pairs is at most the sum of their `p`. Sums over evicted pairs, over one slot's query group and over a whole
//! layer are B1, B7 and B8.

use super::bound::{Bound, Evidence};
use super::case::{Case, LayerPairs, group_sum};
use crate::oracle::PairGram;
use crate::rounding::gamma;

/// B1 and B8.
#[must_use]
pub fn of_eviction(case: &Case<'_>) -> Vec<Bound> {
    vec![drop_error(case), best_scores(case), relative_error(case), score_sum(case)]
}

/// B7.
#[must_use]
pub fn of_candidates(case: &Case<'_>) -> Vec<Bound> {
    removed_block(case.pairs).into_iter().collect()
}

/// `norm_F(Delta) <= sum over E of p_{h,i}`
///
/// `Delta` is minus the sum of the evicted pairs `a_{h,i} b_{h,i}^T`, and `norm_F(a b^T) = norm2(a) norm2(b)`. The left
/// side is the stage *evaluate*'s `drop` error, which never looks at pairs. The bound is tight if the pairs point the
/// same way. The right side does not see pairs that cancel.
#[must_use]
pub fn drop_error(case: &Case<'_>) -> Bound {
    Bound {
        id: "B1a",
        statement: "norm(Delta) <= sum over E of p",
        left: case.error(),
        right: case.evicted_sum(|head, i| head.scores[i]),
        evidence: Evidence::AtMost { rounding: 2.0 * case.rounding() },
    }
}

/// `min over E' of the same size of (sum over E' of p) <= sum over E of p`
///
/// With a candidate's score `s_i` the sum of `p` over its query group, B1's right side is a sum of one number for each
/// evicted candidate. So it is least for the candidates with the least scores, that is, if the top of the ranking by `s` is
/// retained. Exchanging any of them for another candidate does not lower the sum. The group's mean ranks the same.
#[must_use]
pub fn best_scores(case: &Case<'_>) -> Bound {
    let mut scores: Vec<f64> = (0..case.pairs.gram.candidates())
        .map(|candidate| group_sum(case.pairs, candidate, |head, i| head.scores[i]))
        .collect();
    scores.sort_unstable_by(f64::total_cmp);
    Bound {
        id: "B1b",
        statement: "least sum of |E| slots' p <= sum over E of p",
        left: scores.iter().take(case.evicted_candidates().len()).sum(),
        right: case.evicted_sum(|head, i| head.scores[i]),
        evidence: Evidence::AtMost { rounding: 2.0 * case.rounding() },
    }
}

/// `norm_F(sum over the group of a_{h,i} b_{h,i}^T) <= sum over the group of p_{h,i}`, for every candidate `i`
///
/// The left side is `sqrt(M_ii)`, the exact cost of evicting the candidate alone. It makes the group's **sum** (or
/// mean) of complete per-head scores safe. The `attention` form, `norm2(sum of a_{h,i}) * mean of norm2(b_{h,i})`, is
/// no upper bound, because it pairs one head's attention with another head's value norm. The candidate nearest to a
/// violation is returned; `None` without a candidate.
///
/// Rounding: `M_ii` sums products of two inner products over pairs of heads, so it is off by at most `gamma_k m^2` with
/// the group's sum `m` of `norm2(a) norm2(|v| |W_h|)`, and its root by that over the root.
#[must_use]
pub fn removed_block(pairs: &LayerPairs<'_>) -> Option<Bound> {
    let of_candidate = |(candidate, squared): (usize, &f64)| {
        let (left, right) = (squared.sqrt(), group_sum(pairs, candidate, |head, i| head.scores[i]));
        let magnitude = group_sum(pairs, candidate, |head, i| head.magnitudes[i]);
        // `M_ii` goes through two chains, the right side through one.
        let squared_rounding = 4.0 * pairs.rounding() * magnitude.powi(2);
        let largest = left.max(right);
        let rounding = if largest > 0.0 { squared_rounding / largest } else { 0.0 };
        Bound {
            id: "B7",
            statement: "norm(a slot's removed block) <= sum over the group of p",
            left,
            right,
            evidence: Evidence::AtMost { rounding },
        }
    };
    Bound::nearest_to_failing(pairs.gram.diagonal().iter().enumerate().map(of_candidate))
}

/// `norm_F(Delta) / norm_F(O) <= (Z / norm_F(O)) * sum over E of s_{h,i}`, with `s = p / Z` and `Z` the layer's sum of `p`
///
/// B1 for a layer whose scores are normalised to sum 1, as a cut over the whole model does. That normalisation ignores
/// the factor `Z / norm_F(O)`: in layers with different factors, equal normalised scores stand for unequal relative
/// errors. An output of norm 0 is taken as norm 1.
#[must_use]
pub fn relative_error(case: &Case<'_>) -> Bound {
    let sum = case.pairs.score_sum();
    let unit = |norm: f64| if norm > 0.0 { norm } else { 1.0 };
    let (sum, norm) = (unit(sum), unit(case.pairs.output.norm()));
    Bound {
        id: "B8a",
        statement: "norm(Delta)/norm(O) <= (Z/norm(O)) * sum over E of p/Z",
        left: case.error() / norm,
        right: (sum / norm) * case.evicted_sum(|head, i| head.scores[i] / sum),
        // One division more for each score, and three for the sides.
        evidence: Evidence::AtMost { rounding: 3.0 * case.rounding() / norm },
    }
}

/// `norm_F(O) <= Z`, the layer's sum of `p`
///
/// B1 with everything evicted, the window as well: the factor of B8 is at least 1.
#[must_use]
pub fn score_sum(case: &Case<'_>) -> Bound {
    let magnitude: f64 = case.pairs.heads.iter().map(|head| head.magnitudes.sum()).sum();
    let squares = case.pairs.output.len() + case.pairs.layer.shape.query_heads;
    let rounding = 2.0 * (case.pairs.rounding() + gamma(squares)) * magnitude;
    Bound {
        id: "B8b",
        statement: "norm(O) <= Z = sum of all p of the layer",
        left: case.pairs.output.norm(),
        right: case.pairs.score_sum(),
        evidence: Evidence::AtMost { rounding },
    }
}
