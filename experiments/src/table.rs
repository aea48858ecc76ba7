//! The one table: lines with labels, and cells in columns. It prints as Markdown, which reads as well in a terminal.

use std::fmt;

use comfy_table::{CellAlignment, presets};
use serde::Serialize;

use crate::statistics::Estimate;

/// Lines with labels to the left, and cells in columns to the right.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Table {
    /// The title, with the unit.
    pub title: String,
    /// The names of the labels.
    pub labels: Vec<String>,
    /// The names of the columns.
    pub columns: Vec<String>,
    /// The lines.
    pub lines: Vec<Line>,
}

/// One line of a table.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Line {
    /// As many as the table has.
    pub labels: Vec<String>,
    /// As many as the table has columns.
    pub cells: Vec<Cell>,
}

/// A number, a word, or nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Cell {
    /// The number.
    pub value: Option<f64>,
    /// Its 95 % interval.
    pub interval: Option<[f64; 2]>,
    /// The shown text.
    pub text: String,
    /// Whether it is the best of those that it is compared with.
    pub best: bool,
}

/// Which number is the best one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Best {
    /// The least, as of errors.
    Least,
    /// The greatest, as of accuracies.
    Greatest,
}

impl Cell {
    /// A word.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        Self { text: text.into(), ..Self::default() }
    }

    /// A number, or nothing.
    #[must_use]
    pub fn number(value: Option<f64>, digits: usize) -> Self {
        Self { value, text: number(value, digits), ..Self::default() }
    }

    /// An estimate with its interval, or nothing.
    #[must_use]
    pub fn estimate(estimate: Option<Estimate>, digits: usize) -> Self {
        let mut cell = Self::number(estimate.map(|estimate| estimate.value), digits);
        cell.interval = estimate.and_then(|estimate| estimate.interval);
        cell.text += &between(cell.interval, digits);
        cell
    }
}

/// A number as it is shown, or `-`.
#[must_use]
pub fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or("-".into(), |value| format!("{value:.digits$}"))
}

/// An interval as it is shown behind its number.
#[must_use]
pub fn between(interval: Option<[f64; 2]>, digits: usize) -> String {
    interval.map(|[low, high]| format!(" [{low:.digits$}, {high:.digits$}]")).unwrap_or_default()
}

impl Table {
    /// A table without lines.
    #[must_use]
    pub fn new<L: Into<String>, C: Into<String>>(
        title: impl Into<String>,
        labels: impl IntoIterator<Item = L>,
        columns: impl IntoIterator<Item = C>,
    ) -> Self {
        Self {
            title: title.into(),
            labels: labels.into_iter().map(Into::into).collect(),
            columns: columns.into_iter().map(Into::into).collect(),
            lines: Vec::new(),
        }
    }

    /// A table of labels alone, without lines.
    #[must_use]
    pub fn of_labels<L: Into<String>>(labels: impl IntoIterator<Item = L>) -> Self {
        Self::new("", labels, [""; 0])
    }

    /// Adds a line.
    pub fn push<T: Into<String>>(&mut self, labels: impl IntoIterator<Item = T>, cells: Vec<Cell>) {
        self.lines.push(Line { labels: labels.into_iter().map(Into::into).collect(), cells });
    }

    /// Marks the best number of a column, among the lines with the same first label if there are more labels than one.
    #[must_use]
    pub fn best_of_column(mut self, column: usize, best: Best) -> Self {
        let grouped = self.labels.len() > 1;
        let same = |one: &Line, next: &Line| !grouped || one.labels[0] == next.labels[0];
        for lines in self.lines.chunk_by_mut(same) {
            mark(lines.iter_mut().map(|line| &mut line.cells[column]).collect(), best);
        }
        self
    }

    /// Marks the best number of every column.
    #[must_use]
    pub fn best_of_columns(self, best: Best) -> Self {
        (0..self.columns.len()).fold(self, |table, column| table.best_of_column(column, best))
    }

    /// Marks the best number of every line.
    #[must_use]
    pub fn best_of_lines(mut self, best: Best) -> Self {
        self.lines.iter_mut().for_each(|line| mark(line.cells.iter_mut().collect(), best));
        self
    }

    /// As a page needs it: bars inside texts are escaped, best numbers are bold.
    #[must_use]
    pub fn markdown(&self) -> String {
        self.drawn(|text| text.replace('|', "\\|")).to_string()
    }

    fn drawn(&self, text: impl Fn(&str) -> String) -> comfy_table::Table {
        let mut drawn = comfy_table::Table::new();
        drawn.load_style(presets::ASCII_MARKDOWN);
        drawn.set_header(self.labels.iter().chain(&self.columns).map(|name| text(name)));
        let cell = |Cell { text: shown, best, .. }: &Cell| {
            if *best { format!("**{}**", text(shown)) } else { text(shown) }
        };
        for Line { labels, cells } in &self.lines {
            drawn.add_row(labels.iter().map(|label| text(label)).chain(cells.iter().map(cell)));
        }
        let columns = drawn.column_iter_mut().skip(self.labels.len());
        columns.for_each(|column| column.set_cell_alignment(CellAlignment::Right));
        drawn
    }
}

/// As a terminal shows it: every text as it is.
impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.drawn(str::to_owned).fmt(f)
    }
}

/// Marks the best of several cells, all of them if some are alike; none if there is nothing to choose from.
fn mark(cells: Vec<&mut Cell>, best: Best) {
    let numbers: Vec<f64> = cells.iter().filter_map(|cell| cell.value).collect();
    let found = match best {
        Best::Least => numbers.iter().copied().min_by(f64::total_cmp),
        Best::Greatest => numbers.iter().copied().max_by(f64::total_cmp),
    };
    if numbers.iter().any(|&number| Some(number) != found) {
        cells.into_iter().for_each(|cell| cell.best = cell.value.is_some() && cell.value == found);
    }
}
