//! The results of `laprox eval`, as far as tables read them.

use anyhow::Result;

use super::{Measurements, Source, all_rows};
use crate::group::grouped;
use crate::rows::{Asked, EvalRow};

/// When the question was asked, in words; empty if there is none.
fn condition(asked: Option<Asked>) -> &'static str {
    match asked {
        Some(Asked::Aware) => "question seen before evicting",
        Some(Asked::Agnostic) => "question asked after evicting",
        None => "",
    }
}

/// A model and a condition, and the rows of both.
pub type Conditioned = ((String, &'static str), Vec<EvalRow>);

/// The rows of all sources, by model and condition, in the order in which they come.
///
/// # Errors
/// As [`Source::rows`].
pub fn by_condition(sources: &[Source]) -> Result<Vec<Conditioned>> {
    Ok(grouped(all_rows(sources)?, |row: &EvalRow| (row.model.clone(), condition(row.question))))
}

/// One number per row that is not the full cache's, in the stratum that `stratum` names.
pub fn measurements<'a>(
    rows: impl IntoIterator<Item = &'a EvalRow>,
    stratum: impl Fn(&EvalRow) -> &str,
    number: impl Fn(&EvalRow) -> f64,
) -> Measurements {
    let mut measurements = Measurements::default();
    for row in rows.into_iter().filter(|row| !row.is_full()) {
        measurements.put((&row.policy, row.budget), stratum(row), &row.unit(), number(row));
    }
    measurements
}

/// The same with a text as one unit, the mean over its lengths: the same words at two lengths are not two samples.
pub fn by_text<'a>(
    rows: impl IntoIterator<Item = &'a EvalRow>,
    number: impl Fn(&EvalRow) -> f64,
) -> Measurements {
    let mut measurements = Measurements::default();
    let evicted = rows.into_iter().filter(|row| !row.is_full());
    for ((policy, budget, prompt), rows) in grouped(evicted, |row| (&row.policy, row.budget, &row.prompt)) {
        let mean = rows.iter().map(|row| number(row)).sum::<f64>() / rows.len() as f64;
        measurements.put((policy, budget), "", prompt, mean);
    }
    measurements
}
