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
    // A text is another prompt at another length.
    let mut names: Vec<(&str, usize)> = Vec::new();
    let mut prompts: Vec<Pairs> = Vec::new();
    for row in group {
        let Some(error) = error(row) else { continue };
        let name = (row.prompt.as_str(), row.target);
        let place = names.iter().position(|other| *other == name).unwrap_or_else(|| {
            names.push(name);
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

#[cfg(test)]
mod tests {
    use super::{Correlation, correlations};
    use crate::eval::EvalRow;

    /// One row of a prompt, with the same number as each of its errors.
    fn row(
        prompt: &str,
        policy: &str,
        metric: &'static str,
        error: f64,
        value: f64,
        full_value: f64,
    ) -> EvalRow {
        EvalRow {
            model: String::new(),
            task: "task".into(),
            question: "".into(),
            prompt: prompt.into(),
            target: 0,
            context: 0,
            depth: String::new(),
            sample: 0,
            policy: policy.into(),
            budget: "5%".into(),
            entries_per_head: 0,
            metric: metric.into(),
            value,
            full_value,
            drop: (policy != "full").then_some(error),
            renormalised: (policy != "full").then_some(-error),
            future: None,
            cache_bytes: 1,
            full_cache_bytes: 1,
            answer: String::new(),
        }
    }

    fn of(rows: &[EvalRow]) -> Vec<Correlation> {
        correlations(rows, 0)
    }

    /// In `one` the errors 1, 2, 3 lose 0, 1, 2 and in `two` 0, 2, 1: correlations of 1 and a half, and of the means
    /// 0, 1.5, 1.5 one of `1.5 / sqrt(2 * 1.5)`.
    #[test]
    fn prompts_and_means_correlate_as_by_hand() {
        let losses = [("one", [0.0, 1.0, 2.0]), ("two", [0.0, 2.0, 1.0])];
        let rows: Vec<EvalRow> = losses
            .into_iter()
            .flat_map(|(prompt, losses)| {
                let full = row(prompt, "full", "nll", 0.0, 3.0, 3.0);
                let evicted = ["a", "b", "c"].into_iter().zip([1.0, 2.0, 3.0]).zip(losses);
                let evicted = evicted
                    .map(|((policy, error), loss)| row(prompt, policy, "nll", error, 3.0 + loss, 3.0))
                    .collect::<Vec<_>>();
                std::iter::once(full).chain(evicted)
            })
            .collect();
        let found = of(&rows);
        assert_eq!(found.iter().map(|one| one.error).collect::<Vec<_>>(), ["drop", "renormalised", "future"]);
        assert_eq!((found[0].prompts, found[0].spearman), (2, Some(0.75)));
        approx::assert_relative_eq!(found[0].of_means.unwrap(), 0.75_f64.sqrt(), max_relative = 1e-15);
        assert_eq!(found[1].spearman, Some(-0.75));
        assert_eq!((found[2].prompts, found[2].spearman, found[2].of_means), (0, None, None));
    }

    #[test]
    fn a_metric_of_which_more_is_better_loses_what_is_missing() {
        let rows =
            [row("one", "a", "contains-all", 1.0, 1.0, 1.0), row("one", "b", "contains-all", 2.0, 0.0, 1.0)];
        assert_eq!(of(&rows)[0].spearman, Some(1.0));
    }

    #[test]
    fn a_text_is_another_prompt_at_another_length() {
        let mut rows = vec![row("one", "a", "kl", 1.0, 1.0, 0.0), row("one", "b", "kl", 2.0, 2.0, 0.0)];
        let longer = rows.clone().into_iter().map(|row| EvalRow { target: 9, ..row }).collect::<Vec<_>>();
        rows.extend(longer);
        assert_eq!((of(&rows)[0].prompts, of(&rows)[0].spearman), (2, Some(1.0)));
    }

    #[test]
    fn a_prompt_that_loses_nothing_does_not_count() {
        let rows = [row("one", "a", "kl", 1.0, 0.0, 0.0), row("one", "b", "kl", 2.0, 0.0, 0.0)];
        assert_eq!((of(&rows)[0].prompts, of(&rows)[0].spearman), (0, None));
    }
}
