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

#[cfg(test)]
mod tests {
    use super::{by_normal, doubled_ranks, exact, p_value};

    /// All of one sign: only one of `2^n` choices of signs is as extreme, and its mirror.
    #[test]
    fn one_sign_throughout_has_the_least_p_value() {
        for n in 1..=12_i32 {
            let differences: Vec<f64> = (1..=n).map(f64::from).collect();
            assert_eq!(p_value(&differences), 2.0 * 0.5_f64.powi(n));
            let mirrored: Vec<f64> = differences.iter().map(|x| -x).collect();
            assert_eq!(p_value(&mirrored), 2.0 * 0.5_f64.powi(n));
        }
    }

    /// Of 16 choices of signs for the ranks 1 to 4, the sums 0, 1 and 2 have one each.
    #[test]
    fn four_differences_can_be_counted_by_hand() {
        assert_eq!(p_value(&[-1.0, 2.0, 3.0, 4.0]), 2.0 * 2.0 / 16.0);
        assert_eq!(p_value(&[1.0, -2.0, 3.0, 4.0]), 2.0 * 3.0 / 16.0);
        // A sum of 3 has two: {3} and {1, 2}.
        assert_eq!(p_value(&[1.0, 2.0, -3.0, 4.0]), 2.0 * 5.0 / 16.0);
        // 5 is the middle: everything is as extreme.
        assert_eq!(p_value(&[1.0, -2.0, -3.0, 4.0]), 1.0);
    }

    /// The textbook's critical values for a two-sided test: 8 of 10 at 0.05 (p = 0.0488), 3 of 10 at 0.01 (0.0098), 52 of 20 at 0.05.
    #[test]
    fn the_tables_critical_values_agree() {
        let with_sum = |n: usize, negative: &[usize]| {
            let sign = |rank: usize| if negative.contains(&rank) { -(rank as f64) } else { rank as f64 };
            p_value(&(1..=n).map(sign).collect::<Vec<_>>())
        };
        let within = |p: f64, stated: f64| assert!((p - stated).abs() < 5e-5, "{p} for {stated}");
        within(with_sum(10, &[8]), 0.0488);
        within(with_sum(10, &[9]), 0.0645);
        within(with_sum(10, &[3]), 0.0098);
        within(with_sum(10, &[4]), 0.0137);
        assert!(with_sum(20, &[20, 19, 13]) < 0.05 && with_sum(20, &[20, 19, 14]) > 0.05);
    }

    /// Two ties of rank 1.5 and one of 3: sums 0, 1.5, 1.5, 3, 3, 4.5, 4.5 and 6 of eight.
    #[test]
    fn ties_have_their_own_distribution() {
        assert_eq!(p_value(&[1.0, 1.0, 3.0]), 2.0 / 8.0);
        assert_eq!(p_value(&[-1.0, 1.0, 3.0]), 2.0 * 3.0 / 8.0);
        assert_eq!(p_value(&[1.0, 1.0, -3.0]), 1.0);
    }

    #[test]
    fn zeros_say_nothing() {
        assert_eq!(p_value(&[]), 1.0);
        assert_eq!(p_value(&[0.0, -0.0]), 1.0);
        assert_eq!(p_value(&[0.0, 1.0, 2.0, 0.0]), p_value(&[1.0, 2.0]));
    }

    /// At the border both agree within the expansion's next term, of the order of 1 / n.
    #[test]
    fn many_differences_go_over_into_the_normal_distribution() {
        let differences: Vec<f64> = (1..=200).map(|i| f64::from(if i % 9 < 5 { i } else { -i })).collect();
        let ranks = doubled_ranks(&differences);
        let sum = ranks.iter().zip(&differences).filter(|pair| *pair.1 > 0.0).map(|pair| pair.0).sum();
        let (exact, normal) = (exact(&ranks, sum), by_normal(&ranks, sum));
        assert!(exact < 0.5 && (exact - normal).abs() < 1.0 / 200.0, "{exact} and {normal}");
    }
}
