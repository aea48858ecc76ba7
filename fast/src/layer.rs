//! One layer on the fast path: the captured numbers where they lie, and the layer in f64 where something asks for it.

use std::sync::OnceLock;

use laprox_reference::layer::Layer;
use laprox_reference::oracle::gram::{Form, PairGram, Rows};
use laprox_reference::pool::PoolStage;
use laprox_reference::{
    AttentionSpread, Error, HeadScores, LayerProblem, LayerRetained, LayerShape, OutputErrors, Policy,
    Pooling, PreparedLayer,
};

use crate::evaluate;
use crate::gram::FastGram;
use crate::score::{Family, Needs, Statistics};
use crate::simd::Level;

/// A layer on the fast path.
pub struct FastLayer<'a> {
    level: Level,
    problem: LayerProblem<'a>,
    /// What [`PreparedLayer::share`] computed.
    shared: Statistics,
    in_f64: OnceLock<Layer>,
}

impl<'a> FastLayer<'a> {
    /// Prepares a layer: nothing is computed before it is asked for.
    #[must_use]
    pub fn new(level: Level, problem: &LayerProblem<'a>) -> Self {
        Self { level, problem: *problem, shared: Statistics::default(), in_f64: OnceLock::new() }
    }

    fn family(&self, policy: &Policy) -> Family {
        Family::of(policy, self.problem.shape().window_len)
    }

    /// The reference's layer, widened when it is first needed.
    fn reference(&self) -> &Layer {
        self.in_f64.get_or_init(|| Layer::new(&self.problem))
    }
}

impl PreparedLayer for FastLayer<'_> {
    fn share(&mut self, policies: &[&Policy]) {
        let needs = policies.iter().map(|policy| self.family(policy).needs());
        let needs = needs.fold(Needs::default(), Needs::union);
        self.shared = Statistics::new(self.level, &self.problem, needs);
    }

    fn score(&self, policy: &Policy) -> Result<HeadScores, Error> {
        let family = self.family(policy);
        let (level, problem, pool) = (self.level, &self.problem, policy.options().pool);
        let pooling = if pool.stage == PoolStage::Score { pool.pooling } else { Pooling::None };
        match family {
            Family::Reference => self.reference().score(policy),
            Family::Unseen => Layer::unseen(problem.layer(), problem.shape()).score(policy),
            _ if self.shared.needs.covers(family.needs()) => {
                self.shared.score(level, problem, family, pooling)
            }
            _ => Statistics::new(level, problem, family.needs()).score(level, problem, family, pooling),
        }
    }

    fn shape(&self) -> LayerShape {
        self.problem.shape()
    }

    fn gram(&self, form: Form, rows: Rows) -> Result<Box<dyn PairGram + '_>, Error> {
        match FastGram::new(self.reference(), form, rows) {
            Some(gram) => Ok(Box::new(gram)),
            // The reference says what is missing.
            None => self.reference().gram(form, rows),
        }
    }

    fn improve(&self, form: Form, start: LayerRetained<'_>) -> Result<Vec<Vec<u32>>, Error> {
        self.reference().improve(form, start)
    }

    fn output_norm(&self) -> f64 {
        evaluate::output_norm(self.level, &self.problem)
    }

    fn attention_spread(&self, policy: &Policy) -> Result<AttentionSpread, Error> {
        self.reference().attention_spread(policy)
    }

    fn evaluate(&self, retained: LayerRetained<'_>) -> Result<OutputErrors, Error> {
        evaluate::evaluate(self.level, &self.problem, retained)
    }
}
