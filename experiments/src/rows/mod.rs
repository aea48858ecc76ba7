//! Results files: one row type for each, shared by the command that writes the file and the table that reads it.
//!
//! | file | row |
//! |---|---|
//! | `rows.csv` of `laprox ablate`, `summary.json` of `laprox evict` | [`AblationRow`] |
//! | the rows of `laprox oracle` | [`OracleRow`] |
//! | the rows of `laprox bounds` | [`BoundRow`] |
//! | `rows.csv` of `laprox eval` | [`EvalRow`] |
//! | `correlations.csv` of `laprox eval` | [`CorrelationRow`] |
//!
//! Columns have types, each written in its own syntax. Policies and metrics are names ([`PolicyName`], [`MetricName`]), so
//! that files stay readable whose policies this build does not know.

pub(crate) mod ablation;
mod asked;
mod bound;
mod correlation;
mod eval;
mod name;
mod objective;
mod oracle;
mod row;
pub(crate) mod spelling;

pub use ablation::{AblationRow, of_eviction};
pub use asked::Asked;
pub use bound::{BoundRow, Slack};
pub use correlation::CorrelationRow;
pub use eval::{EvalRow, FULL_BUDGET};
pub use name::{MetricName, PolicyName};
pub use objective::{Minimised, Objective, each_layer_and_all, in_form};
pub use oracle::OracleRow;
pub use row::{Row, csv, jsonl};
