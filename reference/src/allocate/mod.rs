//! Stage *allocate*: how many candidates each KV head may keep.
//!
//! A cut over any range of slots is a cut in each of its KV heads, so a rule only has to say how many each head
//! keeps; which ones is then [`select`](crate::select)'s.

mod head;
mod layer;
mod model;

use crate::error::Error;
use crate::policy::PolicyOptions;
use crate::scores::{ModelScores, Normaliser};
use crate::select::Ranking;

/// Over which range of slots the budget is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Allocation {
    /// Every KV head alone.
    Head,
    /// A layer's KV heads together.
    Layer,
    /// All layers together, each divided by its normaliser.
    Model,
    /// All layers together, scores as they are.
    ModelRaw,
}

impl Allocation {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Head, Self::Layer, Self::Model, Self::ModelRaw];
}

/// Candidates kept by each KV head, `[layers * Hkv]`, when every KV head keeps `per_head` of them on average.
///
/// # Errors
/// As [`ModelScores::normalised`].
///
/// # Panics
/// When `per_head` exceeds the candidates.
pub fn allocate(scores: &ModelScores, options: &PolicyOptions, per_head: usize) -> Result<Vec<usize>, Error> {
    assert!(per_head <= scores.candidate_len(), "a head has no {per_head} candidates");
    let sinks = options.sinks;
    match options.allocation {
        Allocation::Head => Ok(head::quotas(scores, per_head)),
        Allocation::Layer => Ok(layer::quotas(&Ranking::new(scores, sinks), per_head)),
        Allocation::Model => {
            Ok(model::quotas(&Ranking::new(&scores.normalised(options.norm)?, sinks), per_head))
        }
        Allocation::ModelRaw => {
            Ok(model::quotas(&Ranking::new(&scores.normalised(Normaliser::None)?, sinks), per_head))
        }
    }
}
