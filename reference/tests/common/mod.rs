//! What the tests share: alive problems, a second statement of every formula, and comparators that NaN cannot fool.
//!
//! The statement is plain loops over `Vec<f64>`, written from the formulas. It calls nothing of the crate.

#![allow(dead_code, reason = "each test binary uses its own part")]
#![allow(clippy::needless_range_loop, reason = "the statement's loops run over the formula's indices")]

pub mod hostile;
pub mod stated_scores;
pub mod statement;

pub use laprox_reference::conformance::{compare, problem};

use laprox_reference::{Backend, Error, LayerIndex, Policy, PreparedLayer, Reference};
use proptest::test_runner::{Config, FileFailurePersistence};

use problem::Problem;

/// A configuration that runs `cases` cases and keeps failing seeds in `file`, relative to the crate.
#[must_use]
pub fn config(cases: u32, file: &'static str) -> Config {
    Config {
        cases,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(file))),
        ..Config::default()
    }
}

/// The layer under test.
#[must_use]
pub fn prepare(problem: &Problem) -> Box<dyn PreparedLayer + '_> {
    Reference.prepare(&problem.layer_problem(LayerIndex(0))).unwrap()
}

/// A policy that exists.
#[must_use]
pub fn policy(text: &str) -> Policy {
    text.parse().unwrap()
}

/// The crate's scores of one policy, `[Hkv][n - w]`.
#[must_use]
pub fn scores(problem: &Problem, text: &str) -> Vec<Vec<f64>> {
    let scores = prepare(problem).score(&policy(text)).unwrap();
    let [kv_heads, candidates] = [problem.sizes.kv_heads, problem.sizes.candidate_len];
    assert_eq!((scores.values().len(), scores.candidate_len()), (kv_heads * candidates, candidates));
    (0..kv_heads).map(|head| scores.values()[head * candidates..(head + 1) * candidates].to_vec()).collect()
}

/// What the refused call said.
#[must_use]
pub fn refusal<T: std::fmt::Debug>(result: Result<T, Error>) -> String {
    result.unwrap_err().to_string()
}
