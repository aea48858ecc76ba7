//! One layer on the fast path: the captured numbers where they lie, and the statistics that its scores share.

use laprox_reference::layer::Layer;
use laprox_reference::oracle::gram::{PairGram, Rows};
use laprox_reference::pool::PoolStage;
use laprox_reference::{
    Error, Form, LayerProblem, LayerRetained, LayerScores, OutputErrors, OwnStages, Pooling, Score, Statistic,
};

use crate::evaluate;
use crate::gram::FastGram;
use crate::score::{Kernel, Needs, Statistics};
use crate::simd::Level;

/// A layer on the fast path: nothing is computed before it is asked for.
pub struct FastLayer<'a> {
    level: Level,
    problem: LayerProblem<'a>,
    /// Computed by [`OwnStages::share`].
    shared: Statistics,
}

impl<'a> FastLayer<'a> {
    /// Takes a layer.
    #[must_use]
    pub fn new(level: Level, problem: &LayerProblem<'a>) -> Self {
        Self { level, problem: *problem, shared: Statistics::default() }
    }

    fn kernel(&self, score: &Score) -> Option<Kernel> {
        Kernel::of(score, self.problem.shape().window_len)
    }
}

impl OwnStages for FastLayer<'_> {
    fn share(&mut self, scores: &[Score]) {
        let needs = scores.iter().filter_map(|score| self.kernel(score)).map(Kernel::needs);
        self.shared = Statistics::new(self.level, &self.problem, needs.fold(Needs::default(), Needs::union));
    }

    fn score(&self, score: &Score) -> Result<Option<LayerScores>, Error> {
        let Some(kernel) = self.kernel(score) else { return Ok(None) };
        let (level, problem, pool) = (self.level, &self.problem, score.options().pool);
        let pooling = if pool.stage == PoolStage::Score { pool.pooling } else { Pooling::None };
        let scores = if self.shared.needs.covers(kernel.needs()) {
            self.shared.score(level, problem, kernel, pooling)
        } else {
            Statistics::new(level, problem, kernel.needs()).score(level, problem, kernel, pooling)
        };
        Ok(Some(LayerScores::Host(scores?)))
    }

    fn statistic(&self, statistic: Statistic, _: usize) -> Result<Option<f64>, Error> {
        let is_own = statistic == Statistic::OutputNorm;
        Ok(is_own.then(|| evaluate::output_norm(self.level, &self.problem)))
    }

    fn gram<'g>(
        &'g self,
        layer: &'g Layer,
        form: Form,
        rows: Rows,
    ) -> Result<Option<Box<dyn PairGram + 'g>>, Error> {
        Ok(Some(Box::new(FastGram::new(layer, form, rows)?)))
    }

    fn evaluate(&self, retained: LayerRetained<'_>) -> Result<Option<OutputErrors>, Error> {
        evaluate::evaluate(self.level, &self.problem, retained).map(Some)
    }
}
