//! The table that people read: a row a policy and allocation, a column a budget and objective.

use comfy_table::{CellAlignment, Table};

use crate::report::{Row, table};

/// The layer-wise errors over all layers of one sample.
#[derive(Debug)]
pub struct Pivot {
    columns: Vec<(String, &'static str)>,
    lines: Vec<(String, String)>,
    /// `[line][column]`.
    errors: Vec<Vec<Option<f64>>>,
}

impl Pivot {
    /// Pivots one sample's rows, in the order in which they come.
    #[must_use]
    pub fn new(rows: &[Row]) -> Self {
        let mut pivot = Self { columns: Vec::new(), lines: Vec::new(), errors: Vec::new() };
        for row in rows.iter().filter(|row| row.layer.is_none() && row.form == "layer-wise") {
            let column = index_of(&mut pivot.columns, (row.budget.clone(), row.objective));
            let line = index_of(&mut pivot.lines, (row.score.clone(), row.allocation.clone()));
            pivot.errors.resize(pivot.lines.len(), Vec::new());
            let errors = &mut pivot.errors[line];
            errors.resize(errors.len().max(column + 1), None);
            errors[column] = Some(row.relative_error);
        }
        pivot
    }

    /// Draws the table; the least error above zero of each column carries a star.
    #[must_use]
    pub fn table(&self) -> Table {
        let columns =
            self.columns.iter().map(|(budget, objective)| format!("{budget} {}", abridged(objective)));
        let mut table = table(["policy", "allocation"].map(String::from).into_iter().chain(columns));
        let least: Vec<_> = (0..self.columns.len()).map(|column| self.least(column)).collect();
        for ((policy, allocation), errors) in self.lines.iter().zip(&self.errors) {
            let cells =
                least.iter().enumerate().map(|(column, least)| match errors.get(column).copied().flatten() {
                    Some(error) => format!("{error:.4}{}", if Some(error) == *least { "*" } else { " " }),
                    None => "-".into(),
                });
            table.add_row([policy.clone(), allocation.clone()].into_iter().chain(cells).collect::<Vec<_>>());
        }
        table.column_iter_mut().skip(2).for_each(|column| column.set_cell_alignment(CellAlignment::Right));
        table
    }

    fn least(&self, column: usize) -> Option<f64> {
        let errors = self.errors.iter().filter_map(|errors| errors.get(column).copied().flatten());
        errors.filter(|&error| error > 0.0).min_by(f64::total_cmp)
    }
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
