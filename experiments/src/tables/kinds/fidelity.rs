//! How an evicted cache predicts a text's own next tokens: three metrics over budgets.

use anyhow::Result;

use crate::group::grouped;
use crate::rows::{EvalRow, MetricName};
use crate::table::Best;
use crate::tables::evaluated::{by_condition, by_text};
use crate::tables::{ByBudget, Config, Content, Group, Source, judge};

/// A metric and the words for it.
struct Metric {
    name: MetricName,
    title: &'static str,
    label: &'static str,
    best: Best,
    loss_name: &'static str,
}

const METRICS: [Metric; 3] = [
    Metric {
        name: MetricName::NLL,
        title: "negative log-likelihood of the text, nats a token",
        label: "nats a token",
        best: Best::Least,
        loss_name: "rise in nll",
    },
    Metric {
        name: MetricName::KL,
        title: "KL divergence from the full cache's predictions, nats a token",
        label: "nats a token",
        best: Best::Least,
        loss_name: "kl",
    },
    Metric {
        name: MetricName::AGREEMENT,
        title: "share of tokens at which the most probable one is the full cache's",
        label: "share",
        best: Best::Greatest,
        loss_name: "loss in agreement",
    },
];

pub(super) fn build(config: &Config, sources: &[Source], seed: u64) -> Result<Content> {
    let mut content = Content::default();
    let mut groups = Vec::new();
    for ((model, condition), rows) in by_condition(sources)? {
        for metric in &METRICS {
            let rows: Vec<&EvalRow> = rows.iter().filter(|row| row.metric == metric.name).collect();
            if rows.is_empty() {
                continue;
            }
            let shown = ByBudget {
                title: format!("{model}: {}", metric.title),
                y_label: metric.label,
                means: by_text(rows.iter().copied(), |row| row.value).means(seed),
                best: metric.best,
                digits: 4,
            };
            content.tables.push(shown.table());
            // A divergence from itself is zero, and no line.
            let full = Some(full(&rows)).filter(|&full| full != 0.0);
            content.figures.push(shown.figure(full.map(|full| ("full cache".into(), full))));
            groups.push(Group {
                model: model.clone(),
                condition: condition.to_owned(),
                measure: metric.loss_name.into(),
                losses: by_text(rows.iter().copied(), EvalRow::loss),
            });
        }
    }
    content.notes.push(
        "Means over texts, each the mean over its context lengths, with 95 % bootstrap intervals over texts; the best of a budget \
         is marked."
            .into(),
    );
    content.verdicts = judge(&config.claims, &groups, seed);
    Ok(content)
}

/// The full cache's mean over texts of the mean over context lengths.
fn full(rows: &[&EvalRow]) -> f64 {
    let of_text = |(_, rows): &(&String, Vec<&&EvalRow>)| {
        let lengths = grouped(rows, |row| row.target);
        lengths.iter().map(|(_, rows)| rows[0].full_value).sum::<f64>() / lengths.len() as f64
    };
    let texts = grouped(rows, |row| &row.prompt);
    texts.iter().map(of_text).sum::<f64>() / texts.len() as f64
}
