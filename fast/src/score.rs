//! Stage *score*: the scores that this path computes itself, each from a few statistics of the layer.
//!
//! The reference computes any other score from the same layer in f64, which is widened then and kept.

use laprox_reference::{
    Error, Family, FiniteScores, GroupRule, HeadScores, KvHead, LayerProblem, LayerShape, Pooling, Score,
};
use rayon::prelude::*;

use crate::centred::{Centred, Centres};
use crate::columns::{Columns, Wanted, columns};
use crate::combine::{Combine, Raw};
use crate::factor::Factor;
use crate::group::GroupFactor;
use crate::held::{Chunk, Held, WEIGHT_SCALE};
use crate::project::{PackedFactor, ValueNorms, projected_value_norms};
use crate::removed::Removed;
use crate::simd::Level;
use crate::simd::widen::{Source, value_scale};

/// The scores that this path computes itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kernel {
    /// `mean over the group of norm2(a_{h,i}) * norm2(b_{h,i})`
    PairNorms,
    /// `norm2(mean over the group of a_{h,i}) * mean over the group of norm2(b_{h,i})`
    MeanAttentionNorm,
    /// `norm_F(sum over the group of a_{h,i} b_{h,i}^T)`
    RemovedBlock,
    /// `root of sum_t norm2(sum over the group of A / (1 - A) (b - o))^2`
    Centred,
    /// `mean over the group of sum_t A_h[t, i] / w`
    MeanAttention,
    /// The largest of the group in place of the mean.
    MaxAttention,
    /// `mean over all query heads of A_h[w - 1, i]`
    LastRow,
}

impl Kernel {
    /// The kernel of a score over a window; `None` leaves it to the reference: any other score, part of the window, pooled
    /// attention.
    #[must_use]
    pub fn of(score: &Score, window_len: usize) -> Option<Self> {
        if !score.reads_whole_columns(window_len) {
            return None;
        }
        match (score.family(), score.options().group_rule) {
            (Family::PairNorms, GroupRule::Attention) => Some(Self::MeanAttentionNorm),
            (Family::PairNorms, GroupRule::Exact) => Some(Self::RemovedBlock),
            (Family::PairNorms, _) => Some(Self::PairNorms),
            (Family::Centred, _) => Some(Self::Centred),
            (Family::MeanAttention, GroupRule::Max) => Some(Self::MaxAttention),
            (Family::MeanAttention, _) => Some(Self::MeanAttention),
            (Family::LastQuery, _) => Some(Self::LastRow),
            (Family::Unseen | Family::Supplied(_) | Family::Other, _) => None,
        }
    }

    /// What its score is made of.
    #[must_use]
    pub fn needs(self) -> Needs {
        let mut needs = Needs::default();
        match self {
            Self::PairNorms => (needs.columns.norms, needs.value_norms) = (true, true),
            Self::MeanAttentionNorm => (needs.columns.group_norms, needs.value_norms) = (true, true),
            Self::RemovedBlock => needs.removed = true,
            Self::Centred => needs.centred = true,
            Self::MeanAttention | Self::MaxAttention => needs.columns.sums = true,
            Self::LastRow => needs.columns.last = true,
        }
        needs
    }
}

/// Statistics that scores need.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Needs {
    /// Of the attention's columns.
    pub columns: Wanted,
    /// `norm2(b_{h,i})`
    pub value_norms: bool,
    /// `norm_F(sum over the group of a_{h,i} b_{h,i}^T)`
    pub removed: bool,
    /// The `renormalised` error of evicting the slot alone.
    pub centred: bool,
}

impl Needs {
    /// Whether what `other` needs is among this.
    #[must_use]
    pub fn covers(self, other: Self) -> bool {
        self.union(other) == self
    }

    /// What either needs.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self {
            columns: self.columns.union(other.columns),
            value_norms: self.value_norms || other.value_norms,
            removed: self.removed || other.removed,
            centred: self.centred || other.centred,
        }
    }
}

/// Statistics of a layer.
#[derive(Default)]
pub(crate) struct Statistics {
    /// What was computed.
    pub needs: Needs,
    columns: Vec<Columns>,
    value_norms: Vec<ValueNorms>,
    removed: Vec<Vec<f64>>,
    centred: Vec<Vec<f64>>,
}

impl Statistics {
    /// Computes what is needed.
    #[must_use]
    pub fn new(level: Level, problem: &LayerProblem<'_>, needs: Needs) -> Self {
        let mut statistics = Self { needs, ..Self::default() };
        if needs.value_norms {
            statistics.value_norms = projected_value_norms(level, problem, &head_factors(level, problem));
        }
        if needs.removed || needs.centred {
            statistics.add_joint(level, problem);
        } else if needs.columns != Wanted::default() {
            statistics.columns = columns(level, problem, needs.columns);
        }
        statistics
    }

