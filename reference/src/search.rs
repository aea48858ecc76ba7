//! The searches of oracles: layer by layer, or over all layers under one budget.

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crate::allocations::Allocation;
use crate::backend::{Backend, PreparedLayer};
use crate::budget::CandidatesPerHead;
use crate::cut::cut;
use crate::error::Error;
use crate::layers::Layers;
use crate::oracle::branch::{Certified, Limits, MOST_CANDIDATES, MOST_NODES, certify};
use crate::oracle::exhaustive::exhaustive;
use crate::oracle::gram::{PairGram, Rows};
use crate::oracle::relax::Effort;
use crate::oracle::renormalised::Improved;
use crate::oracle::stop::Stop;
use crate::policy::{Oracle, Policy, Rule};
use crate::retained::RetainedSet;
use crate::score::Score;
use crate::scores::{HeadScores, ModelScores};
use crate::shape::{LayerOrdinal, LayerShape};

/// The set that an oracle retains, with its proofs.
#[derive(Clone, Debug)]
pub struct Searched {
    /// The retained set.
    pub retained: RetainedSet,
    /// One proof per layer, or one for the model; `None` if the oracle proves nothing.
    pub certified: Vec<Option<Certified>>,
    /// For each of them, whether the search ended by itself and not at a limit.
    pub ended: Vec<bool>,
}

/// How long oracles search, and the receivers of what they find.
#[derive(Clone, Copy)]
pub struct Searching<'a> {
    /// The time of each search.
    pub limit: Option<Duration>,
    /// Ends all searches when it is set.
    pub interrupted: Option<&'static AtomicBool>,
    /// Receives every new bound.
    pub watch: Watch<'a>,
    /// Receives the result of every search that is part of an eviction.
    pub found: &'a (dyn Fn(&Policy, &Searched) + Sync),
}

impl Searching<'static> {
    /// Each search goes as far as its own limits.
    pub const FREE: Self = Self { limit: None, interrupted: None, watch: &|_, _| true, found: &|_, _| {} };
}

/// Receives the state of each independent part of a search, a layer or the model, and ends that part by returning false.
pub type Watch<'a> = &'a (dyn Fn(usize, &Certified) -> bool + Sync);

/// Runs an oracle: layer by layer, or over the whole model, as its allocation says.
///
/// A layer is in memory only while it is visited. Of each, a search over the model keeps the quadratic form.
///
/// # Errors
/// When the policy is not an oracle, or a layer or the problem is refused.
pub fn search<L: Layers>(
    backend: &dyn Backend,
    layers: &L,
    policy: &Policy,
    per_head: CandidatesPerHead,
    searching: &Searching<'_>,
) -> Result<Searched, L::Error> {
    let LayerShape { kv_heads, context_len, window_len, .. } = layers.shapes()[0];
    let by_layer = policy.options().allocation == Allocation::LAYER;
    let together = if by_layer { 1 } else { layers.shapes().len() };
    let stop = Stop::after(searching.limit, searching.interrupted);
    let search = Search::new(policy, per_head, together * candidates(layers.shapes()[0]), stop)?;
    let watch = |part: usize| move |state: &Certified| (searching.watch)(part, state);
    let found = if by_layer {
        layers.at_once(|ordinal, layer| {
            search.over(backend, vec![search.start(layer)?], &mut watch(ordinal.0))
        })?
    } else {
        let starts = layers.at_once(|_, layer| search.start(layer))?;
        vec![search.over(backend, starts, &mut watch(0))?]
    };
    let heads: Vec<Vec<u32>> = found.iter().flat_map(|found| found.retained.iter().cloned()).collect();
    let retained = RetainedSet::from_candidates(kv_heads, context_len, window_len, &heads)?;
    let ended = found.iter().map(|found| found.ended).collect();
    Ok(Searched { retained, certified: found.into_iter().map(|found| found.certified).collect(), ended })
}

/// An oracle's result for layers that share a budget.
#[derive(Clone, Debug)]
pub struct Found {
    /// The retained candidates of each KV head of each layer, ascending.
    pub retained: Vec<Vec<u32>>,
    /// The set with its proof; `None` for an oracle that proves nothing.
    pub certified: Option<Certified>,
    /// Whether the search ended by itself and not at a limit.
    pub ended: bool,
}

/// Searches for the best `per_head` candidates per KV head on average, over `layers` under one budget.
///
/// `watch` receives every new bound and ends the search by returning false.
///
/// # Errors
/// [`Error::Shape`] when the problem is too large for the oracle, or the layers lack later queries; [`Error::Score`];
/// [`Error::Policy`] when the policy is not an oracle; [`Error::Range`] when f64 does not hold an error; [`Error::Path`] when a
/// device fails.
pub fn search_together(
    backend: &dyn Backend,
    layers: &[&dyn PreparedLayer],
    policy: &Policy,
    per_head: CandidatesPerHead,
    watch: &mut dyn FnMut(&Certified) -> bool,
) -> Result<Found, Error> {
    let search = Search::new(policy, per_head, layers.len() * candidates(layers[0].shape()), Stop::NEVER)?;
    let starts = layers.iter().map(|&layer| search.start(layer)).collect::<Result<_, _>>()?;
    search.over(backend, starts, watch)
}

/// An oracle's search under one budget.
struct Search<'a> {
    oracle: Oracle,
    policy: &'a Policy,
    per_head: CandidatesPerHead,
    /// The policy whose set the search starts from: unpooled LaProx scores, cut over all the layers.
    laprox: Policy,
    score: Score,
    stop: Stop,
}

/// One layer, ready to be searched.
struct Start {
    shape: LayerShape,
    scores: HeadScores,
    state: State,
}

