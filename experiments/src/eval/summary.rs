//! One line per task, question, metric, policy and budget over all prompts.

use laprox_reference::Budget;
use serde::Serialize;

use crate::group::grouped;
use crate::rows::spelling::{self, or_empty};
use crate::rows::{Asked, EvalRow, MetricName, PolicyName};
use crate::statistics::bootstrap;

/// A metric's mean over prompts.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EvalStatistic {
    /// The task.
    pub task: String,
    /// When the question was asked; empty for a task without one.
    #[serde(with = "or_empty")]
    pub question: Option<Asked>,
    /// The metric.
    pub metric: MetricName,
    /// The policy.
    pub policy: PolicyName,
    /// The budget as asked for.
    #[serde(with = "spelling")]
    pub budget: Budget,
    /// How many prompts.
    pub prompts: usize,
    /// The mean.
    pub mean: f64,
    /// The lower end of the mean's 95 % bootstrap interval.
    pub low: Option<f64>,
    /// Its upper end.
    pub high: Option<f64>,
    /// The full cache's mean over the same prompts.
    pub full_mean: f64,
    /// The mean share of the full cache's bytes that the evicted one took.
    pub bytes_share: f64,
}

/// Rows by task, question, metric, policy and budget, in the order in which they come.
#[must_use]
pub fn summarise(rows: &[EvalRow], seed: u64) -> Vec<EvalStatistic> {
    let groups = grouped(rows, |row| (&row.task, row.question, &row.metric, &row.policy, row.budget));
    groups.iter().map(|(_, group)| statistic(group, seed)).collect()
}

fn statistic(group: &[&EvalRow], seed: u64) -> EvalStatistic {
    let values: Vec<f64> = group.iter().map(|row| row.value).collect();
    let mean = |of: fn(&EvalRow) -> f64| group.iter().map(|row| of(row)).sum::<f64>() / group.len() as f64;
    let interval = bootstrap::interval(&values, seed);
    let first = group[0].clone();
    EvalStatistic {
        task: first.task,
        question: first.question,
        metric: first.metric,
        policy: first.policy,
        budget: first.budget,
        prompts: group.len(),
        mean: mean(|row| row.value),
        low: interval.map(|[low, _]| low),
        high: interval.map(|[_, high]| high),
        full_mean: mean(|row| row.full_value),
        bytes_share: mean(|row| row.cache_bytes as f64 / row.full_cache_bytes as f64),
    }
}
