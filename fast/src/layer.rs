//! One prepared layer: the reference's, with a dense factorisation by faer where the oracles ask for one.

use laprox_reference::layer::Layer;
use laprox_reference::oracle::convexify;
use laprox_reference::oracle::gram::{Form, LayerGram, PairGram, Product, Rows};
use laprox_reference::{
    AttentionSpread, Error, HeadScores, LayerProblem, LayerRetained, LayerShape, OutputErrors, Policy,
    PreparedLayer,
};
use nalgebra::DMatrix;

use crate::factor::Faer;

/// Slots beyond which `M` is not formed: 8192 of them take half a gibibyte.
const MOST_SLOTS: usize = 8192;

/// A layer on the fast path.
pub struct FastLayer(Layer);

impl FastLayer {
    /// Prepares a layer.
    #[must_use]
    pub fn new(problem: &LayerProblem<'_>) -> Self {
        Self(Layer::new(problem))
    }
}

impl PreparedLayer for FastLayer {
    fn score(&self, policy: &Policy) -> Result<HeadScores, Error> {
        self.0.score(policy)
    }

    fn shape(&self) -> LayerShape {
        self.0.shape
    }

    fn gram(&self, form: Form, rows: Rows) -> Result<Box<dyn PairGram + '_>, Error> {
        Ok(Box::new(FastGram(self.0.layer_gram(form, rows)?)))
    }

    fn improve(&self, form: Form, start: LayerRetained<'_>) -> Result<Vec<Vec<u32>>, Error> {
        self.0.improve(form, start)
    }

    fn output_norm(&self) -> f64 {
        self.0.output_norm()
    }

    fn attention_spread(&self, policy: &Policy) -> Result<AttentionSpread, Error> {
        self.0.attention_spread(policy)
    }

    fn evaluate(&self, retained: LayerRetained<'_>) -> Result<OutputErrors, Error> {
        self.0.evaluate(retained)
    }
}

/// A layer's quadratic form on the fast path.
struct FastGram<'a>(LayerGram<'a>);

impl PairGram for FastGram<'_> {
    fn slots(&self) -> usize {
        self.0.slots()
    }

    fn product(&self, x: &[f64]) -> Product {
        self.0.product(x)
    }

    fn diagonal(&self) -> &[f64] {
        self.0.diagonal()
    }

    fn blocks(&self, slots: &[usize]) -> Vec<DMatrix<f64>> {
        self.0.blocks(slots)
    }

    fn convexity(&self) -> Vec<f64> {
        if self.slots() > MOST_SLOTS {
            return vec![0.0; self.slots()];
        }
        convexify::diagonal(&self.0, &self.0.magnitudes(), &Faer)
    }
}
