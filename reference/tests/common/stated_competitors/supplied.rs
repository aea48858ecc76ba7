//! Scores of tensors that a capture may leave out.

use laprox_reference::Supplement;

use super::{Scores, group_mean, sum};
use crate::common::compare::{Stated, norm};
use crate::common::problem::Problem;
use crate::common::stated_scores::per_slot;
use crate::common::statement::projected;

/// `R x` of a square matrix in C order.
fn times(matrix: &[f64], x: &[f64]) -> Vec<f64> {
    matrix.chunks(x.len()).map(|row| row.iter().zip(x).map(|(m, x)| m * x).sum()).collect()
}

/// `mean over the group of softmax_i(scale k^T R m + (scale R^T k)^T C (scale R^T k) / 2) norm2(v_i)`, and the largest magnitude of a logit:
/// the softmax is off by that many roundings.
#[must_use]
pub fn expected_attention(problem: &Problem) -> (Scores, f64) {
    let (dim, context) = (problem.sizes.head_dim, problem.sizes.context_len());
    let rotation = problem.supplied(Supplement::QueryRotation);
    let means = problem.supplied(Supplement::QueryMean);
    let covariances = problem.supplied(Supplement::QueryCovariance);
    let logit = |h: usize, i: usize, of: fn(f64) -> f64| -> f64 {
        let every = |numbers: &[f64]| numbers.iter().map(|&x| of(x)).collect::<Vec<f64>>();
        let (rotation, key) = (every(rotation), every(problem.key_at(h / problem.sizes.group_size, i)));
        let turned = times(&rotation, &every(&means[h * dim..][..dim]));
        let linear: f64 = key.iter().zip(turned).map(|(k, m)| problem.scale * k * m).sum();
        let back = |c: usize| (0..dim).map(|r| rotation[r * dim + c] * key[r] * problem.scale).sum::<f64>();
        let back: Vec<f64> = (0..dim).map(back).collect();
        let spread = times(&every(&covariances[h * dim * dim..][..dim * dim]), &back);
        linear + back.iter().zip(spread).map(|(x, y)| x * y).sum::<f64>() / 2.0
    };
    let first = if context > 4 { 4 } else { 0 };
    let softmax = |h: usize, i: usize| {
        let largest = (first..context).map(|j| logit(h, j, |x| x)).fold(f64::NEG_INFINITY, f64::max);
        let all: f64 = (first..context).map(|j| (logit(h, j, |x| x) - largest).exp()).sum();
        (logit(h, i, |x| x) - largest).min(0.0).exp() / all
    };
    let scores = group_mean(problem, |h, i| {
        let value = problem.value_at(h / problem.sizes.group_size, i);
        norm(&value.iter().map(|&v| Stated::of(v)).collect::<Vec<_>>()).times(softmax(h, i))
    });
    let heads = 0..problem.sizes.query_heads();
    let magnitudes = heads.flat_map(|h| (0..context).map(move |i| logit(h, i, f64::abs)));
    (scores, magnitudes.fold(0.0, f64::max))
}

/// The stored maxima of the candidates.
#[must_use]
pub fn kvzip(problem: &Problem) -> Scores {
    let (maxima, context) = (problem.supplied(Supplement::RepeatMax), problem.sizes.context_len());
    per_slot(problem, |group, i| Stated::of(maxima[group[0] / problem.sizes.group_size * context + i]))
}

/// The largest over the group of the stored maximum times `norm2(v_i W_h)`.
#[must_use]
pub fn kvzip_plus(problem: &Problem) -> Scores {
    let maxima = problem.supplied(Supplement::RepeatRelativeMax);
    let context = problem.sizes.context_len();
    per_slot(problem, |group, i| {
        let of_head = |&h: &usize| norm(&projected(problem, h, i)).times(maxima[h * context + i]);
        let parts: Vec<Stated> = group.iter().map(of_head).collect();
        let value = parts.iter().map(|part| part.value).fold(0.0, f64::max);
        // Whichever head is the largest, it is off by no more than all of them together.
        Stated { value, magnitude: sum(parts.into_iter()).magnitude }
    })
}
