//! The stages of `laprox-reference` at the speed of the machine.
//!
//! Scores and errors still come from the reference stages, in f64, and will not move by more than rounding when these
//! are replaced one by one. What this path adds so far is for the oracles: all layers of a model at the same time, and
//! the dense factorisation that tightens their bounds at real sizes.
#![deny(unsafe_code)]
#![warn(missing_docs)]

pub mod attend;
pub mod average;
pub mod centred;
pub mod columns;
pub mod evaluate;
pub mod factor;
pub mod group;
pub mod layer;
pub mod project;
pub mod removed;
pub mod score;
pub mod simd;
pub mod stack;

use laprox_reference::oracle::PairGram;
use laprox_reference::{Backend, Error, LayerProblem, PreparedLayer};

pub use factor::Faer;
pub use layer::FastLayer;
pub use simd::Level;
pub use stack::ParallelStack;

/// The path that `--path fast` takes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fast {
    level: Level,
}

impl Fast {
    /// The path at one level; [`Fast::default`] takes the best of the machine.
    #[must_use]
    pub fn at(level: Level) -> Self {
        Self { level }
    }
}

impl Backend for Fast {
    fn name(&self) -> &'static str {
        "fast"
    }

    fn prepare<'a>(&self, problem: &LayerProblem<'a>) -> Result<Box<dyn PreparedLayer + 'a>, Error> {
        Ok(Box::new(FastLayer::new(self.level, problem)))
    }

    fn stack<'a>(&self, layers: Vec<Box<dyn PairGram + 'a>>) -> Box<dyn PairGram + 'a> {
        Box::new(ParallelStack::new(layers))
    }
}
