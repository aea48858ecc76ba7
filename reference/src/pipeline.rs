//! From layers, policies and budgets to retained sets and their errors: the only place where the stages meet.
//!
//! Every command goes through [`evict`], [`search`] and [`evaluate`]. A [`Backend`] computes the stages, and [`Layers`]
//! provides the layers.

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crate::allocations::Allocation;
use crate::backend::{Backend, PackedRows, PreparedLayer};
use crate::budget::CandidatesPerHead;
use crate::cut::cut;
use crate::error::{Error, Result};
use crate::layers::Layers;
use crate::oracle::branch::{Certified, Limits, MOST_CANDIDATES, certify};
use crate::oracle::exhaustive::exhaustive;
use crate::oracle::gram::{PairGram, Rows};
use crate::oracle::relax::Effort;
use crate::oracle::renormalised::Improved;
use crate::oracle::stop::Stop;
use crate::output_error::{ObjectiveError, OutputErrors};
use crate::policy::{Oracle, Policy, Rule};
use crate::retained::RetainedSet;
use crate::score::Score;
use crate::scored::Scored;
use crate::scores::{HeadScores, ModelScores};
use crate::shape::{LayerOrdinal, LayerShape};
use crate::statistic::Statistic;
use crate::tasks;

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

/// The set that each policy retains at each budget: `[policy][budget]`. Each distinct score and statistic is computed once
/// per layer.
///
/// # Errors
/// When a layer, a score or an oracle's problem is refused, or a policy does not fit the layers.
pub fn evict<L: Layers>(
    backend: &dyn Backend,
    layers: &L,
    policies: &[Policy],
    per_heads: &[CandidatesPerHead],
    searching: &Searching<'_>,
) -> Result<Vec<Vec<RetainedSet>>, L::Error> {
    let shape = layers.shapes()[0];
    let mut asked: Vec<Asked> = Vec::new();
    for policy in policies {
        if let Some(score) = checked_score(policy, shape.window_len)? {
            Asked::add(&mut asked, score, policy, shape.window_len);
        }
    }
    let scored = scored(layers, &asked)?;
    let retain = |index: usize| -> Result<RetainedSet, L::Error> {
        let (policy, per_head) = (&policies[index / per_heads.len()], per_heads[index % per_heads.len()]);
        match (policy.score(), policy.rule()) {
            (Some(score), _) => {
                let place = asked.iter().position(|asked| asked.score == score);
                Ok(backend.cut(policy, &scored[place.expect("every score was asked for")], per_head)?)
            }
            (None, Rule::Oracle(_)) => {
                let searched = search(backend, layers, policy, per_head, searching)?;
                (searching.found)(policy, &searched);
                Ok(searched.retained)
            }
            (None, _) => {
                let layers = layers.shapes().len();
                Ok(RetainedSet::everything(layers, shape.kv_heads, shape.context_len)?)
            }
        }
    };
    let mut sets = (0..policies.len() * per_heads.len()).map(retain);
    policies.iter().map(|_| sets.by_ref().take(per_heads.len()).collect()).collect()
}

/// One policy's scores over all layers.
///
/// # Errors
/// [`Error::Policy`] when the policy does not rank, or ranks by a second score, too; otherwise as [`evict`].
pub fn scores<L: Layers>(layers: &L, policy: &Policy) -> Result<ModelScores, L::Error> {
    let Some(score) = checked_score(policy, layers.shapes()[0].window_len)? else {
        return Err(policy.refused("it does not rank, so it has no scores").into());
    };
    if score.ranks_twice() {
        let reason = "a second score fills part of each share, so one array does not hold its scores";
        return Err(policy.refused(reason).into());
    }
    let heads = layers.each(&[score], |_, layer| layer.score(&score)?.into_host())?;
    Ok(ModelScores::new(heads)?)
}

