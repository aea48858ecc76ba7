//! Values by line and column.

use crate::group::distinct;
use crate::table::{Cell, Table};

/// Values by line and column; lines and columns stay in the order in which they came.
#[derive(Clone, Debug)]
pub struct Pivot<L, C, T> {
    columns: Vec<C>,
    values: Vec<(L, C, Option<T>)>,
}

impl<L, C, T> Default for Pivot<L, C, T> {
    fn default() -> Self {
        Self { columns: Vec::new(), values: Vec::new() }
    }
}

impl<L: PartialEq, C: PartialEq, T> Pivot<L, C, T> {
    /// A pivot whose first columns are these.
    #[must_use]
    pub fn with_columns(columns: Vec<C>) -> Self {
        Self { columns, ..Self::default() }
    }

    /// The place of a value, which is made if there is none.
    pub fn entry(&mut self, line: L, column: C) -> &mut Option<T> {
        let found = self.values.iter().position(|(l, c, _)| (l, c) == (&line, &column));
        let place = found.unwrap_or_else(|| {
            self.values.push((line, column, None));
            self.values.len() - 1
        });
        &mut self.values[place].2
    }

    /// The value of a line and column.
    #[must_use]
    pub fn get(&self, line: &L, column: &C) -> Option<&T> {
        self.values.iter().find(|(l, c, _)| (l, c) == (line, column))?.2.as_ref()
    }

    /// Every value with its line and column, in the order in which they came.
    pub fn values(&self) -> impl Iterator<Item = (&L, &C, &T)> {
        self.values.iter().filter_map(|(line, column, value)| Some((line, column, value.as_ref()?)))
    }

    /// The lines.
    #[must_use]
    pub fn lines(&self) -> Vec<&L> {
        distinct(self.values.iter().map(|(line, ..)| line))
    }

    /// The columns.
    #[must_use]
    pub fn columns(&self) -> Vec<&C> {
        distinct(self.columns.iter().chain(self.values.iter().map(|(_, column, _)| column)))
    }

    /// The table of the values.
    #[must_use]
    pub fn table<const N: usize>(
        &self,
        title: impl Into<String>,
        labels: [&str; N],
        label: impl Fn(&L) -> [String; N],
        column: impl Fn(&C) -> String,
        cell: impl Fn(&C, Option<&T>) -> Cell,
    ) -> Table {
        let columns = self.columns();
        let mut table = Table::new(title, labels, columns.iter().map(|name| column(name)));
        for line in self.lines() {
            let cells = columns.iter().map(|column| cell(column, self.get(line, column)));
            table.push(label(line), cells.collect());
        }
        table
    }
}
