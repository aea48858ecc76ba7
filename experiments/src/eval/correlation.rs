//! Does an error of the layers' outputs predict what the answer loses?

use serde::Serialize;

use super::row::EvalRow;
use super::summary::groups;
use crate::statistics::{bootstrap, spearman};

/// The rank correlation of one error with one loss, over policies and budgets.
///
/// Once within each prompt and averaged, which asks whether the error ranks evictions of one text; once between the means
/// over prompts, which asks whether it ranks policies and budgets.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Correlation {
    /// The task.
    pub task: String,
    /// When the question was asked.
    pub question: String,
    /// The metric whose loss against the full cache is predicted.
    pub metric: String,
    /// `drop`, `renormalised` or `future`, layer-wise over all layers.
    pub error: &'static str,
    /// Prompts in which both vary; no other has a rank correlation of its own.
    pub prompts: usize,
    /// The mean over these prompts.
    pub spearman: Option<f64>,
    /// The lower end of its 95 % bootstrap interval over prompts.
    pub low: Option<f64>,
    /// Its upper end.
    pub high: Option<f64>,
    /// The correlation of the means over all prompts that have every policy and budget.
    pub of_means: Option<f64>,
    /// The lower end of its 95 % bootstrap interval over prompts.
    pub of_means_low: Option<f64>,
    /// Its upper end.
    pub of_means_high: Option<f64>,
}

/// An error of a row by its name.
type ErrorOf = fn(&EvalRow) -> Option<f64>;

const ERRORS: [(&str, ErrorOf); 3] =
    [("drop", |row| row.drop), ("renormalised", |row| row.renormalised), ("future", |row| row.future)];

/// Metrics of which more is worse.
const LOSSES: [&str; 2] = ["nll", "kl"];

/// The task that measures time.
const SPEED: &str = "speed";

/// Every error against every metric's loss, task by task.
#[must_use]
pub fn correlations(rows: &[EvalRow], seed: u64) -> Vec<Correlation> {
    let metrics = groups(rows, |row| [&row.task, &*row.question, &*row.metric]);
    let metrics = metrics.iter().filter(|group| group[0].task != SPEED);
    let of_metric = |group: &Vec<&EvalRow>| ERRORS.map(|(name, error)| correlation(group, name, error, seed));
    metrics.flat_map(of_metric).collect()
}

/// What a row lost against the full cache.
fn loss(row: &EvalRow) -> f64 {
    let more = row.value - row.full_value;
    if LOSSES.contains(&&*row.metric) { more } else { -more }
}

/// One prompt: an error and a loss for each policy and budget.
type Pairs = Vec<(f64, f64)>;

fn correlation(group: &[&EvalRow], name: &'static str, error: ErrorOf, seed: u64) -> Correlation {
    let prompts = prompts(group, error);
    let own: Vec<f64> = prompts.iter().filter_map(|pairs| rank_correlation(pairs)).collect();
    let interval = bootstrap::interval(&own, seed);
    let complete = prompts.iter().map(Vec::len).max().unwrap_or(0);
    let comparable: Vec<&Pairs> = prompts.iter().filter(|pairs| pairs.len() == complete).collect();
    let of_means =
        |draw: &[usize]| rank_correlation(&mean_pairs(draw.iter().map(|&index| comparable[index])));
    let all: Vec<usize> = (0..comparable.len()).collect();
    let means_interval = bootstrap::interval_of(comparable.len(), seed, of_means);
    Correlation {
        task: group[0].task.clone(),
        question: group[0].question.to_string(),
        metric: group[0].metric.to_string(),
        error: name,
        prompts: own.len(),
        spearman: (!own.is_empty()).then(|| own.iter().sum::<f64>() / own.len() as f64),
        low: interval.map(|[low, _]| low),
        high: interval.map(|[_, high]| high),
        of_means: of_means(&all),
        of_means_low: means_interval.map(|[low, _]| low),
        of_means_high: means_interval.map(|[_, high]| high),
    }
}

/// The pairs of each prompt, policies and budgets in the same order in all; rows without the error are left out.
fn prompts(group: &[&EvalRow], error: ErrorOf) -> Vec<Pairs> {
    let mut names: Vec<&str> = Vec::new();
    let mut prompts: Vec<Pairs> = Vec::new();
    for row in group {
        let Some(error) = error(row) else { continue };
        let place = names.iter().position(|name| *name == row.prompt).unwrap_or_else(|| {
            names.push(&row.prompt);
            prompts.push(Vec::new());
            names.len() - 1
        });
        prompts[place].push((error, loss(row)));
    }
    prompts
}

fn mean_pairs<'a>(prompts: impl Iterator<Item = &'a Pairs>) -> Pairs {
    let (mut sums, mut count) = (Pairs::new(), 0.0);
    for pairs in prompts {
        sums.resize(pairs.len(), (0.0, 0.0));
        sums.iter_mut().zip(pairs).for_each(|(sum, pair)| *sum = (sum.0 + pair.0, sum.1 + pair.1));
        count += 1.0;
    }
    sums.into_iter().map(|(error, loss)| (error / count, loss / count)).collect()
}

fn rank_correlation(pairs: &[(f64, f64)]) -> Option<f64> {
    let (errors, losses): (Vec<f64>, Vec<f64>) = pairs.iter().copied().unzip();
    spearman::correlation(&errors, &losses)
}
