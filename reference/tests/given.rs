//! Scores and sets that were made elsewhere: cut by the same rules, read once, and nothing computed for them.

mod common;

use std::sync::Mutex;

use laprox_reference::{
    CandidatesPerHead, Error, HeadScores, InMemory, InTurn, LayerIndex, LayerOrdinal, LayerShape, Layers,
    Policy, PreparedLayer, Reference, RetainedSet, Score, Searching, Tasks, pipeline,
};

use common::policy;
use common::problem::{Problem, Sizes};

const SIZES: Sizes = Sizes {
    kv_heads: 2,
    group_size: 2,
    head_dim: 4,
    hidden_dim: 6,
    candidate_len: 12,
    window_len: 3,
    future_len: 0,
};

const CONTEXT_LEN: usize = SIZES.candidate_len + SIZES.window_len;

/// Layers with the scores of another policy, and counts of what is asked of them.
struct WithScores<'a> {
    layers: InMemory<'a, InTurn>,
    scores: Vec<HeadScores>,
    read: Mutex<usize>,
    visited: Mutex<usize>,
}

impl Tasks for WithScores<'_> {
    fn run(&self, count: usize, task: &(dyn Fn(usize) + Sync)) {
        self.layers.run(count, task);
    }
}

impl Layers for WithScores<'_> {
    type Error = Error;

    fn shapes(&self) -> &[LayerShape] {
        self.layers.shapes()
    }

    fn each<T: Send>(
        &self,
        scores: &[Score],
        visit: impl Fn(LayerOrdinal, &dyn PreparedLayer) -> Result<T, Error> + Sync,
    ) -> Result<Vec<T>, Error> {
        *self.visited.lock().unwrap() += 1;
        self.layers.each(scores, visit)
    }

    fn at_once<T: Send>(
        &self,
        visit: impl Fn(LayerOrdinal, &dyn PreparedLayer) -> Result<T, Error> + Sync,
    ) -> Result<Vec<T>, Error> {
        self.each(&[], visit)
    }

    fn given_scores(&self, policy: &Policy) -> Result<Vec<HeadScores>, Error> {
        assert_eq!(policy.name(), "mine");
        *self.read.lock().unwrap() += 1;
        Ok(self.scores.clone())
    }
}

/// Sets under policies, and how often scores were read and layers visited.
fn evicted(policies: &[Policy]) -> (Vec<RetainedSet>, usize, usize) {
    let problems = [Problem::alive(SIZES, 1), Problem::alive(SIZES, 2)];
    let lent = || {
        let lent =
            problems.iter().enumerate().map(|(index, problem)| problem.layer_problem(LayerIndex(index)));
        InMemory::new(&Reference, lent.collect(), InTurn).unwrap()
    };
    let scores = pipeline::scores(&lent(), &policy("snapkv")).unwrap().layers().to_vec();
    let layers = WithScores { layers: lent(), scores, read: Mutex::new(0), visited: Mutex::new(0) };
    let budget = [CandidatesPerHead(5)];
    let sets = pipeline::evict(&Reference, &layers, policies, &budget, &Searching::FREE).unwrap().concat();
    (sets, layers.read.into_inner().unwrap(), layers.visited.into_inner().unwrap())
}

fn given(options: &str) -> Policy {
    Policy::of_given_scores("mine", Some(options)).unwrap()
}

#[test]
fn given_scores_are_read_once_and_no_layer_is_visited_for_them() {
    let (sets, read, visited) =
        evicted(&[given("allocation=model"), given("sinks=2"), given("allocation=layer")]);
    assert_eq!((read, visited), (1, 0));
    let (own, read, visited) = evicted(
        &["snapkv:allocation=model", "snapkv:allocation=head,sinks=2", "snapkv:allocation=layer"].map(policy),
    );
    assert_eq!((read, visited), (0, 1));
    assert_eq!(sets, own);
}

#[test]
fn statistics_are_computed_beside_given_scores() {
    let (sets, read, visited) = evicted(&[given("allocation=cake"), policy("tova"), given("pool=max:3")]);
    assert_eq!((read, visited), (2, 1), "pooled scores are others");
    assert_eq!(sets[0], evicted(&[policy("snapkv:allocation=cake")]).0[0]);
}

#[test]
fn what_does_not_come_with_the_layers_is_refused() {
    let problem = Problem::alive(SIZES, 1);
    let layers = InMemory::new(&Reference, vec![problem.layer_problem(LayerIndex(0))], InTurn).unwrap();
    for policy in [given("sinks=1"), Policy::of_given_set("mine").unwrap()] {
        let refusal =
            pipeline::evict(&Reference, &layers, &[policy], &[CandidatesPerHead(5)], &Searching::FREE)
                .unwrap_err();
        assert!(refusal.to_string().contains("of this name came with the layers"), "{refusal}");
    }
    let scores = vec![HeadScores::new(LayerIndex(0), vec![vec![0.0; 11]; 2]).unwrap()];
    let layers = WithScores { layers, scores, read: Mutex::new(0), visited: Mutex::new(0) };
    let refusal =
        pipeline::evict(&Reference, &layers, &[given("sinks=1")], &[CandidatesPerHead(5)], &Searching::FREE);
    assert!(refusal.unwrap_err().to_string().contains("[(2, 12)], found [(2, 11)]"));
}

#[test]
fn a_name_is_no_policys_and_means_nothing_in_the_syntax() {
    for name in ["laprox", "oracle:certified", "", "a b", "a|b", "a,b", "a=b", "a\nb"] {
        assert!(
            Policy::of_given_scores(name, None).is_err() && Policy::of_given_set(name).is_err(),
            "{name}"
        );
    }
    assert_eq!(
        Policy::of_given_scores("Läufe-2.b+c@d", Some("sinks=4")).unwrap().to_string(),
        "Läufe-2.b+c@d:sinks=4"
    );
}

#[test]
fn a_stored_set_is_the_same_set() {
    let (sets, ..) = evicted(&[policy("laprox"), policy("full"), policy("random")]);
    for set in sets {
        let offsets: Vec<u64> = set.offsets().iter().map(|&offset| offset as u64).collect();
        let stored = |offsets: &[u64], positions: &[u32]| {
            RetainedSet::from_stored((2, SIZES.kv_heads), CONTEXT_LEN, SIZES.window_len, offsets, positions)
        };
        assert_eq!(stored(&offsets, set.positions()).as_ref(), Ok(&set));
        // Every single number matters.
        for place in 0..set.positions().len() {
            let mut positions = set.positions().to_vec();
            positions[place] = CONTEXT_LEN as u32;
            assert!(stored(&offsets, &positions).is_err(), "position {place}");
        }
        for place in 0..offsets.len() {
            let mut offsets = offsets.clone();
            offsets[place] = u64::MAX;
            assert!(stored(&offsets, set.positions()).is_err(), "offset {place}");
        }
    }
}
