//! B2: the `drop` error is a quadratic form, and a positive semidefinite one.

use nalgebra::SymmetricEigen;
use rand::SeedableRng;
use rand::seq::index::sample;
use rand_chacha::ChaCha8Rng;

use super::bound::{Bound, Evidence};
use super::case::{Case, group_sum};
use crate::oracle::PairGram;
use crate::oracle::gram::indicator;
use crate::rounding::gamma;

/// B2.
#[must_use]
pub fn checks(case: &Case<'_>) -> Vec<Bound> {
    std::iter::once(quadratic_form(case)).chain(semidefinite(case)).collect()
}

/// `norm_F(Delta)^2 = x^T M x`, `M = (A^T A) o (B B^T)`, with `x` the indicator of the evicted pairs
///
/// `norm_F(sum_k x_k a_k b_k^T)^2 = sum_kl x_k x_l <a_k, a_l> <b_k, b_l>`. The left side comes from the stage *evaluate*, the
/// right side from [`LayerGram`](crate::oracle::gram::LayerGram)'s product `M x`, which goes through `E(x) W_h^T` instead.
///
/// Rounding: with `e` as in [`Case::rounding`], the left side is off by `(2 norm + e) e`; the matrix `E` behind the
/// product is off by `e` too, which moves `<E, Delta>` by at most `e (norm + e)`; and the product's own errors add up.
#[must_use]
pub fn quadratic_form(case: &Case<'_>) -> Bound {
    let evicted = case.evicted_candidates();
    let product = case.pairs.gram.product(&indicator(case.pairs.gram.candidates(), &evicted));
    let sum = |numbers: &[f64]| evicted.iter().map(|&candidate| numbers[candidate]).sum::<f64>();
    let magnitude: f64 = evicted.iter().map(|&candidate| product.values[candidate].abs()).sum();

    let (left, right) = (case.squared_error(), sum(&product.values));
    let (norm, error) = (case.error(), case.rounding());
    let of_right = error * (norm + error) + sum(&product.errors) + gamma(evicted.len() + 1) * magnitude;
    Bound {
        id: "B2a",
        statement: "norm(Delta)^2 = x^T M x",
        left,
        right,
        evidence: Evidence::Equal {
            distance: (left - right).abs(),
            rounding: (2.0 * norm + error) * error + of_right,
        },
    }
}

/// Evicted candidates in the principal block that [`semidefinite`] looks at.
const BLOCK: usize = 64;

/// `0 <= v^T M_S v / v^T v`, for the least eigenvector `v` of the block `M_S` of a random set of evicted candidates
///
/// `M` is the entrywise product of two positive semidefinite matrices, so it is positive semidefinite itself (Schur
/// 1911; Horn and Johnson, Topics in Matrix Analysis, theorem 5.2.1), and so is every principal block. A negative
/// Rayleigh quotient beyond rounding would disprove it, however `v` was found. `None` if nothing is evicted.
///
/// Rounding: an entry of the block is off by `gamma_k m_i m_j`, with the group's sum `m_i` of `norm2(a) norm2(|v| |W_h|)`,
/// and the quotient sums `|S|^2` of them; in the norm of the block that is at most `gamma_k sum over S of m_i^2`.
#[must_use]
pub fn semidefinite(case: &Case<'_>) -> Option<Bound> {
    let evicted = case.evicted_candidates();
    let mut generator = ChaCha8Rng::seed_from_u64(case.draws.seed);
    generator.set_stream(case.pairs.layer.index.0 as u64);
    let chosen = sample(&mut generator, evicted.len(), BLOCK.min(evicted.len()));
    let mut candidates: Vec<usize> = chosen.into_iter().map(|index| evicted[index]).collect();
    candidates.sort_unstable();
    if candidates.is_empty() {
        return None;
    }

    let block = case.pairs.gram.blocks(&candidates).remove(0);
    let eigen = SymmetricEigen::new(block.clone());
    let vector = eigen.eigenvectors.column(eigen.eigenvalues.imin());
    let quotient = vector.dot(&(&block * vector)) / vector.norm_squared();
    let magnitude = |&index: &usize| group_sum(case.pairs, index, |head, i| head.magnitudes[i]).powi(2);
    let terms = 2 * case.pairs.terms() + 4 * candidates.len() + case.pairs.layer.shape.group_size().pow(2);
    Some(Bound {
        id: "B2b",
        statement: "0 <= least Rayleigh quotient found of a block of M",
        left: 0.0,
        right: quotient,
        evidence: Evidence::AtMost { rounding: gamma(terms) * candidates.iter().map(magnitude).sum::<f64>() },
    })
}
