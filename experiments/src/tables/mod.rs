//! Every table and figure, from a question in `experiments/tables` and committed results.
//!
//! ```text
//! Config ----> Source ------> kinds ---------> Chapter -------> Markdown, CSV, JSON, HTML with SVG
//! [`config`]   [`source`]     [`kinds`]        [`chapter`]      [`markdown`] [`files`] [`html`] [`svg`]
//!     \----> runs of this binary that make the results: [`runs`]
//! ```
//!
//! A kind makes [`Table`](crate::table::Table)s, [`figure::Figure`]s and [`verdict::Verdict`]s of the rows; everything that is
//! printed is made of these. A verdict has one of three outcomes: the claim holds if all of a 95 % bootstrap interval is on its
//! side of the threshold, does not hold if none of it is, and is undecided otherwise. No table contains the paper's numbers.

mod by_budget;
pub mod chapter;
pub mod config;
mod evaluated;
pub mod figure;
pub mod files;
pub mod html;
pub mod kinds;
pub mod markdown;
pub mod measurements;
pub mod runs;
pub mod source;
pub mod svg;
pub mod verdict;

pub use by_budget::ByBudget;
pub use chapter::{Chapter, Content};
pub use config::{Author, Claim, Config, Test};
pub use figure::{Dots, Figure, Heat, Lines, Panel};
pub use measurements::Measurements;
pub use source::{Source, all_rows};
pub use verdict::{Group, Outcome, Side, Verdict, judge};
