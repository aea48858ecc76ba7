//! Shared by the tests: alive problems, a second statement of every formula, and comparators that NaN cannot fool.
//!
//! The statement is plain loops over `Vec<f64>`, written from the formulas. It calls nothing of the crate.

#![allow(dead_code, reason = "each test binary uses its own part")]
#![allow(clippy::needless_range_loop, reason = "the statement's loops run over the formula's indices")]

pub mod hostile;
pub mod stated_competitors;
pub mod stated_scores;
pub mod stated_shares;
pub mod statement;

pub use laprox_reference::conformance::{compare, problem};

use laprox_reference::{
    Backend, CandidatesPerHead, Error, HeadScores, LayerIndex, LayerScores, ModelScores, POLICIES, Policy,
    PolicyEntry, PreparedLayer, Reference, ReferenceLayer, RetainedSet, Statistic, cut,
};
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
    let scores = scored(prepare(problem).as_ref(), &policy(text)).unwrap();
    let [kv_heads, candidates] = [problem.sizes.kv_heads, problem.sizes.candidate_len];
    assert_eq!((scores.values().count(), scores.candidate_len()), (kv_heads * candidates, candidates));
    scores.heads().map(<[f64]>::to_vec).collect()
}

/// The scores of a policy that ranks.
pub fn scored(layer: &dyn PreparedLayer, policy: &Policy) -> Result<HeadScores, Error> {
    layer.score(&policy.score().expect("a policy that ranks")).and_then(LayerScores::into_host)
}

/// `norm_F(O)` of a layer.
#[must_use]
pub fn output_norm(layer: &dyn PreparedLayer) -> f64 {
    layer.statistic(Statistic::OutputNorm, layer.shape().window_len).unwrap()
}

/// The policies that keep candidates by their scores.
pub fn ranking_policies() -> impl Iterator<Item = &'static PolicyEntry> {
    POLICIES.iter().filter(|entry| entry.rule.ranks())
}

/// Every pair of two lists.
pub trait Cartesian: Iterator + Sized {
    fn cartesian<T: Copy, const N: usize>(self, other: [T; N]) -> impl Iterator<Item = (Self::Item, T)>
    where
        Self::Item: Copy,
    {
        self.flat_map(move |one| other.map(|two| (one, two)))
    }
}

impl<I: Iterator> Cartesian for I {}

/// A policy's name with options.
#[must_use]
pub fn with_options(name: &str, options: &str) -> String {
    if options.is_empty() { name.to_owned() } else { format!("{name}:{options}") }
}

/// A policy's scores over layers of one size each, with all that any allocation asks for.
#[must_use]
pub fn model_scores(layers: &[Problem], policy: &Policy) -> ModelScores {
    let problems = layers.iter().enumerate().map(|(index, layer)| layer.layer_problem(LayerIndex(index)));
    let prepared: Vec<_> = problems.map(|problem| ReferenceLayer::new(&problem).unwrap()).collect();
    let scores = prepared.iter().map(|layer| scored(layer, policy).unwrap()).collect();
    let queries = policy.queries_read(layers[0].sizes.window_len).unwrap();
    let statistics = [Statistic::OutputNorm, Statistic::AttentionEntropy, Statistic::AttentionVariance];
    statistics.into_iter().fold(ModelScores::new(scores).unwrap(), |scores, statistic| {
        let of_layers = prepared.iter().map(|layer| layer.statistic(statistic, queries).unwrap());
        scores.with(statistic, of_layers.collect()).unwrap()
    })
}

/// The set that a policy keeps of layers by its own scores.
#[must_use]
pub fn evicted(layers: &[Problem], text: &str, per_head: usize) -> RetainedSet {
    let policy = policy(text);
    let per_head = CandidatesPerHead(per_head);
    cut(&policy, &model_scores(layers, &policy), per_head, layers[0].sizes.window_len).unwrap()
}

/// The positions that each head keeps.
#[must_use]
pub fn lists(retained: &RetainedSet) -> Vec<Vec<u32>> {
    retained.offsets().windows(2).map(|ends| retained.positions()[ends[0]..ends[1]].to_vec()).collect()
}

/// The message of a refused call.
#[must_use]
pub fn refusal<T: std::fmt::Debug>(result: Result<T, Error>) -> String {
    result.unwrap_err().to_string()
}
