//! The tables that people read: a line a policy and allocation, a column a budget and objective.

use comfy_table::{CellAlignment, Table};

use crate::report::{Row, table};
use crate::statistics::Statistic;

/// A number for each line and column, in the order in which they are put in.
struct Pivot<T> {
    columns: Vec<String>,
    lines: Vec<[String; 2]>,
    /// `[line][column]`: the number that decides which is least, and what else there is to show.
    cells: Vec<Vec<Option<(f64, T)>>>,
}

impl<T> Pivot<T> {
    fn new() -> Self {
        Self { columns: Vec::new(), lines: Vec::new(), cells: Vec::new() }
    }

    fn put(&mut self, line: [String; 2], column: String, number: f64, shown: T) {
        let (line, column) = (index_of(&mut self.lines, line), index_of(&mut self.columns, column));
        self.cells.resize_with(self.lines.len(), Vec::new);
        let cells = &mut self.cells[line];
        let width = cells.len().max(column + 1);
        cells.resize_with(width, || None);
        cells[column] = Some((number, shown));
    }

    /// Draws the table; the least number above zero of each column carries a star.
    fn table(&self, show: impl Fn(f64, &str, &T) -> String) -> Table {
        let mut table =
            table(["policy", "allocation"].iter().copied().chain(self.columns.iter().map(String::as_str)));
        let least: Vec<_> = (0..self.columns.len()).map(|column| self.least(column)).collect();
        for (line, cells) in self.lines.iter().zip(&self.cells) {
            let cell =
                |(column, least): (usize, &Option<f64>)| match cells.get(column).and_then(Option::as_ref) {
                    Some((number, shown)) => {
                        show(*number, if Some(*number) == *least { "*" } else { " " }, shown)
                    }
                    None => "-".into(),
                };
            table.add_row(line.iter().cloned().chain(least.iter().enumerate().map(cell)).collect::<Vec<_>>());
        }
        table.column_iter_mut().skip(2).for_each(|column| column.set_cell_alignment(CellAlignment::Right));
        table
    }

    fn least(&self, column: usize) -> Option<f64> {
        let numbers = self.cells.iter().filter_map(|cells| Some(cells.get(column)?.as_ref()?.0));
        numbers.filter(|&number| number > 0.0).min_by(f64::total_cmp)
    }
}

/// The layer-wise errors over all layers of one sample: a column a budget and objective.
#[must_use]
pub fn of_sample(rows: &[Row]) -> Table {
    let mut pivot = Pivot::new();
    for row in rows.iter().filter(|row| row.layer.is_none() && row.form == "layer-wise") {
        let column = format!("{} {}", row.budget, abridged(&row.objective));
        pivot.put([row.score.clone(), row.allocation.clone()], column, row.relative_error, ());
    }
    pivot.table(|error, star, ()| format!("{error:.4}{star}"))
}

/// The layer-wise errors of one objective over several samples: the mean with its interval, in how many samples it is
/// below the baseline's, and the p-value of that; a column a budget, in the order of `budgets`.
#[must_use]
pub fn over_samples(statistics: &[Statistic], objective: &str, budgets: &[String]) -> Table {
    let mut pivot = Pivot::new();
    let wanted = |statistic: &&Statistic| statistic.objective == objective && statistic.form == "layer-wise";
    let column = |statistic: &Statistic| format!("{} (n={})", statistic.budget, statistic.samples);
    // The first sample may lack the first budget.
    for budget in budgets {
        let of_budget = |statistic: &&Statistic| wanted(statistic) && statistic.budget == *budget;
        pivot.columns.extend(statistics.iter().find(of_budget).map(column));
    }
    for statistic in statistics.iter().filter(wanted) {
        let line = [statistic.score.clone(), statistic.allocation.clone()];
        pivot.put(line, column(statistic), statistic.mean, statistic);
    }
    pivot.table(|mean, star, statistic| {
        let interval = statistic.low.zip(statistic.high).map(|(low, high)| format!(" [{low:.3}, {high:.3}]"));
        let test = match statistic.p_value {
            Some(p) => {
                let p = if p < 0.0005 { "p<.001".into() } else { format!("p={p:.3}") };
                format!("{}/{} {p}", statistic.below_baseline, statistic.samples)
            }
            None => "baseline".into(),
        };
        format!("{mean:.4}{star}{} {test:>10}", interval.unwrap_or_default())
    })
}

fn index_of<T: PartialEq>(seen: &mut Vec<T>, key: T) -> usize {
    seen.iter().position(|other| *other == key).unwrap_or_else(|| {
        seen.push(key);
        seen.len() - 1
    })
}

fn abridged(objective: &str) -> &str {
    if objective == "renormalised" { "renorm" } else { objective }
}
