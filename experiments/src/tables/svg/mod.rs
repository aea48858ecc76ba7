//! Figures as SVG: shapes with classes, coloured by one style sheet for light and for dark.

pub mod axis;
mod dots;
mod drawing;
mod heat;
mod lines;

pub use drawing::escaped;

use crate::tables::Figure;
use drawing::Drawing;

/// Colours that are told apart without seeing red and green (after Okabe and Ito), on light and on dark paper.
pub const STYLE: &str = include_str!("style.css");

/// The picture inside a page that has [`STYLE`].
#[must_use]
pub fn inline(figure: &Figure) -> String {
    drawn(figure).finish(figure.title(), "")
}

/// The picture as a file of its own.
#[must_use]
pub fn file(figure: &Figure) -> String {
    drawn(figure).finish(figure.title(), &format!("<style>{STYLE}</style>")) + "\n"
}

fn drawn(figure: &Figure) -> Drawing {
    match figure {
        Figure::Lines(lines) => lines::drawn(lines),
        Figure::Heat(heat) => heat::drawn(heat),
        Figure::Dots(dots) => dots::drawn(dots),
    }
}
