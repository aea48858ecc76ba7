//! The `laprox` binary: from a dump or a model to rows, and from rows to tables.
//!
//! ```text
//! dump  -> sample, streamed ---\
//!                               pipeline -> rows -> tables
//! model -> eval (in memory) ---/
//! ```
//!
//! | modules | contents |
//! |---|---|
//! | [`cli`], [`unread`], [`places`], [`printed`], [`exit`] | arguments, refused options and paths, the output of rows, exit codes |
//! | [`program`], [`child`] | the program, as the binary and the Python package run it; its child processes |
//! | [`commands`] | a file per command |
//! | [`input`] | files that a user names to be read |
//! | [`data`] | the default dump and the committed results, embedded in the binary |
//! | [`model`] | a GGUF file on the CPU: tokenizer, forward pass, KV cache, capture of a dump |
//! | [`tasks`], [`metrics`] | questions about long texts, and the scores of their answers |
//! | [`backend`], [`sample`], [`streamed`] | the path of `--path`, one sample of a dump, its layers one at a time |
//! | [`given`], [`sets`], [`eviction`] | scores and sets that were made elsewhere, sets in files, the retained sets of a sample |
//! | [`certificate`], [`statements`] | errors beside a search's proven bound, the bounds B1 to B10 over many layers |
//! | [`eval`] | the pipeline on a model's cache, and the answers from the evicted cache |
//! | [`ablation`], [`policies`] | policies x options x budgets over the samples of dumps |
//! | [`rows`] | a row type per results file |
//! | [`pivot`], [`table`], [`group`], [`statistics`] | rows as a grid, its text, and intervals and tests over samples |
//! | [`output`], [`set_output`], [`mark`], [`digest`], [`journal`], [`interrupt`] | whole files, their digests, resumable runs, signals |
//! | [`provenance`], [`progress`] | the origin of a result, progress and notes |
//! | [`seed`], [`threads`], [`search`] | seeds of what is named, the threads of `--threads`, the time of `--seconds` |
//! | [`tables`] | every table and figure of the project from the results of runs, with its claims |
#![forbid(unsafe_code)]
#![warn(missing_docs)]
// A closed stderr or stdout is no bug: `progress::note` and `output::Sink` take the place of these macros.
#![warn(clippy::print_stderr, clippy::print_stdout)]

pub mod ablation;
pub mod backend;
pub mod certificate;
pub mod child;
pub mod cli;
pub mod commands;
pub mod data;
pub mod digest;
pub mod eval;
pub mod eviction;
pub mod exit;
pub mod given;
pub mod group;
pub mod input;
pub mod interrupt;
pub mod journal;
pub mod mark;
pub mod metrics;
pub mod model;
pub mod output;
pub mod pivot;
pub mod places;
pub mod policies;
pub mod printed;
pub mod program;
pub mod progress;
pub mod provenance;
pub mod rows;
pub mod sample;
pub mod search;
pub mod seed;
pub mod set_output;
pub mod sets;
pub mod statements;
pub mod statistics;
pub mod streamed;
pub mod table;
pub mod tables;
pub mod tasks;
pub mod threads;
pub mod unread;
