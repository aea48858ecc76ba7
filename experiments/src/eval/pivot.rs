//! The tables that people read: a line a policy, a column a budget.

use comfy_table::{CellAlignment, Table};

use super::correlation::Correlation;
use super::summary::EvalStatistic;
use crate::report::table;

/// One table for each task and metric, budgets in the order of `budgets`, and one of the correlations.
#[must_use]
pub fn text(
    model: &str,
    budgets: &[String],
    statistics: &[EvalStatistic],
    correlations: &[Correlation],
) -> String {
    let same = |one: &EvalStatistic, two: &EvalStatistic| of_table(one) == of_table(two);
    let mut sorted: Vec<EvalStatistic> = Vec::new();
    for statistic in statistics {
        let place =
            sorted.iter().rposition(|other| same(other, statistic)).map_or(sorted.len(), |place| place + 1);
        sorted.insert(place, statistic.clone());
    }
    let tables = sorted.chunk_by(same).map(|statistics| {
        let [task, question, metric] = of_table(&statistics[0]);
        let question = if question.is_empty() { String::new() } else { format!(", question-{question}") };
        format!("{model}, {task}{question}: {metric}\n\n{}\n", of_statistics(budgets, statistics))
    });
    let mut text = format!(
        "The mean over prompts with its 95 % bootstrap interval; n prompts.\n\n{}",
        tables.collect::<Vec<_>>().join("\n")
    );
    if correlations.iter().any(|correlation| correlation.spearman.or(correlation.of_means).is_some()) {
        text += &format!(
            "\nSpearman's rank correlation of the layers' error with the metric's loss, over policies and budgets: the mean \
             of the correlations within a prompt, and the correlation of means over prompts.\n\n{}\n",
            of_correlations(correlations)
        );
    }
    text
}

/// The budget of the full cache.
const FULL: &str = "100%";

fn of_table(statistic: &EvalStatistic) -> [&str; 3] {
    [&statistic.task, &statistic.question, &statistic.metric]
}

fn of_statistics(budgets: &[String], statistics: &[EvalStatistic]) -> Table {
    let mut columns: Vec<&str> = vec![FULL];
    columns.extend(budgets.iter().map(String::as_str).filter(|&budget| budget != FULL));
    columns.retain(|&budget| statistics.iter().any(|statistic| statistic.budget == budget));
    let mut lines: Vec<&str> = Vec::new();
    for statistic in statistics {
        if !lines.contains(&statistic.policy.as_str()) {
            lines.push(&statistic.policy);
        }
    }
    let mut table = table(std::iter::once("policy").chain(columns.iter().copied()));
    for policy in lines {
        let cell = |budget: &&str| {
            let found = statistics.iter().find(|other| other.policy == policy && other.budget == **budget);
            found.map_or("-".into(), shown)
        };
        table.add_row(std::iter::once(policy.to_owned()).chain(columns.iter().map(cell)));
    }
    table.column_iter_mut().skip(1).for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    table
}

fn shown(statistic: &EvalStatistic) -> String {
    let interval = between(statistic.low, statistic.high);
    format!("{:.3}{interval} n={}", statistic.mean, statistic.prompts)
}

fn between(low: Option<f64>, high: Option<f64>) -> String {
    low.zip(high).map(|(low, high)| format!(" [{low:.3}, {high:.3}]")).unwrap_or_default()
}

fn of_correlations(correlations: &[Correlation]) -> Table {
    let mut table = table(["task", "question", "metric", "error", "within prompts", "prompts", "of means"]);
    for correlation in correlations {
        let number = |value: Option<f64>, low, high| {
            value.map_or("-".into(), |value| format!("{value:.3}{}", between(low, high)))
        };
        table.add_row([
            correlation.task.clone(),
            correlation.question.clone(),
            correlation.metric.clone(),
            correlation.error.to_owned(),
            number(correlation.spearman, correlation.low, correlation.high),
            correlation.prompts.to_string(),
            number(correlation.of_means, correlation.of_means_low, correlation.of_means_high),
        ]);
    }
    table
}
