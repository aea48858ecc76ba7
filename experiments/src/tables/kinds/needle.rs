//! Where a hidden sentence is still found: context x depth, a grid a policy and budget.

use anyhow::{Result, bail};
use laprox_reference::Budget;

use crate::eval::EvalRow;
use crate::group::grouped;
use crate::tables::by_budget::ByBudget;
use crate::tables::chapter::Content;
use crate::tables::config::Config;
use crate::tables::evaluated::{FULL, by_condition, is_partial, measurements};
use crate::tables::figure::{Figure, Heat, Panel};
use crate::tables::source::Source;
use crate::tables::table::{Best, Cell, Table};
use crate::tables::verdict::{Group, judge};

pub(super) fn build(config: &Config, sources: &[Source], seed: u64) -> Result<Content> {
    let mut content = Content::default();
    let mut groups = Vec::new();
    for ((model, condition), rows) in by_condition(sources)? {
        let buried = rows.into_iter().filter(|row| !row.depth.is_empty());
        for ((task, metric), rows) in grouped(buried, |row| (row.task.clone(), row.metric.to_string())) {
            let subject =
                [model.as_str(), &task, &condition, &metric].into_iter().filter(|part| !part.is_empty());
            let subject = subject.collect::<Vec<_>>().join(", ");
            let found = measurements(&rows, |_| String::new(), |row| row.value)?;
            let shown = ByBudget {
                title: format!("{subject}: all contexts and depths"),
                y_label: "share found",
                measurements: &found,
                best: Best::Greatest,
                digits: 3,
                seed,
            };
            content.tables.push(shown.table());
            let grids = Grids::new(&subject, &rows, found.budgets());
            content.tables.extend(grids.tables());
            content.figures.push(grids.figure());
            if is_partial(&rows[0]) {
                continue;
            }
            let losses = measurements(&rows, |_| String::new(), |row| row.full_value - row.value)?;
            let condition = [task, condition.clone()].join(", ");
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

/// A budget, and the rows of one policy at it.
type Grid<'a> = (String, Vec<&'a EvalRow>);

/// A grid for every policy and budget, the full cache first.
struct Grids<'a> {
    subject: &'a str,
    contexts: Vec<usize>,
    depths: Vec<String>,
    /// By policy, each by budget.
    grids: Vec<(String, Vec<Grid<'a>>)>,
    budgets: Vec<Budget>,
}

impl<'a> Grids<'a> {
    fn new(subject: &'a str, rows: &'a [EvalRow], budgets: Vec<Budget>) -> Self {
        let mut contexts: Vec<usize> = rows.iter().map(|row| row.target).collect();
        contexts.sort_unstable();
        contexts.dedup();
        let mut depths: Vec<String> =
            grouped(rows, |row| row.depth.clone()).into_iter().map(|(depth, _)| depth).collect();
        depths.sort_by(|one, other| percent(one).total_cmp(&percent(other)));
        let by_policy = grouped(rows, |row| row.policy.clone());
        let by_budget = |(policy, rows)| {
            let mut grids = grouped(rows, |row: &&EvalRow| row.budget.clone());
            grids.sort_by_key(|(budget, _)| budgets.iter().position(|other| other.to_string() == *budget));
            (policy, grids)
        };
        let grids = by_policy.into_iter().map(by_budget).collect();
        Self { subject, contexts, depths, grids, budgets }
    }

    /// A table a budget: a line a policy and depth, a column a context.
    fn tables(&self) -> Vec<Table> {
        let evicted = self.budgets.iter().map(ToString::to_string);
        std::iter::once("100%".into()).chain(evicted).filter_map(|budget| self.table(&budget)).collect()
    }

    fn table(&self, budget: &str) -> Option<Table> {
        let contexts = self.contexts.iter().map(|context| format!("{context} tokens"));
        let title = format!("{}: share of needles found at {budget}", self.subject);
        let mut table = Table::new(title, &["policy", "depth"], contexts);
        for (policy, budgets) in &self.grids {
            let Some((_, rows)) = budgets.iter().find(|(other, _)| *other == budget) else { continue };
            for (depth, shares) in self.depths.iter().zip(self.cells(rows)) {
                let cells = shares.into_iter().map(|share| Cell::number(share, 2)).collect();
                table.push([policy, depth], cells);
            }
        }
        (!table.lines.is_empty()).then_some(table)
    }

    /// `[depth][context]`
    fn cells(&self, rows: &[&EvalRow]) -> Vec<Vec<Option<f64>>> {
        let cell = |depth: &String, context: usize| {
            let here = rows.iter().filter(|row| row.depth == *depth && row.target == context);
            let values: Vec<f64> = here.map(|row| row.value).collect();
            (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
        };
        let line = |depth| self.contexts.iter().map(|&context| cell(depth, context)).collect();
        self.depths.iter().map(line).collect()
    }

    /// A line of panels a policy; the full cache has one.
    fn figure(&self) -> Figure {
        let panel = |policy: &str, (budget, rows): &(String, Vec<&EvalRow>)| Panel {
            name: if policy == FULL { "full cache".into() } else { format!("{policy} {budget}") },
            cells: self.cells(rows),
        };
        let line =
            |(policy, budgets): &(String, Vec<_>)| budgets.iter().map(|grid| panel(policy, grid)).collect();
        Figure::Heat(Heat {
            title: format!("{}: share of needles found", self.subject),
            x_label: "context, tokens".into(),
            y_label: "depth".into(),
            xs: self.contexts.iter().map(ToString::to_string).collect(),
            ys: self.depths.clone(),
            panels: self.grids.iter().map(line).collect(),
        })
    }
}

fn percent(depth: &str) -> f64 {
    depth.trim_end_matches('%').parse().unwrap_or(f64::INFINITY)
}
