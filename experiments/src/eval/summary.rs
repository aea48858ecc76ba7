//! One line a task, metric, policy and budget over all prompts.

use serde::Serialize;

use super::row::EvalRow;
use crate::group::grouped;
use crate::statistics::bootstrap;

/// A metric's mean over prompts.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EvalStatistic {
    /// The task.
    pub task: String,
    /// When the question was asked.
    pub question: String,
    /// The metric.
    pub metric: String,
    /// The policy.
    pub policy: String,
    /// The budget as asked for.
    pub budget: String,
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

/// What rows have in common that are averaged.
fn key(row: &EvalRow) -> [&str; 5] {
    [&row.task, &row.question, &row.metric, &row.policy, &row.budget]
}

/// Rows grouped by task, question, metric, policy and budget, in the order in which they come.
#[must_use]
pub fn summarise(rows: &[EvalRow], seed: u64) -> Vec<EvalStatistic> {
    groups(rows, key).iter().map(|group| statistic(group, seed)).collect()
}

/// Rows of one key, keys in the order of their first row.
pub(super) fn groups<'a, K: PartialEq>(
    rows: &'a [EvalRow],
    key: impl Fn(&'a EvalRow) -> K,
) -> Vec<Vec<&'a EvalRow>> {
    grouped(rows, |row| key(row)).into_iter().map(|(_, group)| group).collect()
}

fn statistic(group: &[&EvalRow], seed: u64) -> EvalStatistic {
    let values: Vec<f64> = group.iter().map(|row| row.value).collect();
    let mean = |of: fn(&EvalRow) -> f64| group.iter().map(|row| of(row)).sum::<f64>() / group.len() as f64;
    let interval = bootstrap::interval(&values, seed);
    let [task, question, metric, policy, budget] = key(group[0]).map(str::to_owned);
    EvalStatistic {
        task,
        question,
        metric,
        policy,
        budget,
        prompts: group.len(),
        mean: mean(|row| row.value),
        low: interval.map(|[low, _]| low),
        high: interval.map(|[_, high]| high),
        full_mean: mean(|row| row.full_value),
        bytes_share: mean(|row| row.cache_bytes as f64 / row.full_cache_bytes as f64),
    }
}
