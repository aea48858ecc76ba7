//! The one seam: everything behind it is a path (`reference`, `fast`, `gpu`) through the same stages.

use std::ops::Deref;
use std::sync::OnceLock;

use crate::budget::CandidatesPerHead;
use crate::cut::cut;
use crate::error::{Error, Result, finite};
use crate::evaluate::{self, OutputNorms};
use crate::layer::Layer;
use crate::oracle::{LayerGram, PairGram, Rows, StackedGram, Stop, renormalised};
use crate::output_error::{Form, ObjectiveError, OutputErrors};
use crate::policy::Policy;
use crate::problem::LayerProblem;
use crate::retained::{LayerRetained, RetainedSet};
use crate::score::Score;
use crate::scored::{LayerScores, Scored};
use crate::shape::{LayerIndex, LayerShape};
use crate::statistic::Statistic;

/// An implementation of the stages.
pub trait Backend: Send + Sync {
    /// The name that `--path` takes.
    fn name(&self) -> &'static str;

    /// Takes a layer on: what all later stages share is computed now, or when it is first needed.
    ///
    /// # Errors
    /// Whatever the path cannot do with this problem.
    fn prepare<'a>(&self, problem: &LayerProblem<'a>) -> Result<Box<dyn PreparedLayer + 'a>>;

    /// The set that a policy keeps of one sample by its scores, which may lie where this path computed them.
    ///
    /// # Errors
    /// As [`cut`].
    fn cut(&self, policy: &Policy, scores: &Scored, per_head: CandidatesPerHead) -> Result<RetainedSet> {
        cut(policy, scores.on_host()?, per_head, scores.window_len())
    }

    /// Joins several layers' quadratic forms into the one of a shared budget.
    fn stack<'a>(&self, layers: Vec<Box<dyn PairGram + 'a>>) -> Box<dyn PairGram + 'a> {
        Box::new(StackedGram::new(layers))
    }
}

/// One layer, ready to be scored and evaluated any number of times. The reference answers each question that a path does not
/// answer itself.
pub trait PreparedLayer: Send + Sync {
    /// The layer's number in the model.
    fn index(&self) -> LayerIndex;

    /// The layer's sizes.
    fn shape(&self) -> LayerShape;

    /// The same layer by definition, widened when it is first needed.
    ///
    /// # Errors
    /// As [`Layer::new`].
    fn reference(&self) -> Result<&ReferenceLayer>;

    /// Computes once what these scores have in common, if the path has a use for that. Scores do not depend on it.
    fn share(&mut self, _scores: &[Score]) {}

    /// The scores after pooling, before normalising, `[Hkv, n - w]`.
    ///
    /// # Errors
    /// [`Error::Score`] names a candidate whose score is NaN or infinite.
    fn score(&self, score: &Score) -> Result<LayerScores> {
        score.of(self.reference()?).map(LayerScores::Host)
    }

    /// A statistic of the layer, of the attention that the last `queries` rows of the window pay.
    ///
    /// # Errors
    /// Whatever the path cannot do.
    fn statistic(&self, statistic: Statistic, queries: usize) -> Result<f64> {
        finite(self.index(), statistic.name(), statistic.of(self.reference()?, queries))
    }

    /// The quadratic form of the layer's `drop` error, for the oracles. It outlives the layer, and holds no more of it than it
    /// needs.
    ///
    /// # Errors
    /// [`Error::Shape`] when the layer holds no such rows; [`crate::Error::Range`] when f64 does not hold its diagonal;
    /// [`Error::Stopped`] when the search has to end.
    fn gram(&self, form: Form, rows: Rows, stop: Stop) -> Result<Box<dyn PairGram>> {
        Ok(Box::new(LayerGram::kept(self.reference()?, form, rows, stop)?))
    }

    /// The retained rows of keys and values, if the path packs them itself; `None` leaves that to the owner of the cache.
    ///
    /// # Errors
    /// [`Error::Shape`] when the set was made for other sizes; [`crate::Error::Path`] when a device fails.
    fn gather(&self, _retained: LayerRetained<'_>) -> Result<Option<PackedRows>> {
        Ok(None)
    }

