//! Figures, before they are drawn.

use crate::statistics::Estimate;

/// A picture of numbers that a table beside it holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Figure {
    /// Lines over budgets.
    Lines(Lines),
    /// A grid of small heat maps.
    Heat(Heat),
    /// Dots with their intervals, one per line.
    Dots(Dots),
}

/// One line per policy; the places along the horizontal axis have names and are equally far apart.
#[derive(Clone, Debug, PartialEq)]
pub struct Lines {
    /// The title.
    pub title: String,
    /// The name of the places.
    pub x_label: String,
    /// The name of the numbers, with the unit.
    pub y_label: String,
    /// The names of the places.
    pub places: Vec<String>,
    /// Each line's name and its points, as many as places.
    pub series: Vec<(String, Vec<Option<Estimate>>)>,
    /// A number that others are held against, by name.
    pub reference: Option<(String, f64)>,
}

/// Small grids of numbers from 0 to 1, `panels[row][column]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Heat {
    /// The title.
    pub title: String,
    /// The name of the horizontal axis of a panel.
    pub x_label: String,
    /// The name of the vertical axis, from the top down.
    pub y_label: String,
    /// Its places.
    pub xs: Vec<String>,
    /// Its places.
    pub ys: Vec<String>,
    /// The panels' names and their cells `[y][x]`, row by row.
    pub panels: Vec<Vec<Panel>>,
}

/// One small grid.
#[derive(Clone, Debug, PartialEq)]
pub struct Panel {
    /// Its name.
    pub name: String,
    /// `[y][x]`
    pub cells: Vec<Vec<Option<f64>>>,
}

/// One dot per line.
#[derive(Clone, Debug, PartialEq)]
pub struct Dots {
    /// The title.
    pub title: String,
    /// The name of the numbers, with the unit.
    pub x_label: String,
    /// Names and numbers.
    pub dots: Vec<(String, Estimate)>,
    /// A number that others are held against, by name.
    pub reference: Option<(String, f64)>,
    /// Whether the axis is logarithmic; then all numbers are above zero.
    pub logarithmic: bool,
}

impl Figure {
    /// The title.
    #[must_use]
    pub fn title(&self) -> &str {
        match self {
            Self::Lines(lines) => &lines.title,
            Self::Heat(heat) => &heat.title,
            Self::Dots(dots) => &dots.title,
        }
    }
}
