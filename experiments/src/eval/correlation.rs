//! Does an error of the layers' outputs predict the loss of the answer?

use crate::group::grouped;
use crate::rows::{CorrelationRow, EvalRow, Objective};
use crate::statistics::{bootstrap, spearman};

/// The task that measures time.
const SPEED: &str = "speed";

/// Every error against every metric's loss, task by task.
#[must_use]
pub fn correlations(rows: &[EvalRow], seed: u64) -> Vec<CorrelationRow> {
    let timeless = rows.iter().filter(|row| row.task != SPEED);
    let metrics = grouped(timeless, |row| (&row.task, row.question, &row.metric));
    let of_metric =
        |(_, group): &(_, Vec<&EvalRow>)| Objective::ALL.map(|error| correlation(group, error, seed));
    metrics.iter().flat_map(of_metric).collect()
}

/// One prompt: an error and a loss for each policy and budget.
type Pairs = Vec<(f64, f64)>;

fn correlation(group: &[&EvalRow], error: Objective, seed: u64) -> CorrelationRow {
    let prompts = prompts(group, error);
    let own: Vec<f64> = prompts.iter().filter_map(|pairs| rank_correlation(pairs)).collect();
    let interval = bootstrap::interval(&own, seed);
    let complete = prompts.iter().map(Vec::len).max().unwrap_or(0);
    let comparable: Vec<&Pairs> = prompts.iter().filter(|pairs| pairs.len() == complete).collect();
    let of_means =
        |draw: &[usize]| rank_correlation(&mean_pairs(draw.iter().map(|&index| comparable[index])));
    let all: Vec<usize> = (0..comparable.len()).collect();
    let means_interval = bootstrap::interval_of(comparable.len(), seed, of_means);
    CorrelationRow {
        task: group[0].task.clone(),
        question: group[0].question,
        metric: group[0].metric.clone(),
        error,
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
fn prompts(group: &[&EvalRow], error: Objective) -> Vec<Pairs> {
    let pairs = group.iter().filter_map(|row| Some((row, (row.error(error)?, row.loss()))));
    // A text is another prompt at another length.
    let prompts = grouped(pairs, |(row, _)| (&row.prompt, row.target));
    prompts.into_iter().map(|(_, pairs)| pairs.into_iter().map(|(_, pair)| pair).collect()).collect()
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
    use super::correlations;
    use crate::rows::{EvalRow, Objective};

    /// One row of a prompt, with the same number as each of its errors.
    fn row(prompt: &str, policy: &str, metric: &str, error: f64, value: f64, full_value: f64) -> EvalRow {
        let errors = if policy == "full" { ",".into() } else { format!("{error},{}", -error) };
        let row =
            format!("m,task,,{prompt},0,0,,0,{policy},5%,0,{metric},{value},{full_value},{errors},,1,1,");
        csv::StringRecord::from_iter(row.split(',')).deserialize(None).expect("a row")
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
                let evicted = ["laprox", "snapkv", "random"].into_iter().zip([1.0, 2.0, 3.0]).zip(losses);
                let evicted = evicted
                    .map(|((policy, error), loss)| row(prompt, policy, "nll", error, 3.0 + loss, 3.0))
                    .collect::<Vec<_>>();
                std::iter::once(full).chain(evicted)
            })
            .collect();
        let found = correlations(&rows, 0);
        assert_eq!(found.iter().map(|one| one.error).collect::<Vec<_>>(), Objective::ALL);
        assert_eq!((found[0].prompts, found[0].spearman), (2, Some(0.75)));
        approx::assert_relative_eq!(found[0].of_means.unwrap(), 0.75_f64.sqrt(), max_relative = 1e-15);
        assert_eq!(found[1].spearman, Some(-0.75));
        assert_eq!((found[2].prompts, found[2].spearman, found[2].of_means), (0, None, None));
    }

    #[test]
    fn a_metric_of_which_more_is_better_loses_what_is_missing() {
        let rows = [
            row("one", "laprox", "contains-all", 1.0, 1.0, 1.0),
            row("one", "snapkv", "contains-all", 2.0, 0.0, 1.0),
        ];
        assert_eq!(correlations(&rows, 0)[0].spearman, Some(1.0));
    }

    #[test]
    fn a_text_is_another_prompt_at_another_length() {
        let mut rows =
            vec![row("one", "laprox", "kl", 1.0, 1.0, 0.0), row("one", "snapkv", "kl", 2.0, 2.0, 0.0)];
        let longer = rows.clone().into_iter().map(|row| EvalRow { target: 9, ..row }).collect::<Vec<_>>();
        rows.extend(longer);
        assert_eq!((correlations(&rows, 0)[0].prompts, correlations(&rows, 0)[0].spearman), (2, Some(1.0)));
    }

    #[test]
    fn a_prompt_that_loses_nothing_does_not_count() {
        let rows = [row("one", "laprox", "kl", 1.0, 0.0, 0.0), row("one", "snapkv", "kl", 2.0, 0.0, 0.0)];
        assert_eq!((correlations(&rows, 0)[0].prompts, correlations(&rows, 0)[0].spearman), (0, None));
    }
}
