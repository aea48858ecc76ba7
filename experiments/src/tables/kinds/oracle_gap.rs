//! How far every policy's error is above the proven least error of any eviction of its size.

use anyhow::{Result, bail};

use crate::group::grouped;
use crate::rows::OracleRow;
use crate::table::Best;
use crate::tables::{ByBudget, Config, Content, Group, Measurements, Source, all_rows, judge};

pub(super) fn build(config: &Config, sources: &[Source], seed: u64) -> Result<Content> {
    let mut content = Content::default();
    let mut groups = Vec::new();
    let whole = all_rows(sources)?.into_iter().filter(|row: &OracleRow| row.layer.is_none());
    for (model, rows) in grouped(whole, |row| row.model.clone()) {
        let (mut over, mut above, mut error) =
            (Measurements::default(), Measurements::default(), Measurements::default());
        for row in &rows {
            let setting = (&row.policy, row.budget);
            error.put(setting, "", &row.sample, row.relative_error);
            if let Some(ratio) = row.over_bound {
                over.put(setting, "", &row.sample, ratio);
                above.put(setting, "", &row.sample, ratio - 1.0);
            }
        }
        if over.policies().is_empty() {
            bail!("{model}: no row has a proven bound over all layers");
        }
        let shown = |title: &str, y_label, measurements: &Measurements| {
            let title = format!("{model}: {title}");
            ByBudget { title, y_label, means: measurements.means(seed), best: Best::Least, digits: 3 }
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
