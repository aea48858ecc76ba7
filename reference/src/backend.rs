//! The seam between the pipeline and the paths that compute its stages: `reference`, `fast` and `gpu`.
//!
//! A [`Backend`] prepares a layer, and the [`PreparedLayer`] computes scores, statistics and errors. A path may compute
//! only some of them ([`OwnStages`]): [`WithReference`] leaves the others to the [`ReferenceLayer`].

use std::ops::Deref;
use std::sync::OnceLock;

use crate::budget::CandidatesPerHead;
use crate::cut::cut;
use crate::error::Error;
use crate::evaluate::{self, OutputNorms};
use crate::layer::Layer;
use crate::oracle::{LayerGram, PairGram, Rows, StackedGram, renormalised};
use crate::output_error::{Form, OutputErrors};
use crate::policy::Policy;
use crate::problem::LayerProblem;
use crate::retained::{LayerRetained, RetainedSet};
use crate::score::{Family, Score};
use crate::scored::{LayerScores, Scored};
use crate::shape::LayerShape;
use crate::statistic::Statistic;

/// An implementation of the stages.
pub trait Backend: Send + Sync {
    /// The name that `--path` takes.
    fn name(&self) -> &'static str;

    /// Takes a layer on. Data that later stages share are computed now or at their first use.
    ///
    /// # Errors
    /// When the path cannot take this problem on.
    fn prepare<'a>(&self, problem: &LayerProblem<'a>) -> Result<Box<dyn PreparedLayer + 'a>, Error>;

    /// The retained set of one sample under a policy. The scores may still lie where this path computed them.
    ///
    /// # Errors
    /// As [`cut`](crate::cut::cut).
    fn cut(
        &self,
        policy: &Policy,
        scores: &Scored,
        per_head: CandidatesPerHead,
    ) -> Result<RetainedSet, Error> {
        cut(policy, scores.on_host()?, per_head, scores.window_len())
    }

    /// Joins the quadratic forms of layers that share a budget.
    fn stack<'a>(&self, layers: Vec<Box<dyn PairGram + 'a>>) -> Box<dyn PairGram + 'a> {
        Box::new(StackedGram::new(layers))
    }
}

/// One layer, ready to be scored and evaluated any number of times.
pub trait PreparedLayer: Send + Sync {
    /// The layer's sizes.
    fn shape(&self) -> LayerShape;

    /// Announces the scores to come, so that the path can compute their common parts once. Scores do not depend on it.
    fn share(&mut self, _scores: &[Score]) {}

    /// The scores after pooling, before normalising, `[Hkv, n - w]`.
    ///
    /// # Errors
    /// [`Error::Score`] names a candidate whose score is NaN or infinite.
    fn score(&self, score: &Score) -> Result<LayerScores, Error>;

    /// A statistic of the layer. Attention is read from the last `queries` rows of the window.
    ///
    /// # Errors
    /// When the path cannot compute it.
    fn statistic(&self, statistic: Statistic, queries: usize) -> Result<f64, Error>;

    /// The quadratic form of the layer's `drop` error, for the oracles.
    ///
    /// # Errors
    /// [`Error::Shape`] when the layer holds no such rows.
    fn gram(&self, form: Form, rows: Rows) -> Result<Box<dyn PairGram + '_>, Error>;

    /// The three objectives for one retained set.
    ///
    /// # Errors
    /// [`Error::Shape`] when the set was made for other sizes.
    fn evaluate(&self, retained: LayerRetained<'_>) -> Result<OutputErrors, Error>;

    /// The same layer as the definition computes it.
    fn reference(&self) -> &ReferenceLayer;
}

/// A layer in f64, with the norms that the errors of all its retained sets share.
#[derive(Clone, Debug)]
pub struct ReferenceLayer {
    layer: Layer,
    output_norms: OnceLock<OutputNorms>,
}

impl ReferenceLayer {
    /// Widens a problem and attends.
    #[must_use]
    pub fn new(problem: &LayerProblem<'_>) -> Self {
        Self { layer: Layer::new(problem), output_norms: OnceLock::new() }
    }

    /// The candidates that each KV head retains, ascending, after swaps from `start` until no promising swap lowers the
    /// layer's `renormalised` error.
    ///
    /// # Errors
    /// [`Error::Shape`] when the start was made for other sizes.
    pub fn improve(&self, form: Form, start: LayerRetained<'_>) -> Result<Vec<Vec<u32>>, Error> {
        start.check(self.index, self.shape)?;
        Ok(renormalised::improve(self, form, start))
    }
}

impl Deref for ReferenceLayer {
    type Target = Layer;

    fn deref(&self) -> &Layer {
        &self.layer
    }
}

impl PreparedLayer for ReferenceLayer {
    fn shape(&self) -> LayerShape {
        self.layer.shape
    }

