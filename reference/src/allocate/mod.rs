//! Stage *allocate*: how many candidates each KV head may keep.
//!
//! A cut over any range of slots is a cut in each of its KV heads, so a rule only has to say how many each head
//! keeps; which ones is then [`select`](crate::select)'s. Every rule hands out exactly `L * Hkv * (b - w)` and gives no
//! head more than its candidates; what a head or a layer cannot take goes to the others in the rule's own proportions.
//! Where `min_per_head` asks for it, each head has that many first, and the rule divides what is left.

pub mod ada;
pub mod cake;
mod head;
pub mod lava;
mod layer;
mod model;
pub mod pyramid;
mod shares;

use crate::error::Error;
use crate::parameter::Parameter;
use crate::policy::PolicyOptions;
use crate::scores::ModelScores;
use crate::select::Ranking;

/// How the budget is divided.
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
    /// Layers in a falling line, heads of a layer alike.
    Pyramid,
    /// Heads of a layer between an even share and that of the layer's cut.
    Ada,
    /// Layers by the spread of their attention, heads of a layer alike.
    Cake,
    /// Layers by the entropy of their scores, their heads as under [`Allocation::Ada`].
    Lava,
}

impl Allocation {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Head,
        Self::Layer,
        Self::Model,
        Self::ModelRaw,
        Self::Pyramid,
        Self::Ada,
        Self::Cake,
        Self::Lava,
    ];

    /// The numbers that the rule is tuned by.
    #[must_use]
    pub fn parameters(self) -> &'static [&'static Parameter] {
        match self {
            Self::Head | Self::Layer | Self::Model | Self::ModelRaw => &[],
            Self::Pyramid => const { &[&pyramid::BETA] },
            Self::Ada | Self::Lava => const { &[&ada::ALPHA] },
            Self::Cake => const { &[&cake::TAU1, &cake::TAU2] },
        }
    }

    /// Whether every layer keeps the same number of candidates, whatever the scores.
    #[must_use]
    pub fn is_within_layers(self) -> bool {
        matches!(self, Self::Head | Self::Layer | Self::Ada)
    }

    /// The rule in one line, for people.
    #[must_use]
    pub fn formula(self) -> &'static str {
        match self {
            Self::Head => "every KV head keeps b - w",
            Self::Layer => "the top Hkv * (b - w) of a layer's flattened KV heads",
            Self::Model => "the top L * Hkv * (b - w) of all layers, each layer's scores over its normaliser",
            Self::ModelRaw => "the same, scores as they are",
            Self::Pyramid => pyramid::FORMULA,
            Self::Ada => ada::FORMULA,
            Self::Cake => cake::FORMULA,
            Self::Lava => lava::FORMULA,
        }
    }

    /// Where the rule was published.
    #[must_use]
    pub fn source(self) -> &'static str {
        match self {
            Self::Head | Self::Layer | Self::ModelRaw => "",
            Self::Model => "arXiv 2605.07234",
            Self::Pyramid => "arXiv 2406.02069",
            Self::Ada => "arXiv 2407.11550",
            Self::Cake => "arXiv 2503.12491",
            Self::Lava => "arXiv 2509.09754",
        }
    }
}

/// What there is to divide, a KV head on average.
#[derive(Clone, Copy, Debug)]
struct Supply {
    /// `b - w`.
    per_head: usize,
    /// What every head has first; at most `per_head`.
    least: usize,
    /// `n - w`.
    candidates: usize,
}

impl Supply {
    /// `b - w` beyond what every head has first.
    fn free(&self) -> usize {
        self.per_head - self.least
    }

    /// What a head can take beyond what it has first.
    fn room(&self) -> usize {
        self.candidates - self.least
    }
}

/// Candidates kept by each KV head, `[layers * Hkv]`, when every KV head keeps `per_head` of them on average.
///
/// # Errors
/// As [`ModelScores::normalised`], and as [`ModelScores::spreads`] under `allocation=cake`.
///
/// # Panics
/// When `per_head` exceeds the candidates.
pub fn allocate(scores: &ModelScores, options: &PolicyOptions, per_head: usize) -> Result<Vec<usize>, Error> {
    let candidates = scores.candidate_len();
    assert!(per_head <= candidates, "a head has no {per_head} candidates");
    let supply = Supply { per_head, least: options.min_per_head.min(per_head), candidates };
    let number = |parameter| options.parameters.get(parameter);
    let ranking = || Ranking::new(scores, options.sinks);
    Ok(match options.allocation {
        Allocation::Head => head::quotas(scores, supply),
        Allocation::Layer => layer::quotas(&ranking(), supply),
        Allocation::Model => {
            model::quotas(&Ranking::new(&scores.normalised(options.norm)?, options.sinks), supply)
        }
        Allocation::ModelRaw => model::quotas(&ranking(), supply),
        Allocation::Pyramid => pyramid::quotas(scores, supply, number(&pyramid::BETA)),
        Allocation::Ada => ada::quotas(&ranking(), supply, number(&ada::ALPHA)),
        Allocation::Cake => {
            let temperatures = [number(&cake::TAU1), number(&cake::TAU2)];
            cake::quotas(scores, supply, scores.spreads()?, temperatures)
        }
        Allocation::Lava => lava::quotas(scores, &ranking(), supply, number(&ada::ALPHA)),
    })
}

/// Every head of a layer has the layer's share.
fn for_each_head(layers: &[usize], kv_heads: usize) -> Vec<usize> {
    layers.iter().flat_map(|&share| vec![share; kv_heads]).collect()
}
