//! The commonest table and figure: one line per policy, one column per budget, the mean with its interval in each cell.

use std::fmt::Display;

use laprox_reference::Budget;

use super::{Figure, Lines};
use crate::pivot::Pivot;
use crate::statistics::Estimate;
use crate::table::{Best, Cell, Table};

/// Means by policy and budget, and how they are shown.
pub struct ByBudget<'a, L> {
    /// The name of the numbers, with the unit; the title of the table.
    pub title: String,
    /// The same in short, beside the axis.
    pub y_label: &'a str,
    /// The means, budgets from the least on.
    pub means: Pivot<L, Budget, Estimate>,
    /// Which of them is best.
    pub best: Best,
    /// Digits after the point.
    pub digits: usize,
}

impl<L: Display + PartialEq> ByBudget<'_, L> {
    /// The table.
    #[must_use]
    pub fn table(&self) -> Table {
        let cell = |_: &Budget, mean: Option<&Estimate>| Cell::estimate(mean.copied(), self.digits);
        let table =
            self.means.table(&self.title, ["policy"], |line| [line.to_string()], Budget::to_string, cell);
        table.best_of_columns(self.best)
    }

    /// The figure, with the full cache's number as reference.
    #[must_use]
    pub fn figure(&self, reference: Option<(String, f64)>) -> Figure {
        let budgets = self.means.columns();
        let points = |line| budgets.iter().map(|budget| self.means.get(line, budget).copied()).collect();
        Figure::Lines(Lines {
            title: self.title.clone(),
            x_label: "budget".into(),
            y_label: self.y_label.into(),
            places: budgets.iter().map(ToString::to_string).collect(),
            series: self.means.lines().into_iter().map(|line| (line.to_string(), points(line))).collect(),
            reference,
        })
    }
}
