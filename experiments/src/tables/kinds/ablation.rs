//! How far entries may move: one budget per head, per layer, or for the model, with and without the layers' normalisation.

use anyhow::Result;
use laprox_reference::{Allocation, Budget};

use crate::group::grouped;
use crate::pivot::Pivot;
use crate::rows::{AblationRow, PolicyName};
use crate::statistics::Estimate;
use crate::table::{Best, Cell, Table};
use crate::tables::{ByBudget, Config, Content, Figure, Group, Measurements, Source, judge};

/// The allocations of the table, each with its role in the method.
const ALLOCATIONS: [(Allocation, &str); 4] = [
    (Allocation::HEAD, "uniform (head)"),
    (Allocation::LAYER, "head-flattened (layer)"),
    (Allocation::MODEL_RAW, "raw model-wide (model-raw)"),
    (Allocation::MODEL, "full method (model)"),
];

/// The first source has the allocations and decides; the others are only shown.
pub(super) fn build(config: &Config, sources: &[Source], seed: u64) -> Result<Content> {
    let mut content = Content::default();
    for (place, source) in sources.iter().enumerate() {
        let parts = parts(source, seed)?;
        let name = source.file.trim_end_matches("/rows.csv");
        for part in &parts {
            if place == 0 {
                content.tables.push(part.allocations());
                content.figures.push(part.figure());
            }
            content.tables.push(part.policies(name));
        }
        if place == 0 {
            let errors: Vec<Group> = parts.into_iter().map(|part| part.errors).collect();
            content.verdicts = judge(&config.claims, &errors, seed);
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
    rows: Vec<AblationRow>,
    errors: Group,
    seed: u64,
}

fn parts(source: &Source, seed: u64) -> Result<Vec<Part>> {
    let whole = source.rows()?.into_iter().filter(AblationRow::is_whole);
    let part = |((model, objective), rows): ((String, _), Vec<AblationRow>)| {
        let mut losses = Measurements::default();
        for row in &rows {
            let unit = format!("{}\n{}", row.dump, row.sample);
            losses.put((&row.policy, row.budget), "", &unit, row.relative_error);
        }
        let (condition, measure) = (String::new(), format!("{objective} error"));
        Part { rows, errors: Group { model, condition, measure, losses }, seed }
    };
    Ok(grouped(whole, |row| (row.model.clone(), row.objective)).into_iter().map(part).collect())
}

impl Part {
    fn subject(&self) -> String {
        format!("{}: {}", self.errors.model, self.errors.measure)
    }

    /// The scores that are cut by more than one of the allocations.
    fn scores(&self) -> Vec<&PolicyName> {
        let known = |row: &&AblationRow| ALLOCATIONS.iter().any(|(known, _)| row.allocation == Some(*known));
        let several = |rows: &[&AblationRow]| rows.iter().any(|row| row.allocation != rows[0].allocation);
        let scores = grouped(self.rows.iter().filter(known), |row| &row.score).into_iter();
        scores.filter(|(_, rows)| several(rows)).map(|(score, _)| score).collect()
    }

    /// A score's mean error under an allocation.
    fn mean(&self, score: &PolicyName, allocation: Allocation, budget: Budget) -> Option<Estimate> {
        let cut = |row: &&AblationRow| row.score == *score && row.allocation == Some(allocation);
        self.errors.losses.mean((&self.rows.iter().find(cut)?.policy, budget), self.seed)
    }

    /// One line per budget and score, one column per allocation.
    fn allocations(&self) -> Table {
        let title = format!("{} by allocation", self.subject());
        let mut table = Table::new(title, ["budget", "score"], ALLOCATIONS.map(|(_, name)| name));
        for budget in self.errors.losses.budgets() {
            for score in self.scores() {
                let cell = |(allocation, _)| Cell::estimate(self.mean(score, allocation, budget), 4);
                table.push([budget.to_string(), score.to_string()], ALLOCATIONS.map(cell).into());
            }
        }
        table.best_of_lines(Best::Least)
    }

    /// LaProx under each of the allocations.
    fn figure(&self) -> Figure {
        let mut means = Pivot::with_columns(self.errors.losses.budgets());
        for (allocation, name) in ALLOCATIONS {
            for budget in self.errors.losses.budgets() {
                *means.entry(name, budget) = self.mean(&PolicyName::LAPROX, allocation, budget);
            }
        }
        let title = format!("{} of {} by allocation", self.subject(), PolicyName::LAPROX);
        by_budget(title, means).figure(None)
    }

    /// One line per policy, one column per budget.
    fn policies(&self, name: &str) -> Table {
        by_budget(format!("{}, {name}", self.subject()), self.errors.losses.means(self.seed)).table()
    }
}

fn by_budget<L>(title: String, means: Pivot<L, Budget, Estimate>) -> ByBudget<'static, L> {
    ByBudget { title, y_label: "relative error", means, best: Best::Least, digits: 4 }
}
