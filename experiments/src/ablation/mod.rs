//! The ablation: a cross product of policies and options, at several budgets, over the samples of several dumps.
//!
//! ```text
//! Config -> Comparison -> units of work -> journal ------> rows, statistics -> tables
//! [`config`]  [`comparison`]  [`unit`]    [`crate::journal`] [`results`]         [`text`]
//! ```
//!
//! A unit is one sample under a few policies: it streams over the layers twice, once to score and once to evaluate,
//! with one layer in memory. The journal keeps finished units, in memory or as files that appear whole. Results are put
//! together from it in one fixed order, so a run that was stopped ends in the same bytes as one that was not.
//!
//! # Windows
//!
//! With `window=N` a policy reads the last `N` queries of the dump's window, and nothing else changes. The positions of
//! the whole window stay protected and the errors are those of the whole window's outputs, so that every row of a table
//! divides the same candidates under the same budget.

pub mod comparison;
pub mod config;
pub mod results;
pub mod summary;
pub mod text;
pub mod unit;

pub use comparison::Comparison;
pub use config::Config;
pub use results::Results;
pub use summary::{Statistic, summarise};
