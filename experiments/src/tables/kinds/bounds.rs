//! Whether the stated error bounds hold on real activations, and how loose they are.

use anyhow::{Result, bail};

use crate::group::grouped;
use crate::rows::{BoundRow, Slack};
use crate::statistics::Estimate;
use crate::table::{Cell, Table};
use crate::tables::{Config, Content, Dots, Figure, Outcome, Source, Test, Verdict, all_rows};

pub(super) fn build(config: &Config, sources: &[Source], _seed: u64) -> Result<Content> {
    let mut content = Content::default();
    for (model, rows) in grouped(all_rows(sources)?, |row: &BoundRow| row.model.clone()) {
        for ((policy, budget), rows) in grouped(&rows, |row| (&row.policy, row.budget)) {
            let title = format!("{model}: bounds on evictions of {policy} at {budget}");
            let slacks: Vec<Slack<'_>> =
                grouped(rows, |row| &row.bound).iter().map(|(_, rows)| Slack::of(rows)).collect();
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

fn table(title: &str, slacks: &[Slack<'_>]) -> Table {
    let mut table = Table::new(title, ["bound", "statement"], ["least slack", "median", "most", "holds"]);
    for Slack { first, ratios, holding, rows } in slacks {
        let holds = Cell::text(format!("{holding} of {rows}"));
        let ratios = ratios.map(|ratio| Cell::number(Some(ratio), 3));
        table.push([&*first.bound, &*first.statement], ratios.into_iter().chain([holds]).collect());
    }
    table
}

fn figure(title: &str, slacks: &[Slack<'_>]) -> Figure {
    let dot = |&Slack { first, ratios: [least, value, most], rows, .. }: &Slack<'_>| {
        let estimate = Estimate { value, interval: Some([least, most]), units: rows };
        (least > 0.0 && most.is_finite()).then(|| (first.bound.to_string(), estimate))
    };
    Figure::Dots(Dots {
        title: format!("{title}: least, median and most slack"),
        x_label: "right side / left side".into(),
        dots: slacks.iter().filter_map(dot).collect(),
        reference: Some(("attained".into(), 1.0)),
        logarithmic: true,
    })
}

/// Every row counts, none is a sample of others: there is no interval.
fn verdict(verdict: Verdict, rows: &[BoundRow]) -> Verdict {
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
