//! Whether the error of a model's layers predicts what the model loses.

use anyhow::Result;
use serde::Deserialize;

use crate::group::grouped;
use crate::tables::chapter::Content;
use crate::tables::config::{Claim, Config, Test};
use crate::tables::figure::{Dots, Figure, Point};
use crate::tables::measurements::Estimate;
use crate::tables::source::{Source, SourceRow};
use crate::tables::table::{Best, Cell, Table};
use crate::tables::verdict::{Outcome, Side, Verdict};

/// A row of an evaluation's correlations.
#[derive(Deserialize)]
struct Row {
    /// Filled in from beside the file where it has no such column.
    #[serde(default)]
    model: String,
    task: String,
    question: String,
    metric: String,
    error: String,
    prompts: usize,
    /// Empty where no prompt has any.
    spearman: Option<f64>,
    low: Option<f64>,
    high: Option<f64>,
    #[serde(default)]
    of_means: Option<f64>,
    #[serde(default)]
    of_means_low: Option<f64>,
    #[serde(default)]
    of_means_high: Option<f64>,
}

impl SourceRow for Row {
    fn key(&self) -> String {
        let Self { model, task, question, metric, error, .. } = self;
        format!("{model}\n{task}\n{question}\n{metric}\n{error}")
    }

    fn numbers(&self) -> Vec<(&'static str, f64)> {
        let numbers = [
            ("spearman", self.spearman),
            ("low", self.low),
            ("high", self.high),
            ("of_means", self.of_means),
            ("of_means_low", self.of_means_low),
            ("of_means_high", self.of_means_high),
        ];
        numbers.into_iter().filter_map(|(name, number)| Some((name, number?))).collect()
    }

    fn budget(&self) -> &str {
        ""
    }
}

impl Row {
    fn name(&self) -> String {
        let parts = [self.task.as_str(), &self.question, &self.metric];
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", ")
    }

    /// The mean over prompts of their own correlations.
    fn within(&self) -> Option<Estimate> {
        let interval = self.low.zip(self.high).map(|(low, high)| [low, high]);
        Some(Estimate { value: self.spearman?, interval, units: self.prompts })
    }

    /// The correlation of means over prompts.
    fn of_means(&self) -> Option<Estimate> {
        let interval = self.of_means_low.zip(self.of_means_high).map(|(low, high)| [low, high]);
        Some(Estimate { value: self.of_means?, interval, units: self.prompts })
    }
}

pub(super) fn build(config: &Config, sources: &[Source], _seed: u64) -> Result<Content> {
    let mut rows = Vec::new();
    for source in sources {
        let mut of_source = source.rows::<Row>()?;
        if of_source.iter().any(|row| row.model.is_empty()) {
            let model = source.models_beside()?;
            of_source.iter_mut().for_each(|row| row.model.clone_from(&model));
        }
        rows.extend(of_source);
    }
    let mut content = Content::default();
    for (model, rows) in grouped(rows, |row| row.model.clone()) {
        let within = format!("{model}: rank correlation of a layer error with the loss, within a prompt");
        content.tables.push(table(&within, &rows, Row::within));
        if rows.iter().any(|row| row.of_means.is_some()) {
            let of_means = format!("{model}: the same between means over prompts");
            content.tables.push(table(&of_means, &rows, Row::of_means));
        }
        content.figures.push(figure(&model, &rows));
        content.verdicts.extend(config.claims.iter().filter_map(|claim| judge(claim, &model, &rows)));
    }
    content.notes.push(
        "Spearman's rank correlation, over policies and budgets, of a layer error with what the prompt or text loses: the mean over \
         prompts with its 95 % bootstrap interval, which decides, and the correlation between means over prompts. 1 means that \
         the error ranks evictions as the task does."
            .into(),
    );
    Ok(content)
}

/// A line a task and metric, a column an error.
fn table(title: &str, rows: &[Row], estimate: fn(&Row) -> Option<Estimate>) -> Table {
    let errors: Vec<String> =
        grouped(rows, |row| row.error.clone()).into_iter().map(|(error, _)| error).collect();
    let columns = errors.iter().map(String::as_str).chain(["prompts"]);
    let mut table = Table::new(title, &["task"], columns);
    for (name, rows) in grouped(rows, |row| row.name()) {
        let of = |error: &String| rows.iter().find(|row| row.error == *error).and_then(|row| estimate(row));
        let prompts = Cell::text(rows[0].prompts.to_string());
        table
            .push([name], errors.iter().map(|error| Cell::estimate(of(error), 3)).chain([prompts]).collect());
    }
    table.best_of_lines(Best::Greatest)
}

fn figure(model: &str, rows: &[Row]) -> Figure {
    let dot = |row: &Row| {
        let within = row.within()?;
        let point = Point { value: within.value, interval: within.interval };
        Some((format!("{}: {}", row.name(), row.error), point))
    };
    Figure::Dots(Dots {
        title: format!("{model}: rank correlation of a layer error with the loss"),
        x_label: "Spearman's rank correlation".into(),
        dots: rows.iter().filter_map(dot).collect(),
        reference: Some(("none".into(), 0.0)),
        logarithmic: false,
    })
}

/// A claim about one error, by the task where the correlation is least.
///
/// It holds where every interval is above the threshold, and fails where any is below.
fn judge(claim: &Claim, model: &str, rows: &[Row]) -> Option<Verdict> {
    let Test::Correlation { at_least } = claim.test else { return None };
    let about = rows.iter().filter(|row| claim.is_about(&row.error));
    let found: Vec<(&Row, Estimate)> = about.filter_map(|row| Some((row, row.within()?))).collect();
    let verdict = claim.verdict(model, "", "rank correlation");
    let least = found.iter().min_by(|one, other| one.1.value.total_cmp(&other.1.value));
    let Some((row, least)) = least else {
        return Some(Verdict { remark: "not measured".into(), ..verdict });
    };
    let outcome = |(_, estimate): &(&Row, Estimate)| Outcome::of(estimate.interval, at_least, Side::AtLeast);
    let outcome = Outcome::of_all(found.iter().map(outcome));
    Some(Verdict {
        outcome,
        statistic: format!("least rank correlation of the {} error with the loss of a task", row.error),
        value: Some(least.value),
        interval: least.interval,
        units: least.units,
        remark: format!("the least of {}, in {}", found.len(), row.name()),
        ..verdict
    })
}
