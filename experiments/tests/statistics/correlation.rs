//! Correlations of an evaluation's rows.

use laprox_experiments::eval::correlations;
use laprox_experiments::rows::{EvalRow, Objective};

/// One row of a prompt, with the same number as each of its errors.
fn row(prompt: &str, policy: &str, metric: &str, error: f64, value: f64, full_value: f64) -> EvalRow {
    let errors = if policy == "full" { ",".into() } else { format!("{error},{}", -error) };
    let row = format!("m,task,,{prompt},0,0,,0,{policy},5%,0,{metric},{value},{full_value},{errors},,1,1,");
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
    let mut rows = vec![row("one", "laprox", "kl", 1.0, 1.0, 0.0), row("one", "snapkv", "kl", 2.0, 2.0, 0.0)];
    let longer = rows.clone().into_iter().map(|row| EvalRow { target: 9, ..row }).collect::<Vec<_>>();
    rows.extend(longer);
    assert_eq!((correlations(&rows, 0)[0].prompts, correlations(&rows, 0)[0].spearman), (2, Some(1.0)));
}

#[test]
fn a_prompt_that_loses_nothing_does_not_count() {
    let rows = [row("one", "laprox", "kl", 1.0, 0.0, 0.0), row("one", "snapkv", "kl", 2.0, 0.0, 0.0)];
    assert_eq!((correlations(&rows, 0)[0].prompts, correlations(&rows, 0)[0].spearman), (0, None));
}
