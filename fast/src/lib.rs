//! The stages of `laprox-reference` at the speed of the machine.
//!
//! Every layer still goes through the reference stages, in f64; what this path adds so far is that the whole-model
//! oracles work on all layers at the same time. Its results will not move by more than rounding when the stages are
//! replaced one by one.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod stack;

use laprox_reference::oracle::PairGram;
use laprox_reference::{Backend, Error, LayerProblem, PreparedLayer, Reference};

pub use stack::ParallelStack;

/// The path that `--path fast` takes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fast;

impl Backend for Fast {
    fn name(&self) -> &'static str {
        "fast"
    }

    fn prepare<'a>(&self, problem: &LayerProblem<'a>) -> Result<Box<dyn PreparedLayer + 'a>, Error> {
        Reference.prepare(problem)
    }

    fn stack<'a>(&self, layers: Vec<Box<dyn PairGram + 'a>>) -> Box<dyn PairGram + 'a> {
        Box::new(ParallelStack::new(layers))
    }
}
