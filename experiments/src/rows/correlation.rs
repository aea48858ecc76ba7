//! The rows of an evaluation's correlations.

use serde::{Deserialize, Serialize};

use super::asked::Asked;
use super::name::MetricName;
use super::objective::Objective;
use super::row::Row;
use super::spelling::or_empty;
use crate::statistics::Estimate;

/// The rank correlation of one error with one loss, over policies and budgets.
///
/// Once within each prompt and averaged: does the error rank evictions of one text? Once between the means over
/// prompts: does it rank policies and budgets?
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct CorrelationRow {
    /// The task.
    pub task: String,
    /// When the question was asked; empty for a task without one.
    #[serde(with = "or_empty")]
    pub question: Option<Asked>,
    /// The metric whose loss against the full cache is predicted.
    pub metric: MetricName,
    /// The error, layer-wise over all layers.
    pub error: Objective,
    /// Prompts in which both vary; no other has a rank correlation of its own.
    pub prompts: usize,
    /// The mean over these prompts.
    pub spearman: Option<f64>,
    /// The lower end of its 95 % bootstrap interval over prompts.
    pub low: Option<f64>,
    /// Its upper end.
    pub high: Option<f64>,
    /// The correlation of the means over all prompts that have every policy and budget. Older files lack it.
    #[serde(default)]
    pub of_means: Option<f64>,
    /// The lower end of its 95 % bootstrap interval over prompts.
    #[serde(default)]
    pub of_means_low: Option<f64>,
    /// Its upper end.
    #[serde(default)]
    pub of_means_high: Option<f64>,
}

impl CorrelationRow {
    /// The mean over prompts of their own correlations.
    #[must_use]
    pub fn within(&self) -> Option<Estimate> {
        self.estimate(self.spearman, self.low, self.high)
    }

    /// The correlation of means over prompts.
    #[must_use]
    pub fn between(&self) -> Option<Estimate> {
        self.estimate(self.of_means, self.of_means_low, self.of_means_high)
    }

    fn estimate(&self, value: Option<f64>, low: Option<f64>, high: Option<f64>) -> Option<Estimate> {
        let interval = low.zip(high).map(|(low, high)| [low, high]);
        Some(Estimate { value: value?, interval, units: self.prompts })
    }
}

impl Row for CorrelationRow {
    const KEY: &'static [&'static str] = &["task", "question", "metric", "error"];
    const FINITE: &'static [&'static str] =
        &["spearman", "low", "high", "of_means", "of_means_low", "of_means_high"];
}
