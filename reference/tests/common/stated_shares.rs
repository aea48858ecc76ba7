//! How a total is shared out: in proportion up to a limit, and in whole numbers by the largest remainders.

use proptest::prelude::*;

/// `-sum p ln p` of the layer's scores over the sum of their magnitudes.
pub fn stated_entropy(layer: &[Vec<f64>]) -> f64 {
    let magnitudes: Vec<f64> = layer.concat().iter().map(|score| score.abs()).collect();
    let sum: f64 = magnitudes.iter().sum();
    let terms = magnitudes.iter().filter(|&&x| x > 0.0).map(|x| -(x / sum) * (x / sum).ln());
    terms.fold(0.0, |sum, term| sum + term.max(0.0))
}

/// `min(most, f w)` with the one `f` for which they add up to `total`, by bisection; even where no weight is left.
pub fn stated_shares(weights: &[f64], total: f64, most: f64) -> Vec<f64> {
    let weighty = weights.iter().filter(|&&w| w > 0.0).count();
    if total >= most * weighty as f64 {
        let rest = (total - most * weighty as f64) / ((weights.len() - weighty) as f64).max(1.0);
        return weights.iter().map(|&w| if w > 0.0 { most } else { rest }).collect();
    }
    let at = |factor: f64| -> Vec<f64> { weights.iter().map(|w| (w * factor).min(most)).collect() };
    let (mut low, mut high) = (0.0, 1.0);
    while at(high).iter().sum::<f64>() < total {
        high *= 2.0;
    }
    for _ in 0..200 {
        let middle = 0.5 * (low + high);
        if at(middle).iter().sum::<f64>() < total { low = middle } else { high = middle }
    }
    at(high)
}

/// Asserts the meaning of largest remainders: the total is kept, no share is further than one from its target, and none
/// is rounded up whose remainder is clearly below that of one rounded down.
pub fn assert_rounds(shares: &[usize], targets: &[f64], total: usize) -> Result<(), TestCaseError> {
    const CLEARLY: f64 = 1e-6; // far above any rounding of a few dozen, far below one
    prop_assert_eq!(shares.len(), targets.len());
    prop_assert_eq!(shares.iter().sum::<usize>(), total);
    let over = |i: usize| shares[i] as f64 - targets[i];
    for i in 0..shares.len() {
        prop_assert!(over(i).abs() < 1.0 + CLEARLY, "{shares:?} for {targets:?}");
        for j in 0..shares.len() {
            // Rounded up by more than another was rounded down: the other one's remainder was the larger.
            let wrong = over(i) > CLEARLY && over(j) < -CLEARLY && over(i) - over(j) > 1.0 + CLEARLY;
            prop_assert!(!wrong, "{shares:?} for {targets:?}");
        }
    }
    Ok(())
}
