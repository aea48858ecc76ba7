//! One line per policy, budget, objective and form over all samples, with a paired comparison.

use laprox_reference::Form;
use laprox_reference::{Allocation, Budget};
use serde::Serialize;

use crate::group::grouped;
use crate::rows::ablation::allocation;
use crate::rows::spelling::{self, FormName};
use crate::rows::{AblationRow, Objective, PolicyName};
use crate::statistics::{bootstrap, wilcoxon};

/// The relative errors of one policy at one budget, over the samples that have it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Statistic {
    /// The policy.
    pub policy: PolicyName,
    /// The policy under its default allocation.
    pub score: PolicyName,
    /// The allocation.
    #[serde(serialize_with = "allocation::serialize")]
    pub allocation: Option<Allocation>,
    /// The budget as asked for.
    #[serde(with = "spelling")]
    pub budget: Budget,
    /// The objective.
    pub objective: Objective,
    /// The form.
    #[serde(with = "FormName")]
    pub form: Form,
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
    /// The mean over samples of error over the baseline's error; empty if that is zero.
    pub mean_ratio: Option<f64>,
    /// Wilcoxon's two-sided p-value of the differences to the baseline; empty beside the baseline itself.
    pub p_value: Option<f64>,
}

/// Rows of all layers together, by policy, budget, objective and form in the order in which they come.
#[must_use]
pub fn summarise(rows: &[AblationRow], baseline: &PolicyName, seed: u64) -> Vec<Statistic> {
    let key = |row: &AblationRow| (row.budget, row.objective, row.form);
    let whole = rows.iter().filter(|row| row.layer.is_none());
    let groups = grouped(whole, |row| (&row.policy, key(row)));
    let of_group = |((_, key), rows): &(_, Vec<&AblationRow>)| {
        let base = groups.iter().find(|(other, _)| *other == (baseline, *key));
        statistic(rows, base.map(|(_, rows)| rows.as_slice()), seed)
    };
    groups.iter().map(of_group).collect()
}

fn statistic(group: &[&AblationRow], baseline: Option<&[&AblationRow]>, seed: u64) -> Statistic {
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
        allocation: first.allocation,
        budget: first.budget,
        objective: first.objective,
        form: first.form,
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
fn paired(row: &AblationRow, baseline: &[&AblationRow]) -> Option<f64> {
    let same = |other: &&&AblationRow| (&other.dump, &other.sample) == (&row.dump, &row.sample);
    baseline.iter().find(same).map(|row| row.relative_error)
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}
