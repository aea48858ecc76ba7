//! Stage *allocate*: how many candidates each KV head keeps. Each rule fills an [`AllocationEntry`]. A file holds one
//! rule; the plain cuts share a file.
//!
//! A cut over several KV heads is a cut in each of them, too. So a rule says only how many candidates each head keeps,
//! and [`select`](crate::select) says which. Every rule hands out exactly `L * Hkv * (b - w)` candidates and gives no
//! head more than it has. A surplus that a head or a layer cannot take goes to the others in the rule's own
//! proportions. With `min_per_head`, each head gets that many first, and the rule divides the rest.

pub mod ada;
pub mod cake;
mod cuts;
pub mod lava;
pub mod pyramid;
mod shares;

use std::hash::{Hash, Hasher};

use crate::error::Result;
use crate::parameter::{Parameter, Parameters};
use crate::protected::Protected;
use crate::scores::{ModelScores, Reach};
use crate::select::Ranking;
use crate::statistic::Statistic;

/// One row of the table of allocations.
#[derive(Debug)]
pub struct AllocationEntry {
    /// The name in the policy syntax.
    pub name: &'static str,
    /// The rule in one line.
    pub formula: &'static str,
    /// Where it was published.
    pub source: &'static str,
    /// The rule's parameters.
    pub parameters: &'static [&'static Parameter],
    /// The statistics of each layer that the rule reads.
    pub wants: &'static [Statistic],
    /// Whether every layer keeps the same number of candidates for any scores.
    pub within_layers: bool,
    /// The rule.
    pub division: Division,
}

/// How a rule divides the budget.
#[derive(Clone, Copy, Debug)]
pub enum Division {
    /// The highest scores stay.
    Cut {
        /// The candidates that share one cut.
        over: Reach,
        /// Whether each layer's scores are divided by its normaliser first.
        normalised: bool,
    },
    /// The candidates that each KV head keeps, `[L * Hkv]`.
    Quotas(fn(&Request<'_>) -> Result<Vec<usize>>),
}

/// How the budget is divided: a row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Allocation(&'static AllocationEntry);

impl Allocation {
    /// Every KV head alone.
    pub const HEAD: Self = Self(&cuts::HEAD);
    /// The KV heads of a layer together.
    pub const LAYER: Self = Self(&cuts::LAYER);
    /// All layers together, each divided by its normaliser.
    pub const MODEL: Self = Self(&cuts::MODEL);
    /// All layers together, scores as they are.
    pub const MODEL_RAW: Self = Self(&cuts::MODEL_RAW);
    /// Layers in a falling line, heads of a layer alike.
    pub const PYRAMID: Self = Self(&pyramid::ENTRY);
    /// Heads of a layer, each between an even share and its share of the layer's cut.
    pub const ADA: Self = Self(&ada::ENTRY);
    /// Layers by the spread of their attention, heads of a layer alike.
    pub const CAKE: Self = Self(&cake::ENTRY);
    /// Layers by the entropy of their scores, their heads as under [`Allocation::ADA`].
    pub const LAVA: Self = Self(&lava::ENTRY);

    /// The table, in the order in which it is listed.
    pub const ALL: [Self; 8] = [
        Self::HEAD,
        Self::LAYER,
        Self::MODEL,
        Self::MODEL_RAW,
        Self::PYRAMID,
        Self::ADA,
        Self::CAKE,
        Self::LAVA,
    ];

    /// The row.
    #[must_use]
    pub fn entry(self) -> &'static AllocationEntry {
        self.0
    }

    /// The name in the policy syntax.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.0.name
    }

    /// Whether each layer's scores are divided by its normaliser first.
    #[must_use]
    pub fn normalises(self) -> bool {
        matches!(self.0.division, Division::Cut { normalised: true, .. })
    }
}

impl PartialEq for Allocation {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.0, other.0)
    }
}

impl Eq for Allocation {}

impl Hash for Allocation {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.name.hash(state);
    }
}

/// The input of [`Division::Quotas`].
pub struct Request<'a> {
    /// The scores, with the statistics that the rule wants.
    pub scores: &'a ModelScores,
    /// The candidates that come before all others.
    pub protected: Protected,
    /// The candidates to divide.
    pub supply: Supply,
    /// The rule's parameters.
    pub parameters: &'a Parameters,
}

/// The candidates to divide, per KV head on average.
#[derive(Clone, Copy, Debug)]
pub struct Supply {
    /// `b - w`.
    pub per_head: usize,
    /// How many every head gets first; at most `per_head`.
    pub least: usize,
    /// `n - w`.
    pub candidate_len: usize,
}

impl Supply {
    /// `b - w` less the candidates that every head gets first.
    #[must_use]
    pub fn free(&self) -> usize {
        self.per_head - self.least
    }

    /// How many candidates a head can take beyond those that it gets first.
    #[must_use]
    pub fn room(&self) -> usize {
        self.candidate_len - self.least
    }
}

impl<'a> Request<'a> {
    /// The order of all candidates.
    #[must_use]
    pub fn ranking(&self) -> Ranking<'a> {
        Ranking::new(self.scores, self.protected)
    }

    /// Quotas from each layer's share per head beyond the least. All heads of a layer get the same.
    fn alike(&self, shares: &[usize]) -> Vec<usize> {
        let layers = self.scores.layer_heads().zip(shares);
        layers.flat_map(|(heads, share)| vec![share + self.supply.least; heads.len()]).collect()
    }
}
