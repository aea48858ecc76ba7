//! Pooling over neighbouring candidates, stride 1, and the stage at which a policy pools.

use std::fmt;
use std::str::FromStr;

/// A policy's pooling, and the stage at which it applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pool {
    /// The kernel.
    pub pooling: Pooling,
    /// The stage.
    pub stage: PoolStage,
}

/// The stage at which a policy pools.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PoolStage {
    /// The finished score of a KV head.
    Score,
    /// Each query head's attention, before it is multiplied by a value or joined with the group's other heads.
    Attention,
}

impl Pool {
    /// No pooling.
    pub const NONE: Self = Self::of_score(Pooling::None);

    /// Pools the finished score.
    #[must_use]
    pub const fn of_score(pooling: Pooling) -> Self {
        Self { pooling, stage: PoolStage::Score }
    }

    /// Pools the attention.
    #[must_use]
    pub const fn of_attention(pooling: Pooling) -> Self {
        Self { pooling, stage: PoolStage::Attention }
    }

    /// The scores after `stage`, pooled if this is the stage that pools.
    #[must_use]
    pub fn at(self, stage: PoolStage, scores: Vec<f64>) -> Vec<f64> {
        if self.stage == stage { self.pooling.apply(scores) } else { scores }
    }
}

/// The largest kernel that a name may ask for: far beyond any use, and little memory.
const LARGEST: usize = 65_535;

/// How one list of numbers is smoothed over the candidates of a KV head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pooling {
    /// `s_i` as it is.
    None,
    /// `sum over |j - i| <= K/2 of s_j / K`: neighbours outside the candidates count as zero.
    Average(usize),
    /// `max over |j - i| <= K/2 of s_j`: neighbours outside the candidates do not count.
    Max(usize),
}

impl Pooling {
    /// The pooled scores of one KV head, as many as came in.
    #[must_use]
    pub fn apply(self, scores: Vec<f64>) -> Vec<f64> {
        match self {
            Self::None => scores,
            Self::Average(kernel) => {
                over_neighbours(&scores, kernel, |near| near.iter().sum::<f64>() / kernel as f64)
            }
            Self::Max(kernel) => over_neighbours(&scores, kernel, |near| {
                near.iter().copied().fold(f64::NEG_INFINITY, f64::max)
            }),
        }
    }
}

fn over_neighbours(scores: &[f64], kernel: usize, pool: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    let reach = kernel / 2;
    (0..scores.len())
        .map(|i| pool(&scores[i.saturating_sub(reach)..scores.len().min(i + reach + 1)]))
        .collect()
}

impl fmt::Display for Pooling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Average(kernel) => write!(f, "avg:{kernel}"),
            Self::Max(kernel) => write!(f, "max:{kernel}"),
        }
    }
}

impl FromStr for Pooling {
    type Err = String;

    /// `none`, `avg:K` or `max:K` with an odd `K`: an even kernel has no middle.
    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || format!("expected none, avg:K or max:K with an odd K, found {text}");
        if text == "none" {
            return Ok(Self::None);
        }
        let (kind, kernel) = text.split_once(':').ok_or_else(expected)?;
        let kernel = kernel.parse().ok().filter(|kernel| kernel % 2 == 1).ok_or_else(expected)?;
        if kernel > LARGEST {
            return Err(format!("expected K at most {LARGEST}, found {text}"));
        }
        match kind {
            "avg" => Ok(Self::Average(kernel)),
            "max" => Ok(Self::Max(kernel)),
            _ => Err(expected()),
        }
    }
}
