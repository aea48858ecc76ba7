//! The `laprox` binary: from a dump or a model to rows, and from rows to tables.
//!
//! ```text
//! dump ---> pipeline ---------> rows ------> tables
//!           sample, backend     report       tables
//! model --> eval                eval::row
//! ```
//!
//! | modules | contents |
//! |---|---|
//! | [`cli`], [`unread`], [`printed`], [`exit`] | arguments, refused options, the output of rows, exit codes |
//! | [`commands`] | a file per command |
//! | [`data`] | the default dump and the committed results, embedded in the binary |
//! | [`model`] | a GGUF file on the CPU: tokenizer, forward pass, KV cache, capture of a dump |
//! | [`tasks`], [`metrics`] | questions about long texts, and the scores of their answers |
//! | [`backend`], [`sample`] | the stages on one sample of a dump, on the path of `--path` |
//! | [`eval`] | the stages on a model's cache, and the answers from the evicted cache |
//! | [`ablation`] | policies x options x budgets over the samples of dumps |
//! | [`report`], [`pivot`], [`group`], [`statistics`] | rows, their tables, and intervals and tests over samples |
//! | [`output`], [`journal`], [`provenance`], [`progress`] | whole files, resumable runs, the origin of a result, progress |
//! | [`tables`] | every table and figure of the project from the results of runs, with its claims |
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod ablation;
pub mod backend;
pub mod cli;
pub mod commands;
pub mod data;
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
pub mod seed;
pub mod statistics;
pub mod streamed;
pub mod table;
pub mod tables;
pub mod tasks;
pub mod threads;
pub mod unread;
