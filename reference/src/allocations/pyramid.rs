//! `allocation=pyramid`: early layers keep more than late ones, in a straight line.
//!
//! With `c = b - w`, the first layer's heads keep `2 c - c / beta`, the last layer's `c / beta`, those between on the
//! line. If the first layer's share exceeds the candidates, it keeps them all, and the last layer's heads keep
//! `2 c - (n - w)`. The largest remainder makes whole numbers. Layers are counted within the dump.
//!
//! This is the paper (arXiv 2406.02069) and the code of its successors. NVIDIA's kvpress falls back to equal layers if
//! the least share is below the window. The paper does not, and neither does this rule.

use super::shares::rounded;
use super::{AllocationEntry, Division, Request};
use crate::error::Result;
use crate::parameter::Parameter;

/// The mean share over the last layer's.
pub static BETA: Parameter = Parameter::new("beta", [1.0, 1000.0], 20.0);

pub(super) static ENTRY: AllocationEntry = AllocationEntry {
    name: "pyramid",
    formula: "layer l of L: max - l (max - min) / (L - 1), min = (b-w) / beta, max = 2 (b-w) - min; heads alike",
    source: "arXiv 2406.02069",
    parameters: &[&BETA],
    wants: &[],
    within_layers: false,
    division: Division::Quotas(quotas),
};

fn quotas(request: &Request<'_>) -> Result<Vec<usize>> {
    let (supply, beta) = (request.supply, request.parameters.get(&BETA));
    let layers = request.scores.layers().len();
    let (mean, room) = (supply.free() as f64, supply.room() as f64);
    let first = (2.0 * mean - mean / beta).min(room);
    let last = 2.0 * mean - first;
    let on_the_line = |layer: usize| {
        let way = if layers > 1 { layer as f64 / (layers - 1) as f64 } else { 0.5 };
        first + way * (last - first)
    };
    let targets: Vec<f64> = (0..layers).map(on_the_line).collect();
    Ok(request.alike(&rounded(&targets, layers * supply.free(), supply.room())))
}
