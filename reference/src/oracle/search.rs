//! From prepared layers and a budget to the slots that an oracle retains.

use crate::backend::{Backend, PreparedLayer, evict};
use crate::error::Error;
use crate::policy::{Policy, PolicyOptions};
use crate::retained::RetainedSet;
use crate::scores::ModelScores;

use super::branch::{Certified, Limits, certify};
use super::exhaustive::exhaustive;
use super::gram::Rows;
use super::relax::Effort;

/// Which oracle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Oracle {
    /// A set with a proof, at any size.
    Certified,
    /// The optimum, by branching until error and bound meet.
    BranchAndBound,
    /// The optimum, by trying every set.
    Exhaustive,
    /// A local optimum of the `renormalised` objective.
    Renormalised,
    /// `Certified` for the later queries.
    Future,
}

/// What an oracle found for some layers under one budget.
#[derive(Clone, Debug)]
pub struct Found {
    /// The retained candidates of each KV head of each layer, ascending.
    pub retained: Vec<Vec<u32>>,
    /// The set with its proof; `None` for an oracle that proves nothing.
    pub certified: Option<Certified>,
}

/// Searches the best `per_head` candidates a KV head on average, over `layers` together.
///
/// `watch` hears of every new bound and ends the search by returning false.
///
/// # Errors
/// [`Error::Shape`] when the problem is too large for the oracle, or the layers lack later queries; [`Error::Score`].
pub fn search(
    oracle: Oracle,
    backend: &dyn Backend,
    layers: &[&dyn PreparedLayer],
    options: &PolicyOptions,
    per_head: usize,
    watch: &mut dyn FnMut(&Certified) -> bool,
) -> Result<Found, Error> {
    let start = laprox_set(layers, per_head)?;
    if oracle == Oracle::Renormalised {
        let improve =
            |(slot, layer): (usize, &&dyn PreparedLayer)| layer.improve(options.form, start.layer(slot));
        let retained = layers.iter().enumerate().map(improve).collect::<Result<Vec<_>, _>>()?.concat();
        return Ok(Found { retained, certified: None });
    }
    let rows = if oracle == Oracle::Future { Rows::Future } else { Rows::Window };
    let grams = layers.iter().map(|layer| layer.gram(options.form, rows)).collect::<Result<Vec<_>, _>>()?;
    let gram = backend.stack(grams);
    let candidates = layers[0].shape().candidate_len();
    let evicted = evicted_slots(&start, candidates);
    let limits = limits(oracle, options, layers.len());
    let certified = match oracle {
        Oracle::Exhaustive => {
            let (eviction, bound) = exhaustive(gram.as_ref(), evicted.len())?;
            let squared_lower_bound = bound.value.min(eviction.squared_error);
            Certified { eviction, squared_lower_bound, nodes: 1 }
        }
        _ => certify(gram.as_ref(), evicted.len(), &evicted, limits, watch),
    };
    let heads = layers.len() * layers[0].shape().kv_heads;
    let retained = retained_candidates(&certified.eviction.evicted, heads, candidates);
    Ok(Found { retained, certified: Some(certified) })
}

fn limits(oracle: Oracle, options: &PolicyOptions, layers: usize) -> Limits {
    // A working set of a few hundred slots a layer costs less than one product of the layer.
    let block = 256 * layers.min(8);
    match oracle {
        Oracle::BranchAndBound => Limits::exact(block),
        _ => Limits {
            gap: 1e-3,
            nodes: options.nodes,
            leaf_sets: 4096,
            effort: Effort { tolerance: 1e-4, products: 200, block },
            convexify: options.convexify,
            swap_rounds: 20,
        },
    }
}

/// Where the searches start: unpooled LaProx scores, cut over all the layers.
fn laprox_set(layers: &[&dyn PreparedLayer], per_head: usize) -> Result<RetainedSet, Error> {
    let policy: Policy = "laprox:allocation=model-raw,pool=none".parse()?;
    let scores = layers.iter().map(|layer| layer.score(&policy)).collect::<Result<Vec<_>, _>>()?;
    let shape = layers[0].shape();
    let norms = vec![1.0; layers.len()];
    evict(&policy, &ModelScores::new(scores, norms, shape.kv_heads)?, per_head, shape.window_len)
}

/// The candidates outside a retained set as slots: (layer, KV head, position) in order.
#[must_use]
pub fn evicted_slots(retained: &RetainedSet, candidates: usize) -> Vec<usize> {
    let mut evicted = Vec::new();
    for (head, offsets) in retained.offsets().windows(2).enumerate() {
        let mut kept =
            retained.positions()[offsets[0]..offsets[1]].iter().map(|&position| position as usize).peekable();
        for position in 0..candidates {
            if kept.next_if_eq(&position).is_none() {
                evicted.push(head * candidates + position);
            }
        }
    }
    evicted
}

/// Each of `heads` KV heads' candidates outside the evicted slots, ascending.
fn retained_candidates(evicted: &[usize], heads: usize, candidates: usize) -> Vec<Vec<u32>> {
    let mut evicted = evicted.iter().copied().peekable();
    let mut of_head = |head: usize| {
        let kept = |&position: &usize| evicted.next_if_eq(&(head * candidates + position)).is_none();
        (0..candidates).filter(kept).map(|position| position as u32).collect()
    };
    (0..heads).map(&mut of_head).collect()
}
