//! Everything behind the `laprox` binary: the command line, the model runner, the tables.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod ablation;
pub mod backend;
pub mod cli;
pub mod commands;
pub mod eval;
pub mod exit;
pub mod group;
pub mod journal;
pub mod metrics;
pub mod model;
pub mod output;
pub mod pivot;
pub mod policies;
pub mod printed;
pub mod progress;
pub mod provenance;
pub mod rows;
pub mod sample;
pub mod statistics;
pub mod table;
pub mod tables;
pub mod tasks;
