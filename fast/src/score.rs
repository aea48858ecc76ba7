//! Stage *score*: the families that this path computes itself, each from a few statistics of the layer.
//!
//! A policy that is in no family, a new one for example, is scored by the reference from the same layer in f64, which is
//! widened then and kept.

use laprox_reference::policy::Rule;
use laprox_reference::{GroupRule, LayerProblem, LayerShape, Policy};
use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use crate::centred::{Centred, Centres};
use crate::columns::{Columns, Wanted, columns};
use crate::factor::Factor;
use crate::group::GroupFactor;
use crate::held::{Chunk, Held, WEIGHT_SCALE};
use crate::project::{PackedFactor, projected_value_norms};
use crate::removed::Removed;
use crate::simd::Level;
use crate::simd::widen::Source;

/// How a policy's score comes about on this path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
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
    /// The reference's, which looks at nothing but the layer's place and sizes.
    Unseen,
    /// The reference's, in f64: any other score, part of the window, pooled attention.
    Reference,
}

impl Family {
    /// The family of a policy over a window.
    #[must_use]
    pub fn of(policy: &Policy, window_len: usize) -> Self {
        let options = policy.options();
        match (policy.rule(), policy.name(), options.group_rule) {
            (_, "streaming" | "random", _) | (Rule::Everything | Rule::Oracle(_), ..) => Self::Unseen,
            _ if !policy.reads_whole_columns(window_len) => Self::Reference,
            (Rule::Score(_), "laprox", GroupRule::Mean) => Self::PairNorms,
            (Rule::Score(_), "laprox", GroupRule::Attention) => Self::MeanAttentionNorm,
            (Rule::Score(_), "laprox", GroupRule::Exact) => Self::RemovedBlock,
            (Rule::Score(_), "centred", _) => Self::Centred,
            (Rule::Score(_), "snapkv" | "adakv" | "pyramidkv", GroupRule::Mean) => Self::MeanAttention,
            (Rule::Score(_), "snapkv" | "adakv" | "pyramidkv", GroupRule::Max) => Self::MaxAttention,
            (Rule::Score(_), "tova", _) => Self::LastRow,
            (Rule::Score(_) | Rule::TwoStage(_) | Rule::Unavailable(_), ..) => Self::Reference,
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
            Self::Unseen | Self::Reference => {}
        }
        needs
    }
}

/// Statistics that scores need.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
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
pub struct Statistics {
    /// What was computed.
    pub needs: Needs,
    columns: Vec<Columns>,
    value_norms: Vec<Vec<f64>>,
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
        for (head, factor) in group_factors(level, problem).iter().enumerate() {
            Held::with(level, problem, head, |held| {
                self.columns.push(held.columns(level, self.needs.columns));
                if self.needs.removed {
                    self.removed.push(removed(level, problem, head, held, factor));
                }
                if self.needs.centred {
                    self.centred.push(centred(level, problem, head, held, factor));
                }
            });
        }
    }

    /// The raw scores of a family whose needs were computed, one list for each KV head.
    #[must_use]
    pub fn score(&self, level: Level, family: Family, shape: LayerShape) -> Vec<Vec<f64>> {
        let (window, group) = (shape.window_len as f64, shape.group_size() as f64);
        let per_head = |score: &dyn Fn(usize) -> Vec<f64>| (0..shape.kv_heads).map(score).collect();
        match family {
            Family::PairNorms => per_head(&|head| {
                let (attention, values) = (&self.columns[head].norms, self.value_norms_of(head, shape));
                level.run(MeanProduct { attention, values })
            }),
            Family::MeanAttentionNorm => per_head(&|head| {
                let values = mean(self.value_norms_of(head, shape).iter().cloned());
                product(&self.columns[head].group_norms[0], &values)
                    .into_iter()
                    .map(|score| score / group)
                    .collect()
            }),
            Family::MeanAttention => {
                per_head(&|head| mean(self.columns[head].sums.iter().map(|sums| unscaled(sums, window))))
            }
            Family::MaxAttention => {
                per_head(&|head| largest(self.columns[head].sums.iter().map(|sums| unscaled(sums, window))))
            }
            Family::LastRow => {
                let rows = self.columns.iter().flat_map(|columns| &columns.last);
                vec![mean(rows.map(|row| unscaled(row, 1.0))); shape.kv_heads]
            }
            Family::RemovedBlock => self.removed.clone(),
            Family::Centred => self.centred.clone(),
            Family::Unseen | Family::Reference => Vec::new(),
        }
    }

    fn value_norms_of(&self, kv_head: usize, shape: LayerShape) -> &[Vec<f64>] {
        &self.value_norms[kv_head * shape.group_size()..][..shape.group_size()]
    }
}