/// What a search keeps of a layer.
enum State {
    /// The quadratic form.
    Form(Box<dyn PairGram>),
    /// The result of a search that goes layer by layer.
    Improved(Improved),
    /// Nothing: the search had to end before.
    Unmeasured,
}

impl<'a> Search<'a> {
    fn new(
        policy: &'a Policy,
        per_head: CandidatesPerHead,
        candidates: usize,
        stop: Stop,
    ) -> Result<Self, Error> {
        let Rule::Oracle(oracle) = policy.rule() else {
            return Err(Error::Policy { policy: policy.to_string(), reason: "it is not an oracle".into() });
        };
        if oracle == Oracle::BranchAndBound && candidates > MOST_CANDIDATES {
            return Err(Error::Shape {
                what: "candidates of a search to the optimum (oracle:certified takes any number)",
                expected: format!("at most {MOST_CANDIDATES}"),
                found: candidates.to_string(),
            });
        }
        let laprox: Policy = "laprox:allocation=model-raw,pool=none".parse()?;
        let score = laprox.score().expect("laprox ranks");
        Ok(Self { oracle, policy, per_head, laprox, score, stop })
    }

    /// Takes of a layer what the search needs.
    fn start(&self, layer: &dyn PreparedLayer) -> Result<Start, Error> {
        let (shape, scores) = (layer.shape(), layer.score(&self.score)?.into_host()?);
        let form = self.policy.options().form;
        let state = match self.oracle {
            Oracle::Renormalised => {
                let retained = self.laprox_set(vec![scores.clone()], shape)?;
                State::Improved(layer.reference()?.improve(
                    form,
                    retained.layer(LayerOrdinal(0)),
                    self.stop,
                )?)
            }
            oracle => {
                let rows = if oracle == Oracle::Future { Rows::Future } else { Rows::Window };
                match self.stop.check().and_then(|()| layer.gram(form, rows, self.stop)) {
                    Ok(gram) => State::Form(gram),
                    Err(Error::Stopped) => State::Unmeasured,
                    Err(error) => return Err(error),
                }
            }
        };
        Ok(Start { shape, scores, state })
    }

    fn laprox_set(&self, scores: Vec<HeadScores>, shape: LayerShape) -> Result<RetainedSet, Error> {
        cut(&self.laprox, &ModelScores::new(scores)?, self.per_head, shape.window_len)
    }

    fn over(
        &self,
        backend: &dyn Backend,
        starts: Vec<Start>,
        watch: &mut dyn FnMut(&Certified) -> bool,
    ) -> Result<Found, Error> {
        let (layers, shape) = (starts.len(), starts[0].shape);
        let (mut scores, mut grams, mut improved) = (Vec::new(), Vec::new(), Vec::new());
        for start in starts {
            scores.push(start.scores);
            match start.state {
                State::Form(gram) => grams.push(gram),
                State::Improved(of_layer) => improved.push(of_layer),
                State::Unmeasured => {}
            }
        }
        if self.oracle == Oracle::Renormalised {
            let ended = improved.iter().all(|improved| improved.ended);
            let retained = improved.into_iter().flat_map(|improved| improved.retained).collect();
            return Ok(Found { retained, certified: None, ended });
        }
        let evicted = self.laprox_set(scores, shape)?.evicted(shape.candidate_len());
        let certified = if grams.len() < layers {
            Certified::unmeasured(&evicted)
        } else {
            self.certify(backend.stack(grams).as_ref(), &evicted, layers, watch)?
        };
        let heads = layers * shape.kv_heads;
        let retained = retained_candidates(&certified.eviction.evicted, heads, shape.candidate_len());
        Ok(Found { retained, ended: certified.ended, certified: Some(certified) })
    }

    fn certify(
        &self,
        gram: &dyn PairGram,
        evicted: &[usize],
        layers: usize,
        watch: &mut dyn FnMut(&Certified) -> bool,
    ) -> Result<Certified, Error> {
        if self.oracle != Oracle::Exhaustive {
            return certify(gram, evicted.len(), evicted, self.limits(layers), watch);
        }
        match exhaustive(gram, evicted.len()) {
            Err(Error::Stopped) => Ok(Certified::unmeasured(evicted)),
            found => {
                let (eviction, bound) = found?;
                let squared_lower_bound = bound.value.min(eviction.squared_error);
                Ok(Certified { eviction, squared_lower_bound, nodes: 1, ended: true })
            }
        }
    }

    fn limits(&self, layers: usize) -> Limits {
        // A working set of a few hundred candidates per layer costs less than one product of the layer.
        let (stop, block) = (self.stop, 256 * layers.min(8));
        if self.oracle == Oracle::BranchAndBound {
            let exact = Limits::exact(block);
            let effort = Effort { stop, ..exact.effort };
            return Limits { nodes: MOST_NODES, effort, ..exact };
        }
        Limits {
            gap: 1e-3,
            nodes: self.policy.options().nodes,
            leaf_sets: 4096,
            effort: Effort { tolerance: 1e-4, products: 200, block, stop },
            convexify: self.policy.options().convexify,
            swap_rounds: 20,
        }
    }
}

/// The candidates that each of `heads` KV heads retains, ascending.
fn retained_candidates(evicted: &[usize], heads: usize, candidate_len: usize) -> Vec<Vec<u32>> {
    let mut evicted = evicted.iter().copied().peekable();
    let mut of_head = |head: usize| {
        let kept = |&position: &usize| evicted.next_if_eq(&(head * candidate_len + position)).is_none();
        (0..candidate_len).filter(kept).map(|position| position as u32).collect()
    };
    (0..heads).map(&mut of_head).collect()
}

/// The candidates of a layer.
fn candidates(shape: LayerShape) -> usize {
    shape.kv_heads * shape.candidate_len()
}
