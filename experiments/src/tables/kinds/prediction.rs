//! Whether the error of a model's layers predicts the model's loss.

use anyhow::Result;

use crate::group::{distinct, grouped, joined};
use crate::rows::{Asked, CorrelationRow, Objective};
use crate::statistics::Estimate;
use crate::table::{Best, Cell, Table};
use crate::tables::{Claim, Config, Content, Dots, Figure, Outcome, Side, Source, Test, Verdict};

pub(super) fn build(config: &Config, sources: &[Source], _seed: u64) -> Result<Content> {
    let mut rows = Vec::new();
    for source in sources {
        let model = source.models_beside()?;
        rows.extend(source.rows()?.into_iter().map(|row: CorrelationRow| (model.clone(), row)));
    }
    let mut content = Content::default();
    for (model, rows) in grouped(rows, |(model, _)| model.clone()) {
        let rows: Vec<CorrelationRow> = rows.into_iter().map(|(_, row)| row).collect();
        let within = format!("{model}: rank correlation of a layer error with the loss, within a prompt");
        content.tables.push(table(&within, &rows, CorrelationRow::within));
        if rows.iter().any(|row| row.of_means.is_some()) {
            let between = format!("{model}: the same between means over prompts");
            content.tables.push(table(&between, &rows, CorrelationRow::between));
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

/// The task, the question and the metric of a row.
fn name(row: &CorrelationRow) -> String {
    joined([&row.task[..], row.question.map_or("", Asked::name), &row.metric.to_string()])
}

/// One line per task and metric, one column per error, and the number of prompts.
fn table(title: &str, rows: &[CorrelationRow], estimate: fn(&CorrelationRow) -> Option<Estimate>) -> Table {
    let errors = distinct(rows.iter().map(|row| row.error));
    let columns = errors.iter().map(Objective::to_string).chain(["prompts".to_owned()]);
    let mut table = Table::new(title, ["task"], columns);
    for (name, rows) in grouped(rows, |row| name(row)) {
        let of =
            |error: &Objective| rows.iter().find(|row| row.error == *error).and_then(|row| estimate(row));
        let prompts = Cell::text(rows[0].prompts.to_string());
        let cells = errors.iter().map(|error| Cell::estimate(of(error), 3)).chain([prompts]);
        table.push([name], cells.collect());
    }
    table.best_of_lines(Best::Greatest)
}

fn figure(model: &str, rows: &[CorrelationRow]) -> Figure {
    let dot = |row: &CorrelationRow| Some((format!("{}: {}", name(row), row.error), row.within()?));
    Figure::Dots(Dots {
        title: format!("{model}: rank correlation of a layer error with the loss"),
        x_label: "Spearman's rank correlation".into(),
        dots: rows.iter().filter_map(dot).collect(),
        reference: Some(("none".into(), 0.0)),
        logarithmic: false,
    })
}

/// A claim about one error, by the task with the least correlation.
///
/// It holds if every interval is above the threshold, and fails if any is below.
fn judge(claim: &Claim, model: &str, rows: &[CorrelationRow]) -> Option<Verdict> {
    let Test::Correlation { at_least } = claim.test else { return None };
    let about = rows.iter().filter(|row| claim.is_about(&row.error.to_string()));
    let found: Vec<(&CorrelationRow, Estimate)> =
        about.filter_map(|row| Some((row, row.within()?))).collect();
    let verdict = claim.verdict(model, "", "rank correlation");
    let least = found.iter().min_by(|one, other| one.1.value.total_cmp(&other.1.value));
    let Some((row, least)) = least else {
        return Some(Verdict { remark: "not measured".into(), ..verdict });
    };
    let outcome =
        |(_, estimate): &(&CorrelationRow, Estimate)| Outcome::of(estimate.interval, at_least, Side::AtLeast);
    let outcome = Outcome::of_all(found.iter().map(outcome));
    Some(Verdict {
        outcome,
        statistic: format!("least rank correlation of the {} error with the loss of a task", row.error),
        value: Some(least.value),
        interval: least.interval,
        units: least.units,
        remark: format!("the least of {}, in {}", found.len(), name(row)),
        ..verdict
    })
}
