//! The commonest table and figure: a line a policy, a column a budget, the mean with its interval in each cell.

use super::figure::{Figure, Lines, Point};
use super::measurements::Measurements;
use super::table::{Best, Cell, Table};

/// What is shown.
pub struct ByBudget<'a> {
    /// What the numbers are, with the unit; the title of the table.
    pub title: String,
    /// The same in short, beside the axis.
    pub y_label: &'a str,
    /// The numbers.
    pub measurements: &'a Measurements,
    /// Which of them is best.
    pub best: Best,
    /// Digits after the point.
    pub digits: usize,
    /// What draws the intervals.
    pub seed: u64,
}

impl ByBudget<'_> {
    /// The table.
    #[must_use]
    pub fn table(&self) -> Table {
        let budgets = self.measurements.budgets();
        let mut table = Table::new(&self.title, &["policy"], budgets.iter().map(ToString::to_string));
        for policy in self.measurements.policies() {
            let mean = |&budget| self.measurements.mean((policy, budget), self.seed);
            let cells = budgets.iter().map(|budget| Cell::estimate(mean(budget), self.digits));
            table.push([policy], cells.collect());
        }
        table.best_of_columns(self.best)
    }

    /// The figure, with what the full cache does as reference.
    #[must_use]
    pub fn figure(&self, reference: Option<(String, f64)>) -> Figure {
        let budgets = self.measurements.budgets();
        let point = |policy, budget| {
            let mean = self.measurements.mean((policy, budget), self.seed)?;
            Some(Point { value: mean.value, interval: mean.interval })
        };
        let series =
            self.measurements.policies().into_iter().map(|policy| {
                (policy.to_owned(), budgets.iter().map(|&budget| point(policy, budget)).collect())
            });
        Figure::Lines(Lines {
            title: self.title.clone(),
            x_label: "budget".into(),
            y_label: self.y_label.into(),
            places: budgets.iter().map(ToString::to_string).collect(),
            series: series.collect(),
            reference,
        })
    }
}