/// `mean over the group of norm2(a_{h,i}) * norm2(b_{h,i})` of one KV head's candidates.
struct MeanProduct<'a> {
    attention: &'a [Vec<f32>],
    values: &'a [Vec<f64>],
}

impl WithSimd for MeanProduct<'_> {
    type Output = Vec<f64>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> Vec<f64> {
        let mut means = vec![0.0; self.values[0].len()];
        for (attention, values) in self.attention.iter().zip(self.values) {
            for ((mean, &one), two) in means.iter_mut().zip(attention).zip(values) {
                *mean += f64::from(one) / WEIGHT_SCALE * two;
            }
        }
        for mean in &mut means {
            *mean /= self.values.len() as f64;
        }
        means
    }
}

/// `norm_F(sum over the group of a_{h,i} b_{h,i}^T)` of one KV head's candidates.
fn removed(
    level: Level,
    problem: &LayerProblem<'_>,
    kv_head: usize,
    held: &Held,
    factor: &GroupFactor,
) -> Vec<f64> {
    let score = |(first, chunk): (usize, Chunk<'_>)| {
        let values = Source::range(&problem.activations().value, kv_head, first..first + chunk.len());
        level.run(Removed { chunk, values, factor })
    };
    let scale = factor.scale / WEIGHT_SCALE;
    held.chunks().flat_map_iter(score).map(|score| score * scale).collect()
}

/// The `renormalised` errors of evicting each of one KV head's candidates alone.
fn centred(
    level: Level,
    problem: &LayerProblem<'_>,
    kv_head: usize,
    held: &Held,
    factor: &GroupFactor,
) -> Vec<f64> {
    let centres = Centres::new(level, problem, kv_head, held, factor);
    let score = |(first, chunk): (usize, Chunk<'_>)| {
        let values = Source::range(&problem.activations().value, kv_head, first..first + chunk.len());
        level.run(Centred { chunk, first, values, factor, centres: &centres })
    };
    let scale = factor.scale / WEIGHT_SCALE;
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

/// The attention that a statistic stands for, over `count`.
fn unscaled(statistic: &[f32], count: f64) -> Vec<f64> {
    statistic.iter().map(|&number| f64::from(number) / WEIGHT_SCALE / count).collect()
}

fn product(attention: &[f32], values: &[f64]) -> Vec<f64> {
    attention.iter().zip(values).map(|(&one, two)| f64::from(one) / WEIGHT_SCALE * two).collect()
}

fn mean(lists: impl Iterator<Item = Vec<f64>>) -> Vec<f64> {
    let mut count = 0;
    let sum = lists.inspect(|_| count += 1).reduce(|sum, next| joined(sum, &next, |one, two| one + two));
    sum.unwrap_or_default().into_iter().map(|sum| sum / f64::from(count)).collect()
}

fn largest(lists: impl Iterator<Item = Vec<f64>>) -> Vec<f64> {
    lists.reduce(|most, next| joined(most, &next, f64::max)).unwrap_or_default()
}

fn joined(mut one: Vec<f64>, two: &[f64], join: impl Fn(f64, f64) -> f64) -> Vec<f64> {
    one.iter_mut().zip(two).for_each(|(one, &two)| *one = join(*one, two));
    one
}
