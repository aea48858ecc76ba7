//! What `laprox eval` has measured, as far as tables read it.

use anyhow::Result;

use super::measurements::Measurements;
use super::source::{Source, SourceRow};
use crate::eval::EvalRow;
use crate::group::grouped;

/// The name of the full cache in a row's policy.
pub const FULL: &str = "full";

impl SourceRow for EvalRow {
    fn key(&self) -> String {
        let Self { model, task, question, policy, budget, metric, .. } = self;
        format!("{model}\n{task}\n{question}\n{}\n{policy}\n{budget}\n{metric}", unit(self))
    }

    fn numbers(&self) -> Vec<(&'static str, f64)> {
        vec![("value", self.value), ("full_value", self.full_value)]
    }

    fn budget(&self) -> &str {
        &self.budget
    }
}

/// Whether a row gives partial credit, beside another of the same answer.
pub fn is_partial(row: &EvalRow) -> bool {
    row.metric == "prefix"
}

/// What tells prompts of a task apart.
pub fn unit(row: &EvalRow) -> String {
    format!("{}\n{}\n{}\n{}", row.target, row.depth, row.prompt, row.sample)
}

/// When the question was asked, in words; may be empty.
fn condition(row: &EvalRow) -> String {
    match &*row.question {
        "aware" => "question seen before evicting".into(),
        "agnostic" => "question asked after evicting".into(),
        other => other.into(),
    }
}

/// A model and a condition, and the rows of both.
pub type Conditioned = ((String, String), Vec<EvalRow>);

/// The rows of all sources, by model and condition, in the order in which they come.
///
/// # Errors
/// As [`Source::rows`].
pub fn by_condition(sources: &[Source]) -> Result<Vec<Conditioned>> {
    let mut rows = Vec::new();
    for source in sources {
        rows.extend(source.rows::<EvalRow>()?);
    }
    Ok(grouped(rows, |row| (row.model.clone(), condition(row))))
}

/// A number of each row that is not the full cache's, its strata as `stratum` says.
///
/// # Errors
/// When a budget is none, which a source's rows never are.
pub fn measurements<'a>(
    rows: impl IntoIterator<Item = &'a EvalRow>,
    stratum: impl Fn(&EvalRow) -> String,
    number: impl Fn(&EvalRow) -> f64,
) -> Result<Measurements> {
    let mut measurements = Measurements::default();
    for row in rows.into_iter().filter(|row| row.policy != FULL) {
        measurements.put((&row.policy, row.budget.parse()?), &stratum(row), &unit(row), number(row));
    }
    Ok(measurements)
}

/// The same with a text as one unit, the mean over its lengths: the same words at two lengths are not two samples.
///
/// # Errors
/// As [`measurements`].
pub fn by_text<'a>(
    rows: impl IntoIterator<Item = &'a EvalRow>,
    number: impl Fn(&EvalRow) -> f64,
) -> Result<Measurements> {
    let mut measurements = Measurements::default();
    let evicted = rows.into_iter().filter(|row| row.policy != FULL);
    for (_, rows) in grouped(evicted, |row| (&row.policy, &row.budget, &row.prompt)) {
        let mean = rows.iter().map(|row| number(row)).sum::<f64>() / rows.len() as f64;
        measurements.put((&rows[0].policy, rows[0].budget.parse()?), "", &rows[0].prompt, mean);
    }
    Ok(measurements)
}
