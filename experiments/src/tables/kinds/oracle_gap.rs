//! How far every policy's error is above the proven least error of any eviction of its size.

use anyhow::{Result, bail};
use serde::Deserialize;

use crate::group::grouped;
use crate::tables::by_budget::ByBudget;
use crate::tables::chapter::Content;
use crate::tables::config::Config;
use crate::tables::measurements::Measurements;
use crate::tables::source::{Source, SourceRow};
use crate::tables::table::Best;
use crate::tables::verdict::{Group, judge};

/// A row of `laprox oracle`, as far as it is read.
#[derive(Deserialize)]
struct Row {
    model: String,
    sample: String,
    budget: String,
    policy: String,
    layer: Option<usize>,
    relative_error: f64,
    over_bound: Option<f64>,
}

impl SourceRow for Row {
    fn key(&self) -> String {
        let Self { model, sample, budget, policy, layer, .. } = self;
        format!("{model}\n{sample}\n{budget}\n{policy}\n{layer:?}")
    }

    fn numbers(&self) -> Vec<(&'static str, f64)> {
        let over_bound = self.over_bound.map(|over| ("over_bound", over));
        [("relative_error", self.relative_error)].into_iter().chain(over_bound).collect()
    }

    fn budget(&self) -> &str {
        &self.budget
    }
}

pub(super) fn build(config: &Config, sources: &[Source], seed: u64) -> Result<Content> {
    let mut rows = Vec::new();
    for source in sources {
        rows.extend(source.rows::<Row>()?);
    }
    let mut content = Content::default();
    let mut groups = Vec::new();
    for (model, rows) in grouped(rows.into_iter().filter(|row| row.layer.is_none()), |row| row.model.clone())
    {
        let (mut over, mut above, mut error) =
            (Measurements::default(), Measurements::default(), Measurements::default());
        for row in &rows {
            let setting = (row.policy.as_str(), row.budget.parse()?);
            error.put(setting, "", &row.sample, row.relative_error);
            if let Some(ratio) = row.over_bound {
                over.put(setting, "", &row.sample, ratio);
                above.put(setting, "", &row.sample, ratio - 1.0);
            }
        }
        if over.policies().is_empty() {
            bail!("{model}: no row has a proven bound over all layers");
        }
        let shown = |title: &str, y_label, measurements| {
            let title = format!("{model}: {title}");
            ByBudget { title, y_label, measurements, best: Best::Least, digits: 3, seed }
        };
        let over = shown("drop error over the proven least one", "error / bound", &over);
        content.tables.push(over.table());
        content.figures.push(over.figure(Some(("proven bound".into(), 1.0))));
        content.tables.push(shown("relative drop error, all layers", "relative error", &error).table());
        let measure = "drop error above the bound, relative".into();
        groups.push(Group { model, condition: String::new(), measure, losses: above });
    }
    content.notes.push(
        "No set of this size, found or not, has an error below the bound, so 1 is the best possible. Means over samples; one \
         sample has no interval."
            .into(),
    );
    content.verdicts = judge(&config.claims, &groups, seed);
    Ok(content)
}
