//! The parts that every page is made of: tables of cells, with their interval where there is one.

use serde::Serialize;

use super::measurements::Estimate;

/// Lines with labels, and numbers in columns.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Table {
    /// What is in it, with the unit.
    pub title: String,
    /// What the labels are.
    pub labels: Vec<String>,
    /// What the numbers are.
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
    /// What is shown.
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
        let text = value.map_or("-".into(), |value| format!("{value:.digits$}"));
        Self { value, text, ..Self::default() }
    }

    /// A number and what it is between, or nothing.
    #[must_use]
    pub fn between(value: Option<f64>, interval: Option<[f64; 2]>, digits: usize) -> Self {
        let mut cell = Self::number(value, digits);
        if let (Some(_), Some([low, high])) = (value, interval) {
            cell.interval = interval;
            cell.text += &format!(" [{low:.digits$}, {high:.digits$}]");
        }
        cell
    }

    /// An estimate, or nothing.
    #[must_use]
    pub fn estimate(estimate: Option<Estimate>, digits: usize) -> Self {
        let interval = estimate.and_then(|estimate| estimate.interval);
        Self::between(estimate.map(|estimate| estimate.value), interval, digits)
    }
}

impl Table {
    /// A table without lines.
    #[must_use]
    pub fn new<T: Into<String>>(
        title: impl Into<String>,
        labels: &[&str],
        columns: impl IntoIterator<Item = T>,
    ) -> Self {
        Self {
            title: title.into(),
            labels: labels.iter().map(|&label| label.to_owned()).collect(),
            columns: columns.into_iter().map(Into::into).collect(),
            lines: Vec::new(),
        }
    }

    /// Adds a line.
    pub fn push<T: Into<String>>(&mut self, labels: impl IntoIterator<Item = T>, cells: Vec<Cell>) {
        self.lines.push(Line { labels: labels.into_iter().map(Into::into).collect(), cells });
    }

    /// Marks the best number of a column, among the lines of one first label where there are more labels than one.
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
}

/// Marks the best of several cells, all of them where some are alike; none where there is nothing to choose from.
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
