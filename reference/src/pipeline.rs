//! From layers, policies and budgets to retained sets and their errors: the only place where the stages meet.
//!
//! Every command goes through [`evict`], [`search`] and [`evaluate`]. A [`Backend`] computes the stages, and [`Layers`]
//! provides the layers.

use crate::backend::{Backend, PackedRows, PreparedLayer};
use crate::budget::CandidatesPerHead;
use crate::cut::cut;
use crate::error::{Error, Result};
use crate::layers::Layers;
use crate::oracle::Rows;
use crate::output_error::{ObjectiveError, OutputErrors};
use crate::policy::{Policy, Rule, Source};
use crate::refit;
use crate::retained::RetainedSet;
use crate::score::Score;
use crate::scored::{LayerScores, Scored};
use crate::scores::{HeadScores, ModelScores};
pub use crate::search::{Found, Searched, Searching, Watch, search, search_together};
use crate::shrink;
use crate::statistic::Statistic;
use crate::tasks;

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
        if let Some(source) = checked_source(policy, layers)? {
            Asked::add(&mut asked, source, policy, shape.window_len)?;
        }
    }
    let scored = scored(layers, &asked)?;
    let retain = |index: usize| -> Result<RetainedSet, L::Error> {
        let (policy, per_head) = (&policies[index / per_heads.len()], per_heads[index % per_heads.len()]);
        match (policy.source(), policy.rule()) {
            (Some(source), rule) => {
                let place = asked.iter().position(|asked| asked.source == source);
                let scores = &scored[place.expect("every score was asked for")];
                match rule {
                    Rule::Draw(_) => Ok(cut(policy, scores.on_host()?, per_head, shape.window_len)?),
                    _ => Ok(backend.cut(policy, scores, per_head)?),
                }
            }
            (None, Rule::Oracle(_)) => {
                let searched = search(backend, layers, policy, per_head, searching)?;
                (searching.found)(policy, &searched);
                Ok(searched.retained)
            }
            (None, Rule::GivenSet) => layers.given_set(policy),
            (None, Rule::Shrunk) => shrink::shrunk(layers, policy, per_head),
            (None, _) => {
                let layers = layers.shapes().len();
                Ok(RetainedSet::everything(layers, shape.kv_heads, shape.context_len)?)
            }
        }
    };
    let sets = (0..policies.len() * per_heads.len()).map(retain).collect::<Result<Vec<_>, _>>()?;
    let refits: Vec<_> =
        policies.iter().flat_map(|policy| vec![policy.options().refit; per_heads.len()]).collect();
    let mut sets = refit::refit(layers, sets, &refits)?.into_iter();
    Ok(policies.iter().map(|_| sets.by_ref().take(per_heads.len()).collect()).collect())
}

