//! The ablation: a cross product of policies and options, at several budgets, over the samples of several dumps.
//!
//! ```text
//! Config -> Comparison -> units of work -> journal -> rows, statistics, pivot
//! [`config`]  [`comparison`]  [`unit`]    [`crate::journal`] [`results`]
//! ```
//!
//! A unit is one sample under a few policies: it streams over the layers twice, once to score and once to evaluate,
//! with one layer in memory. The journal keeps finished units, in memory or as files that appear whole; results are put
//! together from it in one fixed order, so a run that was stopped ends in the same bytes as one that was not.
//!
//! # Windows
//!
//! `window=N` changes what a policy reads, the last `N` queries of the dump's window, and nothing else. The positions of
//! the whole window stay protected and the errors are those of the whole window's outputs, so that every row of a table
//! divides the same candidates under the same budget.

pub mod comparison;
pub mod config;
pub mod results;
pub mod unit;

pub use comparison::Comparison;
pub use config::Config;
pub use results::Results;