    /// The three objectives for one retained set. The reference computes those of a reweighted set on every path.
    ///
    /// # Errors
    /// [`Error::Shape`] when the set was made for other sizes.
    fn evaluate(&self, retained: LayerRetained<'_>) -> Result<OutputErrors> {
        let layer = self.reference()?;
        evaluate::evaluate(layer, layer.output_norms(), retained)
    }
}

/// The cache that an eviction leaves of one layer, `[retained rows, d]` each, KV head after KV head. Exact if the activations are f16
/// or f32.
#[derive(Clone, Debug, PartialEq)]
pub struct PackedRows {
    /// Post-RoPE keys.
    pub keys: Vec<f32>,
    /// Values.
    pub values: Vec<f32>,
}

/// A layer in f64, with the norms that the errors of all its retained sets share.
#[derive(Clone, Debug)]
pub struct ReferenceLayer {
    layer: Layer,
    output_norms: OnceLock<OutputNorms>,
}

impl ReferenceLayer {
    /// Widens a problem and attends.
    ///
    /// # Errors
    /// As [`Layer::new`].
    pub fn new(problem: &LayerProblem<'_>) -> Result<Self> {
        Ok(Self { layer: Layer::new(problem)?, output_norms: OnceLock::new() })
    }

    fn output_norms(&self) -> &OutputNorms {
        self.output_norms.get_or_init(|| OutputNorms::new(self))
    }

    /// The `drop` objective for one retained set, in f64: to be compared with a proven bound.
    ///
    /// # Errors
    /// [`Error::Shape`] when the set was made for other sizes, or the layer holds no such rows.
    pub fn drop_error(&self, retained: LayerRetained<'_>, rows: Rows) -> Result<ObjectiveError> {
        evaluate::drop_error(self, self.output_norms(), retained, rows)
    }

    /// A set whose `renormalised` error no swap among the most promising candidates lowers, unless the search had to end before.
    ///
    /// # Errors
    /// [`Error::Shape`] when the start was made for other sizes.
    pub fn improve(
        &self,
        form: Form,
        start: LayerRetained<'_>,
        stop: Stop,
    ) -> Result<renormalised::Improved> {
        start.check(self.index, self.shape)?;
        let limits = renormalised::Limits { stop, ..renormalised::Limits::default() };
        Ok(renormalised::improve_within(self, form, start, limits))
    }
}

impl Deref for ReferenceLayer {
    type Target = Layer;

    fn deref(&self) -> &Layer {
        &self.layer
    }
}

impl PreparedLayer for ReferenceLayer {
    fn index(&self) -> LayerIndex {
        self.layer.index
    }

    fn shape(&self) -> LayerShape {
        self.layer.shape
    }

    fn reference(&self) -> Result<&Self> {
        Ok(self)
    }
}

/// A layer that the reference widens when it is first needed.
pub struct Lazy<'a> {
    problem: LayerProblem<'a>,
    layer: OnceLock<Result<ReferenceLayer, Error>>,
}

impl<'a> Lazy<'a> {
    /// Takes a problem; nothing is looked at.
    #[must_use]
    pub fn new(problem: &LayerProblem<'a>) -> Self {
        Self { problem: *problem, layer: OnceLock::new() }
    }

    /// The problem.
    #[must_use]
    pub fn problem(&self) -> &LayerProblem<'a> {
        &self.problem
    }

    /// Whether the reference has been asked for anything.
    #[must_use]
    pub fn is_widened(&self) -> bool {
        self.layer.get().is_some()
    }
}

impl PreparedLayer for Lazy<'_> {
    fn index(&self) -> LayerIndex {
        self.problem.layer()
    }

    fn shape(&self) -> LayerShape {
        self.problem.shape()
    }

    fn reference(&self) -> Result<&ReferenceLayer> {
        self.layer.get_or_init(|| ReferenceLayer::new(&self.problem)).as_ref().map_err(Clone::clone)
    }

    fn score(&self, score: &Score) -> Result<LayerScores> {
        match score.of_unseen(self.index(), self.shape()) {
            Some(scores) => scores.map(LayerScores::Host),
            None => self.reference()?.score(score),
        }
    }
}

/// The definition, in f64.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reference;

impl Backend for Reference {
    fn name(&self) -> &'static str {
        "reference"
    }

    fn prepare<'a>(&self, problem: &LayerProblem<'a>) -> Result<Box<dyn PreparedLayer + 'a>> {
        Ok(Box::new(Lazy::new(problem)))
    }
}
