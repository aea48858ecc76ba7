//! The signed rank test of Wilcoxon: are paired differences symmetric about zero?

use statrs::distribution::{ContinuousCDF, Normal};

use super::spearman::ranks;

/// Beyond so many differences the normal approximation is used.
const MOST_EXACT: usize = 200;

/// The two-sided p-value of `differences`.
///
/// Zeros are left out, ties share their mean rank. Up to 200 differences the distribution of the rank sum is
/// exact, given the ties; beyond, it is the normal one with its variance reduced for ties. 1 if no difference is left.
#[must_use]
pub fn p_value(differences: &[f64]) -> f64 {
    let differences: Vec<f64> = differences.iter().copied().filter(|&difference| difference != 0.0).collect();
    let ranks = doubled_ranks(&differences);
    let positive = differences.iter().zip(&ranks).filter(|(difference, _)| **difference > 0.0);
    let sum: usize = positive.map(|(_, rank)| rank).sum();
    if ranks.len() > MOST_EXACT { by_normal(&ranks, sum) } else { exact(&ranks, sum) }
}

/// Twice the mean rank of each magnitude: whole numbers.
fn doubled_ranks(differences: &[f64]) -> Vec<usize> {
    let magnitudes: Vec<f64> = differences.iter().map(|difference| difference.abs()).collect();
    ranks(&magnitudes).into_iter().map(|rank| (2.0 * rank) as usize).collect()
}

/// Each rank counts for the sum with probability one half: the chance of a sum as far from the middle.
fn exact(ranks: &[usize], sum: usize) -> f64 {
    let total: usize = ranks.iter().sum();
    let mut probabilities = vec![0.0; total + 1];
    probabilities[0] = 1.0;
    for &rank in ranks {
        for reached in (0..=total).rev() {
            let without = probabilities[reached];
            let with = reached.checked_sub(rank).map_or(0.0, |before| probabilities[before]);
            probabilities[reached] = 0.5 * (without + with);
        }
    }
    let tail = sum.min(total - sum);
    let at_most: f64 = probabilities[..=tail].iter().sum();
    (2.0 * at_most).min(1.0)
}

/// `Phi` of the sum, centred and half a rank nearer to the middle; doubled ranks have four times the variance.
fn by_normal(ranks: &[usize], sum: usize) -> f64 {
    let total: usize = ranks.iter().sum();
    let variance: f64 = ranks.iter().map(|&rank| (rank as f64).powi(2)).sum::<f64>() / 4.0;
    let away = (sum as f64 - total as f64 / 2.0).abs() - 1.0;
    (2.0 * Normal::standard().sf(away.max(0.0) / variance.sqrt())).min(1.0)
}
