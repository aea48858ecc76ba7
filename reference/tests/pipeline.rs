//! The pipeline computes each distinct score and statistic once per layer, and nothing that no policy wants.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use laprox_reference::oracle::{PairGram, Rows, Stop};
use laprox_reference::{
    Backend, CandidatesPerHead, Error, Form, InMemory, InTurn, LayerIndex, LayerProblem, LayerRetained,
    LayerScores, LayerShape, Lazy, OutputErrors, Policy, PreparedLayer, Reference, ReferenceLayer, Score,
    Searching, Statistic, pipeline,
};

use common::policy;
use common::problem::{Problem, Sizes};

const LAYERS: usize = 3;

const SIZES: Sizes = Sizes {
    kv_heads: 2,
    group_size: 2,
    head_dim: 4,
    hidden_dim: 6,
    candidate_len: 12,
    window_len: 3,
    future_len: 0,
};

/// Calls of stages, and layers that the reference has widened.
#[derive(Debug, Default)]
struct Counts {
    scores: AtomicUsize,
    statistics: AtomicUsize,
    widened: AtomicUsize,
}

/// The reference path, counted.
struct Counting(Arc<Counts>);

struct Counted<'a> {
    inner: Lazy<'a>,
    counts: Arc<Counts>,
}

impl Backend for Counting {
    fn name(&self) -> &'static str {
        Reference.name()
    }

    fn prepare<'a>(&self, problem: &LayerProblem<'a>) -> Result<Box<dyn PreparedLayer + 'a>, Error> {
        let inner = Lazy::new(problem);
        Ok(Box::new(Counted { inner, counts: Arc::clone(&self.0) }))
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.counts.widened.fetch_add(usize::from(self.inner.is_widened()), Ordering::Relaxed);
    }
}

impl PreparedLayer for Counted<'_> {
    fn index(&self) -> LayerIndex {
        self.inner.index()
    }

    fn shape(&self) -> LayerShape {
        self.inner.shape()
    }

    fn score(&self, score: &Score) -> Result<LayerScores, Error> {
        self.counts.scores.fetch_add(1, Ordering::Relaxed);
        self.inner.score(score)
    }

    fn statistic(&self, statistic: Statistic, queries: usize) -> Result<f64, Error> {
        self.counts.statistics.fetch_add(1, Ordering::Relaxed);
        self.inner.statistic(statistic, queries)
    }

    fn gram(&self, form: Form, rows: Rows, stop: Stop) -> Result<Box<dyn PairGram>, Error> {
        self.inner.gram(form, rows, stop)
    }

    fn evaluate(&self, retained: LayerRetained<'_>) -> Result<OutputErrors, Error> {
        self.inner.evaluate(retained)
    }

    fn reference(&self) -> Result<&ReferenceLayer, Error> {
        self.inner.reference()
    }
}

/// What evicting by these policies at three budgets asks of each layer: scores, statistics, widening.
fn asked(policies: &[&str]) -> [usize; 3] {
    let counts = Arc::new(Counts::default());
    let problems: Vec<Problem> = (0..LAYERS as u64).map(|seed| Problem::alive(SIZES, seed)).collect();
    let lent = problems.iter().enumerate().map(|(index, problem)| problem.layer_problem(LayerIndex(index)));
    let policies: Vec<Policy> = policies.iter().map(|text| policy(text)).collect();
    let budgets = [2, 5, 9].map(CandidatesPerHead);
    let path = Counting(Arc::clone(&counts));
    let layers = InMemory::new(&path, lent.collect(), InTurn).unwrap();
    let sets = pipeline::evict(&path, &layers, &policies, &budgets, &Searching::FREE).unwrap();
    assert!(sets.len() == policies.len() && sets.iter().all(|sets| sets.len() == budgets.len()));
    drop(layers);
    let counts = [&counts.scores, &counts.statistics, &counts.widened];
    counts.map(|count| {
        let count = count.load(Ordering::Relaxed);
        assert!(count.is_multiple_of(LAYERS), "every layer is asked for the same");
        count / LAYERS
    })
}

#[test]
fn policies_with_one_score_cause_one_call_per_layer() {
    assert_eq!(asked(&["laprox", "laprox:allocation=head"]), [1, 0, 1]);
    assert_eq!(asked(&["snapkv", "adakv", "pyramidkv", "snapkv:sinks=2,allocation=model"]), [1, 0, 1]);
    assert_eq!(asked(&["laprox", "laprox:pool=none", "laprox:allocation=layer"]), [2, 0, 1]);
}

#[test]
fn policies_that_look_at_nothing_cause_no_attention_and_no_norm() {
    assert_eq!(asked(&["streaming", "random"]), [2, 0, 0]);
    assert_eq!(asked(&["full"]), [0, 0, 0]);
}

#[test]
fn statistics_are_computed_for_the_policies_that_want_them_once_per_layer() {
    assert_eq!(asked(&["laprox:norm=output", "laprox:norm=sum"]), [1, 1, 1]);
    assert_eq!(asked(&["laprox:norm=output", "snapkv:allocation=model,norm=output"]), [2, 1, 1]);
    assert_eq!(asked(&["laprox:norm=output,allocation=model", "laprox:allocation=cake"]), [1, 3, 1]);
    // Entropy and variance of eight queries and of three are different numbers.
    assert_eq!(asked(&["cake", "snapkv:allocation=cake", "cake:window=2"]), [3, 4, 1]);
}

/// A policy that keeps everything, or that searches, has no scores.
#[test]
fn scores_of_a_policy_that_does_not_rank_are_refused() {
    let problem = Problem::alive(SIZES, 1);
    let layers = InMemory::new(&Reference, vec![problem.layer_problem(LayerIndex(0))], InTurn).unwrap();
    for text in ["full", "oracle:certified"] {
        let line = common::refusal(pipeline::scores(&layers, &policy(text)));
        assert_eq!(line, format!("policy '{text}': it does not rank, so it has no scores"));
    }
    let line = common::refusal(pipeline::scores(&layers, &policy("criticalkv")));
    let reason = "a second score fills part of each share, so one array does not hold its scores";
    assert_eq!(line, format!("policy 'criticalkv': {reason}"));
}