/// The errors of every retained set, layer by layer: `[set][layer]`.
///
/// # Errors
/// When a layer or a set is refused; [`Error::Range`] when f64 does not hold an error.
pub fn evaluate<L: Layers>(layers: &L, sets: &[RetainedSet]) -> Result<Vec<Vec<OutputErrors>>, L::Error> {
    let by_layer = layers.each(&[], |ordinal, layer| {
        let errors = |set: usize| layer.evaluate(sets[set].layer(ordinal))?.finite(layer.index());
        Ok((layer.index(), tasks::all(layers, sets.len(), errors)?))
    })?;
    let of_set = |set: usize| -> Result<Vec<OutputErrors>> {
        // Layers may be too large together: the one that is too much is named.
        let mut sum: Option<OutputErrors> = None;
        for (layer, errors) in &by_layer {
            sum = Some(sum.map_or(errors[set], |sum| sum + errors[set]).finite(*layer)?);
        }
        Ok(by_layer.iter().map(|(_, errors)| errors[set]).collect())
    };
    Ok((0..sets.len()).map(of_set).collect::<Result<_, _>>()?)
}

/// The `drop` errors of every retained set, in f64 on every path, layer by layer: what is compared with a proven bound.
///
/// # Errors
/// As [`evaluate`]; also when the layers lack the later queries that are asked for.
pub fn drop_errors<L: Layers>(
    layers: &L,
    sets: &[RetainedSet],
    rows: Rows,
) -> Result<Vec<Vec<ObjectiveError>>, L::Error> {
    let by_layer = layers.at_once(|ordinal, layer| {
        let layer = layer.reference()?;
        sets.iter().map(|set| layer.drop_error(set.layer(ordinal), rows)).collect::<Result<Vec<_>>>()
    })?;
    Ok((0..sets.len()).map(|set| by_layer.iter().map(|errors| errors[set]).collect()).collect())
}

