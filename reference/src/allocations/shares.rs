//! Whole shares of a whole number.

/// Whole numbers near `targets` that add up to `total`: each target rounded down, and one more for the largest
/// remainders, the lower index first among equals.
///
/// The targets add up to `total` but for rounding, and lie within `0..=most`; the shares then lie there, too.
pub(super) fn rounded(targets: &[f64], total: usize, most: usize) -> Vec<usize> {
    let mut shares: Vec<usize> = targets.iter().map(|target| (target.floor() as usize).min(most)).collect();
    let mut order: Vec<usize> = (0..targets.len()).collect();
    let remainder = |i: usize| targets[i] - targets[i].floor();
    order.sort_by(|&i, &j| remainder(j).total_cmp(&remainder(i)));
    let mut left = total.checked_sub(shares.iter().sum()).expect("targets add up to the total");
    while left > 0 {
        for &i in &order {
            let takes = usize::from(left > 0 && shares[i] < most);
            shares[i] += takes;
            left -= takes;
        }
    }
    shares
}

/// `total` in proportion to `weights`, no share above `most`. The surplus goes to the other shares in proportion.
///
/// If all remaining weights are 0, the remaining shares are equal.
pub(super) fn proportional(weights: &[f64], total: usize, most: usize) -> Vec<usize> {
    let mut shares = vec![most; weights.len()];
    let mut open: Vec<usize> = (0..weights.len()).collect();
    let mut left = total;
    loop {
        let sum: f64 = open.iter().map(|&i| weights[i]).sum();
        let even = 1.0 / open.len() as f64;
        let target = |i: usize| left as f64 * if sum > 0.0 { weights[i] / sum } else { even };
        let (full, rest): (Vec<usize>, Vec<usize>) = open.iter().partition(|&&i| target(i) >= most as f64);
        if full.is_empty() {
            let targets: Vec<f64> = rest.iter().map(|&i| target(i)).collect();
            for (i, share) in rest.into_iter().zip(rounded(&targets, left, most)) {
                shares[i] = share;
            }
            return shares;
        }
        left -= full.len() * most;
        open = rest;
    }
}

#[cfg(test)]
#[path = "../../tests/unit/shares.rs"]
mod tests;