    /// Computes what joins the heads of a group, and what is needed of their columns on the way.
    fn add_joint(&mut self, level: Level, problem: &LayerProblem<'_>) {
        for (kv_head, factor) in problem.shape().kv_heads().zip(&group_factors(level, problem)) {
            Held::with(level, problem, kv_head, |held| {
                self.columns.push(held.columns(level, self.needs.columns));
                if self.needs.removed {
                    self.removed.push(removed(level, problem, kv_head, held, factor));
                }
                if self.needs.centred {
                    self.centred.push(centred(level, problem, kv_head, held, factor));
                }
            });
        }
    }

    /// The pooled scores of a kernel whose needs were computed.
    ///
    /// # Errors
    /// [`Error::Score`] names the first slot whose score is NaN or infinite.
    pub fn score(
        &self,
        level: Level,
        problem: &LayerProblem<'_>,
        kernel: Kernel,
        pooling: Pooling,
    ) -> Result<HeadScores, Error> {
        let (layer, shape) = (problem.layer(), problem.shape());
        let candidates = shape.candidate_len();
        let score = |(head, scores): (usize, Vec<f64>)| {
            let raw = self.raw(kernel, shape, KvHead(head));
            let scores = level.run(Combine { raw, pooling, candidates, scores });
            FiniteScores::new(layer, KvHead(head), scores)
        };
        // Memory of the thread that gives it back: systems take their time where that is another.
        let lists: Vec<Vec<f64>> = (0..shape.kv_heads).map(|_| Vec::with_capacity(candidates)).collect();
        let heads: Vec<_> = lists.into_par_iter().enumerate().map(score).collect();
        // The first error, whichever thread met it.
        HeadScores::of(layer, heads.into_iter().collect::<Result<_, _>>()?)
    }

    /// What the scores of one KV head are made of.
    fn raw(&self, kernel: Kernel, shape: LayerShape, KvHead(head): KvHead) -> Raw<'_> {
        let values = || &self.value_norms[head * shape.group_size()..][..shape.group_size()];
        let sums = || self.columns[head].sums.iter().map(Vec::as_slice).collect();
        match kernel {
            Kernel::PairNorms => Raw::MeanProduct(&self.columns[head].norms, values()),
            Kernel::MeanAttentionNorm => Raw::ProductOfMeans(&self.columns[head].group_norms[0], values()),
            Kernel::MeanAttention => Raw::Mean(sums(), shape.window_len as f64),
            Kernel::MaxAttention => Raw::Max(sums(), shape.window_len as f64),
            Kernel::LastRow => {
                let last = self.columns.iter().flat_map(|columns| &columns.last);
                Raw::Mean(last.map(Vec::as_slice).collect(), 1.0)
            }
            Kernel::RemovedBlock => Raw::Scores(&self.removed[head]),
            Kernel::Centred => Raw::Scores(&self.centred[head]),
        }
    }
}

/// `norm_F(sum over the group of a_{h,i} b_{h,i}^T)` of one KV head's candidates.
fn removed(
    level: Level,
    problem: &LayerProblem<'_>,
    kv_head: KvHead,
    held: &Held,
    factor: &GroupFactor,
) -> Vec<f64> {
    let unit = value_scale(problem, kv_head);
    let score = |(first, chunk): (usize, Chunk<'_>)| {
        let values =
            Source::range(&problem.activations().value, kv_head, first..first + chunk.len()).over(unit);
        level.run(Removed { chunk, values, factor })
    };
    let scale = factor.scale * unit / WEIGHT_SCALE;
    held.chunks().flat_map_iter(score).map(|score| score * scale).collect()
}

/// The `renormalised` errors of evicting each of one KV head's candidates alone.
fn centred(
    level: Level,
    problem: &LayerProblem<'_>,
    kv_head: KvHead,
    held: &Held,
    factor: &GroupFactor,
) -> Vec<f64> {
    let unit = value_scale(problem, kv_head);
    let centres = Centres::new(level, problem, kv_head, held, factor, unit);
    let score = |(first, chunk): (usize, Chunk<'_>)| {
        let values =
            Source::range(&problem.activations().value, kv_head, first..first + chunk.len()).over(unit);
        level.run(Centred { chunk, first, values, factor, centres: &centres })
    };
    let scale = factor.scale * unit / WEIGHT_SCALE;
    held.chunks().flat_map_iter(score).map(|score| score * scale).collect()
}

/// The joint factor of every query group.
#[must_use]
pub fn group_factors(level: Level, problem: &LayerProblem<'_>) -> Vec<GroupFactor> {
    let shape = problem.shape();
    let width = shape.group_size() * shape.head_dim;
    let factor = |head: usize| {
        let factor =
            Factor::new(level, &problem.activations().output_projection, head * width..(head + 1) * width);
        GroupFactor::new(level, &factor, shape.head_dim)
    };
    (0..shape.kv_heads).into_par_iter().map(factor).collect()
}

/// The factor of every query head.
#[must_use]
pub fn head_factors(level: Level, problem: &LayerProblem<'_>) -> Vec<PackedFactor> {
    let shape = problem.shape();
    let factor = |head: usize| {
        let columns = head * shape.head_dim..(head + 1) * shape.head_dim;
        PackedFactor::new(level, &Factor::new(level, &problem.activations().output_projection, columns))
    };
    (0..shape.query_heads).into_par_iter().map(factor).collect()
}
