//! Whether the stated error bounds hold on real activations, and how loose they are.

use anyhow::{Result, bail};
use serde::Deserialize;

use crate::group::grouped;
use crate::tables::chapter::Content;
use crate::tables::config::{Config, Test};
use crate::tables::figure::{Dots, Figure, Point};
use crate::tables::source::{Source, SourceRow};
use crate::tables::table::{Cell, Table};
use crate::tables::verdict::{Outcome, Verdict};

/// A row of `laprox bounds`, as far as it is read.
#[derive(Deserialize)]
struct Row {
    model: String,
    sample: String,
    policy: String,
    budget: String,
    layer: usize,
    bound: String,
    statement: String,
    left: f64,
    right: f64,
    holds: bool,
}

impl SourceRow for Row {
    fn key(&self) -> String {
        let Self { model, sample, policy, budget, layer, bound, .. } = self;
        format!("{model}\n{sample}\n{policy}\n{budget}\n{layer}\n{bound}")
    }

    fn numbers(&self) -> Vec<(&'static str, f64)> {
        vec![("left", self.left), ("right", self.right)]
    }

    fn budget(&self) -> &str {
        &self.budget
    }
}

impl Row {
    /// `right / left`; attained at zero, too.
    fn ratio(&self) -> f64 {
        if self.left == self.right { 1.0 } else { self.right / self.left }
    }
}

pub(super) fn build(config: &Config, sources: &[Source], _seed: u64) -> Result<Content> {
    let mut rows = Vec::new();
    for source in sources {
        rows.extend(source.rows::<Row>()?);
    }
    let mut content = Content::default();
    for (model, rows) in grouped(rows, |row| row.model.clone()) {
        for ((policy, budget), rows) in grouped(&rows, |row| (row.policy.clone(), row.budget.clone())) {
            let title = format!("{model}: bounds on evictions of {policy} at {budget}");
            let slacks: Vec<Slack<'_>> =
                grouped(rows, |row| row.bound.as_str()).iter().map(|(_, rows)| Slack::of(rows)).collect();
            content.tables.push(table(&title, &slacks));
            content.figures.push(figure(&title, &slacks));
        }
        let claims = config.claims.iter().filter(|claim| matches!(claim.test, Test::EveryRow));
        content.verdicts.extend(claims.map(|claim| verdict(claim.verdict(&model, "", "bounds"), &rows)));
    }
    if content.verdicts.is_empty() {
        bail!("no claim is about bounds");
    }
    content.notes.push(
        "Slack is the right side over the left: 1 where a bound is attained. Least, median and most are over layers and samples. \
         Statements about chance are tested; the others have to hold but for rounding."
            .into(),
    );
    Ok(content)
}

/// How loose one bound is, over layers and samples.
struct Slack<'a> {
    bound: &'a str,
    statement: &'a str,
    least: f64,
    median: f64,
    most: f64,
    holding: usize,
    rows: usize,
}

impl<'a> Slack<'a> {
    fn of(rows: &[&'a Row]) -> Self {
        let mut ratios: Vec<f64> = rows.iter().map(|row| row.ratio()).collect();
        ratios.sort_by(f64::total_cmp);
        Self {
            bound: &rows[0].bound,
            statement: &rows[0].statement,
            least: ratios[0],
            median: ratios[ratios.len() / 2],
            most: ratios[ratios.len() - 1],
            holding: rows.iter().filter(|row| row.holds).count(),
            rows: rows.len(),
        }
    }
}

fn table(title: &str, slacks: &[Slack<'_>]) -> Table {
    let columns = ["least slack", "median", "most", "holds"];
    let mut table = Table::new(title, &["bound", "statement"], columns);
    for slack in slacks {
        let numbers = [slack.least, slack.median, slack.most].map(|number| Cell::number(Some(number), 3));
        let holds = Cell::text(format!("{} of {}", slack.holding, slack.rows));
        table.push([slack.bound, slack.statement], numbers.into_iter().chain([holds]).collect());
    }
    table
}

fn figure(title: &str, slacks: &[Slack<'_>]) -> Figure {
    let drawable = |slack: &&Slack<'_>| slack.least > 0.0 && slack.most.is_finite();
    let dot = |slack: &Slack<'_>| {
        let point = Point { value: slack.median, interval: Some([slack.least, slack.most]) };
        (slack.bound.to_owned(), point)
    };
    Figure::Dots(Dots {
        title: format!("{title}: least, median and most slack"),
        x_label: "right side / left side".into(),
        dots: slacks.iter().filter(drawable).map(dot).collect(),
        reference: Some(("attained".into(), 1.0)),
        logarithmic: true,
    })
}

/// Every row counts, none is a sample of others: there is no interval.
fn verdict(verdict: Verdict, rows: &[Row]) -> Verdict {
    let holding = rows.iter().filter(|row| row.holds).count();
    Verdict {
        outcome: if holding == rows.len() { Outcome::Holds } else { Outcome::DoesNotHold },
        statistic: "share of checks that hold".into(),
        value: Some(holding as f64 / rows.len() as f64),
        units: rows.len(),
        remark: format!("{holding} of {} checks; each is decided by itself, without an interval", rows.len()),
        ..verdict
    }
}