/// The retained rows of every layer's keys and values, if the path packs them itself.
///
/// # Errors
/// When a layer or the set is refused, or a device fails.
pub fn gather<L: Layers>(layers: &L, set: &RetainedSet) -> Result<Option<Vec<PackedRows>>, L::Error> {
    let packed = layers.each(&[], |ordinal, layer| layer.gather(set.layer(ordinal)))?;
    Ok(packed.into_iter().collect())
}

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
    let search = Search::new(policy, per_head, Stop::after(searching.limit, searching.interrupted))?;
    let watch = |part: usize| move |state: &Certified| (searching.watch)(part, state);
    let found = if policy.options().allocation == Allocation::LAYER {
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

/// The score of a policy that ranks.
///
/// # Errors
/// [`Error::Policy`] when its options exclude each other or ask for more queries than there are, or when it
/// needs tensors that no dump holds.
fn checked_score(policy: &Policy, window_len: usize) -> Result<Option<Score>> {
    policy.check()?;
    policy.queries_read(window_len)?;
    match policy.rule() {
        Rule::Unavailable(missing) => Err(policy.refused(missing)),
        _ => Ok(policy.score()),
    }
}

/// A score, and the statistics that the allocations of the policies with this score want.
struct Asked {
    score: Score,
    wants: Vec<Wanted>,
}

/// A statistic, and how many of the window's queries it reads: as many as the score.
type Wanted = (Statistic, usize);

fn add_wanted(wants: &mut Vec<Wanted>, wanted: Wanted) {
    if !wants.contains(&wanted) {
        wants.push(wanted);
    }
}

impl Asked {
    /// Asks for a policy's score and statistics, if no earlier policy has.
    fn add(asked: &mut Vec<Self>, score: Score, policy: &Policy, window_len: usize) {
        let place = asked.iter().position(|asked| asked.score == score).unwrap_or_else(|| {
            asked.push(Self { score, wants: Vec::new() });
            asked.len() - 1
        });
        for statistic in policy.wants() {
            add_wanted(&mut asked[place].wants, (statistic, score.queries_read(window_len)));
        }
    }
}

/// Every score over all layers, each with its statistics. A statistic that several scores want is computed once per layer.
fn scored<L: Layers>(layers: &L, asked: &[Asked]) -> Result<Vec<Scored>, L::Error> {
    if asked.is_empty() {
        return Ok(Vec::new());
    }
    let mut distinct = Vec::new();
    asked.iter().flat_map(|asked| &asked.wants).for_each(|&wanted| add_wanted(&mut distinct, wanted));
    let list: Vec<Score> = asked.iter().map(|asked| asked.score).collect();
    let by_layer = layers.each(&list, |_, layer| {
        let scores = tasks::all(layers, list.len(), |index| layer.score(&list[index]))?;
        let statistics = distinct.iter().map(|&(which, queries)| layer.statistic(which, queries));
        Ok((scores, statistics.collect::<Result<Vec<_>, _>>()?))
    })?;
    let (scores, statistics): (Vec<_>, Vec<_>) = by_layer.into_iter().unzip();
    let mut scores: Vec<_> = scores.into_iter().map(Vec::into_iter).collect();
    let window_len = layers.shapes()[0].window_len;
    let join = |asked: &Asked| {
        let of = |wanted: &Wanted| {
            let place = distinct.iter().position(|distinct| distinct == wanted);
            let place = place.expect("every statistic was asked for");
            (wanted.0, statistics.iter().map(|of_layer| of_layer[place]).collect())
        };
        let of_layers = scores.iter_mut().filter_map(Iterator::next).collect();
        Scored::new(of_layers, asked.wants.iter().map(of).collect(), window_len)
    };
    Ok(asked.iter().map(join).collect::<Result<_, _>>()?)
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
/// [`Error::Shape`] when the problem is too large for the oracle, or the layers lack later queries; [`crate::Error::Score`];
/// [`Error::Policy`] when the policy is not an oracle; [`crate::Error::Range`] when f64 does not hold an error; [`crate::Error::Path`] when a
/// device fails.
pub fn search_together(
    backend: &dyn Backend,
    layers: &[&dyn PreparedLayer],
    policy: &Policy,
    per_head: CandidatesPerHead,
    watch: &mut dyn FnMut(&Certified) -> bool,
) -> Result<Found> {
    let search = Search::new(policy, per_head, Stop::NEVER)?;
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
    fn new(policy: &'a Policy, per_head: CandidatesPerHead, stop: Stop) -> Result<Self> {
        let Rule::Oracle(oracle) = policy.rule() else {
            return Err(policy.refused("it is not an oracle"));
        };
        let laprox: Policy = "laprox:allocation=model-raw,pool=none".parse()?;
        let score = laprox.score().expect("laprox ranks");
        Ok(Self { oracle, policy, per_head, laprox, score, stop })
    }

    /// Takes of a layer what the search needs.
    fn start(&self, layer: &dyn PreparedLayer) -> Result<Start> {
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

    fn laprox_set(&self, scores: Vec<HeadScores>, shape: LayerShape) -> Result<RetainedSet> {
        cut(&self.laprox, &ModelScores::new(scores)?, self.per_head, shape.window_len)
    }

    fn over(
        &self,
        backend: &dyn Backend,
        starts: Vec<Start>,
        watch: &mut dyn FnMut(&Certified) -> bool,
    ) -> Result<Found> {
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
    ) -> Result<Certified> {
        if self.oracle != Oracle::Exhaustive {
            let limits = self.limits(gram.candidates(), layers)?;
            return certify(gram, evicted.len(), evicted, limits, watch);
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

    fn limits(&self, candidates: usize, layers: usize) -> Result<Limits> {
        // A working set of a few hundred candidates per layer costs less than one product of the layer.
        let (stop, block) = (self.stop, 256 * layers.min(8));
        if self.oracle == Oracle::BranchAndBound {
            if candidates > MOST_CANDIDATES {
                return Err(Error::Shape {
                    what: "candidates of a search to the optimum (oracle:certified takes any number)",
                    expected: format!("at most {MOST_CANDIDATES}"),
                    found: candidates.to_string(),
                });
            }
            let exact = Limits::exact(block);
            return Ok(Limits { effort: Effort { stop, ..exact.effort }, ..exact });
        }
        Ok(Limits {
            gap: 1e-3,
            nodes: self.policy.options().nodes,
            leaf_sets: 4096,
            effort: Effort { tolerance: 1e-4, products: 200, block, stop },
            convexify: self.policy.options().convexify,
            swap_rounds: 20,
        })
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
