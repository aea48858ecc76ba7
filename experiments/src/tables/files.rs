//! A chapter's files: Markdown, CSV, JSON, and one picture per figure.

use std::path::Path;

use anyhow::Result;
use serde::Serialize;

use super::Chapter;
use super::{markdown, svg};
use crate::output::{create_text, pretty};
use crate::rows::csv;

/// One cell of one table.
#[derive(Serialize)]
struct TidyCell<'a> {
    table: &'a str,
    line: String,
    column: &'a str,
    value: Option<f64>,
    low: Option<f64>,
    high: Option<f64>,
    text: &'a str,
}

/// Writes `NAME.md`, `NAME.csv`, `NAME.json` and `NAME-1.svg`, `NAME-2.svg`.. into a folder.
///
/// # Errors
/// When one cannot be written.
pub fn write(folder: &Path, chapter: &Chapter) -> Result<()> {
    let put = |ending: &str, text: &str| create_text(&folder.join(format!("{}{ending}", chapter.name)), text);
    put(".md", &markdown::page(chapter))?;
    put(".csv", &csv(&tidy(chapter))?)?;
    put(".json", &pretty(chapter)?)?;
    let mut figures = chapter.content.figures.iter().enumerate();
    figures.try_for_each(|(place, figure)| put(&format!("-{}.svg", place + 1), &svg::file(figure)))
}

/// One row per cell; a line's labels are joined by commas.
fn tidy(chapter: &Chapter) -> Vec<TidyCell<'_>> {
    let mut rows = Vec::new();
    for table in &chapter.content.tables {
        for line in &table.lines {
            rows.extend(table.columns.iter().zip(&line.cells).map(|(column, cell)| TidyCell {
                table: &table.title,
                line: line.labels.join(", "),
                column,
                value: cell.value,
                low: cell.interval.map(|[low, _]| low),
                high: cell.interval.map(|[_, high]| high),
                text: &cell.text,
            }));
        }
    }
    rows
}
