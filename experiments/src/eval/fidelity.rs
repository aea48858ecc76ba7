//! How an evicted cache predicts the text's own continuation, against the full one.

use anyhow::Result;

use crate::model::{Continuation, Error, Model};
use crate::rows::MetricName;

/// The logits after each of `tokens`, `[tokens][vocabulary]`, seen through a sequence's cache.
///
/// # Errors
/// When the cache has no room for them.
pub fn predictions(model: &Model, mut sequence: Continuation, tokens: &[u32]) -> Result<Vec<Vec<f32>>> {
    let hidden = model.forward(tokens, &mut sequence.cache, &mut ())?;
    Ok(model.logits(&hidden)?.to_vec2().map_err(Error::from)?)
}

/// What the predictions of a continuation's tokens lose.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fidelity {
    /// `-mean ln p_hat(true token)`, in nats.
    pub negative_log_likelihood: f64,
    /// `mean KL(p, p_hat) = mean sum_v p_v ln(p_v / p_hat_v)`, from the full cache's predictions, in nats.
    pub divergence: f64,
    /// The share of tokens at which both find the same token most probable.
    pub agreement: f64,
}

impl Fidelity {
    /// By the names of rows.
    #[must_use]
    pub fn metrics(&self) -> [(MetricName, f64); 3] {
        [
            (MetricName::NLL, self.negative_log_likelihood),
            (MetricName::KL, self.divergence),
            (MetricName::AGREEMENT, self.agreement),
        ]
    }

    /// Compares predictions `[tokens][vocabulary]` of the full and of an evicted cache; `targets` are the true tokens.
    ///
    /// # Panics
    /// When the lengths differ, or there is no token.
    #[must_use]
    pub fn new(full: &[Vec<f32>], evicted: &[Vec<f32>], targets: &[u32]) -> Self {
        assert!(!targets.is_empty() && full.len() == targets.len() && evicted.len() == targets.len());
        let mut sums = [0.0; 3];
        for ((full, evicted), &target) in full.iter().zip(evicted).zip(targets) {
            let (expected, found) = (log_softmax(full), log_softmax(evicted));
            sums[0] -= found[target as usize];
            sums[1] += expected.iter().zip(&found).map(|(p, q)| p.exp() * (p - q)).sum::<f64>();
            sums[2] += f64::from(u8::from(most_probable(full) == most_probable(evicted)));
        }
        let [negative_log_likelihood, divergence, agreement] = sums.map(|sum| sum / targets.len() as f64);
        Self { negative_log_likelihood, divergence, agreement }
    }
}

/// `l_v - ln sum_u exp(l_u)`.
fn log_softmax(logits: &[f32]) -> Vec<f64> {
    let largest = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let sum: f64 = logits.iter().map(|&logit| (f64::from(logit) - largest).exp()).sum();
    let normaliser = largest + sum.ln();
    logits.iter().map(|&logit| f64::from(logit) - normaliser).collect()
}

fn most_probable(logits: &[f32]) -> Option<usize> {
    (0..logits.len()).reduce(|best, next| if logits[next] > logits[best] { next } else { best })
}
