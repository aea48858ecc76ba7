//! One layer on the fast path: the captured numbers where they lie, and the statistics that its scores share.

use std::sync::OnceLock;

use laprox_reference::oracle::Stop;
use laprox_reference::oracle::gram::{PairGram, Rows};
use laprox_reference::pool::PoolStage;
use laprox_reference::{
    Error, Form, LayerIndex, LayerProblem, LayerRetained, LayerScores, LayerShape, Lazy, OutputErrors,
    Pooling, PreparedLayer, ReferenceLayer, Score, Statistic,
};

use crate::evaluate;
use crate::gram::FastGram;
use crate::score::{Kernel, Needs, Statistics};
use crate::simd::Level;
use crate::simd::widen::fits_f32;

/// A layer on the fast path. Nothing is computed or looked at before it is asked for. A layer whose numbers f32 does not carry is
/// the reference's.
pub struct FastLayer<'a> {
    level: Level,
    layer: Lazy<'a>,
    /// Computed by [`PreparedLayer::share`].
    shared: Statistics,
    /// Whether f32 carries the layer's numbers.
    fits: OnceLock<bool>,
}

impl<'a> FastLayer<'a> {
    /// Takes a layer.
    #[must_use]
    pub fn new(level: Level, problem: &LayerProblem<'a>) -> Self {
        Self { level, layer: Lazy::new(problem), shared: Statistics::default(), fits: OnceLock::new() }
    }

    fn kernel(&self, score: &Score) -> Option<Kernel> {
        Kernel::of(score, self.shape().window_len).filter(|_| self.fits())
    }

    fn problem(&self) -> &LayerProblem<'_> {
        self.layer.problem()
    }

    fn fits(&self) -> bool {
        *self.fits.get_or_init(|| fits_f32(self.problem()))
    }
}

impl PreparedLayer for FastLayer<'_> {
    fn index(&self) -> LayerIndex {
        self.layer.index()
    }

    fn shape(&self) -> LayerShape {
        self.layer.shape()
    }

    fn reference(&self) -> Result<&ReferenceLayer, Error> {
        self.layer.reference()
    }

    fn share(&mut self, scores: &[Score]) {
        let needs = scores.iter().filter_map(|score| self.kernel(score)).map(Kernel::needs);
        let needs = needs.fold(Needs::default(), Needs::union);
        self.shared = Statistics::new(self.level, self.problem(), needs);
    }

    fn score(&self, score: &Score) -> Result<LayerScores, Error> {
        let Some(kernel) = self.kernel(score) else { return self.layer.score(score) };
        let (level, problem, pool) = (self.level, self.problem(), score.options().pool);
        let pooling = if pool.stage == PoolStage::Score { pool.pooling } else { Pooling::None };
        let scores = if self.shared.needs.covers(kernel.needs()) {
            self.shared.score(level, problem, kernel, pooling)
        } else {
            Statistics::new(level, problem, kernel.needs()).score(level, problem, kernel, pooling)
        };
        scores.map(LayerScores::Host)
    }

    fn statistic(&self, statistic: Statistic, queries: usize) -> Result<f64, Error> {
        if statistic == Statistic::OutputNorm && self.fits() {
            return Ok(evaluate::output_norm(self.level, self.problem()));
        }
        self.layer.statistic(statistic, queries)
    }

    fn gram(&self, form: Form, rows: Rows, stop: Stop) -> Result<Box<dyn PairGram>, Error> {
        if self.fits() {
            return Ok(Box::new(FastGram::until(self.reference()?, form, rows, stop)?));
        }
        self.layer.gram(form, rows, stop)
    }

    fn evaluate(&self, retained: LayerRetained<'_>) -> Result<OutputErrors, Error> {
        // The reference weighs anew.
        if self.fits() && !retained.is_reweighted() {
            return evaluate::evaluate(self.level, self.problem(), retained);
        }
        self.layer.evaluate(retained)
    }
}
