//! Statistics of a layer that an allocation may read beside its scores.

use crate::layer::Layer;
use crate::project::head_output;

/// One number per layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Statistic {
    /// `norm_F(O)`, `O = sum_h A_h B_h` over the window.
    OutputNorm,
    /// `-sum over heads, rows and candidates of A ln A`.
    AttentionEntropy,
    /// `sum over heads and candidates of var_t A[t,i]`.
    AttentionVariance,
}

impl Statistic {
    /// The name in refusals.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::OutputNorm => "the norm of the output",
            Self::AttentionEntropy => "the entropy of the attention",
            Self::AttentionVariance => "the variance of the attention",
        }
    }

    /// The statistic of a layer. Attention is read from the last `queries` rows of the window, the output from all rows.
    #[must_use]
    pub fn of(self, layer: &Layer, queries: usize) -> f64 {
        match self {
            Self::OutputNorm => output_norm(layer),
            Self::AttentionEntropy => {
                over_columns(layer, queries, |column| column.iter().copied().map(entropy_term).sum())
            }
            Self::AttentionVariance => {
                over_columns(layer, queries, |column| variance(column.iter().copied()))
            }
        }
    }
}

/// `norm_F(O)`, `O = sum_h A_h B_h` over the window.
fn output_norm(layer: &Layer) -> f64 {
    let heads = layer.shape.query_heads();
    let output = heads.map(|head| head_output(layer, head, &layer.attention.weights[head.0]));
    output.reduce(|sum, next| sum + next).map_or(0.0, |output| output.norm())
}

/// The sum of `of(A_h[.., i])` over all query heads `h` and candidates `i`.
fn over_columns(layer: &Layer, queries: usize, of: impl Fn(&[f64]) -> f64) -> f64 {
    let mut sum = 0.0;
    for weights in &layer.attention.weights {
        let rows = weights.nrows();
        for column in weights.as_slice().chunks_exact(rows).take(layer.shape.candidate_len()) {
            sum += of(&column[rows - queries..]);
        }
    }
    sum
}

/// `-p ln p`, 0 at `p = 0`; never below 0, even if rounding has taken `p` above 1.
#[must_use]
pub fn entropy_term(p: f64) -> f64 {
    if p > 0.0 { (-p * p.ln()).max(0.0) } else { 0.0 }
}

/// `sum_t (a_t - mean)^2 / (w - 1)`; 0 for a single number.
#[must_use]
pub fn variance(numbers: impl ExactSizeIterator<Item = f64> + Clone) -> f64 {
    let count = numbers.len() as f64;
    let mean = numbers.clone().sum::<f64>() / count;
    let squares: f64 = numbers.map(|number| (number - mean).powi(2)).sum();
    if count > 1.0 { squares / (count - 1.0) } else { 0.0 }
}
