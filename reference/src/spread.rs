//! How widely and how unsteadily a layer's window attends: what `allocation=cake` asks of a layer.

use crate::layer::Layer;

/// Two sums over the query heads of a layer, of what its window pays to the candidates.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AttentionSpread {
    /// `-sum over heads, rows and candidates of A ln A`.
    pub entropy: f64,
    /// `sum over heads and candidates of var_t A[t,i]`.
    pub variance: f64,
}

/// The spread of the attention that the last `window` queries pay.
#[must_use]
pub fn attention_spread(layer: &Layer, window: usize) -> AttentionSpread {
    let mut spread = AttentionSpread { entropy: 0.0, variance: 0.0 };
    for weights in &layer.observed(window).attention.weights {
        for column in weights.columns(0, layer.shape.candidate_len()).column_iter() {
            spread.entropy += column.iter().copied().map(entropy_term).sum::<f64>();
            spread.variance += variance(column.iter().copied());
        }
    }
    spread
}

/// `-p ln p`, 0 at `p = 0`; not below 0 where `p` has been rounded above 1.
#[must_use]
pub fn entropy_term(p: f64) -> f64 {
    if p > 0.0 { (-p * p.ln()).max(0.0) } else { 0.0 }
}

/// `sum_t (a_t - mean)^2 / (w - 1)`; 0 of a single number.
#[must_use]
pub fn variance(numbers: impl ExactSizeIterator<Item = f64> + Clone) -> f64 {
    let count = numbers.len() as f64;
    let mean = numbers.clone().sum::<f64>() / count;
    let squares: f64 = numbers.map(|number| (number - mean).powi(2)).sum();
    if count > 1.0 { squares / (count - 1.0) } else { 0.0 }
}
