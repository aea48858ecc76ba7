//! The rows of a search for the best eviction.

use laprox_reference::Budget;
use serde::{Deserialize, Serialize};

use super::name::PolicyName;
use super::objective::Minimised;
use super::row::Row;
use super::spelling;

/// One policy, or the oracle itself, beside the proven bound: for one layer or all of them.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct OracleRow {
    /// The dump's model.
    pub model: String,
    /// The sample.
    pub sample: String,
    /// The budget as asked for.
    #[serde(with = "spelling")]
    pub budget: Budget,
    /// Entries kept per KV head on average.
    pub entries_per_head: usize,
    /// The policy.
    pub policy: PolicyName,
    /// The layer's number; empty for all layers together.
    pub layer: Option<usize>,
    /// The error that the oracle minimises.
    #[serde(default)]
    pub objective: Minimised,
    /// This error, `norm(O_hat - O) / norm(O)`, in the oracle's form.
    pub relative_error: f64,
    /// The proven least of it; empty for an oracle that proves nothing.
    pub relative_lower_bound: Option<f64>,
    /// Error over bound.
    pub over_bound: Option<f64>,
    /// Relaxations that the proof took; only beside the oracle.
    pub nodes: Option<usize>,
    /// Whether the search ended by itself, and not at a limit or by Ctrl-C; only beside the oracle.
    #[serde(default)]
    pub ended: Option<bool>,
    /// The `drop` error of the layer's output, layer-wise, whatever the oracle's form; empty for a reweighted set.
    pub layer_wise: Option<f64>,
    /// The `renormalised` error, layer-wise.
    pub renormalised: f64,
    /// The `future` error, layer-wise, if the dump holds later queries.
    pub future: Option<f64>,
}

impl Row for OracleRow {
    const KEY: &'static [&'static str] = &["model", "sample", "budget", "policy", "layer"];
    const FINITE: &'static [&'static str] = &["relative_error", "over_bound"];
}
