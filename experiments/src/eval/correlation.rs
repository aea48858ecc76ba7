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
