//! Stage *score*: one number per candidate, and the higher ones stay.
//!
//! A file of [`policies`](crate::policies) defines a score as a [`ScoreEntry`]. A [`Score`] is an entry with its options
//! resolved: the value by which a pipeline asks a backend for scores.

use std::borrow::Cow;

use crate::error::Result;
use crate::layer::Layer;
use crate::options::PolicyOptions;
use crate::parameter::Parameter;
use crate::pool::{Pool, PoolStage, Pooling};
use crate::quantity::Supplement;
use crate::scores::HeadScores;
use crate::shape::{LayerIndex, LayerShape};

/// Raw scores, `[Hkv][n - w]`. A policy that pools attention has pooled it already.
pub type ScoreFn = fn(&Layer, &PolicyOptions) -> Vec<Vec<f64>>;

/// Kinds of scores that a path may compute with kernels of its own.
///
/// Paths match on it without a wildcard: a new family does not compile until every path handles it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// `norm2(a_{h,i}) norm2(b_{h,i})`, with the group rules `mean`, `attention` and `exact`.
    PairNorms,
    /// `root of sum_t norm2(sum over the group of A / (1 - A) (b - o))^2`
    Centred,
    /// `sum_t A_h[t,i] / w`, with the group rules `mean` and `max`.
    MeanAttention,
    /// `A_h[w-1,i]`, the mean over all query heads.
    LastQuery,
    /// Scores that depend on the layer's number and sizes only. Nothing is widened for them.
    Unseen,
    /// Scores that read these tensors, which a capture may leave out. The reference computes them on every path.
    Supplied(&'static [Supplement]),
    /// Any other: the reference computes it on every path.
    Other,
}

/// One score: its family and its definition.
#[derive(Debug)]
pub struct ScoreEntry {
    /// The family that it belongs to.
    pub family: Family,
    /// Its definition in f64.
    pub rule: ScoreRule,
}

/// How scores rank the candidates.
#[derive(Clone, Copy, Debug)]
pub enum ScoreRule {
    /// One score ranks them.
    Once(ScoreFn),
    /// The first score allocates and fills the first part of each KV head's share. The second score fills the rest.
    Twice {
        /// The score that allocates.
        first: ScoreFn,
        /// The score that fills the rest.
        second: ScoreFn,
        /// The first part as a fraction of the share.
        ratio: &'static Parameter,
    },
}

/// A score with its options resolved. Equal scores give every candidate the same number.
#[derive(Clone, Copy, Debug)]
pub struct Score {
    entry: &'static ScoreEntry,
    options: PolicyOptions,
}

impl PartialEq for Score {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.entry, other.entry) && self.options == other.options
    }
}

impl Score {
    /// A score under the options that it reads.
    pub(crate) fn new(entry: &'static ScoreEntry, options: &PolicyOptions) -> Self {
        Self { entry, options: options.of_score() }
    }

    /// The family that the score belongs to.
    #[must_use]
    pub fn family(&self) -> Family {
        if self.options.lookahead.tokens > 0 {
            return Family::Supplied(&Supplement::LOOKAHEAD);
        }
        self.entry.family
    }

    /// The tensors that it reads and that a capture may leave out.
    #[must_use]
    pub fn needs(&self) -> &'static [Supplement] {
        match self.family() {
            Family::Supplied(needs) => needs,
            _ => &[],
        }
    }

    /// The options that the score reads; the others are as in [`PolicyOptions::PLAIN`].
    #[must_use]
    pub fn options(&self) -> &PolicyOptions {
        &self.options
    }

    /// Whether a second score fills the rest of a share.
    #[must_use]
    pub fn ranks_twice(&self) -> bool {
        matches!(self.entry.rule, ScoreRule::Twice { .. })
    }

    /// How many of a window's queries the score reads: all, or the last ones.
    #[must_use]
    pub fn queries_read(&self, window_len: usize) -> usize {
        self.options.window.map_or(window_len, |asked| asked.min(window_len))
    }

    /// Whether the score reads the whole window's attention and is not pooled before it is finished.
    #[must_use]
    pub fn reads_whole_columns(&self, window_len: usize) -> bool {
        let Pool { pooling, stage } = self.options.pool;
        let pools_scores = pooling == Pooling::None || stage == PoolStage::Score;
        pools_scores && self.queries_read(window_len) == window_len
    }

    /// The same without the layer's numbers, if the rule reads none of them.
    #[must_use]
    pub fn of_unseen(&self, layer: LayerIndex, shape: LayerShape) -> Option<Result<HeadScores>> {
        (self.family() == Family::Unseen).then(|| self.of(&Layer::unseen(layer, shape)))
    }

    /// The scores of a layer after pooling, before normalising, `[Hkv, n - w]`.
    ///
    /// # Errors
    /// [`crate::Error::Score`] names the first candidate whose score is NaN or infinite; [`crate::Error::Supplement`] a tensor
    /// that the capture left out.
    pub fn of(&self, layer: &Layer) -> Result<HeadScores> {
        let options = &self.options;
        layer.require(self.needs())?;
        let mut layer = layer.observed(self.queries_read(layer.shape.window_len));
        if options.lookahead.tokens > 0 {
            layer = Cow::Owned(layer.looking_ahead(options.lookahead)?);
        }
        let scores = |score: ScoreFn| -> Vec<Vec<f64>> {
            let heads = score(&layer, options).into_iter();
            heads.map(|scores| options.pool.at(PoolStage::Score, scores)).collect()
        };
        match self.entry.rule {
            ScoreRule::Once(score) => HeadScores::new(layer.index, scores(score)),
            ScoreRule::Twice { first, second, ratio } => HeadScores::new(layer.index, scores(first))?
                .then(scores(second), options.parameters.get(ratio)),
        }
    }
}
