//! The cost of evicting beside the prefill, and the memory that it frees.

use anyhow::{Result, bail};

use crate::group::grouped;
use crate::rows::{EvalRow, MetricName};
use crate::statistics::Estimate;
use crate::table::{Best, Cell, Table};
use crate::tables::evaluated::{by_condition, by_text};
use crate::tables::{ByBudget, Config, Content, Dots, Figure, Group, Measurements, Source, judge};

pub(super) fn build(config: &Config, sources: &[Source], seed: u64) -> Result<Content> {
    let mut content = Content::default();
    let mut groups = Vec::new();
    for ((model, condition), rows) in by_condition(sources)? {
        let of = |metric: MetricName| {
            rows.iter().filter(|row| row.metric == metric && !row.is_full()).collect::<Vec<_>>()
        };
        let (scoring, decoding) = (of(MetricName::SCORE_SECONDS), of(MetricName::DECODE_SPEED));
        if let Some(row) = scoring.iter().find(|row| row.full_value <= 0.0) {
            bail!("{}: a prefill of {} s, expected more than none", row.prompt, row.full_value);
        }
        let share = by_text(scoring.iter().copied(), |row| row.value / row.full_value);
        let of_bytes = |row: &EvalRow| row.cache_bytes as f64 / row.full_cache_bytes as f64;
        let bytes = by_text(decoding.iter().copied(), of_bytes);
        let speed = by_text(decoding.iter().copied(), |row| row.value / row.full_value);
        let shown = |title: &str, measurements: &Measurements, best| {
            let title = format!("{model}: {title}");
            ByBudget { title, y_label: "", means: measurements.means(seed), best, digits: 4 }.table()
        };
        content.tables.push(shown("scoring over prefill, seconds over seconds", &share, Best::Least));
        content.tables.push(seconds(&model, &scoring));
        content.tables.push(shown("cache over full cache, bytes as allocated", &bytes, Best::Least));
        content.tables.push(shown(
            "decoded tokens per second, over the full cache's",
            &speed,
            Best::Greatest,
        ));
        content.figures.push(figure(&model, &share, seed));
        let (condition, measure) = (condition.to_owned(), "scoring over prefill".into());
        groups.push(Group { model, condition, measure, losses: share });
    }
    content.notes.push(
        "Times are those of one machine, given in the results' configuration, and differ between runs; ratios of one run \
         differ least. Bytes include the room for the tokens that are decoded. Means are over texts, each the mean over \
         its context lengths, and intervals over texts."
            .into(),
    );
    content.verdicts = judge(&config.claims, &groups, seed);
    Ok(content)
}

/// Seconds by context and policy, over texts and budgets.
fn seconds(model: &str, scoring: &[&EvalRow]) -> Table {
    let title = format!("{model}: seconds, mean over texts and budgets");
    let mut table = Table::new(title, ["context", "policy"], ["prefill", "scoring", "scoring / prefill"]);
    let mut by_context = grouped(scoring.iter().copied(), |row| row.target);
    by_context.sort_by_key(|(context, _)| *context);
    for (context, rows) in by_context {
        for (policy, rows) in grouped(rows, |row| &row.policy) {
            let mean = |number: fn(&EvalRow) -> f64| {
                rows.iter().map(|row| number(row)).sum::<f64>() / rows.len() as f64
            };
            let (prefill, score) = (mean(|row| row.full_value), mean(|row| row.value));
            let cells = [prefill, score, score / prefill].map(|number| Cell::number(Some(number), 4));
            table.push([context.to_string(), policy.to_string()], cells.into());
        }
    }
    table.best_of_column(1, Best::Least)
}

fn figure(model: &str, share: &Measurements, seed: u64) -> Figure {
    let percent = |mean: Estimate| Estimate {
        value: 100.0 * mean.value,
        interval: mean.interval.map(|ends| ends.map(|end| 100.0 * end)),
        ..mean
    };
    let means = share.means(seed);
    let dots = means.values().map(|(policy, budget, &mean)| (format!("{policy} {budget}"), percent(mean)));
    Figure::Dots(Dots {
        title: format!("{model}: scoring, in percent of the prefill's time"),
        x_label: "percent".into(),
        dots: dots.collect(),
        reference: None,
        logarithmic: false,
    })
}