/// One policy's scores over all layers.
///
/// # Errors
/// [`crate::Error::Policy`] when the policy does not rank, or ranks by a second score, too; otherwise as [`evict`].
pub fn scores<L: Layers>(layers: &L, policy: &Policy) -> Result<ModelScores, L::Error> {
    let score = match checked_source(policy, layers)? {
        Some(Source::Computed(score)) => score,
        Some(Source::Given(source)) => return Ok(ModelScores::new(given(layers, &source)?)?),
        None => return Err(policy.refused("it does not rank, so it has no scores").into()),
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
/// When a layer or a set is refused; [`crate::Error::Range`] when f64 does not hold an error.
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
/// As [`evaluate`]; also when the layers lack the later queries that are asked for, or a set is reweighted.
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

/// The retained rows of every layer's keys and values, if the path packs them itself. No path packs a reweighted set.
///
/// # Errors
/// When a layer or the set is refused, or a device fails.
pub fn gather<L: Layers>(layers: &L, set: &RetainedSet) -> Result<Option<Vec<PackedRows>>, L::Error> {
    if set.reweighting().is_some() {
        return Ok(None);
    }
    let packed = layers.each(&[], |ordinal, layer| layer.gather(set.layer(ordinal)))?;
    Ok(packed.into_iter().collect())
}

/// The source of the scores of a policy that ranks.
///
/// # Errors
/// [`crate::Error::Policy`] when its options exclude each other or ask for more queries than there are, or when the layers
/// lack a tensor that it reads.
fn checked_source<L: Layers>(policy: &Policy, layers: &L) -> Result<Option<Source>> {
    policy.check()?;
    policy.queries_read(layers.shapes()[0].window_len)?;
    let missing = policy.needs().iter().find_map(|&supplement| layers.lacks(supplement));
    missing.map_or_else(|| Ok(policy.source()), |reason| Err(policy.refused(reason)))
}

/// A source of scores, and the statistics that the allocations of its policies want.
struct Asked {
    source: Source,
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
    /// Asks for a policy's scores and statistics, if no earlier policy has.
    fn add(asked: &mut Vec<Self>, source: Source, policy: &Policy, window_len: usize) -> Result<()> {
        let place = asked.iter().position(|asked| asked.source == source).unwrap_or_else(|| {
            asked.push(Self { source, wants: Vec::new() });
            asked.len() - 1
        });
        for statistic in policy.wants() {
            add_wanted(&mut asked[place].wants, (statistic, policy.queries_read(window_len)?));
        }
        Ok(())
    }

    /// The score, if a path computes it.
    fn score(&self) -> Option<Score> {
        match self.source {
            Source::Computed(score) => Some(score),
            Source::Given(_) => None,
        }
    }
}

/// Every score over all layers, each with its statistics. A statistic that several scores want is computed once per layer.
/// No layer is visited for given scores alone.
fn scored<L: Layers>(layers: &L, asked: &[Asked]) -> Result<Vec<Scored>, L::Error> {
    let mut distinct = Vec::new();
    asked.iter().flat_map(|asked| &asked.wants).for_each(|&wanted| add_wanted(&mut distinct, wanted));
    let list: Vec<Score> = asked.iter().filter_map(Asked::score).collect();
    let visit = |_, layer: &dyn PreparedLayer| {
        let scores = tasks::all(layers, list.len(), |index| layer.score(&list[index]))?;
        let statistics = distinct.iter().map(|&(which, queries)| layer.statistic(which, queries));
        Ok((scores, statistics.collect::<Result<Vec<_>, _>>()?))
    };
    let none_computed = list.is_empty() && distinct.is_empty();
    let by_layer = if none_computed { Vec::new() } else { layers.each(&list, visit)? };
    let (scores, statistics): (Vec<_>, Vec<_>) = by_layer.into_iter().unzip();
    let mut scores: Vec<_> = scores.into_iter().map(Vec::into_iter).collect();
    let window_len = layers.shapes()[0].window_len;
    let join = |asked: &Asked| -> Result<Scored, L::Error> {
        let of = |wanted: &Wanted| {
            let place = distinct.iter().position(|distinct| distinct == wanted);
            let place = place.expect("every statistic was asked for");
            (wanted.0, statistics.iter().map(|of_layer| of_layer[place]).collect())
        };
        let of_layers = match &asked.source {
            Source::Computed(_) => scores.iter_mut().filter_map(Iterator::next).collect(),
            Source::Given(policy) => given(layers, policy)?.into_iter().map(LayerScores::Host).collect(),
        };
        Ok(Scored::new(of_layers, asked.wants.iter().map(of).collect(), window_len)?)
    };
    asked.iter().map(join).collect()
}

/// The given scores of every layer, pooled.
fn given<L: Layers>(layers: &L, policy: &Policy) -> Result<Vec<HeadScores>, L::Error> {
    let scores = layers.given_scores(policy)?;
    let found: Vec<_> = scores.iter().map(HeadScores::sizes).collect();
    let expected: Vec<_> =
        layers.shapes().iter().map(|shape| (shape.kv_heads, shape.candidate_len())).collect();
    if found != expected {
        let sizes = "(KV heads, candidates) of each layer";
        return Err(Error::shape(
            "given scores",
            format_args!("{sizes} {expected:?}"),
            format_args!("{found:?}"),
        )
        .into());
    }
    let pool = policy.options().pool;
    Ok(scores.iter().map(|layer| layer.pooled(pool)).collect::<Result<_>>()?)
}
