//! One line a policy, budget and objective over all samples, with a paired comparison.

use std::collections::HashMap;

use serde::Serialize;

use crate::report::Row;

use super::{bootstrap, wilcoxon};

/// The relative errors of one policy at one budget, over the samples that have it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Statistic {
    /// The policy, with all that differs from its defaults.
    pub policy: String,
    /// The policy without its allocation.
    pub score: String,
    /// The allocation.
    pub allocation: String,
    /// The budget as asked for.
    pub budget: String,
    /// `drop`, `renormalised` or `future`.
    pub objective: String,
    /// `layer-wise` or `head-wise`.
    pub form: String,
    /// How many samples.
    pub samples: usize,
    /// The mean relative error.
    pub mean: f64,
    /// The lower end of the mean's 95 % bootstrap interval.
    pub low: Option<f64>,
    /// Its upper end.
    pub high: Option<f64>,
    /// In how many samples the error is below the baseline's.
    pub below_baseline: usize,
    /// The mean of error over the baseline's, by sample; empty where the baseline has none.
    pub mean_ratio: Option<f64>,
    /// Wilcoxon's two-sided p-value of the differences to the baseline; empty beside the baseline itself.
    pub p_value: Option<f64>,
}

/// Rows of all layers together, grouped by policy, budget, objective and form in the order in which they come.
#[must_use]
pub fn summarise(rows: &[Row], baseline: &str, seed: u64) -> Vec<Statistic> {
    let mut places: HashMap<[&str; 4], usize> = HashMap::new();
    let mut groups: Vec<Vec<&Row>> = Vec::new();
    for row in rows.iter().filter(|row| row.layer.is_none()) {
        let place = *places.entry(key(&row.policy, row)).or_insert(groups.len());
        if place == groups.len() {
            groups.push(Vec::new());
        }
        groups[place].push(row);
    }
    let baseline_of =
        |group: &[&Row]| places.get(&key(baseline, group[0])).map(|&place| groups[place].as_slice());
    groups.iter().map(|group| statistic(group, baseline_of(group), seed)).collect()
}

/// What rows have in common that are compared over samples.
fn key<'a>(policy: &'a str, row: &'a Row) -> [&'a str; 4] {
    [policy, &row.budget, &row.objective, &row.form]
}

fn statistic(group: &[&Row], baseline: Option<&[&Row]>, seed: u64) -> Statistic {
    let errors: Vec<f64> = group.iter().map(|row| row.relative_error).collect();
    let pairs: Vec<(f64, f64)> =
        group.iter().filter_map(|row| Some((row.relative_error, paired(row, baseline?)?))).collect();
    let differences: Vec<f64> = pairs.iter().map(|(error, base)| error - base).collect();
    let ratios: Vec<f64> =
        pairs.iter().filter(|(_, base)| *base > 0.0).map(|(error, base)| error / base).collect();
    let is_baseline = baseline.is_some_and(|baseline| baseline[0].policy == group[0].policy);
    let interval = bootstrap::interval(&errors, seed);
    let first = group[0];
    Statistic {
        policy: first.policy.clone(),
        score: first.score.clone(),
        allocation: first.allocation.clone(),
        budget: first.budget.clone(),
        objective: first.objective.to_string(),
        form: first.form.to_string(),
        samples: errors.len(),
        mean: mean(&errors),
        low: interval.map(|[low, _]| low),
        high: interval.map(|[_, high]| high),
        below_baseline: differences.iter().filter(|&&difference| difference < 0.0).count(),
        mean_ratio: (!ratios.is_empty()).then(|| mean(&ratios)),
        p_value: (!is_baseline && !pairs.is_empty()).then(|| wilcoxon::p_value(&differences)),
    }
}

/// The baseline's error on the same sample.
fn paired(row: &Row, baseline: &[&Row]) -> Option<f64> {
    let same = |other: &&&Row| (&other.dump, &other.sample) == (&row.dump, &row.sample);
    baseline.iter().find(same).map(|row| row.relative_error)
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}
