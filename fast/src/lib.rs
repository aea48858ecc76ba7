//! The stages of `laprox-reference` at the speed of the machine.
//!
//! Every layer still goes through the reference stages, in f64; callers may already ask for this path, and its
//! results will not move by more than rounding when the stages are replaced one by one.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

use laprox_reference::{Backend, Error, LayerProblem, PreparedLayer, Reference};

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
}
