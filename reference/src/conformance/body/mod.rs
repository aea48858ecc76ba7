//! The claims, one function each. Every one prints the largest share of a bound that it saw used.

mod errors;
mod precision;
mod scores;
mod sets;

use proptest::strategy::Strategy;
use proptest::test_runner::{Config, TestRunner};

use super::Path;
use super::compare::{Stated, assert_agrees};
use crate::backend::{PreparedLayer, ReferenceLayer};
use crate::policies::POLICIES;
use crate::policy::Policy;
use crate::problem::LayerProblem;
use crate::score::Score;
use crate::scored::LayerScores;
use crate::scores::HeadScores;
use crate::statistic::Statistic;

/// The layer that paths are held against.
pub fn definition(problem: &LayerProblem<'_>) -> ReferenceLayer {
    ReferenceLayer::new(problem).expect("f64 holds the numbers of a problem to agree on")
}

pub use errors::{
    a_set_of_another_size_is_refused, errors_are_within_their_bounds,
    errors_of_tiles_and_their_neighbours_are_within_their_bounds, hold_errors,
    whole_number_errors_are_equal_to_the_bit,
};
pub use precision::halves_and_singles_score_like_the_doubles_they_are;
pub use scores::{
    Expected, a_rank_deficient_projection_is_within_its_bounds, hold_scores, scores_are_within_their_bounds,
    scores_do_not_depend_on_what_is_shared, scores_of_sharp_rows_are_within_their_bounds,
    scores_of_tiles_and_their_neighbours_are_within_their_bounds, whole_number_scores_are_equal_to_the_bit,
};
pub use sets::{Margins, retained_sets_agree_up_to_near_ties};

/// The scores that paths compute on their own, each group rule and kind of pooling at least once.
const SCORES: [&str; 11] = [
    "laprox:pool=none",
    "laprox",
    "laprox:gqa=attention,pool=none",
    "laprox:gqa=exact,pool=none",
    "laprox:gqa=exact,pool=max:3",
    "centred",
    "snapkv:pool=none",
    "snapkv",
    "snapkv:gqa=max,pool=max:5",
    "tova",
    "tova:pool=avg:3",
];

/// Every policy that ranks by what every layer holds: those that paths compute on their own, and each entry's defaults.
#[must_use]
pub fn policies() -> Vec<Policy> {
    let ranking = POLICIES.iter().filter(|entry| entry.rule.ranks() && entry.needs().is_empty());
    let defaults = ranking.map(|entry| entry.name);
    let mut policies: Vec<Policy> = Vec::new();
    for name in SCORES.into_iter().chain(defaults) {
        let policy: Policy = name.parse().expect("a policy of the table parses");
        if !policies.contains(&policy) {
            policies.push(policy);
        }
    }
    policies
}

/// The largest share of a bound that was used.
#[derive(Clone, Copy, Debug, Default)]
pub struct Used(pub f64);

impl Used {
    /// Asserts that two numbers are equal or differ by at most `bound`.
    #[track_caller]
    pub fn hold(&mut self, what: impl Fn() -> String, found: f64, expected: f64, bound: f64) {
        if found.to_bits() == expected.to_bits() {
            return;
        }
        assert_agrees(&what(), found, Stated { value: expected, magnitude: bound }, 1.0);
        self.0 = self.0.max((found - expected).abs() / bound);
    }
}

/// Prints the largest share of a bound that a claim used.
fn report(claim: &str, path: &Path, used: Used) {
    eprintln!("{claim}, {}: at most {:.4} of a bound used", path.name, used.0);
}

fn run<T: std::fmt::Debug>(cases: u32, strategy: &impl Strategy<Value = T>, mut test: impl FnMut(T)) {
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    let test = std::cell::RefCell::new(&mut test);
    let result = runner.run(strategy, |value| {
        (test.borrow_mut())(value);
        Ok(())
    });
    if let Err(failure) = result {
        panic!("{failure}");
    }
}

fn prepare<'a>(path: &Path, problem: &LayerProblem<'a>) -> Box<dyn PreparedLayer + 'a> {
    path.backend.prepare(problem).unwrap_or_else(|error| panic!("{}: {error}", path.name))
}

/// Scores of a policy, `[Hkv][n - w]`.
fn heads(scores: &HeadScores) -> Vec<Vec<f64>> {
    scores.heads().map(<[f64]>::to_vec).collect()
}

fn scored(layer: &dyn PreparedLayer, policy: &Policy) -> HeadScores {
    let scores = layer.score(&score(policy)).and_then(LayerScores::into_host);
    scores.unwrap_or_else(|error| panic!("{policy}: {error}"))
}

/// The score of a policy that ranks.
fn score(policy: &Policy) -> Score {
    policy.score().expect("a policy that ranks")
}

fn output_norm(layer: &dyn PreparedLayer) -> f64 {
    let norm = layer.statistic(Statistic::OutputNorm, layer.shape().window_len);
    norm.unwrap_or_else(|error| panic!("{error}"))
}
