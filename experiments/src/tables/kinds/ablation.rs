//! Who may take whose entries: one budget a head, a layer, or the model, with and without the layers' normalisation.

use anyhow::Result;

use crate::group::grouped;
use crate::report::Row;
use crate::tables::by_budget::ByBudget;
use crate::tables::chapter::Content;
use crate::tables::config::Config;
use crate::tables::figure::{Figure, Lines, Point};
use crate::tables::measurements::{Estimate, Measurements};
use crate::tables::source::{Source, SourceRow};
use crate::tables::table::{Best, Cell, Table};
use crate::tables::verdict::{Group, judge};

/// The allocations, each with what it stands for.
const ALLOCATIONS: [(&str, &str); 4] = [
    ("head", "uniform (head)"),
    ("layer", "head-flattened (layer)"),
    ("model-raw", "raw model-wide (model-raw)"),
    ("model", "full method (model)"),
];

/// The score that is drawn.
const DRAWN: &str = "laprox";

impl SourceRow for Row {
    fn key(&self) -> String {
        let Self { model, dump, sample, policy, budget, objective, form, layer, .. } = self;
        format!("{model}\n{dump}\n{sample}\n{policy}\n{budget}\n{objective}\n{form}\n{layer:?}")
    }

    fn numbers(&self) -> Vec<(&'static str, f64)> {
        vec![("relative_error", self.relative_error)]
    }

    fn budget(&self) -> &str {
        &self.budget
    }
}

/// The first source has the allocations and decides; the others are shown as they are.
pub(super) fn build(config: &Config, sources: &[Source], seed: u64) -> Result<Content> {
    let mut content = Content::default();
    for (place, source) in sources.iter().enumerate() {
        let parts = parts(source)?;
        let name = source.file.trim_end_matches("/rows.csv");
        for part in &parts {
            if place == 0 {
                content.tables.push(part.allocations(seed));
                content.figures.push(part.figure(seed));
            }
            content.tables.push(part.policies(name, seed));
        }
        if place == 0 {
            content.verdicts = judge(&config.claims, &groups(parts), seed);
        }
    }
    content.notes.push(
        "Relative errors over all layers, layer-wise: the mean over samples with its 95 % bootstrap interval; the least is \
         marked, in the tables of allocations the least of a line. A budget that the observation window alone fills is not measured, \
         so a small budget has fewer samples."
            .into(),
    );
    Ok(content)
}

/// One model under one objective.
struct Part {
    model: String,
    objective: String,
    rows: Vec<Row>,
    errors: Measurements,
}

fn parts(source: &Source) -> Result<Vec<Part>> {
    let rows = source.rows::<Row>()?;
    let whole = rows.into_iter().filter(|row| row.layer.is_none() && row.form == "layer-wise");
    let mut parts = Vec::new();
    for ((model, objective), rows) in grouped(whole, |row| (row.model.clone(), row.objective.to_string())) {
        let mut errors = Measurements::default();
        for row in &rows {
            let unit = format!("{}\n{}", row.dump, row.sample);
            errors.put((&row.policy, row.budget.parse()?), "", &unit, row.relative_error);
        }
        parts.push(Part { model, objective, rows, errors });
    }
    Ok(parts)
}

fn groups(parts: Vec<Part>) -> Vec<Group> {
    let group = |part: Part| Group {
        model: part.model,
        condition: String::new(),
        measure: format!("{} error", part.objective),
        losses: part.errors,
    };
    parts.into_iter().map(group).collect()
}

impl Part {
    /// The scores that are cut by more than one of the allocations.
    fn scores(&self) -> Vec<&str> {
        let known = |row: &&Row| ALLOCATIONS.iter().any(|(name, _)| row.allocation == *name);
        let scores = grouped(self.rows.iter().filter(known), |row| row.score.as_str());
        let several = |rows: &[&Row]| rows.iter().any(|row| row.allocation != rows[0].allocation);
        scores.into_iter().filter(|(_, rows)| several(rows)).map(|(score, _)| score).collect()
    }

    fn policy(&self, score: &str, allocation: &str) -> Option<&str> {
        let row = self.rows.iter().find(|row| row.score == score && row.allocation == allocation)?;
        Some(&row.policy)
    }

    /// A line a budget and score, a column an allocation.
    fn allocations(&self, seed: u64) -> Table {
        let title = format!("{}: {} error by allocation", self.model, self.objective);
        let columns = ALLOCATIONS.iter().map(|(_, name)| *name);
        let mut table = Table::new(title, &["budget", "score"], columns);
        for budget in self.errors.budgets() {
            for score in self.scores() {
                let mean = |allocation| -> Option<Estimate> {
                    self.errors.mean((self.policy(score, allocation)?, budget), seed)
                };
                let cells = ALLOCATIONS.iter().map(|(allocation, _)| Cell::estimate(mean(allocation), 4));
                table.push([budget.to_string(), score.to_owned()], cells.collect());
            }
        }
        table.best_of_lines(Best::Least)
    }

    fn figure(&self, seed: u64) -> Figure {
        let budgets = self.errors.budgets();
        let point = |allocation, budget| {
            let mean = self.errors.mean((self.policy(DRAWN, allocation)?, budget), seed)?;
            Some(Point { value: mean.value, interval: mean.interval })
        };
        let series = ALLOCATIONS.iter().map(|(allocation, name)| {
            ((*name).to_owned(), budgets.iter().map(|&budget| point(allocation, budget)).collect())
        });
        Figure::Lines(Lines {
            title: format!("{}: {} error of {DRAWN} by allocation", self.model, self.objective),
            x_label: "budget".into(),
            y_label: "relative error".into(),
            places: budgets.iter().map(ToString::to_string).collect(),
            series: series.collect(),
            reference: None,
        })
    }

    /// A line a policy, a column a budget.
    fn policies(&self, name: &str, seed: u64) -> Table {
        ByBudget {
            title: format!("{}: {} error, {name}", self.model, self.objective),
            y_label: "relative error",
            measurements: &self.errors,
            best: Best::Least,
            digits: 4,
            seed,
        }
        .table()
    }
}
