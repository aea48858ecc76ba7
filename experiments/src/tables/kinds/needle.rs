//! Which hidden sentences are still found: context x depth, one grid per policy and budget.

use anyhow::{Result, bail};
use laprox_reference::Budget;

use crate::group::{distinct, grouped, joined};
use crate::pivot::Pivot;
use crate::rows::{EvalRow, FULL_BUDGET, MetricName, PolicyName};
use crate::table::{Best, Cell, Table};
use crate::tables::evaluated::{by_condition, measurements};
use crate::tables::{ByBudget, Config, Content, Figure, Group, Heat, Panel, Source, judge};
use crate::tasks::Depth;

pub(super) fn build(config: &Config, sources: &[Source], seed: u64) -> Result<Content> {
    let mut content = Content::default();
    let mut groups = Vec::new();
    for ((model, condition), rows) in by_condition(sources)? {
        let buried = rows.into_iter().filter(|row| row.depth.is_some());
        for ((task, metric), rows) in grouped(buried, |row| (row.task.clone(), row.metric.clone())) {
            let subject = joined([&model[..], &task, condition, &metric.to_string()]);
            let found = measurements(&rows, |_| "", |row| row.value);
            let shown = ByBudget {
                title: format!("{subject}: all contexts and depths"),
                y_label: "share found",
                means: found.means(seed),
                best: Best::Greatest,
                digits: 3,
            };
            content.tables.push(shown.table());
            let grids = Grids::new(&subject, &rows, found.budgets());
            content.tables.extend(grids.tables());
            content.figures.push(grids.figure());
            if rows[0].metric == MetricName::PREFIX {
                continue;
            }
            let losses = measurements(&rows, |_| "", EvalRow::loss);
            let condition = [&task, condition].join(", ");
            let measure = "loss in needles found".into();
            groups.push(Group { model: model.clone(), condition, measure, losses });
        }
    }
    if groups.is_empty() {
        bail!("no row has a depth");
    }
    content.notes.push(
        "A needle is found where the answer contains it; prefix is the share of it that the answer begins with. Every cell is a mean over prompts. A budget that the observation \
         window alone fills is not measured, so a small budget has no short contexts."
            .into(),
    );
    content.verdicts = judge(&config.claims, &groups, seed);
    Ok(content)
}

/// A grid for every policy and budget, the full cache first.
struct Grids<'a> {
    subject: &'a str,
    contexts: Vec<usize>,
    depths: Vec<Depth>,
    /// The rows of each policy at each budget.
    rows: Pivot<&'a PolicyName, Budget, Vec<&'a EvalRow>>,
}

impl<'a> Grids<'a> {
    fn new(subject: &'a str, rows: &'a [EvalRow], evicted: Vec<Budget>) -> Self {
        let mut contexts = distinct(rows.iter().map(|row| row.target));
        contexts.sort_unstable();
        let mut depths = distinct(rows.iter().filter_map(|row| row.depth));
        depths.sort_unstable();
        let mut grids = Pivot::with_columns([FULL_BUDGET].into_iter().chain(evicted).collect());
        for row in rows {
            grids.entry(&row.policy, row.budget).get_or_insert_with(Vec::new).push(row);
        }
        Self { subject, contexts, depths, rows: grids }
    }

    /// One table per budget: one line per policy and depth, one column per context.
    fn tables(&self) -> impl Iterator<Item = Table> {
        let tables = self.rows.columns().into_iter().map(|budget| self.table(budget));
        tables.filter(|table| !table.lines.is_empty())
    }

    fn table(&self, budget: &Budget) -> Table {
        let contexts = self.contexts.iter().map(|context| format!("{context} tokens"));
        let title = format!("{}: share of needles found at {budget}", self.subject);
        let mut table = Table::new(title, ["policy", "depth"], contexts);
        for (policy, _, rows) in self.rows.values().filter(|(_, other, _)| *other == budget) {
            for (depth, shares) in self.depths.iter().zip(self.cells(rows)) {
                let cells = shares.into_iter().map(|share| Cell::number(share, 2)).collect();
                table.push([policy.to_string(), format!("{depth}%")], cells);
            }
        }
        table
    }

    /// `[depth][context]`
    fn cells(&self, rows: &[&EvalRow]) -> Vec<Vec<Option<f64>>> {
        let cell = |depth: Depth, context: usize| {
            let here = rows.iter().filter(|row| row.depth == Some(depth) && row.target == context);
            let values: Vec<f64> = here.map(|row| row.value).collect();
            (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
        };
        let line = |&depth| self.contexts.iter().map(|&context| cell(depth, context)).collect();
        self.depths.iter().map(line).collect()
    }

    /// One line of panels per policy; the full cache has one panel.
    fn figure(&self) -> Figure {
        let panel = |policy: &PolicyName, budget: &Budget, rows: &[&EvalRow]| {
            let name =
                if *policy == PolicyName::FULL { "full cache".into() } else { format!("{policy} {budget}") };
            Panel { name, cells: self.cells(rows) }
        };
        let budgets = self.rows.columns();
        let line = |policy: &&PolicyName| {
            let grid = |&budget| Some(panel(policy, budget, self.rows.get(policy, budget)?));
            budgets.iter().filter_map(grid).collect()
        };
        Figure::Heat(Heat {
            title: format!("{}: share of needles found", self.subject),
            x_label: "context, tokens".into(),
            y_label: "depth".into(),
            xs: self.contexts.iter().map(ToString::to_string).collect(),
            ys: self.depths.iter().map(|depth| format!("{depth}%")).collect(),
            panels: self.rows.lines().into_iter().map(line).collect(),
        })
    }
}