    fn score(&self, score: &Score) -> Result<LayerScores, Error> {
        score.of(self).map(LayerScores::Host)
    }

    fn statistic(&self, statistic: Statistic, queries: usize) -> Result<f64, Error> {
        Ok(statistic.of(self, queries))
    }

    fn gram(&self, form: Form, rows: Rows) -> Result<Box<dyn PairGram + '_>, Error> {
        Ok(Box::new(LayerGram::of(self, form, rows)?))
    }

    fn evaluate(&self, retained: LayerRetained<'_>) -> Result<OutputErrors, Error> {
        let norms = self.output_norms.get_or_init(|| OutputNorms::new(self));
        evaluate::evaluate(self, norms, retained)
    }

    fn reference(&self) -> &Self {
        self
    }
}

/// The stages that a path computes itself. `None` leaves a stage to the reference.
pub trait OwnStages: Send + Sync {
    /// As [`PreparedLayer::share`].
    fn share(&mut self, _scores: &[Score]) {}

    /// As [`PreparedLayer::score`]; never asked for [`Family::Unseen`].
    ///
    /// # Errors
    /// As [`PreparedLayer::score`].
    fn score(&self, _score: &Score) -> Result<Option<LayerScores>, Error> {
        Ok(None)
    }

    /// As [`PreparedLayer::statistic`].
    ///
    /// # Errors
    /// As [`PreparedLayer::statistic`].
    fn statistic(&self, _statistic: Statistic, _queries: usize) -> Result<Option<f64>, Error> {
        Ok(None)
    }

    /// As [`PreparedLayer::gram`], over attention in f64.
    ///
    /// # Errors
    /// As [`PreparedLayer::gram`].
    fn gram<'g>(
        &'g self,
        _layer: &'g Layer,
        _form: Form,
        _rows: Rows,
    ) -> Result<Option<Box<dyn PairGram + 'g>>, Error> {
        Ok(None)
    }

    /// As [`PreparedLayer::evaluate`].
    ///
    /// # Errors
    /// As [`PreparedLayer::evaluate`].
    fn evaluate(&self, _retained: LayerRetained<'_>) -> Result<Option<OutputErrors>, Error> {
        Ok(None)
    }
}

/// A path without stages of its own.
impl OwnStages for () {}

/// A layer with a path's own stages. The reference computes the others; it is widened at its first use.
pub struct WithReference<'a, S> {
    problem: LayerProblem<'a>,
    own: S,
    reference: OnceLock<ReferenceLayer>,
}

impl<'a, S: OwnStages> WithReference<'a, S> {
    /// Pairs a layer with a path's own stages.
    #[must_use]
    pub fn new(problem: &LayerProblem<'a>, own: S) -> Self {
        Self { problem: *problem, own, reference: OnceLock::new() }
    }
}

impl<S: OwnStages> PreparedLayer for WithReference<'_, S> {
    fn shape(&self) -> LayerShape {
        self.problem.shape()
    }

    fn share(&mut self, scores: &[Score]) {
        self.own.share(scores);
    }

    fn score(&self, score: &Score) -> Result<LayerScores, Error> {
        if score.family() == Family::Unseen {
            let unseen = Layer::unseen(self.problem.layer(), self.problem.shape());
            return score.of(&unseen).map(LayerScores::Host);
        }
        self.own.score(score)?.map_or_else(|| self.reference().score(score), Ok)
    }

    fn statistic(&self, statistic: Statistic, queries: usize) -> Result<f64, Error> {
        let own = self.own.statistic(statistic, queries)?;
        own.map_or_else(|| self.reference().statistic(statistic, queries), Ok)
    }

    fn gram(&self, form: Form, rows: Rows) -> Result<Box<dyn PairGram + '_>, Error> {
        let own = self.own.gram(self.reference(), form, rows)?;
        own.map_or_else(|| self.reference().gram(form, rows), Ok)
    }

    fn evaluate(&self, retained: LayerRetained<'_>) -> Result<OutputErrors, Error> {
        let own = self.own.evaluate(retained)?;
        own.map_or_else(|| self.reference().evaluate(retained), Ok)
    }

    fn reference(&self) -> &ReferenceLayer {
        self.reference.get_or_init(|| ReferenceLayer::new(&self.problem))
    }
}

/// The definition, in f64.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reference;

impl Backend for Reference {
    fn name(&self) -> &'static str {
        "reference"
    }

    fn prepare<'a>(&self, problem: &LayerProblem<'a>) -> Result<Box<dyn PreparedLayer + 'a>, Error> {
        Ok(Box::new(WithReference::new(problem, ())))
    }
}
