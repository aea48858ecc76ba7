//! Every table and figure, from a question in `experiments/tables` and committed results.
//!
//! ```text
//! Config ----> Source ------> kinds ---------> Chapter -------> Markdown, CSV, JSON, HTML with SVG
//! [`config`]   [`source`]     [`kinds`]        [`chapter`]      [`markdown`] [`files`] [`html`] [`svg`]
//!     \----> runs of this binary that make the results: [`runs`]
//! ```
//!
//! A kind makes [`table::Table`]s, [`figure::Figure`]s and [`verdict::Verdict`]s of the rows; what is printed is always made of
//! these. Every verdict has three outcomes: a claim holds where all of a 95 % bootstrap interval is on its side of the threshold,
//! does not hold where none of it is, and is undecided otherwise. The paper's own numbers are in none of the tables.

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
pub mod table;
pub mod verdict;

pub use chapter::Chapter;
