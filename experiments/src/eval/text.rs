//! The tables of an evaluation: one line per policy, one column per budget.

use laprox_reference::Budget;

use super::summary::EvalStatistic;
use crate::group::{distinct, grouped};
use crate::pivot::Pivot;
use crate::rows::{Asked, CorrelationRow, FULL_BUDGET};
use crate::statistics::Estimate;
use crate::table::{Cell, Table, between};

/// One table for each task and metric, budgets in the order of `budgets`, and one of the correlations.
#[must_use]
pub fn text(
    model: &str,
    budgets: &[Budget],
    statistics: &[EvalStatistic],
    correlations: &[CorrelationRow],
) -> String {
    let mut text = "The mean over prompts with its 95 % bootstrap interval; n prompts.\n".to_owned();
    for ((task, question, metric), statistics) in
        grouped(statistics, |statistic| (&statistic.task, statistic.question, &statistic.metric))
    {
        let question = question.map(|question| format!(", question-{question}")).unwrap_or_default();
        text += &format!("\n{model}, {task}{question}: {metric}\n\n{}\n", means(budgets, &statistics));
    }
    if correlations.iter().any(|row| row.spearman.or(row.of_means).is_some()) {
        text += &format!(
            "\nSpearman's rank correlation of the layers' error with the metric's loss, over policies and budgets: the mean \
             of the correlations within a prompt, and the correlation of means over prompts.\n\n{}\n",
            correlated(correlations)
        );
    }
    text
}

/// The full cache's column comes first.
fn means(budgets: &[Budget], statistics: &[&EvalStatistic]) -> Table {
    let measured = |budget: &Budget| statistics.iter().any(|statistic| statistic.budget == *budget);
    let budgets = std::iter::once(FULL_BUDGET).chain(budgets.iter().copied()).filter(measured);
    let mut means = Pivot::with_columns(distinct(budgets));
    for statistic in statistics {
        *means.entry(&statistic.policy, statistic.budget) = Some(*statistic);
    }
    let shown = |statistic: &&EvalStatistic| {
        let interval = statistic.low.zip(statistic.high).map(|(low, high)| [low, high]);
        format!("{:.3}{} n={}", statistic.mean, between(interval, 3), statistic.prompts)
    };
    let cell = |_: &_, statistic: Option<&_>| Cell::text(statistic.map_or("-".into(), shown));
    means.table("", ["policy"], |policy| [policy.to_string()], Budget::to_string, cell)
}

fn correlated(correlations: &[CorrelationRow]) -> Table {
    let mut table =
        Table::of_labels(["task", "question", "metric", "error", "within prompts", "prompts", "of means"]);
    let shown = |estimate: Option<Estimate>| Cell::estimate(estimate, 3).text;
    for row in correlations {
        let cells = [
            row.task.clone(),
            row.question.map_or("", Asked::name).to_owned(),
            row.metric.to_string(),
            row.error.to_string(),
            shown(row.within()),
            row.prompts.to_string(),
            shown(row.between()),
        ];
        table.push(cells, vec![]);
    }
    table
}
