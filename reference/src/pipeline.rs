//! From layers, policies and budgets to retained sets and their errors: the only place where the stages meet.
//!
//! Every command goes through [`evict`], [`search`] and [`evaluate`]. A [`Backend`] computes the stages, and [`Layers`]
//! provides the layers.

use crate::allocations::Allocation;
use crate::backend::{Backend, PackedRows, PreparedLayer};
use crate::budget::CandidatesPerHead;
use crate::error::Result;
use crate::layers::Layers;
use crate::oracle::branch::{Certified, Limits, certify};
use crate::oracle::exhaustive::exhaustive;
use crate::oracle::gram::Rows;
use crate::oracle::relax::Effort;
use crate::output_error::OutputErrors;
use crate::policy::{Oracle, Policy, Rule};
use crate::retained::RetainedSet;
use crate::score::Score;
use crate::scored::Scored;
use crate::scores::ModelScores;
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
            (None, Rule::Oracle(_)) => Ok(search(backend, layers, policy, per_head, &|_, _| true)?.retained),
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
/// [`crate::Error::Policy`] when the policy does not rank, or ranks by a second score, too; otherwise as [`evict`].
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
/// When a layer or a set is refused.
pub fn evaluate<L: Layers>(layers: &L, sets: &[RetainedSet]) -> Result<Vec<Vec<OutputErrors>>, L::Error> {
    let by_layer = layers.each(&[], |ordinal, layer| {
        tasks::all(layers, sets.len(), |set| layer.evaluate(sets[set].layer(ordinal)))
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
/// # Errors
/// When the policy is not an oracle, or a layer or the problem is refused.
pub fn search<L: Layers>(
    backend: &dyn Backend,
    layers: &L,
    policy: &Policy,
    per_head: CandidatesPerHead,
    watch: Watch<'_>,
) -> Result<Searched, L::Error> {
    let LayerShape { kv_heads, context_len, window_len, .. } = layers.shapes()[0];
    let found = layers.together(|prepared| {
        let is_by_layer = policy.options().allocation == Allocation::LAYER;
        let parts: Vec<_> = prepared.chunks(if is_by_layer { 1 } else { prepared.len() }).collect();
        tasks::all(layers, parts.len(), |part| {
            search_together(backend, parts[part], policy, per_head, &mut |state| watch(part, state))
        })
    })?;
    let heads: Vec<Vec<u32>> = found.iter().flat_map(|found| found.retained.iter().cloned()).collect();
    let retained = RetainedSet::from_candidates(kv_heads, context_len, window_len, &heads)?;
    Ok(Searched { retained, certified: found.into_iter().map(|found| found.certified).collect() })
}

/// The score of a policy that ranks.
///
/// # Errors
/// [`crate::Error::Policy`] when its options exclude each other or ask for more queries than there are, or when it
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
}

/// Searches for the best `per_head` candidates per KV head on average, over `layers` under one budget.
///
/// `watch` receives every new bound and ends the search by returning false.
///
/// # Errors
/// [`crate::Error::Shape`] when the problem is too large for the oracle, or the layers lack later queries;
/// [`crate::Error::Score`]; [`crate::Error::Policy`] when the policy is not an oracle; [`crate::Error::Path`] when a
/// device fails.
pub fn search_together(
    backend: &dyn Backend,
    layers: &[&dyn PreparedLayer],
    policy: &Policy,
    per_head: CandidatesPerHead,
    watch: &mut dyn FnMut(&Certified) -> bool,
) -> Result<Found> {
    let Rule::Oracle(oracle) = policy.rule() else {
        return Err(policy.refused("it is not an oracle"));
    };
    let form = policy.options().form;
    let start = laprox_set(layers, per_head)?;
    if oracle == Oracle::Renormalised {
        let improve = |(index, layer): (usize, &&dyn PreparedLayer)| {
            layer.reference().improve(form, start.layer(LayerOrdinal(index)))
        };
        let retained = layers.iter().enumerate().map(improve).collect::<Result<Vec<_>, _>>()?.concat();
        return Ok(Found { retained, certified: None });
    }
    let rows = if oracle == Oracle::Future { Rows::Future } else { Rows::Window };
    let grams = layers.iter().map(|layer| layer.gram(form, rows)).collect::<Result<Vec<_>, _>>()?;
    let gram = backend.stack(grams);
    let candidate_len = layers[0].shape().candidate_len();
    let evicted = start.evicted(candidate_len);
    let certified = if oracle == Oracle::Exhaustive {
        let (eviction, bound) = exhaustive(gram.as_ref(), evicted.len())?;
        let squared_lower_bound = bound.value.min(eviction.squared_error);
        Certified { eviction, squared_lower_bound, nodes: 1 }
    } else {
        let limits = limits(oracle, policy, layers.len());
        certify(gram.as_ref(), evicted.len(), &evicted, limits, watch)?
    };
    let heads = layers.len() * layers[0].shape().kv_heads;
    let retained = retained_candidates(&certified.eviction.evicted, heads, candidate_len);
    Ok(Found { retained, certified: Some(certified) })
}

fn limits(oracle: Oracle, policy: &Policy, layers: usize) -> Limits {
    // A working set of a few hundred candidates per layer costs less than one product of the layer.
    let block = 256 * layers.min(8);
    match oracle {
        Oracle::BranchAndBound => Limits::exact(block),
        _ => Limits {
            gap: 1e-3,
            nodes: policy.options().nodes,
            leaf_sets: 4096,
            effort: Effort { tolerance: 1e-4, products: 200, block },
            convexify: policy.options().convexify,
            swap_rounds: 20,
        },
    }
}

/// The set from which the searches start: unpooled LaProx scores, cut over all the layers.
fn laprox_set(layers: &[&dyn PreparedLayer], per_head: CandidatesPerHead) -> Result<RetainedSet> {
    let policy: Policy = "laprox:allocation=model-raw,pool=none".parse()?;
    let score = policy.score().expect("laprox ranks");
    let heads = layers.iter().map(|layer| layer.score(&score)?.into_host());
    let scores = ModelScores::new(heads.collect::<Result<_, _>>()?)?;
    crate::cut::cut(&policy, &scores, per_head, layers[0].shape().window_len)
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
