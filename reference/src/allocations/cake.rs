//! `allocation=cake`: layers in proportion to how widely and how unsteadily their window attends, heads alike.
//!
//! A layer's weight is `H^(1/tau1) V^(1/tau2)`, `H` and `V` being the [`Statistic`]s attention entropy and attention
//! variance. A surplus that a layer cannot take goes to the others in proportion; the published code deals it out
//! evenly. The largest remainder makes whole numbers.
//!
//! The paper (arXiv 2503.12491) tunes the temperatures by model and budget and gives no rule for others. Its code has,
//! at 128 and at 1024 entries: Llama-3.1-8B (1.6, 0.6) and (1.6, 0.4), Mistral-7B-v0.3 (1.0, 0.8) and (0.8, 0.5),
//! Qwen2.5-7B (0.4, 0.6) and (1.5, 0.6), Llama-2-7B (0.9, 2.3) and (1.9, 1.8), Llama-2-13B (1.8, 2.0) and (0.5, 0.4).
//! Here both are 1 by default, so that no model is favoured.

use super::shares::proportional;
use super::{AllocationEntry, Division, Request};
use crate::error::Result;
use crate::parameter::Parameter;
use crate::statistic::Statistic;

/// The entropy's temperature.
pub static TAU1: Parameter = Parameter::new("tau1", [0.05, 20.0], 1.0);

/// The variance's temperature.
pub static TAU2: Parameter = Parameter::new("tau2", [0.05, 20.0], 1.0);

pub(super) static ENTRY: AllocationEntry = AllocationEntry {
    name: "cake",
    formula: "layers in proportion to H^(1/tau1) V^(1/tau2), H the entropy of the window's attention, V its variance over \
              the window; heads alike",
    source: "arXiv 2503.12491",
    parameters: &[&TAU1, &TAU2],
    wants: &[Statistic::AttentionEntropy, Statistic::AttentionVariance],
    within_layers: false,
    division: Division::Quotas(quotas),
};

fn quotas(request: &Request<'_>) -> Result<Vec<usize>> {
    let [tau1, tau2] = [&TAU1, &TAU2].map(|parameter| request.parameters.get(parameter));
    let entropies = request.scores.statistic(Statistic::AttentionEntropy)?;
    let variances = request.scores.statistic(Statistic::AttentionVariance)?;
    let layers = entropies.iter().zip(variances);
    let logarithms: Vec<f64> =
        layers.map(|(entropy, variance)| entropy.ln() / tau1 + variance.ln() / tau2).collect();
    let supply = request.supply;
    let shares = proportional(&scaled(&logarithms), logarithms.len() * supply.free(), supply.room());
    Ok(request.alike(&shares))
}

/// Weights from their logarithms, scaled so that the largest is 1: powers of small numbers would underflow. All are
/// zero if no weight is positive.
fn scaled(logarithms: &[f64]) -> Vec<f64> {
    let largest = logarithms.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let scale = |&logarithm: &f64| if largest.is_finite() { (logarithm - largest).exp() } else { 0.0 };
    logarithms.iter().map(scale).collect()
}
