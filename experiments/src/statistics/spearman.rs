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
#[must_use]
pub fn ranks(values: &[f64]) -> Vec<f64> {
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
