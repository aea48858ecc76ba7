//! What `laprox eval` has measured, as far as tables read it.

use laprox_reference::Budget;
use serde::Deserialize;

use super::config::budget;
use super::measurements::Measurements;
use super::source::{Source, SourceRow};

/// A row of an evaluation.
#[derive(Clone, Debug, Deserialize)]
pub struct Measured {
    pub model: String,
    pub task: String,
    /// `aware`, `agnostic`, or empty.
    pub question: String,
    pub prompt: String,
    /// The length asked for, in tokens.
    pub target: usize,
    /// How deep a needle is, with a percent sign; may be empty.
    pub depth: String,
    pub sample: String,
    pub policy: String,
    #[serde(deserialize_with = "budget")]
    pub budget: Budget,
    pub metric: String,
    pub value: f64,
    /// The same from the full cache.
    pub full_value: f64,
    pub cache_bytes: f64,
    pub full_cache_bytes: f64,
}

/// The name of the full cache in a row's policy.
pub const FULL: &str = "full";

impl SourceRow for Measured {
    fn key(&self) -> String {
        let Self { model, task, question, policy, budget, metric, .. } = self;
        format!("{model}\n{task}\n{question}\n{}\n{policy}\n{budget}\n{metric}", self.unit())
    }

    fn numbers(&self) -> Vec<(&'static str, f64)> {
        vec![
            ("value", self.value),
            ("full_value", self.full_value),
            ("cache_bytes", self.cache_bytes),
            ("full_cache_bytes", self.full_cache_bytes),
        ]
    }
}

impl Measured {
    /// What tells prompts of a task apart.
    #[must_use]
    pub fn unit(&self) -> String {
        format!("{}\n{}\n{}\n{}", self.target, self.depth, self.prompt, self.sample)
    }

    /// Whether the row is the full cache's own.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.policy == FULL
    }

    /// When the question was asked, in words; may be empty.
    #[must_use]
    pub fn condition(&self) -> String {
        match self.question.as_str() {
            "aware" => "question seen before evicting".into(),
            "agnostic" => "question asked after evicting".into(),
            other => other.into(),
        }
    }
}

/// The rows of all sources, by model and condition, in the order in which they come.
///
/// # Errors
/// As [`Source::rows`].
pub fn by_condition(sources: &[Source]) -> anyhow::Result<Vec<((String, String), Vec<Measured>)>> {
    let mut rows = Vec::new();
    for source in sources {
        rows.extend(source.rows::<Measured>()?);
    }
    Ok(grouped(rows, |row| (row.model.clone(), row.condition())))
}

/// Rows by what `key` says of them, in the order in which they come.
pub fn grouped<T, K: PartialEq>(
    rows: impl IntoIterator<Item = T>,
    key: impl Fn(&T) -> K,
) -> Vec<(K, Vec<T>)> {
    let mut groups: Vec<(K, Vec<T>)> = Vec::new();
    for row in rows {
        let key = key(&row);
        match groups.iter_mut().find(|(other, _)| *other == key) {
            Some((_, rows)) => rows.push(row),
            None => groups.push((key, vec![row])),
        }
    }
    groups
}

/// A number of each row that is not the full cache's, its strata as `stratum` says.
pub fn measurements<'a>(
    rows: impl IntoIterator<Item = &'a Measured>,
    stratum: impl Fn(&Measured) -> String,
    number: impl Fn(&Measured) -> f64,
) -> Measurements {
    let mut measurements = Measurements::default();
    for row in rows.into_iter().filter(|row| !row.is_full()) {
        measurements.put((&row.policy, row.budget), &stratum(row), &row.unit(), number(row));
    }
    measurements
}
