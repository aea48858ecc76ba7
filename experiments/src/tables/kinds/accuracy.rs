//! Policy x budget x task, the form of the usual main table, with the average and the loss against the full cache.

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::group::{grouped, joined};
use crate::rows::{EvalRow, FULL_BUDGET, MetricName, PolicyName};
use crate::table::{Best, Cell, Table};
use crate::tables::evaluated::{by_condition, measurements};
use crate::tables::{ByBudget, Config, Content, Group, Measurements, Source, judge};

/// The claims' measure.
const MEASURE: &str = "loss in accuracy";

pub(super) fn build(config: &Config, sources: &[Source], seed: u64) -> Result<Content> {
    let mut content = Content::default();
    let mut groups = Vec::new();
    for ((model, condition), mut rows) in by_condition(sources)? {
        rows.retain(|row| row.metric != MetricName::PREFIX);
        let named = metrics(&rows)?;
        let part = Part { model, condition, rows, seed };
        let points = part.points();
        content.tables.push(part.table(&points));
        let shown = ByBudget {
            title: format!("{}: points out of 100, mean over tasks", part.subject()),
            y_label: "points",
            means: points.complete().means(seed),
            best: Best::Greatest,
            digits: 1,
        };
        content.figures.push(shown.figure(Some(("full cache".into(), part.full_average()))));
        let losses = measurements(&part.rows, |row| &row.task, EvalRow::loss).complete();
        if !content.notes.contains(&named) {
            content.notes.push(named);
        }
        let (model, condition) = (part.model, part.condition.to_owned());
        groups.push(Group { model, condition, measure: MEASURE.into(), losses });
    }
    content.notes.push(
        "Points are the tasks' metrics, named above, times 100; the average counts every task alike. Intervals are 95 % bootstrap \
         intervals over prompts, drawn task by task. A budget that some task was not measured at has no average. The best of a budget \
         is marked."
            .into(),
    );
    content.verdicts = judge(&config.claims, &groups, seed);
    content.tables.push(elsewhere()?);
    Ok(content)
}

/// One model, asked in one way.
struct Part {
    model: String,
    condition: &'static str,
    rows: Vec<EvalRow>,
    seed: u64,
}

impl Part {
    fn subject(&self) -> String {
        joined([&self.model[..], self.condition])
    }

    fn points(&self) -> Measurements {
        measurements(&self.rows, |row| &row.task, |row| 100.0 * row.value)
    }

    /// The full cache's points by task, in the order in which tasks come.
    fn full(&self) -> Vec<(String, f64)> {
        let of_task = |(task, rows): (&String, Vec<&EvalRow>)| {
            let prompts = grouped(rows, |row| row.unit());
            let sum: f64 = prompts.iter().map(|(_, rows)| 100.0 * rows[0].full_value).sum();
            (task.clone(), sum / prompts.len() as f64)
        };
        grouped(&self.rows, |row| &row.task).into_iter().map(of_task).collect()
    }

    fn full_average(&self) -> f64 {
        let full = self.full();
        full.iter().map(|(_, points)| points).sum::<f64>() / full.len() as f64
    }

    fn table(&self, points: &Measurements) -> Table {
        let full = self.full();
        let losses = measurements(&self.rows, |row| &row.task, |row| 100.0 * row.loss()).complete();
        let complete = points.complete();
        let tasks = full.iter().map(|(task, _)| task.as_str());
        let mut table = Table::new(
            format!("{}: points out of 100", self.subject()),
            ["budget", "policy"],
            tasks.chain(["average", "loss against full"]),
        );
        let average = Cell::number(Some(self.full_average()), 1);
        let cells = full.iter().map(|&(_, points)| Cell::number(Some(points), 1));
        table.push(
            [FULL_BUDGET.to_string(), PolicyName::FULL.to_string()],
            cells.chain([average, Cell::number(None, 1)]).collect(),
        );
        for budget in points.budgets() {
            for policy in points.policies() {
                let of_task = |(task, _): &(String, f64)| points.mean_of((policy, budget), task);
                if full.iter().all(|task| of_task(task).is_none()) {
                    continue;
                }
                let cells = full.iter().map(|task| Cell::number(of_task(task), 1));
                let average = complete.mean((policy, budget), self.seed);
                let loss = losses.mean((policy, budget), self.seed);
                let cells = cells.chain([Cell::estimate(average, 1), Cell::estimate(loss, 1)]);
                table.push([budget.to_string(), policy.to_string()], cells.collect());
            }
        }
        let loss = table.columns.len() - 1;
        let marked = (0..loss).fold(table, |table, column| table.best_of_column(column, Best::Greatest));
        marked.best_of_column(loss, Best::Least)
    }
}

/// The metrics of all tasks; a task with two of them is refused.
fn metrics(rows: &[EvalRow]) -> Result<String> {
    let mut named = Vec::new();
    for (task, rows) in grouped(rows, |row| &row.task) {
        if let Some(other) = rows.iter().find(|row| row.metric != rows[0].metric) {
            bail!("task {task}: metrics {} and {}, expected one", rows[0].metric, other.metric);
        }
        named.push(format!("{task}: {}", rows[0].metric));
    }
    Ok(named.join(", "))
}

/// A figure that someone else has published.
#[derive(Deserialize)]
struct Published {
    model: String,
    policy: PolicyName,
    budget: String,
    average: f64,
    source: String,
}

/// Averages over LongBench as others report them.
fn elsewhere() -> Result<Table> {
    let mut reader = csv::Reader::from_reader(include_str!("../../../tables/rescue.csv").as_bytes());
    let published: Vec<Published> =
        reader.deserialize().collect::<Result<_, _>>().context("tables/rescue.csv")?;
    let mut table = Table::new(
        "Measured by others, not by this project and not by the paper's authors: averages over LongBench's 16 English tasks",
        ["model", "policy", "budget"],
        ["average", "loss against full", "source"],
    );
    for (_, rows) in grouped(published, |row| row.model.clone()) {
        let full = rows.iter().find(|row| row.policy == PolicyName::FULL).map(|row| row.average);
        for row in rows {
            let loss = full.filter(|_| row.policy != PolicyName::FULL).map(|full| full - row.average);
            let cells =
                vec![Cell::number(Some(row.average), 2), Cell::number(loss, 2), Cell::text(row.source)];
            table.push([row.model, row.policy.to_string(), row.budget], cells);
        }
    }
    Ok(table)
}
