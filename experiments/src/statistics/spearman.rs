//! Spearman's rank correlation.

/// Pearson's correlation of the ranks, ties at their mean rank; `None` if either list does not vary.
///
/// # Panics
/// When the lists have different lengths.
#[must_use]
pub fn correlation(one: &[f64], two: &[f64]) -> Option<f64> {
    assert_eq!(one.len(), two.len(), "pairs");
    let centred = |values: &[f64]| -> Vec<f64> {
        let middle = (values.len() as f64 + 1.0) / 2.0;
        ranks(values).into_iter().map(|rank| rank - middle).collect()
    };
    let (one, two) = (centred(one), centred(two));
    let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let scale = (product(&one, &one) * product(&two, &two)).sqrt();
    (scale > 0.0).then(|| product(&one, &two) / scale)
}

/// The mean rank of each value, from 1.
pub(super) fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&i, &j| values[i].total_cmp(&values[j]));
    let mut ranks = vec![0.0; values.len()];
    let mut first = 0;
    for alike in order.chunk_by(|&i, &j| values[i] == values[j]) {
        let mean = (first + 1) as f64 + (alike.len() - 1) as f64 / 2.0;
        alike.iter().for_each(|&index| ranks[index] = mean);
        first += alike.len();
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::{correlation, ranks};

    #[test]
    fn ties_share_their_mean_rank() {
        assert_eq!(ranks(&[3.0, 1.0, 3.0, 0.5]), [3.5, 2.0, 3.5, 1.0]);
    }

    #[test]
    fn any_growing_relation_is_one_and_any_falling_one_minus_one() {
        let values = [0.1, 2.0, 5.0, 40.0];
        assert_eq!(correlation(&values, &values.map(f64::exp)), Some(1.0));
        assert_eq!(correlation(&values, &values.map(|value| -value)), Some(-1.0));
    }

    /// Ranks 1 2 3 4 5 and 2 1 4 3 5: `1 - 6 * 4 / (5 * 24)`.
    #[test]
    fn the_formula_without_ties_is_met() {
        let found = correlation(&[1.0, 2.0, 3.0, 4.0, 5.0], &[20.0, 10.0, 40.0, 30.0, 50.0]);
        approx::assert_relative_eq!(found.unwrap(), 0.8, max_relative = 1e-15);
    }

    /// Ranks 1 2 3 and 1.5 1.5 3: covariance 1.5 over the root of 2 * 1.5.
    #[test]
    fn ties_count_by_their_mean_rank() {
        let found = correlation(&[1.0, 2.0, 3.0], &[0.0, 0.0, 1.0]).unwrap();
        approx::assert_relative_eq!(found, 1.5 / 3.0_f64.sqrt(), max_relative = 1e-15);
    }

    #[test]
    fn what_does_not_vary_has_no_correlation() {
        assert_eq!(correlation(&[1.0, 1.0], &[1.0, 2.0]), None);
        assert_eq!(correlation(&[], &[]), None);
    }
}
