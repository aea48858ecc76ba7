//! From layers, policies and budgets to retained sets and their errors: the only place where the stages meet.
//!
//! Every command goes through [`evict`], [`search`] and [`evaluate`]. A [`Backend`] computes the stages, and [`Layers`]
//! provides the layers.

use crate::backend::{Backend, PackedRows};
use crate::budget::CandidatesPerHead;
use crate::error::Error;
use crate::layers::Layers;
use crate::output_error::OutputErrors;
use crate::policy::{Policy, Rule};
use crate::retained::RetainedSet;
use crate::score::Score;
use crate::scored::{LayerScores, Scored};
use crate::scores::ModelScores;
pub use crate::search::{Found, Searched, Searching, Watch, search, search_together};
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
/// [`Error::Policy`] when the policy does not rank; otherwise as [`evict`].
pub fn scores<L: Layers>(layers: &L, policy: &Policy) -> Result<ModelScores, L::Error> {
    let Some(score) = checked_score(policy, layers.shapes()[0].window_len)? else {
        let reason = "it does not rank, so it has no scores".into();
        return Err(Error::Policy { policy: policy.to_string(), reason }.into());
    };
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
    let of_set = |set: usize| -> Result<Vec<OutputErrors>, Error> {
        // Layers may be too large together: the one that is too much is named.
        let mut sum: Option<OutputErrors> = None;
        for (layer, errors) in &by_layer {
            sum = Some(sum.map_or(errors[set], |sum| sum + errors[set]).finite(*layer)?);
        }
        Ok(by_layer.iter().map(|(_, errors)| errors[set]).collect())
    };
    Ok((0..sets.len()).map(of_set).collect::<Result<_, _>>()?)
}

/// The same with the `drop` error in f64 on every path: the one to compare with a proven bound.
///
/// # Errors
/// As [`evaluate`].
pub fn evaluate_beside_bounds<L: Layers>(
    layers: &L,
    sets: &[RetainedSet],
) -> Result<Vec<Vec<OutputErrors>>, L::Error> {
    let mut errors = evaluate(layers, sets)?;
    let exact = layers.at_once(|ordinal, layer| {
        let exact = layer.reference()?;
        sets.iter().map(|set| exact.drop_error(set.layer(ordinal))).collect::<Result<Vec<_>, _>>()
    })?;
    for (layer, of_layer) in exact.into_iter().enumerate() {
        of_layer.into_iter().zip(&mut errors).for_each(|(drop, errors)| errors[layer].drop = drop);
    }
    Ok(errors)
}

/// The retained rows of every layer's keys and values, if the path packs them itself.
///
/// # Errors
/// When a layer or the set is refused, or a device fails.
pub fn gather<L: Layers>(layers: &L, set: &RetainedSet) -> Result<Option<Vec<PackedRows>>, L::Error> {
    let packed = layers.each(&[], |ordinal, layer| layer.gather(set.layer(ordinal)))?;
    Ok(packed.into_iter().collect())
}

/// The score of a policy that ranks.
///
/// # Errors
/// [`Error::Policy`] when its options exclude each other or ask for more queries than there are, or when it needs tensors that no
/// dump holds.
fn checked_score(policy: &Policy, window_len: usize) -> Result<Option<Score>, Error> {
    policy.check()?;
    policy.queries_read(window_len)?;
    match policy.rule() {
        Rule::Unavailable(missing) => {
            Err(Error::Policy { policy: policy.to_string(), reason: missing.into() })
        }
        _ => Ok(policy.score()),
    }
}

/// A score, and the statistics that the allocations of the policies with this score want.
struct Asked {
    score: Score,
    wants: Vec<Statistic>,
    /// How many of the window's queries the score and the statistics read.
    queries: usize,
}

impl Asked {
    /// Asks for a policy's score and statistics, if no earlier policy has.
    fn add(asked: &mut Vec<Self>, score: Score, policy: &Policy, window_len: usize) {
        let place = asked.iter().position(|asked| asked.score == score).unwrap_or_else(|| {
            asked.push(Self { score, wants: Vec::new(), queries: score.queries_read(window_len) });
            asked.len() - 1
        });
        for statistic in policy.wants() {
            if !asked[place].wants.contains(&statistic) {
                asked[place].wants.push(statistic);
            }
        }
    }
}

/// Every score over all layers, each with its statistics. A statistic that several scores want is computed once per layer.
fn scored<L: Layers>(layers: &L, asked: &[Asked]) -> Result<Vec<Scored>, L::Error> {
    if asked.is_empty() {
        return Ok(Vec::new());
    }
    let mut distinct: Vec<(Statistic, usize)> = Vec::new();
    for of_score in asked {
        let wanted = of_score.wants.iter().map(|&statistic| (statistic, of_score.queries));
        wanted.for_each(|wanted| {
            if !distinct.contains(&wanted) {
                distinct.push(wanted);
            }
        });
    }
    let list: Vec<Score> = asked.iter().map(|asked| asked.score).collect();
    let by_layer = layers.each(&list, |_, layer| {
        let scores = tasks::all(layers, list.len(), |index| layer.score(&list[index]))?;
        let statistics = distinct.iter().map(|&(which, queries)| layer.statistic(which, queries));
        Ok((scores, statistics.collect::<Result<Vec<_>, _>>()?))
    })?;
    let mut scores: Vec<Vec<LayerScores>> = asked.iter().map(|_| Vec::new()).collect();
    let mut statistics = vec![Vec::new(); distinct.len()];
    for (of_layer, numbers) in by_layer {
        scores.iter_mut().zip(of_layer).for_each(|(scores, layer)| scores.push(layer));
        statistics.iter_mut().zip(numbers).for_each(|(statistics, number)| statistics.push(number));
    }
    let window_len = layers.shapes()[0].window_len;
    let join = |(asked, scores): (&Asked, Vec<LayerScores>)| {
        let of = |&statistic: &Statistic| {
            let place = distinct.iter().position(|&wanted| wanted == (statistic, asked.queries));
            (statistic, statistics[place.expect("every statistic was asked for")].clone())
        };
        Scored::new(scores, asked.wants.iter().map(of).collect(), window_len)
    };
    Ok(asked.iter().zip(scores).map(join).collect::<Result<_, _>>()?)
}
