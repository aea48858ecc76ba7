//! The tables of an ablation: one line per policy and allocation; the least error of each column carries a star.

use laprox_reference::Budget;
use laprox_reference::Form;

use super::summary::Statistic;
use crate::pivot::Pivot;
use crate::rows::ablation::allocation;
use crate::rows::{AblationRow, Objective};
use crate::table::{Cell, Table, between};

/// The layer-wise errors over all layers of one sample: one column per budget and objective.
#[must_use]
pub fn of_sample(rows: &[AblationRow]) -> Table {
    let mut errors = Pivot::default();
    for row in rows.iter().filter(|row| row.is_whole()) {
        let line = [row.score.to_string(), allocation::name(row.allocation).to_owned()];
        *errors.entry(line, (row.budget, row.objective)) = Some(row.relative_error);
    }
    let column = |(budget, objective): &(Budget, Objective)| match objective {
        Objective::Renormalised => format!("{budget} renorm"),
        _ => format!("{budget} {objective}"),
    };
    starred(&errors, column, |error| *error, |star, error| format!("{error:.4}{star}"))
}

/// The layer-wise errors of one objective over several samples: the mean with its interval, the number of samples in which
/// it is below the baseline's, and the p-value of that; one column per budget, in the order of `budgets`.
#[must_use]
pub fn over_samples(statistics: &[Statistic], objective: Objective, budgets: &[Budget]) -> Table {
    let wanted =
        |statistic: &&Statistic| statistic.objective == objective && statistic.form == Form::LayerWise;
    let column = |statistic: &Statistic| (statistic.budget, statistic.samples);
    // The first sample may lack the first budget.
    let of_budget =
        |budget: &Budget| statistics.iter().filter(wanted).find(|statistic| statistic.budget == *budget);
    let mut means = Pivot::with_columns(budgets.iter().filter_map(of_budget).map(column).collect());
    for statistic in statistics.iter().filter(wanted) {
        let line = [statistic.score.to_string(), allocation::name(statistic.allocation).to_owned()];
        *means.entry(line, column(statistic)) = Some(statistic);
    }
    let header = |(budget, samples): &(Budget, usize)| format!("{budget} (n={samples})");
    starred(&means, header, |statistic| statistic.mean, shown)
}

fn shown(star: &str, statistic: &&Statistic) -> String {
    let Statistic { mean, low, high, below_baseline, samples, .. } = statistic;
    let test = match statistic.p_value {
        Some(p) => {
            let p = if p < 0.0005 { "p<.001".into() } else { format!("p={p:.3}") };
            format!("{below_baseline}/{samples} {p}")
        }
        None => "baseline".into(),
    };
    let interval = low.zip(*high).map(|(low, high)| [low, high]);
    format!("{mean:.4}{star}{} {test:>10}", between(interval, 3))
}

/// The table of errors, each shown with a star or with a blank in its place.
fn starred<C: PartialEq, T>(
    pivot: &Pivot<[String; 2], C, T>,
    column: impl Fn(&C) -> String,
    error: impl Fn(&T) -> f64,
    show: impl Fn(&str, &T) -> String,
) -> Table {
    let least = |column: &C| {
        let of_column = pivot.values().filter(|(_, other, _)| *other == column);
        of_column.map(|(.., value)| error(value)).filter(|&error| error > 0.0).min_by(f64::total_cmp)
    };
    pivot.table("", ["policy", "allocation"], Clone::clone, column, |column, value| {
        let star = |value| if Some(error(value)) == least(column) { "*" } else { " " };
        Cell::text(value.map_or("-".into(), |value| show(star(value), value)))
    })
}
